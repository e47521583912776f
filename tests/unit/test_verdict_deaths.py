"""Legs that must die: PASS where they died exactly so, and red for each fact that is otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BY_ER, ER_POOL, FE, SIGNALING_ER, Wire, make_plan, make_scenario, signaling_by_er
from capture_bytes import Tcp, ip_packet

from testbed.plan.model import PredictedPath
from testbed.scenario import Death, Leg
from testbed.verdict import judge

HOME, POOL, SERVER = (ALICE, 50010), (ER_POOL, 40010), (FE, 5060)
OUT = (*BY_ER[:-1], "fe")
BACK = ("fe", "ms", "transit", "fw-inet")
WANTED: dict[str, Any] = {
    "disposition": "NO_SESSION_ON_RETURN",
    "at": "fw-inet",
    "rule": "invalid",
    "state": "INVALID",
    "forward": ["customer", "expressroute", "microsoft"],
    "return": ["microsoft", "internet"],
}
DROP_RULE = "-A FORWARD -m conntrack --ctstate INVALID -m comment --comment invalid -j DROP"


def dying(**changes: Any) -> Leg:
    """Return alice's signaling leg, which must die as WANTED with some of it changed."""
    return SIGNALING_ER.model_copy(update={"dies": Death.model_validate({**WANTED, **changes})})


def unanswered(wire: Wire, count: int = 3) -> Wire:
    """Let alice send SYNs by ExpressRoute, whose SYN-ACKs fw-inet drops."""
    for number in range(count):
        answer = Tcp(900 + number, 101, 0x12, number)
        wire.carry(OUT, HOME, SERVER, b"", nat={"fw-er": (POOL, SERVER)}, tcp=Tcp(100, 0, 2, number))
        wire.carry(BACK, SERVER, POOL, b"", tcp=answer)
        wire.drop("fw-inet", "invalid", ip_packet(SERVER, POOL, b"", answer))
    return wire


def evidence(count: int = 3, **more: Any) -> dict[str, Any]:
    """Return firewalls.json of a fw-inet that counted *count* packets."""
    rules = [
        {"table": "filter", "chain": "FORWARD", "rule": "invalid", "packets": count, "bytes": 1, "text": DROP_RULE}
    ]
    return {"fw-inet": {"rules": rules, "stats": {"invalid": count}, "reverse_path_filter_drops": 0, **more}}


def judged(wire: Wire, directory: Path, leg: Leg, firewalls: dict[str, Any], events: str = "") -> dict[str, Any]:
    """Write *wire* with *firewalls* and return its verdict; every firewall of the plan filters."""
    nodes = (n.model_copy(update={"iptables": "*filter" if n.kind == "firewall" else None}) for n in wire.plan.nodes)
    wire.plan = wire.plan.model_copy(update={"nodes": tuple(nodes)})
    wire.write(directory, make_scenario(leg))
    (directory / "firewalls.json").write_text(json.dumps(firewalls))
    if events:
        (directory / "events.jsonl").write_text(events)
    return judge(directory)


