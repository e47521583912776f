"""Verdicts on single legs: each rule, and that it turns red when it should."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import (
    ALICE,
    BY_ER,
    BY_INTERNET,
    CAROL,
    EDGE1,
    EDGE2,
    ER_POOL,
    FE,
    INET_POOL,
    MEDIA_CAROL,
    MEDIA_ER,
    SIGNALING_ER,
    Wire,
    leg,
    make_plan,
    make_scenario,
    media_by_er,
    relayed_call,
    signaling_by_er,
)
from capture_bytes import Tcp, attribute, channel_data, icmp_unreachable, ip_packet, rtcp, rtp, stun

from testbed.scenario import Leg
from testbed.verdict import judge

RELAY = (EDGE1, 3478)
HOME, POOL = (ALICE, 50000), (ER_POOL, 40000)


def judged(wire: Wire, directory: Path, *legs: Leg, **emulation: Any) -> dict[str, Any]:
    """Write *wire* to *directory*, judge it and return its verdict."""
    return judge(wire.write(directory, make_scenario(*legs), **emulation))


def media(count: int = 5) -> Wire:
    """Return a call of alice's by ExpressRoute."""
    wire = Wire()
    for sequence in range(count):
        media_by_er(wire, sequence=sequence)
    return wire


def test_media_over_expressroute_passes_with_counts_and_first_frames(tmp_path: Path) -> None:
    verdict = judged(media(), tmp_path, MEDIA_ER)
    (told,) = verdict["legs"]
    assert (verdict["verdict"], told["verdict"], told["disposition"]) == ("PASS", "PASS", "DELIVERED")
    assert told["observed"]["segments"] == ["customer", "expressroute", "microsoft"]
    assert told["observed"]["links"][2] == {
        "link": "er",
        "segment": "expressroute",
        "kind": "expressroute",
        "packets_forward": 5,
        "packets_return": 5,
        "first_frame": 3,
    }
    assert told["observed"]["forward"] == ["alice-core", "core-fw-er", "er", "ms-edge1"]


def test_silence_is_told_with_the_number_of_links_watched_and_only_where_it_is_proven(tmp_path: Path) -> None:
    told = "no packet of it on any of the 4 links of internet, all captured without loss"
    assert told in judged(media(), tmp_path / "a", MEDIA_ER)["legs"][0]["evidence"]
    down = Wire(make_plan(down=["hotel"], uncaptured=["hotel"]))
    media_by_er(down, sequence=1)
    media_by_er(down, sequence=2)
    assert told.replace("4", "3") in judged(down, tmp_path / "b", MEDIA_ER)["legs"][0]["evidence"]
    unseen = Wire(make_plan(uncaptured=["hotel"]))
    media_by_er(unseen, sequence=1)
    media_by_er(unseen, sequence=2)
    assert not [one for one in judged(unseen, tmp_path / "c", MEDIA_ER)["legs"][0]["evidence"] if "of internet" in one]


def test_media_must_go_over_the_links_that_a_leg_names(tmp_path: Path) -> None:
    def over(link: str) -> Leg:
        return MEDIA_ER.model_copy(update={"over": (link,)})

    right = judged(media(), tmp_path / "right", over("er"))
    assert (right["verdict"], right["legs"][0]["expected"]["over"]) == ("PASS", ["er"])
    wrong = judged(media(), tmp_path / "wrong", over("ms-edge2"))
    assert wrong["verdict"] == "FAIL"
    assert "5 packets did not cross link ms-edge2 (forward; first frame 1)" in wrong["reason"]
    wire = Wire(make_plan(uncaptured=["ms-edge2"]))
    for sequence in range(5):
        media_by_er(wire, sequence=sequence)
    blind = judged(wire, tmp_path / "blind", over("ms-edge2"))
    assert blind["verdict"] == "INCONCLUSIVE"
    assert "not all was seen on link ms-edge2 (forward), but capture of link ms-edge2" in blind["reason"]


