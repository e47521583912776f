"""A results directory whose one scenario was captured on paper and judged by the testbed itself."""

import json
from pathlib import Path
from typing import Any

from analysis_samples import (
    ALICE,
    BY_INTERNET,
    ER_POOL,
    FE,
    MEDIA_CAROL,
    MEDIA_ER,
    SIGNALING_ER,
    Wire,
    make_plan,
    make_scenario,
    relayed_call,
    signaling_by_er,
)
from capture_bytes import Tcp, ip_packet, stun

from testbed.plan.model import PredictedPath
from testbed.scenario import Call
from testbed.verdict import write_judgement

SIGNALING_WAY = ("alice-core", "core-fw-er", "er", "ms-fe")
PREDICTED = PredictedPath(
    flow="signaling",
    from_="alice",
    to="online-front-end",
    forward=SIGNALING_WAY,
    return_=("ms-fe", "border", "inet"),
    forward_end="DELIVERED",
    return_end="NO_SESSION_ON_RETURN:fw-inet:invalid",
)


def call_wire(packets: int = 12) -> Wire:
    """Return a relayed call with its signaling, and a direct check that a firewall dropped."""
    wire = Wire(plan=make_plan(predicted=[PREDICTED]))
    signaling_by_er(wire)
    check = stun(0x0001, 77)
    wire.carry(("alice", "core", "fw-inet"), (ALICE, 50000), ("192.168.0.10", 50002), check)
    wire.drop("fw-inet", "default", ip_packet((ALICE, 50000), ("192.168.0.10", 50002), check))
    for number in range(packets):
        wire.now_ns += 20_000_000
        relayed_call(wire, relays=1, sequence=number)
    return wire


def half_way_wire() -> Wire:
    """Return a connection whose answer comes back over the Internet and is dropped there."""
    wire = Wire(plan=make_plan(predicted=[PREDICTED]))
    inner, outer, server = (ALICE, 50010), (ER_POOL, 40010), (FE, 5060)
    way = ("alice", "core", "fw-er", "ms", "fe")
    wire.carry(way, inner, server, b"", nat={"fw-er": (outer, server)}, tcp=Tcp(100, 0, 2, 1))
    back = ("fe", *BY_INTERNET[:-1][::-1])[:4]
    wire.carry(back, server, outer, b"", tcp=Tcp(900, 101, 0x12, 0))
    wire.drop("fw-inet", "invalid", ip_packet(server, outer, b"", Tcp(900, 101, 0x12, 0)))
    return wire


def write_story(directory: Path, wire: Wire | None = None, **emulation: Any) -> Path:
    """Write a run with one scenario, judged; return its directory."""
    place = directory / "test-one"
    scenario = make_scenario(
        SIGNALING_ER, MEDIA_ER, MEDIA_CAROL, calls=[Call(kind="p2p", caller="alice", callee="carol")]
    )
    verdict = write_judgement((wire or call_wire()).write(place, scenario, **emulation))
    entry = {
        "name": "test/one",
        "scenario": "test/one",
        "row": "T-1",
        "verdict": verdict["verdict"],
        "reason": verdict["reason"],
        "directory": place.name,
        "duration_s": 1.0,
        "media_s": 0.5,
    }
    run = {"format": 1, "run": "r", "interrupted": False, "environment": {}, "scenarios": [entry]}
    (directory / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return directory