def test_a_leg_that_dies_as_it_was_to_passes_and_says_how_in_one_sentence(tmp_path: Path) -> None:
    verdict = judged(unanswered(Wire()), tmp_path, dying(), evidence())
    (leg,) = verdict["legs"]
    assert verdict["verdict"] == "PASS", verdict["reason"]
    assert leg["disposition"] == "NO_SESSION_ON_RETURN"
    assert verdict["reason"] == f"reproduced: {leg['reason']}"
    for part in (
        "SYN-ACK (frame ",
        "came back over the Internet to fw-inet",
        "fw-inet never saw the SYN (it went through fw-er",
        "connection tracking: INVALID (no entry)",
        "dropped by rule 'invalid' (3 packets, first in dropped.pcapng frame 1)",
    ):
        assert part in leg["reason"], leg["reason"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"disposition": "HALF_SEEN_FLOW"}, "disposition is NO_SESSION_ON_RETURN, not HALF_SEEN_FLOW"),
        ({"at": "fw-er"}, "node is fw-inet, not fw-er"),
        ({"rule": "default"}, "rule is invalid, not default"),
        ({"state": "NEW"}, "connection tracking is INVALID, not NEW"),
        ({"forward": ["customer", "internet", "microsoft"]}, "forward segments is"),
        ({"return": ["microsoft", "expressroute"]}, "return segments is"),
    ],
)
def test_each_fact_that_is_otherwise_fails(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    verdict = judged(unanswered(Wire()), tmp_path, dying(**changes), evidence())
    assert verdict["verdict"] == "FAIL"
    assert told in verdict["reason"]


def test_a_leg_that_was_to_die_and_lives_fails(tmp_path: Path) -> None:
    wire = Wire()
    signaling_by_er(wire)
    verdict = judged(wire, tmp_path, dying(), {})
    assert verdict["verdict"] == "FAIL"
    assert "was to die as NO_SESSION_ON_RETURN, but packets arrived both ways" in verdict["reason"]


def test_a_leg_of_which_nothing_was_sent_did_not_die(tmp_path: Path) -> None:
    verdict = judged(Wire(), tmp_path, dying(), {})
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "nothing of it was sent" in verdict["reason"]


def test_a_leg_that_must_never_be_sent_passes_when_silent_and_fails_when_not(tmp_path: Path) -> None:
    silent = SIGNALING_ER.model_copy(update={"dies": Death(disposition="NEVER_SENT")})
    assert judged(Wire(), tmp_path / "silent", silent, {})["legs"][0]["verdict"] == "PASS"
    loud = judged(unanswered(Wire()), tmp_path / "loud", silent, evidence())
    assert "was to send nothing, but did from frame" in loud["reason"]


@pytest.mark.parametrize("link", ["border", "er"])
def test_a_way_that_is_not_captured_is_inconclusive(link: str, tmp_path: Path) -> None:
    wire = unanswered(Wire(make_plan(uncaptured=[link])))
    verdict = judged(wire, tmp_path, dying(), evidence())
    assert verdict["legs"][0]["verdict"] == "INCONCLUSIVE", verdict["reason"]
    assert f"capture of link {link}" in verdict["legs"][0]["reason"]


def test_counters_that_say_otherwise_than_the_captures_fail_the_accounting(tmp_path: Path) -> None:
    fewer = judged(unanswered(Wire()), tmp_path / "rules", dying(), evidence(2))
    assert "accounting: fw-inet: rules counted {'invalid': 2}, the log has {'invalid': 3}" in fewer["reason"]
    filtered = judged(unanswered(Wire()), tmp_path / "filter", dying(), evidence(reverse_path_filter_drops=1))
    assert "3 packets came and did not leave, it dropped 3 by rules and 1 by" in filtered["reason"]
    untracked = judged(unanswered(Wire()), tmp_path / "stats", dying(), evidence(stats={"invalid": 1}))
    assert "3 packets dropped as INVALID, conntrack counted 1" in untracked["reason"]


def test_where_no_packet_was_seen_there_is_nothing_to_account_for(tmp_path: Path) -> None:
    verdict = judged(Wire(), tmp_path, dying(), evidence(0))
    assert verdict["verdict"] == "INCONCLUSIVE", verdict["reason"]


def test_a_packet_that_nobody_counts_fails_the_accounting(tmp_path: Path) -> None:
    wire = unanswered(Wire())
    wire.carry(BACK, SERVER, POOL, b"", tcp=Tcp(990, 101, 0x12, 9))
    verdict = judged(wire, tmp_path, dying(), evidence())
    assert "4 packets came and did not leave, it dropped 3 by rules" in verdict["reason"]
    (check,) = verdict["checks"]
    assert f"fw-inet: not in its log: 1 of TCP {FE}:5060 -> {ER_POOL}:40010 (first frame " in " ".join(
        check["evidence"]
    )


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [
        ({"discards": {"inet.rx_dropped": 1}}, "PASS"),
        ({"stats": {"invalid": 3, "insert_failed": 1}}, "PASS"),
        ({"stats": {"invalid": 3, "drop": 1, "insert_failed": 1}}, "PASS"),
        ({"discards": {}}, "FAIL"),
    ],
)
def test_what_the_kernel_counts_as_lost_without_a_rule_is_accounted_for(
    counted: dict[str, Any], verdict: str, tmp_path: Path
) -> None:
    wire = unanswered(Wire())
    wire.carry(BACK, SERVER, POOL, b"", tcp=Tcp(990, 101, 0x12, 9))
    (check,) = judged(wire, tmp_path / "one", dying(), evidence(**counted))["checks"]
    assert check["verdict"] == verdict, check
    wire.carry(BACK, SERVER, POOL, b"", tcp=Tcp(991, 101, 0x12, 10))
    (check,) = judged(wire, tmp_path / "two", dying(), evidence(**counted))["checks"]
    assert check["verdict"] == "FAIL", check