def test_signaling_is_followed_through_nat(tmp_path: Path) -> None:
    wire = Wire()
    signaling_by_er(wire)
    (told,) = judged(wire, tmp_path, SIGNALING_ER)["legs"]
    assert told["verdict"] == "PASS", told["evidence"]
    assert [row["packets_forward"] for row in told["observed"]["links"]] == [3, 3, 3, 3]


def test_media_by_the_internet_fails_and_names_links_and_frame(tmp_path: Path) -> None:
    wire, pool = media(2), (INET_POOL, 40001)
    for sequence in range(5):
        wire.carry(BY_INTERNET, HOME, RELAY, channel_data(rtp(10 + sequence)), nat={"fw-inet": (pool, RELAY)})
    verdict = judged(wire, tmp_path, MEDIA_ER)
    assert verdict["verdict"] == "FAIL"
    assert verdict["reason"] == (
        "media alice -> online-edge: crossed internet (links inet, border; first frame 19), which it must never"
    )


def test_one_stray_packet_among_many_fails(tmp_path: Path) -> None:
    wire = media(200)
    wire.carry(BY_INTERNET[:4], HOME, RELAY, channel_data(rtp(999)), nat={"fw-inet": ((INET_POOL, 1), RELAY)})
    assert "crossed internet (links inet;" in judged(wire, tmp_path, MEDIA_ER)["reason"]


def test_a_stray_rtcp_packet_fails_too(tmp_path: Path) -> None:
    wire = media()
    wire.carry(BY_INTERNET[:4], HOME, RELAY, channel_data(rtcp(1)), nat={"fw-inet": ((INET_POOL, 1), RELAY)})
    assert "crossed internet" in judged(wire, tmp_path, MEDIA_ER)["reason"]


def test_ice_checks_on_a_forbidden_link_are_no_media(tmp_path: Path) -> None:
    wire = media()
    wire.carry(BY_INTERNET[:4], HOME, (CAROL, 5), stun(1, 5))
    assert judged(wire, tmp_path, MEDIA_ER)["verdict"] == "PASS"


def test_a_segment_that_the_leg_should_cross_and_does_not_fails(tmp_path: Path) -> None:
    both = leg("media", "alice", "online-edge", "customer expressroute internet microsoft")
    assert judged(media(), tmp_path, both)["reason"].endswith("no packet crossed internet (forward)")


def test_another_customers_network_is_not_the_own_one(tmp_path: Path) -> None:
    wire, bob = Wire(), ("10.8.0.9", 6)
    for sequence in range(3):
        wire.carry(("alice", "core", "fabrikam", "dave"), HOME, bob, rtp(sequence))
        wire.carry(("dave", "fabrikam", "core", "alice"), bob, HOME, rtp(sequence, ssrc=2))
    verdict = judged(wire, tmp_path, leg("media", "alice", "bob", "customer"))
    assert "crossed customer of another organisation (links core-fabrikam, dave-fabrikam" in verdict["reason"]


def test_media_that_bypasses_the_far_end_fails_even_on_allowed_links(tmp_path: Path) -> None:
    wire, bob = media(), ("10.0.0.20", 50001)
    for sequence in range(3):
        wire.carry(("alice", "core", "bob"), HOME, bob, rtp(sequence, ssrc=9))
    assert "3 packets from alice reached bob without passing online-edge" in judged(wire, tmp_path, MEDIA_ER)["reason"]


def test_no_answer_at_all_fails_with_timeout(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(5):
        media_by_er(wire, sequence=sequence, answer=False)
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "TIMEOUT")
    assert "edge1 received 5 packets" in told["reason"]


