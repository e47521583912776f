"""The paths that every leg should take, worked out before anything starts, by walking packets through the topology."""

from testbed.plan.exchange import exchange
from testbed.plan.explain import explain_lines
from testbed.plan.legflow import CannotTell, LegFlows
from testbed.plan.model import Plan, PredictedPath
from testbed.plan.walk import Packet, Simulator, Walk
from testbed.scenario import Leg
from testbed.spec import Spec

__all__ = ["NEVER_SENT", "UNKNOWN", "explain_lines", "predict"]

NEVER_SENT = "NEVER_SENT"
"End of a direction whose packets depend on the other's, which did not arrive."
UNKNOWN = "UNKNOWN"
"End of a path that the predictor cannot work out; its note says why."


def predict(spec: Spec, plan: Plan) -> tuple[PredictedPath, ...]:
    """Return the predicted forward and return path of every leg of the scenario, in its order.

    *plan* gives the jobs, the roles and each node's sysctls; its own predictions are not looked at.
    """
    sysctls = {name: dict(node.sysctl) for name, node in spec.topology.nodes.items()}
    sysctls |= {node.name: node.sysctls for node in plan.nodes}
    simulator = Simulator(spec.topology, sysctls)
    flows = LegFlows(spec.topology, spec.scenario, plan, simulator)
    return tuple(_predict_leg(leg, flows, simulator) for leg in spec.scenario.legs)


def _predict_leg(leg: Leg, flows: LegFlows, simulator: Simulator) -> PredictedPath:
    simulator.forget()
    try:
        flow = flows.of(leg)
    except CannotTell as problem:
        return _path(leg, (), (), UNKNOWN, UNKNOWN, str(problem))
    told = exchange(flow.opening, simulator)
    out, back = told.out, told.back
    opened = out.links, out.disposition
    answered = ((), NEVER_SENT) if back is None else (back.links, back.disposition)
    (forward, forward_end), (return_, return_end) = (answered, opened) if flow.opens_backwards else (opened, answered)
    notes = (_describe(flow.opening.packet, out), flow.note, out.note, back.note if back else "")
    return _path(leg, forward, return_, forward_end, return_end, "; ".join(note for note in notes if note))


def _describe(packet: Packet, out: Walk) -> str:
    sender = f"{packet.source}:{packet.source_port}"
    nat = f" (source NAT, to {out.packet.source} for one)" if out.packet.source != packet.source else ""
    return f"{packet.protocol} {sender}{nat} -> {packet.destination}:{packet.destination_port}"


def _path(
    leg: Leg, forward: tuple[str, ...], return_: tuple[str, ...], forward_end: str, return_end: str, note: str
) -> PredictedPath:
    return PredictedPath(
        flow=leg.flow,
        from_=leg.from_,
        to=leg.to,
        forward=forward,
        return_=return_,
        forward_end=forward_end,
        return_end=return_end,
        note=note,
    )
