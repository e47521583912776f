"""Legs of one kind of media, ports, DSCP on every link, and what participants see and get of each other."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BY_ER, BY_INTERNET, EDGE1, Wire, leg, make_scenario
from capture_bytes import channel_data, ip_packet, rtp, stun
from media_samples import APART, MEDIA, PORTS, describe_media, exchange_media, media_leg, told_plan

from testbed.scenario import Call
from testbed.verdict import judge

ALL = leg("media", "alice", "online-edge", "customer expressroute microsoft", "internet")
Verdict = Mapping[str, Any]


def conference(wire: Wire | None = None, *, without: str = "", **marks: Any) -> Wire:
    wire = wire or Wire(told_plan())
    describe_media(wire)
    for kind in MEDIA:
        if kind != without:
            exchange_media(wire, kind, **marks.get(kind.replace("-", "_"), {}))
    return wire


def judged(wire: Wire, directory: Path, *legs: Any, calls: Sequence[Call] = (), **more: Any) -> Verdict:
    return judge(wire.write(directory, make_scenario(*legs, calls=calls or [APART]), **more))


def check(verdict: Verdict, name: str) -> Any:
    return next(each for each in verdict["checks"] if each["check"] == name)


@pytest.mark.parametrize("kind", MEDIA)
def test_each_kind_has_a_verdict_on_its_own_packets(tmp_path: Path, kind: Any) -> None:
    (told,) = judged(conference(), tmp_path, media_leg(kind, dscp=MEDIA[kind]["dscp"]))["legs"]
    assert (told["verdict"], told["media"], told["expected"]["dscp"]) == ("PASS", kind, MEDIA[kind]["dscp"])
    assert told["observed"]["links"][0]["packets_forward"] == 3
    assert told["reason"].startswith(f"{kind} alice -> online-edge")


def test_a_leg_of_no_kind_is_about_all_of_them(tmp_path: Path) -> None:
    (told,) = judged(conference(), tmp_path, ALL)["legs"]
    assert told["verdict"] == "PASS"
    assert told["observed"]["links"][0]["packets_forward"] == 12


def test_one_kind_on_the_internet_fails_that_kind_alone(tmp_path: Path) -> None:
    wire = conference(without="video")
    inner, relay = (ALICE, PORTS["video"]), (EDGE1, 3478)
    for number in range(3):
        for way, source, target, ssrc in ((BY_INTERNET, inner, relay, 0xB0), (BY_INTERNET[::-1], relay, inner, 0x10B0)):
            payload = channel_data(rtp(number, ssrc=ssrc, payload_type=97))
            wire.carry(way, source, target, payload, dscp={way[0]: 34})
    verdict = judged(wire, tmp_path, media_leg("video"), media_leg("audio"))
    assert [told["verdict"] for told in verdict["legs"]] == ["FAIL", "PASS"]
    assert "video alice -> online-edge: crossed internet" in verdict["reason"]


def test_a_kind_whose_ports_are_refused_is_denied_by_that_rule_and_not_by_another(tmp_path: Path) -> None:
    wire = conference(without="video")
    for port, rule in ((PORTS["audio"], "of-audio"), (PORTS["video"], "no-video")):
        source, relay = (ALICE, port), (EDGE1, 3478)
        wire.carry(BY_ER[:3], source, relay, stun(3, port))
        wire.drop("fw-er", rule, ip_packet(source, relay, stun(3, port)))
    (told,) = judged(wire, tmp_path, media_leg("video"))["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "DENIED_BY_RULE")
    assert "by rule no-video" in told["reason"]


def test_media_of_no_known_kind_leaves_the_verdict_open(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    exchange_media(wire, "audio")
    exchange_media(wire, "video", port=50003)  # no description, and a port of audio
    (told,) = judged(wire, tmp_path, media_leg("audio"))["legs"]
    assert told["verdict"] == "INCONCLUSIVE"
    assert "of no known kind" in told["reason"]


@pytest.mark.parametrize(("arrives", "asked"), [(0, 34), (34, 0)])
def test_packets_must_arrive_with_the_dscp_that_the_leg_asks_for(tmp_path: Path, arrives: int, asked: int) -> None:
    wire = conference(video={"arrives": arrives})
    (told,) = judged(wire, tmp_path / "a", media_leg("video", dscp=asked))["legs"]
    assert told["verdict"] == "FAIL"
    assert f"3 packets arrive at online-edge with DSCP {arrives}, not {asked} (first frame" in told["reason"]
    assert any("arrive at alice" in each for each in told["evidence"])
    (right,) = judged(wire, tmp_path / "b", media_leg("video", dscp=arrives))["legs"]
    assert right["verdict"] == "PASS"


def test_a_link_that_sets_the_dscp_to_0_is_named(tmp_path: Path) -> None:
    wire = conference(Wire(told_plan(bleached="er")), audio={"arrives": 0})
    (told,) = judged(wire, tmp_path, media_leg("audio", dscp=46))["legs"]
    assert told["verdict"] == "FAIL"
    assert "er sets it to 0" in told["reason"]


def test_dscp_is_that_of_the_kind_and_of_the_links(tmp_path: Path) -> None:
    kept = judged(conference(), tmp_path / "a", ALL)
    assert check(kept, "dscp")["verdict"] == check(kept, "ports")["verdict"] == "PASS"
    assert check(kept, "dscp")["observed"] == {kind: [mark["dscp"]] for kind, mark in MEDIA.items()}
    unmarked = check(judged(conference(video={"dscp": 0}), tmp_path / "b", ALL), "dscp")
    assert (unmarked["verdict"], "video from alice has DSCP 0, not 34" in unmarked["reason"]) == ("FAIL", True)
    changed = check(judged(conference(audio={"arrives": 8}), tmp_path / "c", ALL), "dscp")
    assert "audio from alice has DSCP 8, not 46 (3 packets on er" in changed["reason"]


def test_where_a_link_should_bleach_kept_marks_are_wrong(tmp_path: Path) -> None:
    told = check(judged(conference(Wire(told_plan(bleached="er"))), tmp_path, ALL), "dscp")
    assert told["verdict"] == "FAIL"
    assert "has DSCP 46, not 0" in told["reason"]


def test_media_from_ports_of_another_kind_fails(tmp_path: Path) -> None:
    told = check(judged(conference(video={"port": 50005}), tmp_path, ALL), "ports")
    assert told["verdict"] == "FAIL"
    assert "alice sends video from port 50005, not from 50020-50039" in told["reason"]


def test_bundled_media_has_the_ports_and_the_mark_of_audio(tmp_path: Path) -> None:
    together = APART.model_copy(update={"bundled": True})
    marks: dict[str, Any] = {kind.replace("-", "_"): {"port": 50000, "dscp": 46} for kind in MEDIA}
    verdict = judged(conference(**marks), tmp_path, ALL, calls=[together])
    assert check(verdict, "ports")["verdict"] == check(verdict, "dscp")["verdict"] == "PASS"


def test_without_marks_in_the_plan_there_is_nothing_to_check(tmp_path: Path) -> None:
    names = {each["check"] for each in judged(conference(Wire()), tmp_path, ALL)["checks"]}
    assert not names & {"ports", "dscp"}


BOTH = Call(kind="p2p", caller="alice", callee="bob", media=tuple(MEDIA), bundled=False)


def told_by(seen: int = 9, *, sha256: str = "aa", size: int = 65536, received: bool = True) -> list[dict[str, Any]]:
    """Return what alice and bob tell; the figures are alice's."""

    def result(name: str, peer: str, **alices: Any) -> dict[str, Any]:
        file = {"from": peer, "bytes": alices["size"], "sha256": alices["sha256"], "is_whole": True}
        media = {
            "video": {"seen": {peer: alices["seen"]}},
            "application-sharing": {"seen": {peer: 9}},
            "file-transfer": {
                "sent": [{"from": name, "bytes": 65536, "sha256": "aa"}],
                "received": [file] if alices["received"] else [],
            },
        }
        return {"type": "agent", "agent": name, "line": "result", "calls": [{"media": media}]}

    right = {"seen": 9, "sha256": "aa", "size": 65536, "received": True}
    alices = {"seen": seen, "sha256": sha256, "size": size, "received": received}
    return [result("alice", "bob", **alices), result("bob", "alice", **right)]


