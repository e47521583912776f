"""The paths that every leg should take, worked out before anything starts, by walking packets through the topology."""

from dataclasses import dataclass, replace

from testbed.plan.exchange import Exchange, Opening, exchange
from testbed.plan.explain import explain_lines
from testbed.plan.legflow import CannotTell, LegFlow, LegFlows
from testbed.plan.model import UNKNOWN, Plan, PredictedPath
from testbed.plan.walk import Packet, Simulator, Step, Walk
from testbed.scenario import Leg
from testbed.spec import Spec
from testbed.topology import Topology

__all__ = ["NEVER_SENT", "UNKNOWN", "explain_lines", "predict"]

DELIVERED = "DELIVERED"
NEVER_SENT = "NEVER_SENT"
"End of a direction whose packets depend on the other's, which did not arrive."

Way = tuple[tuple[str, ...], str]
"Links in the order of travel, and how that ended."
_SILENT: Way = ((), NEVER_SENT)


def predict(spec: Spec, plan: Plan, *, set_up_in: Topology | None = None) -> tuple[PredictedPath, ...]:
    """Return the predicted forward and return paths of every leg of the scenario, in its order.

    A leg has several where the race between ICE's checks decides which Edge relays: the most likely comes first.

    *plan* gives the jobs, the roles and each node's sysctls; its own predictions are not looked at. With *set_up_in*
    the flows are under way: they began when the topology was that, with the pairs and connections of then.
    """
    sysctls = {name: dict(node.sysctl) for name, node in spec.topology.nodes.items()}
    sysctls |= {node.name: node.sysctls for node in plan.nodes}
    simulator = Simulator(spec.topology, sysctls)
    before = None if set_up_in is None else Simulator(set_up_in, sysctls)
    flows = LegFlows(set_up_in or spec.topology, spec.scenario, plan, before or simulator)
    stopped = frozenset(name for name, node in spec.topology.nodes.items() if node.stopped)
    network = _Network(simulator, before, stopped)
    return tuple(path for leg in spec.scenario.legs for path in _predict_leg(leg, flows, network))


@dataclass(frozen=True, slots=True)
class _Network:
    """What packets are walked through."""

    simulator: Simulator
    before: Simulator | None
    "The network in which the flows began; None: in that of `simulator`."
    stopped: frozenset[str]

    def begin(self, flow: LegFlow) -> None:
        """Have the connection tables as they are before the first packet that is predicted."""
        self.simulator.forget()
        if self.before is not None:
            self.before.forget()
            told = exchange(flow.opening, self.before)
            if flow.onward is not None and told.is_delivered:
                exchange(flow.onward, self.before)
            self.simulator.adopt(self.before)

    def exchange(self, opening: Opening) -> Exchange:
        """Walk a packet of the flow and its answer."""
        if self.before is not None:
            opening = replace(opening, packet=replace(opening.packet, step=Step.LATER))
        return exchange(opening, self.simulator)


def _predict_leg(leg: Leg, flows: LegFlows, network: _Network) -> tuple[PredictedPath, ...]:
    network.simulator.forget()
    try:
        found = flows.of(leg)
    except CannotTell as problem:
        return (_path(leg, ((), UNKNOWN), ((), UNKNOWN), str(problem)),)
    paths: dict[tuple[Way, Way], list[str]] = {}
    for flow in found:
        forward, return_, note = _predict_flow(flow, network)
        paths.setdefault((forward, return_), []).append(note)
    return tuple(_path(leg, *ways, "; or ".join(notes)) for ways, notes in paths.items())


def _predict_flow(flow: LegFlow, network: _Network) -> tuple[Way, Way, str]:
    """Return the forward and return way of a leg's flow, and a note on both."""
    network.begin(flow)
    told = network.exchange(flow.opening)
    opened, answered, note = _ways(flow.opening, told, network.stopped)
    if flow.onward is not None and opened[1] == DELIVERED:
        further = network.exchange(flow.onward)
        onward, returned, more = _ways(flow.onward, further, network.stopped)
        opened = (opened[0] + onward[0], onward[1])
        answered = (returned[0] + answered[0], answered[1]) if returned[1] == DELIVERED else returned
        note = "; ".join(filter(None, (note, _describe(flow.onward.packet, further.out), more)))
    notes = [_describe(flow.opening.packet, told.out), flow.note, note]
    if flow.opening.both_open and not told.is_delivered:
        notes.append("so ICE takes an Edge, if the two ends have any")
    forward, return_ = (answered, opened) if flow.opens_backwards else (opened, answered)
    return forward, return_, "; ".join(filter(None, notes))


def _ways(opening: Opening, told: Exchange, stopped: frozenset[str]) -> tuple[Way, Way, str]:
    """Return what the opening side sends, what comes back, and a note on either."""
    out, back = told.out, told.back
    if opening.opener in stopped:
        return _SILENT, _SILENT, f"the programs of {opening.opener} are stopped"
    if out.is_delivered and out.at in stopped:
        return (out.links, out.disposition), _SILENT, f"the programs of {out.at} are stopped, so nobody answers"
    if back is None:
        return (out.links, out.disposition), _SILENT, out.note
    notes = "; ".join(filter(None, (out.note, back.note)))
    return (out.links, out.disposition), (back.links, back.disposition), notes


def _describe(packet: Packet, out: Walk) -> str:
    sender = f"{packet.source}:{packet.source_port}"
    nat = f" (source NAT, to {out.packet.source} for one)" if out.packet.source != packet.source else ""
    return f"{packet.protocol} {sender}{nat} -> {packet.destination}:{packet.destination_port}"


def _path(leg: Leg, forward: Way, return_: Way, note: str) -> PredictedPath:
    return PredictedPath(
        flow=leg.flow,
        from_=leg.from_,
        to=leg.to,
        media=leg.media,
        forward=forward[0],
        return_=return_[0],
        forward_end=forward[1],
        return_end=return_[1],
        note=note,
    )