def test_a_run_in_which_nothing_is_to_die_is_held_to_account_too(tmp_path: Path) -> None:
    wire = Wire()
    signaling_by_er(wire)
    whole = judged(wire, tmp_path / "whole", SIGNALING_ER, {"fw-inet": {}, "fw-er": {}})
    assert whole["verdict"] == "PASS", whole["reason"]
    wire.carry(("fe", "ms", "fw-er"), SERVER, (ER_POOL, 40011), b"", tcp=Tcp(7, 8, 0x10, 9))
    verdict = judged(wire, tmp_path / "vanished", SIGNALING_ER, {"fw-inet": {}, "fw-er": {}})
    assert verdict["verdict"] == "FAIL"
    assert verdict["reason"].startswith("accounting: fw-er: 1 packets came and did not leave, it dropped 0 by rules")


@pytest.mark.parametrize(("counted", "verdict"), [(3, "PASS"), (2, "FAIL"), (4, "FAIL")])
def test_what_is_dropped_after_the_rules_were_read_is_named_and_not_held_against_them(
    counted: int, verdict: str, tmp_path: Path
) -> None:
    wire = unanswered(Wire())
    read_ns = wire.now_ns + 100_000_000
    wire.now_ns += 200_000_000
    unanswered(wire, count=2)
    told = judged(wire, tmp_path, dying(), evidence(counted, counted_ns=[read_ns, read_ns + 1]))
    check = next(check for check in told["checks"] if check["check"] == "accounting")
    assert check["verdict"] == verdict, check
    assert check["observed"]["fw-inet"]["logged_after_counting"] == {"invalid": 2}


@pytest.mark.parametrize(("before_ns", "verdict"), [(-1_000_000, "PASS"), (20_000_000, "PASS"), (90_000_000, "FAIL")])
def test_what_was_under_way_when_the_capture_ended_did_not_vanish(before_ns: int, verdict: str, tmp_path: Path) -> None:
    wire = unanswered(Wire())
    wire.carry(BACK, SERVER, POOL, b"", tcp=Tcp(990, 101, 0x10, 9))
    read_ns = wire.now_ns + before_ns
    told = judged(wire, tmp_path, dying(), evidence(counted_ns=[read_ns, read_ns + 1]))
    check = next(check for check in told["checks"] if check["check"] == "accounting")
    assert check["verdict"] == verdict, check
    assert check["observed"]["fw-inet"]["vanished"] == 4


@pytest.mark.parametrize(
    ("later_ns", "payload", "verdict"), [(0, b"", "PASS"), (10**9, b"", "FAIL"), (0, b"x", "FAIL")]
)
def test_of_two_equal_packets_without_payload_either_may_have_gone_on(
    later_ns: int, payload: bytes, verdict: str, tmp_path: Path
) -> None:
    wire = unanswered(Wire())
    reset = Tcp(200, 0, 4, 77)
    wire.carry(OUT, HOME, SERVER, payload, nat={"fw-er": (POOL, SERVER)}, tcp=reset)
    wire.now_ns += later_ns
    wire.carry(OUT[: OUT.index("fw-er") + 1], HOME, SERVER, payload, tcp=reset)
    told = judged(wire, tmp_path, dying(), {**evidence(), "fw-er": {}})
    check = next(check for check in told["checks"] if check["check"] == "accounting")
    assert check["verdict"] == verdict, check


