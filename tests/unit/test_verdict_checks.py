"""The checks beside paths (relays, selected pair, who is heard), and the whole verdict's severity and health."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import (
    ALICE,
    BOB,
    BY_ER,
    EDGE1,
    ER_POOL,
    FE,
    MEDIA_CAROL,
    MEDIA_ER,
    SIGNALING_ER,
    Wire,
    leg,
    make_plan,
    make_scenario,
    media_by_er,
    relayed_call,
)
from capture_bytes import channel_data, rtp

from testbed.scenario import ArticleCell, Call
from testbed.verdict import judge
from testbed.verdict.health import LOOP_LAG_P99_LIMIT_NS, WIRE_LATENESS_MAX_LIMIT_NS, WIRE_LATENESS_P99_LIMIT_NS

P2P = Call(kind="p2p", caller="alice", callee="carol")
DIRECT = Call(kind="p2p", caller="alice", callee="bob")
LOCAL = leg("media", "alice", "bob", "customer", "internet expressroute microsoft")


def call(relays: int) -> Wire:
    """Return a call between alice and carol."""
    wire = Wire()
    for sequence in range(3):
        relayed_call(wire, relays=relays, sequence=sequence)
    return wire


def direct(*, answer: bool = True) -> Wire:
    """Return a call between alice and bob without relay or NAT."""
    wire = Wire()
    for sequence in range(3):
        wire.carry(("alice", "core", "bob"), (ALICE, 50000), (BOB, 50001), rtp(sequence))
        if answer:
            wire.carry(("bob", "core", "alice"), (BOB, 50001), (ALICE, 50000), rtp(sequence, ssrc=2))
    return wire


def check(verdict: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the check called *name*."""
    found: dict[str, Any] = next(each for each in verdict["checks"] if each["check"] == name)
    return found


@pytest.mark.parametrize(("relays", "allowed", "told"), [(1, (1, 2), "PASS"), (2, (1, 2), "PASS"), (2, (1,), "FAIL")])
def test_relays_are_counted_on_the_packets_way(
    tmp_path: Path, relays: int, allowed: tuple[int, ...], told: str
) -> None:
    run = call(relays).write(tmp_path, make_scenario(MEDIA_ER, MEDIA_CAROL, relays=allowed))
    found = check(judge(run), "relays")
    assert (found["verdict"], found["observed"]) == (told, {"alice -> carol": [relays], "carol -> alice": [relays]})


def test_two_allocations_on_one_edge_are_two_relays(tmp_path: Path) -> None:
    wire, pool = Wire(), (ER_POOL, 40000)
    for sequence in range(3):
        data = channel_data(rtp(sequence))
        wire.carry(BY_ER, (ALICE, 50000), (EDGE1, 3478), data, nat={"fw-er": (pool, (EDGE1, 3478))})
        wire.carry(("edge1", "conf"), ("10.250.0.1", 3478), ("10.250.0.4", 9), data)
    found = check(judge(wire.write(tmp_path, make_scenario(MEDIA_ER, relays=(1,)))), "relays")
    assert (found["verdict"], found["reason"]) == ("FAIL", "media alice -> conf passed 2 relays, allowed are 1")


def test_relays_without_media_are_inconclusive(tmp_path: Path) -> None:
    assert (
        check(judge(Wire().write(tmp_path, make_scenario(MEDIA_ER, relays=(1,)))), "relays")["verdict"]
        == "INCONCLUSIVE"
    )


def test_the_selected_pair_is_read_from_packets(tmp_path: Path) -> None:
    right = direct().write(tmp_path / "a", make_scenario(LOCAL, relays=(0,), selected_pair=("host", "host")))
    verdict = judge(right)
    assert verdict["verdict"] == "PASS", verdict["reason"]
    wrong = call(1).write(tmp_path / "b", make_scenario(MEDIA_ER, selected_pair=("host", "host")))
    found = check(judge(wrong), "selected-pair")
    assert found["verdict"] == "FAIL" and "used the pair relay-srflx" in found["reason"]
    nothing = Wire().write(tmp_path / "c", make_scenario(MEDIA_ER, selected_pair=("host", "host")))
    assert check(judge(nothing), "selected-pair")["verdict"] == "INCONCLUSIVE"


def test_an_agent_that_says_otherwise_is_quoted(tmp_path: Path) -> None:
    run = direct().write(tmp_path, make_scenario(LOCAL, selected_pair=("host", "host")))
    result = {"type": "agent", "agent": "alice", "calls": [{"call": "1", "selected_pair": {"local": "relay"}}]}
    (run / "events.jsonl").write_text(json.dumps(result) + "\n")
    evidence = check(judge(run), "selected-pair")["evidence"]
    assert "alice says it used relay, the captures show host" in evidence


def test_participants_who_hear_nothing_are_found(tmp_path: Path) -> None:
    for answer, told in ((True, "PASS"), (False, "FAIL")):
        run = direct(answer=answer).write(tmp_path / told, make_scenario(LOCAL, calls=[DIRECT]))
        assert check(judge(run), "heard")["verdict"] == told


def test_hearing_is_inconclusive_where_the_access_link_is_not_captured(tmp_path: Path) -> None:
    wire = Wire(make_plan(uncaptured=["bob-core"]))
    for sequence in range(3):
        wire.carry(("alice", "core", "bob"), (ALICE, 50000), (BOB, 50001), rtp(sequence))
    run = wire.write(tmp_path, make_scenario(LOCAL, calls=[DIRECT]))
    assert check(judge(run), "heard")["verdict"] == "INCONCLUSIVE"