def test_answer_dropped_by_the_other_firewall_is_no_session_on_return(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(3):
        media_by_er(wire, sequence=sequence, answer=False)
        back = channel_data(rtp(sequence, ssrc=0xED6E))
        wire.carry(("edge1", "ms", "transit", "fw-inet"), RELAY, POOL, back)
        wire.drop("fw-inet", "default", ip_packet(RELAY, POOL, back))
    leg_ = MEDIA_ER.model_copy(update={"never": (), "crosses": ("customer", "expressroute", "microsoft", "internet")})
    (told,) = judged(wire, tmp_path, leg_)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "NO_SESSION_ON_RETURN")
    assert "fw-inet dropped UDP 198.18.64.1:3478 -> 192.0.2.65:40000 by rule default" in told["reason"]


def test_a_client_whose_ack_is_invalid_is_a_half_seen_flow(tmp_path: Path) -> None:
    wire, home, pool, server = Wire(), (ALICE, 50010), (ER_POOL, 40010), (FE, 5060)
    out, back = (*BY_ER[:-1], "fe"), ("fe", "ms", "transit", "fw-inet", "core", "alice")
    wire.carry(out, home, server, b"", nat={"fw-er": (pool, server)}, tcp=Tcp(100, 0, 2))
    wire.carry(back, server, pool, b"", nat={"fw-inet": (server, home)}, tcp=Tcp(900, 101, 0x12))
    request = Tcp(101, 901, 0x18, 2)
    wire.carry(out[:3], home, server, b"REGISTER", tcp=request)
    wire.drop("fw-er", "invalid", ip_packet(home, server, b"REGISTER", request))
    leg_ = SIGNALING_ER.model_copy(
        update={"never": (), "crosses": ("customer", "expressroute", "microsoft", "internet")}
    )
    (told,) = judged(wire, tmp_path, leg_)["legs"]
    assert told["disposition"] == "HALF_SEEN_FLOW", told["reason"]


def test_packets_denied_by_rule_name_firewall_rule_and_frames(tmp_path: Path) -> None:
    wire = Wire()
    request = channel_data(rtp(1))
    for sequence in range(2):
        request = channel_data(rtp(sequence))
        wire.carry(BY_ER[:3], HOME, RELAY, request)
        wire.drop("fw-er", "default", ip_packet(HOME, RELAY, request))
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "DENIED_BY_RULE")
    assert "by rule default (dropped.pcapng frame 1; frame 2 on core-fw-er)" in told["reason"]


def test_media_dropped_in_the_middle_of_a_good_call_fails(tmp_path: Path) -> None:
    wire = media()
    packet = channel_data(rtp(500))
    wire.carry(BY_ER[:3], HOME, RELAY, packet)
    wire.drop("fw-er", "turn", ip_packet(HOME, RELAY, packet))
    assert "fw-er dropped 1 of its packets (rule turn" in judged(wire, tmp_path, MEDIA_ER)["reason"]


def test_media_that_mostly_vanishes_after_a_good_start_fails(tmp_path: Path) -> None:
    for lost, told in ((2, "PASS"), (9, "FAIL")):
        wire = media(5)
        for sequence in range(lost):
            wire.carry(BY_ER[:4], HOME, RELAY, channel_data(rtp(50 + sequence)), nat={"fw-er": (POOL, RELAY)})
        (leg_,) = judged(wire, tmp_path / told, MEDIA_ER)["legs"]
        assert leg_["verdict"] == told
    assert leg_["disposition"] == "NO_ROUTE"
    assert "9 of 14 packets from alice to online-edge did not arrive, NO_ROUTE: last seen on er" in leg_["reason"]


