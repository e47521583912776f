"""A mark is held against what the links before it do to it, as far as they were seen."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from analysis_samples import ALICE, FE, Wire, leg, make_plan, make_scenario
from capture_bytes import Tcp

from testbed.catalogue import find_scenario
from testbed.errors import SpecError
from testbed.plan import make_plan as make_plan_of
from testbed.plan.model import Job
from testbed.scenario import Change, Message
from testbed.spec.reader import read_spec
from testbed.verdict import judge
from testbed.verdict.marking import _unlike_configured


def link(treatment: str) -> SimpleNamespace:
    shape = SimpleNamespace(dscp=treatment)
    return SimpleNamespace(shape_forward=shape, shape_return=shape)


RUN: Any = SimpleNamespace(
    network=SimpleNamespace(links={"a-b": link("keep"), "b-c": link("bleach"), "c-d": link("keep")})
)


def walk(*marks: int | None) -> Any:
    """A walk a - b - c - d with the DSCP found on each link; None where the link was not captured."""
    ends = [("a-b", "a", "b"), ("b-c", "b", "c"), ("c-d", "c", "d")]
    steps, gaps = [], []
    for (name, source, target), mark in zip(ends, marks, strict=True):
        if mark is None:
            gaps.append((source, target))
            continue
        hop = SimpleNamespace(link=name, source=source, forward=True)
        flow = SimpleNamespace(dscp=mark, protocol=17)
        steps.append(SimpleNamespace(hop=hop, flow=flow, packets=5, first_frame=1))
    return SimpleNamespace(steps=steps, gaps=tuple(gaps), nodes=("a", "b", "c", "d"), media="audio")


@pytest.mark.parametrize(
    ("marks", "fault"),
    [
        ((46, 46, 0), ""),
        ((46, 46, 46), "DSCP 46, not 0"),
        ((46, 0, 0), "DSCP 0, not 46"),
        ((0, 0, 0), "DSCP 0, not 46"),
        ((46, None, 0), ""),
    ],
)
def test_a_mark_is_what_the_links_before_made_of_it(marks: tuple[int | None, ...], fault: str) -> None:
    found = list(_unlike_configured(RUN, walk(*marks), 46))
    assert len(found) == bool(fault)
    assert fault in "".join(found)


TO_FRONT_END = ("alice", "core", "fw-er", "ms", "fe")


def signaled(
    directory: Path, *, told: int | None = 24, sent: int = 24, changed: int | None = None, answered: int = 24
) -> Any:
    """Return the check `dscp` of a request and its answer between alice and the Front End, and a reset without mark."""
    plan = make_plan()
    arguments: dict[str, Any] = {} if told is None else {"signaling_dscp": told}
    front_end = Job(name="fe", node="fe", program="front_end", arguments=arguments, stage="service")
    jobs = [job.model_copy(update={"arguments": arguments}) if job.name == "alice" else job for job in plan.jobs]
    wire = Wire(plan.model_copy(update={"jobs": (*jobs, front_end)}))
    alice, server, back = (ALICE, 50010), (FE, 5060), TO_FRONT_END[::-1]
    way = {"alice": sent} | ({} if changed is None else {"fw-er": changed})
    request, answer = b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"
    wire.carry(TO_FRONT_END, alice, server, request, tcp=Tcp(101, 901, 0x18, 3), dscp=way)
    wire.carry(back, server, alice, answer, tcp=Tcp(901, 141, 0x18, 1), dscp={"fe": answered})
    wire.carry(back, server, alice, b"", tcp=Tcp(919, 141, 0x04, 2), dscp={"fe": 0})
    anything = leg("signaling", "alice", "online-front-end", "customer expressroute microsoft")
    message = Message.model_validate({"from": "alice", "to": "bob", "text": "Hello"})
    found = judge(wire.write(directory, make_scenario(anything, messages=(message,))))["checks"]
    return next((check for check in found if check["check"] == "dscp"), None)


def test_signaling_with_its_mark_both_ways_passes_whatever_the_kernel_resets_with(tmp_path: Path) -> None:
    check = signaled(tmp_path)
    assert (check["verdict"], check["expected"], check["observed"]) == ("PASS", {"signaling": 24}, {"signaling": [24]})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"sent": 0}, r"signaling from alice has DSCP 0, not 24 \(1 packets on alice-core, first frame 1\)"),
        ({"answered": 46}, r"signaling from fe has DSCP 46, not 24 \(1 packets on "),
        ({"changed": 0}, r"signaling from alice has DSCP 0, not 24 \(1 packets on er, first frame 3\)"),
        ({"told": 40}, r"signaling from alice has DSCP 24, not 40"),
    ],
)
def test_signaling_with_another_mark_fails(tmp_path: Path, wrong: dict[str, int], reason: str) -> None:
    check = signaled(tmp_path, **wrong)
    assert check["verdict"] == "FAIL"
    assert re.match(reason, check["reason"]), check["reason"]


def test_signaling_of_programs_that_were_told_no_mark_is_not_judged(tmp_path: Path) -> None:
    assert signaled(tmp_path, told=None, sent=0) is None


def test_every_program_with_signaling_is_told_the_topologys_mark() -> None:
    path = find_scenario("cloud-connector/pstn-internal")
    plan = make_plan_of(read_spec(path), duration_ns=1_000_000_000, seed=1)
    told = {job.program: job.arguments.get("signaling_dscp") for job in plan.jobs}
    speaking = ("edge", "front_end", "mediation", "client", "phone")
    assert told == {"stock": None, **dict.fromkeys(speaking, 24)}
    none = read_spec(path, (Change(remove=("signaling",)),))
    jobs = make_plan_of(none, duration_ns=1_000_000_000, seed=1).jobs
    assert {job.arguments.get("signaling_dscp") for job in jobs} == {None, 0}
    other = read_spec(path, (Change(set={"signaling.dscp": 40}),))
    assert {job.arguments.get("signaling_dscp") for job in make_plan_of(other, duration_ns=1, seed=1).jobs} == {
        None,
        40,
    }
    with pytest.raises(SpecError, match=r"signaling.dscp: .*64"):
        read_spec(path, (Change(set={"signaling.dscp": 64}),))