def results(alice: dict[str, float], bob: dict[str, float] | None) -> str:
    """Return events.jsonl in which alice and bob measured the given tones; None measured nothing."""
    lines = []
    for listener, tones in (("alice", alice), ("bob", bob)):
        audio = {"received_level_dbov": None if tones is None else -20.0, "tone_hz": tones or {}}
        lines.append({"type": "agent", "agent": listener, "line": "result", "calls": [{"call": "1", "audio": audio}]})
    return "\n".join(json.dumps(line) for line in lines) + "\n"


@pytest.mark.parametrize(
    ("alice", "bob", "told"),
    [
        ({"bob": -12.0}, {"alice": -15.0}, "PASS"),
        ({"bob": -12.0}, {"alice": -80.0}, "FAIL"),
        ({"bob": -12.0}, {"500": -15.0}, "FAIL"),
        ({"500": -12.0}, {"400": -15.0}, "PASS"),
        ({"bob": -12.0}, None, "INCONCLUSIVE"),
    ],
)
def test_audio_is_judged_by_tones(
    tmp_path: Path, alice: dict[str, float], bob: dict[str, float] | None, told: str
) -> None:
    run = direct().write(tmp_path, make_scenario(LOCAL, calls=[DIRECT]))
    (run / "events.jsonl").write_text(results(alice, bob))
    verdict = judge(run)
    assert (check(verdict, "audio")["verdict"], verdict["verdict"]) == (told, told)


def test_a_slow_rig_takes_certainty_from_missing_tones_and_leaves_paths_alone(tmp_path: Path) -> None:
    late = {"wire": {"frames": 9, "lateness_ns": {"p50": 1, "p99": WIRE_LATENESS_P99_LIMIT_NS + 1, "max": 6_000_000}}}
    for level, told in ((-12.0, "PASS"), (-90.0, "INCONCLUSIVE")):
        scenario = make_scenario(LOCAL, calls=[DIRECT])
        run = direct().write(tmp_path / told, scenario, health={**late, "agents": {}})
        (run / "events.jsonl").write_text(results({"bob": level}, {"alice": -12}))
        verdict = judge(run)
        assert verdict["health"]["degraded"]
        assert verdict["health"]["reasons"] == ["wire lateness p99 is 5.0 ms, over 5 ms"]
        assert [verdict["legs"][0]["verdict"], check(verdict, "audio")["verdict"]] == ["PASS", told]


def test_a_companion_without_a_leg_may_do_without_relay(tmp_path: Path) -> None:
    wire = call(1)
    for sequence in range(3):
        wire.carry(("bob", "core", "fw-er", "ms", "fe"), (BOB, 1), (FE, 2), rtp(sequence, ssrc=7))
    assert check(judge(wire.write(tmp_path, make_scenario(MEDIA_ER, relays=(1,)))), "relays")["verdict"] == "PASS"


@pytest.mark.parametrize(
    ("health", "degraded"),
    [
        ({"wire": {"lateness_ns": {"p99": WIRE_LATENESS_P99_LIMIT_NS, "max": WIRE_LATENESS_MAX_LIMIT_NS}}}, False),
        ({"wire": {"lateness_ns": {"p99": 1, "max": WIRE_LATENESS_MAX_LIMIT_NS + 1}}}, True),
        ({"wire": None, "agents": {"alice": {"loop_lag_ns": {"p99": LOOP_LAG_P99_LIMIT_NS + 1}}}}, True),
        ({"wire": None, "agents": {"alice": {"loop_lag_ns": {"p99": LOOP_LAG_P99_LIMIT_NS}}}}, False),
    ],
)
def test_health_has_limits(tmp_path: Path, health: dict[str, Any], degraded: bool) -> None:
    verdict = judge(direct().write(tmp_path, make_scenario(LOCAL), health=health))
    assert verdict["health"]["degraded"] is degraded


def test_the_worst_part_decides_and_the_first_red_leg_is_the_reason(tmp_path: Path) -> None:
    run = direct().write(tmp_path, make_scenario(MEDIA_CAROL, SIGNALING_ER, MEDIA_ER))
    verdict = judge(run)
    assert [each["verdict"] for each in verdict["legs"]] == ["INCONCLUSIVE", "INCONCLUSIVE", "FAIL"]
    assert verdict["verdict"] == "FAIL" and verdict["reason"].startswith(
        "media alice -> online-edge: no packet reached"
    )


def test_a_scenario_that_expects_nothing_is_not_a_pass(tmp_path: Path) -> None:
    assert judge(direct().write(tmp_path, make_scenario()))["verdict"] == "INCONCLUSIVE"


def test_the_articles_cell_stands_beside_the_observed_one(tmp_path: Path) -> None:
    article = ArticleCell(media={"alice": "expressroute"})
    wire = Wire()
    media_by_er(wire, sequence=1)
    media_by_er(wire, sequence=2)
    verdict = judge(wire.write(tmp_path / "a", make_scenario(MEDIA_ER, article=article)))
    assert verdict["article"]["media"] == {"alice": {"article": "expressroute", "observed": "expressroute"}}
    verdict = judge(direct().write(tmp_path / "b", make_scenario(LOCAL, article=article)))
    assert verdict["article"]["media"]["alice"]["observed"] == "local"