@pytest.mark.parametrize(
    ("flags", "left", "after_ns", "verdict"),
    [
        (0x2000, b"m=audio 9 UDP/TLS/RTP/SAVPF 0", 0, "PASS"),
        (0x2000, b"m=audio 9 UDP/TLS/RTP/SAVPF 0", 300_000_000, "FAIL"),
        (0x2000, b"m=video 9 UDP/TLS/RTP/SAVPF 0", 0, "FAIL"),
        (0x2000, None, 0, "FAIL"),
        (0x4000, b"m=audio 9 UDP/TLS/RTP/SAVPF 0", 0, "FAIL"),
    ],
)
def test_a_fragment_that_the_kernel_rewrote_is_no_loss_if_what_it_carries_was_seen_to_leave(
    flags: int, left: bytes | None, after_ns: int, verdict: str, tmp_path: Path
) -> None:
    wire = unanswered(Wire())
    wire.frame("core", "fw-inet", piece(ER_POOL, b"m=audio 9 UDP/TLS/RTP/SAVPF 0", flags))
    wire.now_ns += after_ns
    if left is not None:
        wire.frame("fw-inet", "transit", piece(ER_POOL, left, 185))
    check = judged(wire, tmp_path, dying(), evidence())["checks"][0]
    assert (check["verdict"], check["observed"]["fw-inet"]["vanished"]) == (verdict, 4), check


def piece(source: str, payload: bytes, flags: int) -> bytes:
    """Return one piece of a larger packet: *flags* are IPv4's, with the offset."""
    packet = bytearray(ip_packet((source, 25712), (FE, 8241), payload))
    packet[6:8] = flags.to_bytes(2, "big")
    return bytes(packet)


def test_later_fragments_of_a_dropped_packet_are_named_and_not_counted_twice(tmp_path: Path) -> None:
    wire = unanswered(Wire())
    wire.carry(BACK, (FE, 0), (ER_POOL, 0), b"the rest")
    check = judged(wire, tmp_path, dying(), evidence())["checks"][0]
    assert (check["verdict"], check["observed"]["fw-inet"]["vanished_later_fragments"]) == ("PASS", 1), check


def test_a_prediction_that_ends_elsewhere_fails_the_run(tmp_path: Path) -> None:
    forward, back = ("alice-core", "core-fw-er", "er", "ms-fe"), ("ms-fe", "border", "inet")
    for end, wanted in (("NO_SESSION_ON_RETURN:fw-inet:invalid", "PASS"), ("DENIED_BY_RULE:fw-inet:default", "FAIL")):
        told = PredictedPath(
            flow="signaling",
            from_="alice",
            to="online-front-end",
            forward=forward,
            return_=back,
            forward_end="DELIVERED",
            return_end=end,
        )
        wire = unanswered(Wire(make_plan(predicted=[told])))
        verdict = judged(wire, tmp_path / wanted, dying(), evidence())
        assert verdict["verdict"] == wanted, verdict["reason"]
        assert verdict["legs"][0]["predicted"]["agrees"] is (wanted == "PASS")
    assert verdict["reason"].startswith("prediction: signaling alice -> online-front-end went otherwise than predicted")


def test_a_prediction_that_cannot_tell_is_no_disagreement(tmp_path: Path) -> None:
    told = PredictedPath(
        flow="signaling",
        from_="alice",
        to="online-front-end",
        forward=(),
        return_=(),
        forward_end="UNKNOWN",
        return_end="UNKNOWN",
    )
    verdict = judged(unanswered(Wire(make_plan(predicted=[told]))), tmp_path, dying(), evidence())
    assert verdict["verdict"] == "PASS"
    assert verdict["legs"][0]["predicted"]["agrees"] is None


def test_the_symptom_must_be_what_the_agent_said(tmp_path: Path) -> None:
    line = {"type": "agent", "agent": "alice", "line": "error", "what": "registration failed: timeout", "t_ns": 1}
    for symptom, wanted in (("registration failed: timeout", "PASS"), ("ice-failed", "FAIL")):
        verdict = judged(
            unanswered(Wire()), tmp_path / wanted, dying(symptom=symptom), evidence(), json.dumps(line) + "\n"
        )
        assert verdict["verdict"] == wanted, verdict["reason"]
    assert "alice did not show the symptom 'ice-failed'" in verdict["reason"]


def test_an_entry_known_at_the_time_of_the_drop_is_no_new_flow(tmp_path: Path) -> None:
    text = f"[NEW] tcp 6 120 SYN_SENT src={FE} dst={ER_POOL} sport=5060 dport=40010 [UNREPLIED]"
    text += f" src={ER_POOL} dst={FE} sport=40010 dport=5060"
    events = [{"t_ns": 1, "text": text}]
    verdict = judged(unanswered(Wire()), tmp_path, dying(), evidence(conntrack_events=events))
    assert "connection tracking: INVALID (entry SYN_SENT UNREPLIED)" in verdict["legs"][0]["reason"]
