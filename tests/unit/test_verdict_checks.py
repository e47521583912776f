"""The checks beside paths (relays, selected pair, who is heard), and the whole verdict's severity and health."""

import json
import struct
from ipaddress import IPv4Address
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
from capture_bytes import attribute, channel_data, rtp, stun

from testbed.scenario import ArticleCell, Call
from testbed.verdict import judge
from testbed.verdict.health import LOOP_LAG_P99_LIMIT_NS, WIRE_LATENESS_MAX_LIMIT_NS, WIRE_LATENESS_P99_LIMIT_NS

CLIENTS = ("alice", "bob", "carol")
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
    second = ", then edge2 at 198.18.64.2:50600" if relays == 2 else ""
    words = f"{relays} {'relays' if relays > 1 else 'relay'}: edge1 at 198.18.64.1:50500{second}"
    assert found["evidence"][0] == f"alice -> carol: {words} (first frame 1)"


def test_what_the_row_does_not_ask_is_told_and_passes(tmp_path: Path) -> None:
    verdict = judge(call(1).write(tmp_path / "a", make_scenario(MEDIA_ER, MEDIA_CAROL)))
    relays, pair = check(verdict, "relays"), check(verdict, "selected-pair")
    assert [relays[key] for key in ("expected", "verdict", "reason")] == [
        None,
        "PASS",
        "not asked; observed 1 relay (edge1)",
    ]
    assert [pair[key] for key in ("expected", "verdict", "reason")] == [None, "PASS", "not asked; observed relay-srflx"]
    nothing = judge(Wire().write(tmp_path / "b", make_scenario(MEDIA_ER)))
    for name in ("relays", "selected-pair"):
        found = check(nothing, name)
        assert (found["observed"], found["verdict"]) == (None, "PASS")
        assert found["reason"] == "not asked; no media was followed from end to end"
    signaling = judge(Wire().write(tmp_path / "c", make_scenario(SIGNALING_ER)))
    assert signaling["checks"] == []


def test_both_ends_of_the_pair_are_told_with_types_and_addresses(tmp_path: Path) -> None:
    found = check(judge(call(1).write(tmp_path, make_scenario(MEDIA_ER))), "selected-pair")
    alice = {"type": "relay", "address": "198.18.64.1:50500", "base": "10.0.0.10:50000", "edge": "edge1"}
    carol = {"type": "srflx", "address": "198.19.0.7:41000", "base": "192.168.0.10:50002", "edge": None}
    assert found["observed"] == {
        "alice": [{"peer": "carol", "local": alice, "remote": carol}],
        "carol": [{"peer": "alice", "local": carol, "remote": alice}],
    }
    assert found["evidence"][0] == (
        "alice: relay 198.18.64.1:50500 (base 10.0.0.10:50000)"
        " -> srflx 198.19.0.7:41000 (base 192.168.0.10:50002) of carol, first frame 1"
    )


def test_two_allocations_on_one_edge_are_two_relays(tmp_path: Path) -> None:
    wire, pool = Wire(), (ER_POOL, 40000)
    for sequence in range(3):
        data = channel_data(rtp(sequence))
        wire.carry(BY_ER, (ALICE, 50000), (EDGE1, 3478), data, nat={"fw-er": (pool, (EDGE1, 3478))})
        wire.carry(("edge1", "conf"), ("10.250.0.1", 3478), ("10.250.0.4", 9), data)
    granted = struct.pack(">BBHI", 0, 1, 50700 ^ 0x2112, int(IPv4Address(EDGE1)) ^ 0x2112A442)
    answer = stun(0x0103, 7, attribute(0x0016, granted))
    wire.carry(BY_ER[::-1], (EDGE1, 3478), pool, answer, nat={"fw-er": ((EDGE1, 3478), (ALICE, 50000))})
    found = check(judge(wire.write(tmp_path, make_scenario(MEDIA_ER, relays=(1,)))), "relays")
    assert (found["verdict"], found["reason"]) == ("FAIL", "media alice -> conf passed 2 relays, allowed are 1")
    (told,) = found["evidence"]
    assert "2 relays: edge1 at 198.18.64.1:50700, then edge1 at an address that no packet tells" in told


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
    (told,) = [sentence for sentence in evidence if "says" in sentence]
    shown = "alice: host 10.0.0.10:50000 -> host 10.0.0.20:50001 of bob"
    assert told == f"alice says relay, but the captures show {shown}"


