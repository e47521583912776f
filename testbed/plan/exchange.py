"""A flow's first packets in both directions: the first one out, its answer and, for TCP, the ACK."""

from dataclasses import dataclass, replace

from testbed.plan.walk import Packet, Simulator, Step, Walk


@dataclass(frozen=True, slots=True)
class Opening:
    """The first packet of a flow and the node that sends it."""

    opener: str
    packet: Packet
    both_open: bool = False
    "Whether the other end sends without being asked too, as ICE checks do."
    before: tuple["Opening", ...] = ()
    "What the two ends have sent before: to a STUN server, so that each has a mapped address."
    other: "Opening | None" = None
    "What the other end sends then, where it is not simply the answer."


@dataclass(frozen=True, slots=True)
class Exchange:
    """How both directions of a flow ended."""

    out: Walk
    back: Walk | None
    "None where nothing arrived that could be answered."

    @property
    def is_delivered(self) -> bool:
        """Whether packets arrive both ways."""
        return self.out.is_delivered and self.back is not None and self.back.is_delivered


def exchange(opening: Opening, simulator: Simulator) -> Exchange:
    """Walk the packets of *opening* through the network as *simulator* has it; sessions it leaves stay."""
    for earlier in opening.before:
        exchange(earlier, simulator)
    out = simulator.walk(opening.packet, opening.opener)
    if opening.both_open and not out.is_delivered:
        out = _knock(opening, out, simulator)
    if not out.is_delivered:
        return Exchange(out, None)
    back = simulator.walk(out.packet.answer(), out.at)
    if not back.is_delivered:
        return Exchange(out, back)
    if back.packet.tuple_ != opening.packet.answer().tuple_:
        note = f"the answer comes from {back.packet.source}:{back.packet.source_port}"
        return Exchange(out, replace(back, disposition=f"NAT_MISMATCH:{back.at}", note=note))
    if opening.packet.protocol == "tcp":
        later = simulator.walk(replace(opening.packet, step=Step.LATER), opening.opener)
        if not later.is_delivered:
            return Exchange(later, back)
    return Exchange(out, back)


def _knock(opening: Opening, refused: Walk, simulator: Simulator) -> Walk:
    """Let the other end send too, as ICE checks do (RFC 8445): firewalls that then know the flow let it pass."""
    if opening.other is not None:
        simulator.walk(opening.other.packet, opening.other.opener)
        return simulator.walk(opening.packet, opening.opener)
    other = simulator.owner(opening.packet.destination)
    if other is None:
        return refused
    simulator.walk(replace(opening.packet.answer(), step=Step.FIRST), other)
    return simulator.walk(opening.packet, opening.opener)
