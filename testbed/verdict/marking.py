"""Whether media has the ports of its kind, and it and signaling their DSCP, on every link and where a leg ends."""

from collections.abc import Iterator, Mapping
from typing import Any

from testbed.analysis.legs import KINDS, MEDIA, LegTraffic, Part
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Run
from testbed.plan.marks import has_port, marks_at, signaling_dscp_at, transport_kind
from testbed.scenario import Leg
from testbed.verdict.checks import Check


def arrival_faults(run: Run, leg: Leg, traffic: LegTraffic) -> Iterator[str]:
    """Yield a fault for each direction of a leg in which packets arrive with another DSCP than *leg* asks for."""
    for parts, end in ((traffic.forward, leg.to), (traffic.back, leg.from_)):
        wrong: dict[int, list[Part]] = {}
        for part in (part for part in parts if part.arrived):
            if (dscp := _behind(run, part.steps[-1])) != leg.dscp:
                wrong.setdefault(dscp, []).append(part)
        for dscp, found in wrong.items():
            count = sum(part.walk.packets for part in found)
            last = min(found, key=lambda part: part.steps[-1].first_frame).steps[-1]
            where = f"first frame {last.first_frame} on {last.hop.link}"
            yield f"{count} packets arrive at {end} with DSCP {dscp}, not {leg.dscp} ({where}{_lost_at(run, found[0])})"


def _behind(run: Run, step: Step) -> int:
    """Return the DSCP of packets at the end of a hop: a link is captured at its end A, before what it does to them."""
    return 0 if step.hop.forward and _bleaches(run, step) else step.flow.dscp


def _bleaches(run: Run, step: Step) -> bool:
    link = run.network.links[step.hop.link]
    return (link.shape_forward if step.hop.forward else link.shape_return).dscp == "bleach"


def _lost_at(run: Run, part: Part) -> str:
    """Say where the packets' mark was set to 0, if a link of this leg does so."""
    link = next((step.hop.link for step in part.steps if _bleaches(run, step)), None)
    return f"; {link} sets it to 0" if link else ""


def judge_marking(run: Run) -> list[Check]:
    """Return the checks of ports and of DSCP on every link; none where no program was told any."""
    jobs = run.plan.jobs if run.scenario.calls else ()
    told = {kind: mark for job in jobs for kind, mark in (job.arguments.get("media") or {}).items()}
    dscps = {kind: mark["dscp"] for kind, mark in told.items()}
    for job in run.plan.jobs:
        if "signaling_dscp" in job.arguments:
            dscps["signaling"] = job.arguments["signaling_dscp"]
    ports: dict[str, set[int]] = {}
    marks: dict[str, set[int]] = {}
    wrong_ports: list[str] = []
    wrong_marks: list[str] = []
    for walk, mark in _marked_walks(run):
        first, kind = walk.steps[0], str(walk.media)
        ports.setdefault(kind, set()).add(first.flow.source_port)
        marks.setdefault(kind, set()).add(first.flow.dscp)
        if not has_port(mark, first.flow.source_port):
            what = f"{walk.nodes[0]} sends {kind} from port {first.flow.source_port}, not from {mark['ports']}"
            wrong_ports.append(f"{what} (first frame {first.first_frame})")
        wrong_marks += _unlike_configured(run, walk, int(mark["dscp"]))
    for walk, dscp in _signaling_walks(run):
        marks.setdefault("signaling", set()).add(walk.steps[0].flow.dscp)
        wrong_marks += _unlike_configured(run, walk, dscp)
    checks = [_check("ports", {kind: mark["ports"] for kind, mark in told.items()}, ports, wrong_ports)] if told else []
    return [*checks, *([_check("dscp", dscps, marks, wrong_marks)] if dscps else [])]


def _check(name: str, expected: Mapping[str, Any], seen: Mapping[str, set[int]], wrong: list[str]) -> Check:
    observed = {kind: sorted(values) for kind, values in seen.items()}
    wrong = list(dict.fromkeys(wrong))
    if wrong:
        return Check(name, dict(expected), observed, "FAIL", wrong[0], tuple(wrong))
    if not observed:
        return Check(name, dict(expected), observed, "PASS", "nothing was sent by a program that was told any")
    words = {"ports": "was sent from ports of its kind", "dscp": "has the DSCP of its kind, wherever links keep it"}
    return Check(name, dict(expected), observed, "PASS", f"all that was sent ({', '.join(observed)}) {words[name]}")


def _signaling_walks(run: Run) -> Iterator[tuple[Walk, int]]:
    """Yield the walks of signaling from programs that were told a mark, each with the one that it must have.

    Only what says something: a kernel that refuses or resets a connection answers with the mark of what it was sent.
    """
    for walk in run.walks.walks:
        if walk.kind not in KINDS["signaling"] or not walk.has_payload or walk.steps[0].hop.source != walk.nodes[0]:
            continue
        dscp = signaling_dscp_at(run.plan, walk.nodes[0])
        if dscp is not None:
            yield walk, dscp


def _marked_walks(run: Run) -> Iterator[tuple[Walk, Mapping[str, Any]]]:
    """Yield the walks of media from programs that were told marks, each with the one that it must have."""
    for walk in run.walks.walks:
        if walk.kind not in MEDIA or walk.media is None or walk.steps[0].hop.source != walk.nodes[0]:
            continue
        mark = marks_at(run.plan, walk.nodes[0]).get(transport_kind(run.scenario, walk.media))
        if mark is not None:
            yield walk, mark


def _unlike_configured(run: Run, walk: Walk, dscp: int) -> Iterator[str]:
    """Yield a fault for the first hop on which packets have another DSCP than their sender's and the links' make."""
    at_node = dscp
    behind_gaps = {node for _, node in walk.gaps}
    for step in walk.steps:
        if step.hop.source in behind_gaps:
            return  # what a link that nobody captured did to the mark is not known
        if step.flow.protocol != walk.steps[0].flow.protocol:
            return  # between TCP and UDP a relay has no packet whose mark it could keep (RFC 8656 section 14)
        behind = 0 if _bleaches(run, step) else at_node
        expected = at_node if step.hop.forward else behind
        if step.flow.dscp != expected:
            where = f"{step.packets} packets on {step.hop.link}, first frame {step.first_frame}"
            what = walk.media or "signaling"
            yield f"{what} from {walk.nodes[0]} has DSCP {step.flow.dscp}, not {expected} ({where})"
            return
        at_node = behind
