"""Checks of a broadcast: each fault that they must find, in captures and in what players told."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis_samples import ALICE, EDGE1, ER_POOL, FE, MEDIA_ER, Wire, make_plan, make_scenario, media_by_er
from capture_bytes import Tcp

from testbed.plan.model import Job
from testbed.scenario import Broadcast, Call
from testbed.verdict import judge

BROADCAST = Broadcast(call=0, cdn="cdn", attendees=("alice",), viewers=2)
MEETING = Call(kind="conference", participants=("bob", "carol"), host="online-conference")
WELL: dict[str, Any] = {
    "segments": 5, "bytes": 40_120, "played_s": 4.0, "stalls": 0, "stalled_ms": 0.0,
    "audio": {"tone_hz": {"bob": -23.0, "carol": -24.0}}, "failures": [],
}  # fmt: skip


def world(**plan: Any) -> Wire:
    """Return a wire where fe is the network's cache, and edge1 the origin."""
    made = make_plan(**plan)
    origin = Job(name="origin", node="edge1", program="broadcast", arguments={}, stage="party")
    return Wire(made.model_copy(update={"roles": made.roles | {"cdn": ("fe",)}, "jobs": (*made.jobs, origin)}))


def ask(wire: Wire, path: str, *, port: int = 50000, sequence: int = 1) -> None:
    """Let a player of alice's ask the cache."""
    inner, outer, server = (ALICE, port), (ER_POOL, port), (FE, 80)
    request = f"GET {path} HTTP/1.1\r\n\r\n".encode()
    wire.carry(
        ("alice", "core", "fw-er", "ms", "fe"),
        inner,
        server,
        request,
        nat={"fw-er": (outer, server)},
        tcp=Tcp(sequence, ip_id=port),
    )


def fetch(wire: Wire, path: str, *, port: int = 40000, sequence: int = 1) -> None:
    """Let the cache ask the origin."""
    request = f"GET {path} HTTP/1.1\r\n\r\n".encode()
    wire.carry(("fe", "ms", "edge1"), (FE, port), (EDGE1, 80), request, tcp=Tcp(sequence, ip_id=port))


def check_of(wire: Wire, directory: Path, name: str, players: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Judge and return the check *name*."""
    media_by_er(wire, sequence=1)
    media_by_er(wire, sequence=2)
    run = wire.write(directory, make_scenario(MEDIA_ER, calls=[MEETING], broadcast=BROADCAST))
    if players is not None:
        line = {"type": "agent", "agent": "alice", "line": "result", "calls": [], "players": players}
        (run / "events.jsonl").write_text(json.dumps(line) + "\n")
    return next(check for check in judge(run)["checks"] if check["check"] == name)


def test_one_fetch_for_many_requests_is_right(tmp_path: Path) -> None:
    wire = world()
    for port in (50000, 50001, 50002):
        ask(wire, "/live/7.au", port=port)
        ask(wire, "/live/index.m3u8", port=port, sequence=900)
    fetch(wire, "/live/7.au")
    fetch(wire, "/live/index.m3u8", sequence=900)
    fetch(wire, "/live/index.m3u8", sequence=1900)
    told = check_of(wire, tmp_path, "delivery")
    assert told["verdict"] == "PASS"
    assert told["observed"] == {
        "segments_asked": 1,
        "requests_of_audience": 3,
        "segments_fetched": 1,
        "requests_to_origin": 1,
    }
    assert told["evidence"] == ["/live/7.au: asked for 3 times, fetched 1 times"]


def test_a_segment_fetched_twice_was_not_kept(tmp_path: Path) -> None:
    wire = world()
    ask(wire, "/live/7.au")
    fetch(wire, "/live/7.au")
    fetch(wire, "/live/7.au", port=40001)
    told = check_of(wire, tmp_path, "delivery")
    assert (told["verdict"], told["reason"]) == (
        "FAIL",
        "delivery: cdn fetched 1 segments more than once (/live/7.au 2 times)",
    )


def test_a_retransmitted_request_is_no_second_one(tmp_path: Path) -> None:
    wire = world()
    ask(wire, "/live/7.au")
    fetch(wire, "/live/7.au")
    fetch(wire, "/live/7.au")
    assert check_of(wire, tmp_path, "delivery")["verdict"] == "PASS"


def test_a_segment_from_nowhere_is_wrong(tmp_path: Path) -> None:
    wire = world()
    ask(wire, "/live/7.au")
    told = check_of(wire, tmp_path, "delivery")
    assert told["verdict"] == "FAIL"
    assert "/live/7.au was asked for, and cdn fetched it from nowhere" in told["reason"]


def test_an_audience_that_asks_for_nothing_is_wrong(tmp_path: Path) -> None:
    wire = world()
    ask(wire, "/live/index.m3u8")
    assert check_of(wire, tmp_path, "delivery")["reason"] == "delivery: nobody asked for a segment"


def test_a_link_that_was_not_captured_leaves_the_count_open(tmp_path: Path) -> None:
    wire = world(uncaptured=["ms-edge1"])
    ask(wire, "/live/7.au")
    fetch(wire, "/live/7.au")
    told = check_of(wire, tmp_path, "delivery")
    assert (told["verdict"], told["reason"]) == ("INCONCLUSIVE", "delivery: capture of link ms-edge1 is missing")


def test_players_that_hear_everybody_without_a_stall_are_right(tmp_path: Path) -> None:
    told = check_of(world(), tmp_path, "playing", [WELL, WELL])
    assert told["verdict"] == "PASS"
    assert [player["bytes"] for player in told["observed"]["alice"]] == [40_120, 40_120]


def test_what_goes_wrong_at_a_player_is_told(tmp_path: Path) -> None:
    faults: list[tuple[dict[str, Any], str]] = [
        ({"stalls": 2, "stalled_ms": 900.0}, "alice's player 2 stalled 2 times, for 900.0 ms"),
        ({"played_s": 0.0, "failures": ["GET /x: refused"]}, "alice's player 2 played nothing: GET /x: refused"),
        ({"audio": {"tone_hz": {"bob": -23.0, "carol": -70.0}}}, "player 2 does not hear carol (-70.0 dBov)"),
        ({"audio": {"tone_hz": {"carol": -23.0}}}, "player 2 does not hear bob (no tone)"),
    ]
    for number, (changed, reason) in enumerate(faults):
        told = check_of(world(), tmp_path / str(number), "playing", [WELL, WELL | changed])
        assert told["verdict"] == "FAIL"
        assert reason in told["reason"]


def test_players_that_tell_nothing_prove_nothing(tmp_path: Path) -> None:
    assert check_of(world(), tmp_path, "playing", [])["verdict"] == "INCONCLUSIVE"