def test_a_reverse_path_filter_is_told_from_a_rule(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(3):
        media_by_er(wire, sequence=sequence, answer=False)
        wire.carry(("edge1", "ms", "transit", "fw-inet"), RELAY, POOL, channel_data(rtp(sequence, ssrc=0xED6E)))
    wire.write(tmp_path, make_scenario(MEDIA_ER))
    (tmp_path / "firewalls.json").write_text(json.dumps({"fw-inet": {"reverse_path_filter_drops": 3}}))
    (told,) = judge(tmp_path)["legs"]
    assert told["disposition"] == "REVERSE_PATH_FILTER"


def test_icmp_unreachable_is_no_route_at_its_sender(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(2):
        packet = channel_data(rtp(sequence))
        wire.carry(BY_ER[:2], HOME, RELAY, packet)
    wire.frame("core", "alice", icmp_unreachable("10.9.0.1", ALICE, ip_packet(HOME, RELAY, packet)))
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "NO_ROUTE")
    assert "network unreachable from 10.9.0.1 (core, frame 3)" in told["reason"]


def test_packets_that_vanish_are_no_route_at_the_last_link_seen(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(2):
        wire.carry(BY_ER[:4], HOME, RELAY, channel_data(rtp(sequence)), nat={"fw-er": (POOL, RELAY)})
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert told["disposition"] == "NO_ROUTE"
    assert "last seen on er towards ms (frame 3)" in told["reason"]


def test_an_answer_to_an_address_that_nat_did_not_give_is_a_nat_mismatch(tmp_path: Path) -> None:
    leg_, server = SIGNALING_ER, (FE, 5060)
    for port, disposition in ((40010, "DENIED_BY_RULE"), (49999, "NAT_MISMATCH")):
        wire, mapped = Wire(), (ER_POOL, 40010)
        wire.carry((*BY_ER[:-1], "fe"), (ALICE, 50010), server, b"REGISTER", nat={"fw-er": (mapped, server)})
        wire.carry(("fe", "ms", "fw-er"), server, (ER_POOL, port), b"SIP/2.0 200 OK")
        wire.drop("fw-er", "invalid", ip_packet(server, (ER_POOL, port), b"SIP/2.0 200 OK"))
        (told,) = judged(wire, tmp_path / disposition, leg_)["legs"]
        assert (told["verdict"], told["disposition"]) == ("FAIL", disposition), told["reason"]


def test_a_refused_allocation_is_turn_refused_with_code_and_frame(tmp_path: Path) -> None:
    wire = Wire()
    refused = stun(0x0113, 1, attribute(0x0009, b"\x00\x00\x04\x56Allocation Quota Reached"))
    wire.carry(BY_ER, HOME, RELAY, stun(0x0003, 1), nat={"fw-er": (POOL, RELAY)})
    wire.carry(BY_ER[::-1], RELAY, POOL, refused, nat={"fw-er": (RELAY, HOME)})
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "TURN_REFUSED")
    assert "refused Allocate: 486 Allocation Quota Reached (frame 5)" in told["reason"]


def test_a_first_challenge_is_no_refusal_but_a_second_is(tmp_path: Path) -> None:
    challenge = attribute(0x0009, b"\x00\x00\x04\x01Unauthorized")
    for count, disposition in ((1, "TIMEOUT"), (2, "TURN_REFUSED")):
        wire = Wire()
        for transaction in range(count):
            wire.carry(BY_ER, HOME, RELAY, stun(0x0003, transaction), nat={"fw-er": (POOL, RELAY)})
            back = stun(0x0113, transaction, challenge)
            wire.carry(BY_ER[::-1], RELAY, POOL, back, nat={"fw-er": (RELAY, HOME)})
        (told,) = judged(wire, tmp_path / str(count), MEDIA_ER)["legs"]
        assert (told["verdict"], told["disposition"]) == ("FAIL", disposition)


def test_unanswered_turn_requests_time_out(tmp_path: Path) -> None:
    wire = Wire()
    wire.carry(BY_ER, HOME, RELAY, stun(0x0003, 1), nat={"fw-er": (POOL, RELAY)})
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "TIMEOUT")
    assert "no media was sent; attempts ended: edge1 received 1 packets" in told["reason"]