@pytest.mark.parametrize(
    ("figures", "name", "verdict", "reason"),
    [
        ({}, "video", "PASS", "every participant sees every other"),
        ({"seen": 1}, "video", "FAIL", "alice does not see bob (1 pictures)"),
        ({"seen": 1}, "application-sharing", "PASS", "sees every other"),
        ({}, "file-transfer", "PASS", "every other's file"),
        ({"received": False}, "file-transfer", "FAIL", "alice has bob's file not at all"),
        ({"sha256": "bb"}, "file-transfer", "FAIL", "alice has bob's file damaged"),
        ({"size": 65535}, "file-transfer", "FAIL", "alice has bob's file damaged (65535 of 65536 bytes"),
    ],
)
def test_what_participants_see_and_get(
    tmp_path: Path, figures: dict[str, Any], name: str, verdict: str, reason: str
) -> None:
    directory = conference().write(tmp_path, make_scenario(ALL, calls=[BOTH]))
    (directory / "events.jsonl").write_text("".join(f"{line}\n" for line in map(json.dumps, told_by(**figures))))
    told = check(judge(directory), name)
    assert (told["verdict"], reason in told["reason"]) == (verdict, True), told


def test_a_slow_rig_takes_the_certainty_from_what_was_not_seen(tmp_path: Path) -> None:
    health = {"wire": None, "agents": {"alice": {"loop_lag_ns": {"p99": 10**9}}}, "cpu_pressure": None}
    directory = conference().write(tmp_path, make_scenario(ALL, calls=[BOTH]), health=health)
    (directory / "events.jsonl").write_text("".join(f"{line}\n" for line in map(json.dumps, told_by(seen=0))))
    assert check(judge(directory), "video")["verdict"] == "INCONCLUSIVE"


def test_a_party_that_told_nothing_leaves_it_open(tmp_path: Path) -> None:
    directory = conference().write(tmp_path, make_scenario(ALL, calls=[BOTH]))
    (directory / "events.jsonl").write_text("")
    for name in ("video", "application-sharing", "file-transfer"):
        assert check(judge(directory), name)["verdict"] == "INCONCLUSIVE"


def test_a_kind_that_reached_nobody_fails_and_a_lossy_capture_says_less(tmp_path: Path) -> None:
    told = check(judged(conference(), tmp_path / "a", ALL), "kinds")  # the Edge hands nothing on
    assert (told["verdict"], "alice sent no audio that went from end to end" in told["reason"]) == ("FAIL", True)
    lossy = conference()
    lossy.lost["er"] = 3
    assert check(judged(lossy, tmp_path / "b", ALL), "kinds")["verdict"] == "INCONCLUSIVE"
