"""Who sent media to whom, from one application to the other: relays are looked through, and named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Literal

from testbed.analysis.messages import allocations
from testbed.analysis.packets import Encapsulation, Kind
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Run
from testbed.topology import MediaKind

Allocations = Mapping[tuple[int, int, int, int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class End:
    """How media left or reached one end: its candidate of the pair that carried the media."""

    node: str
    candidate: Literal["host", "srflx", "relay"]
    "As the far end sees it."
    address: str | None
    "Transport address of the candidate, where others send to; None where no packet tells."
    base: str
    "Address and port at the node itself."
    edge: str | None = None
    "Who relays: None but for a relayed candidate."


@dataclass(frozen=True, slots=True)
class Relay:
    """One TURN allocation that media went through."""

    node: str
    address: str | None
    "Relayed transport address; None where no packet tells."


@dataclass(frozen=True, slots=True)
class Conversation:
    """Media packets from one end to the other, however they went."""

    sender: End
    receiver: End
    relays: tuple[Relay, ...]
    "In the order of travel."
    packets: int
    first_frame: int
    nodes: tuple[str, ...]
    "Every node passed, ends included."
    media: MediaKind | None = None

    @property
    def title(self) -> str:
        """Return who speaks to whom."""
        return f"{self.sender.node} -> {self.receiver.node}"


def conversations(run: Run) -> tuple[Conversation, ...]:
    """Return every stream of RTP, and every data channel, that was followed from end to end, the earliest first."""
    allocated = allocations(run.packets)
    found = []
    for walk in run.walks.walks:
        ends = walk.nodes[0], walk.nodes[-1]
        if walk.kind not in (Kind.RTP, Kind.DATA) or walk.gaps or not all(map(run.network.is_host, ends)):
            continue
        if ends[1] in run.network.relays or ends[0] in run.network.relays:
            continue
        parts = stages(run, walk)
        relays = {i: _relay(run, parts, i, allocated) for i, stage in enumerate(parts) if _is_relayed(stage)}
        found.append(
            Conversation(
                sender=_sender(parts[0], ends[0], relays.get(0)),
                receiver=_receiver(parts[-1], ends[1], relays.get(len(parts) - 1)),
                relays=tuple(relays.values()),
                packets=walk.packets,
                first_frame=min(step.first_frame for step in walk.steps),
                nodes=walk.nodes,
                media=walk.media,
            )
        )
    return tuple(sorted(found, key=lambda one: one.first_frame))


def stages(run: Run, walk: Walk) -> list[list[Step]]:
    """Cut a walk at its relays: each stage is one datagram's way from one socket to the next."""
    parts: list[list[Step]] = [[walk.steps[0]]]
    for before, step in pairwise(walk.steps):
        if before.hop.target in run.network.relays:
            parts.append([])
        parts[-1].append(step)
    return parts


def _is_relayed(stage: Sequence[Step]) -> bool:
    return stage[0].flow.encapsulation != Encapsulation.NONE


def _relay(run: Run, stages: Sequence[Sequence[Step]], index: int, allocated: Allocations) -> Relay:
    """Return the allocation through which a stage in TURN's wrapping goes.

    Its relayed address is that of the bare packets on the relay's other side; where both sides are wrapped (two
    allocations of one relay) or nothing follows, the answer that granted the allocation tells.
    """
    stage = stages[index]
    if stage[-1].hop.target in run.network.relays:
        node, granted = stage[-1].hop.target, allocated.get(stage[-1].flow.answer5)
        beyond = stages[index + 1] if index + 1 < len(stages) else None
        bare = (beyond[0].flow.source, beyond[0].flow.source_port) if beyond and not _is_relayed(beyond) else None
    else:
        node, granted = stage[0].hop.source, allocated.get(stage[0].flow.tuple5)
        beyond = stages[index - 1] if index else None
        last = beyond[-1].flow if beyond and not _is_relayed(beyond) else None
        bare = (last.destination, last.destination_port) if last else None
    told = bare or granted
    return Relay(node, _address(*told) if told else None)


def _sender(stage: Sequence[Step], node: str, relay: Relay | None) -> End:
    first, last = stage[0].flow, stage[-1].flow
    base, seen = _address(first.source, first.source_port), _address(last.source, last.source_port)
    return _end(node, base, seen, relay)


def _receiver(stage: Sequence[Step], node: str, relay: Relay | None) -> End:
    first, last = stage[0].flow, stage[-1].flow
    base, seen = (_address(flow.destination, flow.destination_port) for flow in (last, first))
    return _end(node, base, seen, relay)


def _end(node: str, base: str, seen: str, relay: Relay | None) -> End:
    if relay is not None:
        return End(node, "relay", relay.address, base, relay.node)
    return End(node, "host" if base == seen else "srflx", seen, base)


def _address(address: int, port: int) -> str:
    return f"{IPv4Address(address)}:{port}"