@pytest.mark.parametrize(
    ("said", "agrees"),
    [
        ({"local_address": "10.0.0.10:50000", "remote_address": "10.0.0.20:50001"}, True),
        ({"local_address": "10.0.0.10:50002"}, False),
        ({"remote_address": "10.0.0.20:9"}, False),
        ({"remote": "srflx"}, False),
    ],
)
def test_an_agents_word_on_addresses_is_held_against_the_captures(
    tmp_path: Path, said: dict[str, str], agrees: bool
) -> None:
    run = direct().write(tmp_path, make_scenario(LOCAL))
    pair = {"local": "host", "remote": "host", **said}
    result = {"type": "agent", "agent": "alice", "calls": [{"call": "1", "selected_pair": pair}]}
    (run / "events.jsonl").write_text(json.dumps(result) + "\n")
    (told,) = [one for one in check(judge(run), "selected-pair")["evidence"] if "alice says" in one]
    assert told.endswith("and so do the captures") is agrees
    assert ("but the captures show" in told) is not agrees


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


def ready(name: str) -> dict[str, Any]:
    return {"type": "agent", "agent": name, "line": "ready"}


def failed(name: str, what: str) -> dict[str, Any]:
    return {"type": "agent", "agent": name, "line": "error", "what": what}


EXPIRED = failed("alice", "registration failed: certificate has expired")
TIMEOUT = failed("alice", "registration failed: timeout")


@pytest.mark.parametrize(
    ("said", "is_late", "told", "reason"),
    [
        ([ready("alice"), ready("bob"), ready("carol")], False, "PASS", "every client was ready"),
        ([EXPIRED, ready("bob"), ready("carol")], True, "FAIL", "alice: registration failed: certificate has expired"),
        ([TIMEOUT, ready("bob"), ready("carol")], False, "FAIL", "alice: registration failed: timeout"),
        ([TIMEOUT, ready("bob"), ready("carol")], True, "INCONCLUSIVE", "the rig was too slow"),
        ([ready("alice"), ready("bob")], False, "INCONCLUSIVE", "carol said neither"),
    ],
)
def test_signing_in_is_judged_by_what_clients_say(
    tmp_path: Path, said: list[dict[str, Any]], is_late: bool, told: str, reason: str
) -> None:
    lateness = {"p50": 1, "p99": WIRE_LATENESS_P99_LIMIT_NS + 1, "max": 6_000_000}
    health = {"wire": {"frames": 9, "lateness_ns": lateness} if is_late else None, "agents": {}}
    run = direct().write(tmp_path, make_scenario(LOCAL), health=health)
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in said))
    verdict = judge(run)
    assert check(verdict, "signed-in")["verdict"] == verdict["verdict"] == told
    assert reason in check(verdict, "signed-in")["reason"]


def test_who_did_not_sign_in_is_the_reason_before_the_media_that_did_not_follow(tmp_path: Path) -> None:
    run = Wire().write(tmp_path, make_scenario(LOCAL, calls=[DIRECT]))
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (EXPIRED, ready("bob"))))
    assert judge(run)["reason"] == "signed-in: alice: registration failed: certificate has expired"


def results(alice: dict[str, float], bob: dict[str, float] | None) -> str:
    """Return events.jsonl in which alice and bob measured the given tones; None measured nothing."""
    lines: list[dict[str, Any]] = [ready(name) for name in CLIENTS]
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
        assert verdict["health"]["reasons"] == ["wire lateness p99 is 3.0 ms, over 3 ms"]
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


def shut() -> Wire:
    """Return media of alice that her firewall does not let out."""
    wire = Wire()
    wire.carry(BY_ER[:3], (ALICE, 50000), (EDGE1, 3478), channel_data(rtp(1)))
    return wire


def test_the_articles_cell_stands_beside_the_observed_one(tmp_path: Path) -> None:
    article = ArticleCell(media={"alice": "expressroute"})
    wire = Wire()
    media_by_er(wire, sequence=1)
    media_by_er(wire, sequence=2)
    verdict = judge(wire.write(tmp_path / "a", make_scenario(MEDIA_ER, article=article)))
    er = {"article": "expressroute", "reading": "expressroute", "observed": "expressroute"}
    assert verdict["article"]["media"] == {"alice": er}
    verdict = judge(direct().write(tmp_path / "b", make_scenario(LOCAL, article=article)))
    assert verdict["article"]["media"]["alice"] == {**er, "reading": "local", "observed": "local"}
    for number, lost in enumerate((Wire(), shut())):
        verdict = judge(lost.write(tmp_path / f"lost{number}", make_scenario(MEDIA_ER, article=article)))
        assert verdict["article"]["media"]["alice"] == {**er, "observed": None}


def test_a_call_that_no_media_leg_is_about_has_its_relays_told(tmp_path: Path) -> None:
    verdict = judge(call(relays=2).write(tmp_path, make_scenario(SIGNALING_ER, calls=[P2P])))
    assert check(verdict, "relays")["observed"] == {"alice -> carol": [2], "carol -> alice": [2]}
    assert check(verdict, "selected-pair")["observed"]["alice"][0]["peer"] == "carol"
    assert check(verdict, "relays")["verdict"] == "PASS", "nobody asked"
