"""The rig's own health: what it lost or delayed by itself takes trust from the figures, and nothing else does."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import MEDIA_ER, Wire, make_plan, make_scenario
from quality_samples import MS, SHAPED, send, shaped_plan

from testbed.analysis import read_run
from testbed.plan.model import Phase
from testbed.topology import LinkShape
from testbed.verdict.health import judge_health, late_reasons_of
from testbed.verdict.quality import quality

ON_TIME = {"p50": 1, "p99": 10, "max": 20}


def told(**wire: int) -> dict[str, Any]:
    return {"wire": {"lateness_ns": ON_TIME, "receive_drops": 0, "send_failures": 0, **wire}, "agents": {}}


def test_a_wire_that_lost_nothing_is_no_reason() -> None:
    assert late_reasons_of(told()) == []


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        ({"receive_drops": 1}, "wire lost 1 frames before it could take them"),
        ({"send_failures": 5}, "wire could not send 5 frames on links that were up"),
    ],
)
def test_what_the_wire_lost_itself_takes_trust_from_every_figure(
    tmp_path: Path, wire: dict[str, int], reason: str
) -> None:
    run = Wire(shaped_plan(*SHAPED))
    send(run, range(100), lambda link, number: 10 * MS if link == "er" else 0)
    document = quality(read_run(run.write(tmp_path, make_scenario(MEDIA_ER), health=told(**wire))))
    assert document["trusted"] == {"timing": False, "complete": True, "reasons": [reason]}
    assert document["outcomes"]["met"] == document["outcomes"]["missed"] == 0


def cut(down: str, failing: str, *, failures: int = 3, counts: str = "send_failures") -> dict[str, Any]:
    """Return what a run writes whose plan cuts *down* later, and whose wire failed to send on *failing*."""
    plan = make_plan()
    link = next(link for link in plan.links if link.name == down)
    phase = Phase(
        at_ns=1, within_ns=1, why="a cut", birds={}, links=(link.model_copy(update={"up": False}),), converged=(),
        predicted=(),
    )  # fmt: skip
    counters = {name: {"forward": {"received": 9, counts: 0}, "return": {counts: 0}} for name in (down, failing)}
    counters[failing]["forward"][counts] = failures
    health = told(send_failures=failures)
    return {"plan": plan.model_copy(update={"phases": (phase,)}), "links": counters, "health": health}


@pytest.mark.parametrize(
    ("down", "failing", "counts", "degraded"),
    [
        ("er", "er", "send_failures", False),
        ("er", "core-fw-er", "send_failures", True),
        ("er", "er", "nothing", False),
    ],
)
def test_frames_that_a_planned_cut_lost_are_the_networks(
    tmp_path: Path, down: str, failing: str, counts: str, degraded: bool
) -> None:
    emulation = cut(down, failing, counts=counts)
    wire = Wire(emulation.pop("plan"))
    health = judge_health(read_run(wire.write(tmp_path, make_scenario(MEDIA_ER), **emulation)))
    assert health["timing_degraded"] is health["degraded"] is degraded


def test_a_link_that_was_down_from_the_start_may_refuse_frames(tmp_path: Path) -> None:
    emulation = cut("er", "er")
    emulation.pop("plan")
    wire = Wire(make_plan(down=("er",)))
    assert not judge_health(read_run(wire.write(tmp_path, make_scenario(MEDIA_ER), **emulation)))["degraded"]


def netem_reasons(tmp_path: Path, er_ms: float, shape: dict[str, Any], *, packets: int = 120) -> list[str]:
    """Judge a run by netem on whose link er, of *shape*, packets took *er_ms*."""
    plan = shaped_plan(*SHAPED)
    each = LinkShape.model_validate(shape)
    links = [
        link.model_copy(update={"shape_forward": each, "shape_return": each}) if link.name == "er" else link
        for link in plan.links
    ]
    wire = Wire(plan.model_copy(update={"links": tuple(links)}))
    send(wire, range(packets), lambda link, number: round(er_ms * MS) if link == "er" else MS)
    run = read_run(wire.write(tmp_path, make_scenario(MEDIA_ER), backend="netem"))
    return [reason for reason in judge_health(run)["reasons"] if " er " in reason]


@pytest.mark.parametrize(
    ("er_ms", "shape", "reasons"),
    [
        (10.9, {"delay": "10ms"}, []),
        (11.2, {"delay": "10ms", "rate": "100Mbit"}, ["netem delayed packets on er by 11.2 ms on average, not 10 ms"]),
        (8.8, {"delay": "10ms"}, ["netem delayed packets on er by 8.8 ms on average, not 10 ms"]),
        (14, {"delay": "10ms", "jitter": "1ms"}, []),
        (14, {"delay": "10ms", "rate": "10Mbit"}, []),
        (14, {"delay": "10ms", "reorder": "1%"}, []),
    ],
)
def test_netem_is_held_to_what_it_was_told_where_nothing_else_delays(
    tmp_path: Path, er_ms: float, shape: dict[str, Any], reasons: list[str]
) -> None:
    assert netem_reasons(tmp_path, er_ms, shape) == reasons


def test_few_packets_do_not_judge_netem(tmp_path: Path) -> None:
    assert netem_reasons(tmp_path, 14, {"delay": "10ms"}, packets=60) == []


def test_a_wire_is_judged_by_its_own_clock(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(120), lambda link, number: 14 * MS if link == "er" else 0)
    run = wire.write(tmp_path, make_scenario(MEDIA_ER), backend="wire", health=told())
    assert judge_health(read_run(run))["reasons"] == []
    assert json.loads((run / "manifest.json").read_text())["emulation"]["backend"] == "wire"