def test_a_relay_that_never_heard_its_client_explains_more_than_checks_that_reached_another(tmp_path: Path) -> None:
    """Nobody has a relayed candidate before its relay answers (RFC 8656 section 7)."""
    wire, other, allocate = Wire(), (EDGE2, 50010), stun(0x0003, 1)
    wire.carry((*BY_ER[:4], "edge2"), HOME, other, stun(0x0001, 2), nat={"fw-er": (POOL, other)})
    wire.carry(("edge2", "ms"), other, HOME, stun(0x0001, 3))
    wire.frame("ms", "edge2", icmp_unreachable("198.18.64.254", EDGE2, ip_packet(other, HOME, stun(0x0001, 3))))
    wire.carry(BY_ER[:3], HOME, RELAY, allocate)
    wire.drop("fw-er", "default", ip_packet(HOME, RELAY, allocate))
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "DENIED_BY_RULE"), told["reason"]
    assert "fw-er dropped UDP" in told["reason"] and "by rule default" in told["reason"]


def test_a_silent_party_is_inconclusive(tmp_path: Path) -> None:
    (told,) = judged(Wire(), tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("INCONCLUSIVE", "NEVER_SENT")


def test_a_party_that_only_signaled_fails_for_its_media(tmp_path: Path) -> None:
    wire = Wire()
    wire.carry(BY_ER[:3], (ALICE, 50010), (FE, 5060), b"", tcp=Tcp(1, 0, 2))
    wire.drop("fw-er", "default", ip_packet((ALICE, 50010), (FE, 5060), b"", Tcp(1, 0, 2)))
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("FAIL", "DENIED_BY_RULE")
    assert "no media was sent; signaling towards fe ended: fw-er dropped TCP" in told["reason"]


def test_signaling_to_another_server_fails_and_names_it(tmp_path: Path) -> None:
    wire, server = Wire(), (EDGE1, 5060)
    wire.carry(BY_ER, (ALICE, 50010), server, b"REGISTER", nat={"fw-er": (POOL, server)})
    wire.carry(BY_ER[::-1], server, POOL, b"SIP/2.0 200 OK", nat={"fw-er": (server, (ALICE, 50010))})
    (told,) = judged(wire, tmp_path, SIGNALING_ER)["legs"]
    assert told["verdict"] == "FAIL" and "signaling went to edge1 instead" in told["reason"]


@pytest.mark.parametrize("link", ["er", "inet", "alice-core"])
def test_a_link_without_capture_makes_the_leg_inconclusive(tmp_path: Path, link: str) -> None:
    wire = Wire(make_plan(uncaptured=[link]))
    for sequence in range(3):
        media_by_er(wire, sequence=sequence)
    (told,) = judged(wire, tmp_path, MEDIA_ER)["legs"]
    assert (told["verdict"], told["disposition"]) == ("INCONCLUSIVE", "CAPTURE_INCOMPLETE")
    assert f"capture of link {link} is missing" in told["reason"]


def test_a_link_that_is_down_needs_no_capture(tmp_path: Path) -> None:
    wire = Wire(make_plan(uncaptured=["hotel"], down=["hotel"]))
    media_by_er(wire, sequence=1)
    media_by_er(wire, sequence=2)
    assert judged(wire, tmp_path, MEDIA_ER)["verdict"] == "PASS"


def test_presence_on_a_forbidden_link_fails_even_where_capture_lost_packets(tmp_path: Path) -> None:
    wire = media()
    wire.carry(BY_INTERNET, HOME, RELAY, channel_data(rtp(99)), nat={"fw-inet": ((INET_POOL, 1), RELAY)})
    wire.lost = {"inet": 7}
    assert judged(wire, tmp_path, MEDIA_ER)["verdict"] == "FAIL"


def test_a_capture_that_lost_packets_cannot_prove_silence(tmp_path: Path) -> None:
    wire = media()
    wire.lost = {"inet": 7}
    verdict = judged(wire, tmp_path, MEDIA_ER)
    assert (verdict["verdict"], verdict["reason"].split(": ", 1)[1]) == (
        "INCONCLUSIVE",
        "capture of link inet lost 7 packets",
    )


def test_a_cut_off_capture_is_inconclusive_and_says_so(tmp_path: Path) -> None:
    media().write(tmp_path, make_scenario(MEDIA_ER))
    path = tmp_path / "capture.pcapng"
    path.write_bytes(path.read_bytes()[:-1700])
    verdict = judge(tmp_path)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "ends early: capture.pcapng is cut off at byte" in verdict["reason"]


def test_media_through_two_relays_is_cut_at_the_first(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(3):
        relayed_call(wire, relays=2, sequence=sequence)
    verdict = judged(wire, tmp_path, MEDIA_ER, MEDIA_CAROL)
    assert verdict["verdict"] == "PASS", verdict["reason"]
    assert verdict["legs"][1]["observed"]["forward"] == ["wifi", "hotel", "border", "ms-edge2"]


def test_a_leg_between_servers_is_found_behind_the_relay(tmp_path: Path) -> None:
    wire = Wire()
    inside = ("10.250.0.1", 3478), ("10.250.0.4", 50900)
    for sequence in range(3):
        wire.carry(BY_ER, HOME, (EDGE1, 50500), rtp(sequence), nat={"fw-er": (POOL, (EDGE1, 50500))})
        wire.carry(("edge1", "conf"), *inside, channel_data(rtp(sequence)))
        wire.carry(("conf", "edge1"), inside[1], inside[0], channel_data(rtp(sequence, ssrc=5)))
        back = rtp(sequence, ssrc=5)
        wire.carry(BY_ER[::-1], (EDGE1, 50500), POOL, back, nat={"fw-er": ((EDGE1, 50500), HOME)})
    server = leg("media", "online-edge", "online-conference", "microsoft", "customer internet expressroute")
    verdict = judged(wire, tmp_path, MEDIA_ER, server)
    assert verdict["verdict"] == "PASS", verdict["reason"]
    assert verdict["legs"][1]["observed"]["links"] == [
        {
            "link": "edge1-conf",
            "segment": "microsoft",
            "kind": "microsoft",
            "packets_forward": 3,
            "packets_return": 3,
            "first_frame": 5,
        },
    ]


def test_frames_flooded_by_a_switch_are_no_path(tmp_path: Path) -> None:
    wire = media()
    wire.frame("transit", "hotel-nat", ip_packet(HOME, RELAY, rtp(3)), mac_destination=bytes(6))
    assert judged(wire, tmp_path, MEDIA_ER)["verdict"] == "PASS"


def back_by_internet(wire: Wire, sequence: int) -> None:
    """Let alice's media go by ExpressRoute, and edge1's come back by the Internet, as one shared table lets it."""
    inner, outer = HOME, POOL
    wire.carry(BY_ER, inner, RELAY, channel_data(rtp(sequence)), nat={"fw-er": (outer, RELAY)})
    back = channel_data(rtp(sequence, ssrc=0xED6E))
    wire.carry(BY_INTERNET[::-1], RELAY, outer, back, nat={"fw-inet": (RELAY, inner)})


def test_a_leg_may_cross_a_kind_in_one_direction_only(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(5):
        back_by_internet(wire, sequence)
    both = leg("media", "alice", "online-edge", "customer expressroute internet microsoft")
    told = {"one": {"forward_only": ("expressroute",), "return_only": ("internet",)}, "both": {}, "turned": {
        "forward_only": ("internet",), "return_only": ("expressroute",)}}  # fmt: skip
    verdicts = {name: judged(wire, tmp_path / name, both.model_copy(update=keys)) for name, keys in told.items()}
    assert verdicts["one"]["verdict"] == "PASS", verdicts["one"]["reason"]
    assert "no packet crossed internet (forward)" in verdicts["both"]["reason"]
    assert "crossed expressroute (forward), which only the other direction must" in verdicts["turned"]["reason"]
