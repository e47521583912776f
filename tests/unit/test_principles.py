"""The article's principles: each holds, is broken, and is left open by captures made for that."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import (
    ALICE,
    BOB,
    BY_ER,
    BY_INTERNET,
    CAROL,
    CONF,
    EDGE1,
    EDGE2,
    ER_POOL,
    FE,
    HOTEL_POOL,
    INET_POOL,
    MEDIA_ER,
    Wire,
    make_plan,
    make_scenario,
    relayed_call,
    signaling_by_er,
)
from capture_bytes import Tcp, channel_data, ip_packet, rtp, stun

from testbed.analysis.run import read_run
from testbed.plan.model import RouteFact
from testbed.scenario import Broadcast, Call, Party
from testbed.verdict import judge
from testbed.verdict.principles import OUTCOMES, PRINCIPLES, judge_principles
from testbed.verdict.principles.finding import Finding

P2P = Call(kind="p2p", caller="alice", callee="carol")
LOCAL = Call(kind="p2p", caller="alice", callee="bob")
ONLINE = Call(kind="conference", participants=("alice",), organiser="alice", host="online-conference")
OWN = Call(kind="conference", participants=("alice", "carol"), organiser="alice")
TO_HOTEL = ("ms", "transit", "hotel-nat", "carol")


def wire_with(**roles: tuple[str, ...]) -> Wire:
    """Return a wire on which servers have these roles besides the usual ones (- as _)."""
    plan = make_plan()
    more = {name.replace("_", "-"): nodes for name, nodes in roles.items()}
    return Wire(plan=plan.model_copy(update={"roles": {**plan.roles, **more}}))


def find(wire: Wire, directory: Path, *calls: Call, homes: dict[str, str | None] | None = None) -> dict[str, Finding]:
    """Return what the principles find in what *wire* captured."""
    scenario = make_scenario(MEDIA_ER, calls=calls)
    parties = {
        name: Party(node=party.node, home=party.home if homes is None else homes.get(name), uri=party.uri)
        for name, party in scenario.parties.items()
    }
    scenario = scenario.model_copy(update={"parties": parties})
    return judge_principles(read_run(wire.write(directory, scenario)))


def talk(wire: Wire, way: Sequence[str], one: Any, other: Any) -> None:
    """Let two ends without NAT exchange media along *way*."""
    for number in range(3):
        wire.carry(way, one, other, rtp(number))
        wire.carry(way[::-1], other, one, rtp(number, ssrc=0xB0B))


def online_conference(wire: Wire) -> None:
    """Let alice and the conference server exchange media through edge1."""
    inner, outer, relay, allocated, conf = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 3478), (EDGE1, 50500), (CONF, 6000)
    for number in range(3):
        there, back = rtp(number), rtp(number, ssrc=0xC0F)
        wire.carry(BY_ER, inner, relay, channel_data(there), nat={"fw-er": (outer, relay)})
        wire.carry(("edge1", "conf"), allocated, conf, there)
        wire.carry(("conf", "edge1"), conf, allocated, back)
        wire.carry(BY_ER[::-1], relay, outer, channel_data(back), nat={"fw-er": (relay, inner)})


def conference_without_edge(wire: Wire) -> None:
    """Let alice and a server beside the Front End exchange media, past every Edge."""
    way, inner, outer, server = (*BY_ER[:-1], "fe"), (ALICE, 50000), (ER_POOL, 40000), (FE, 6000)
    for number in range(3):
        wire.carry(way, inner, server, rtp(number), nat={"fw-er": (outer, server)})
        wire.carry(way[::-1], server, outer, rtp(number, ssrc=9), nat={"fw-er": (server, inner)})


def check_directly(wire: Wire, *, answered: bool) -> None:
    """Let carol send alice connectivity checks past all relays: answered, or dropped at her firewall."""
    way = ("carol", "hotel-nat", "transit", "fw-inet", "core", "alice")
    carol, alice, outer = (CAROL, 50002), (INET_POOL, 40000), (HOTEL_POOL, 41000)
    if answered:
        nat = {"hotel-nat": (outer, alice), "fw-inet": (outer, (ALICE, 50000))}
        wire.carry(way, carol, alice, stun(0x0001, 77), nat=nat)
        nat = {"fw-inet": (alice, outer), "hotel-nat": (alice, carol)}
        wire.carry(way[::-1], (ALICE, 50000), outer, stun(0x0101, 77), nat=nat)
    else:
        wire.carry(way[:4], carol, alice, stun(0x0001, 77), nat={"hotel-nat": (outer, alice)})
        wire.drop("fw-inet", "default", ip_packet(outer, alice, stun(0x0001, 77)))


def test_everything_but_a_conference_is_told_of_a_call(tmp_path: Path) -> None:
    wire = Wire()
    for number in range(3):
        relayed_call(wire, relays=1, sequence=number)
    check_directly(wire, answered=False)
    signaling_by_er(wire)
    found = find(wire, tmp_path, P2P, homes={"alice": "online", "carol": None})
    outcomes = {name: each.outcome for name, each in found.items()}
    assert outcomes == {
        "P1": "does not apply",
        "P2": "does not apply",
        "P3": "holds",
        "P4": "holds",
        "P5": "does not apply",
        "P6": "does not apply",
        "ER+": "holds",
        "ER-": "holds",
    }
    assert "dropped by fw-inet, rule default" in found["P3"].reason


def test_verdict_json_has_every_principle_with_its_rule(tmp_path: Path) -> None:
    wire = Wire()
    signaling_by_er(wire)
    told = judge(wire.write(tmp_path, make_scenario(MEDIA_ER, calls=[P2P])))["principles"]
    assert [each["principle"] for each in told] == list(PRINCIPLES)
    assert all(each["outcome"] in OUTCOMES and each["rule"] and each["reason"] for each in told)


def test_nothing_holds_where_a_capture_has_gaps(tmp_path: Path) -> None:
    wire = Wire()
    signaling_by_er(wire)
    wire.lost["inet"] = 3
    found = find(wire, tmp_path, P2P)
    assert found["ER+"].outcome == "cannot tell"
    assert "capture of link inet lost 3 packets" in found["ER+"].reason


def test_p1_a_conference_lives_at_home(tmp_path: Path) -> None:
    wire = Wire()
    online_conference(wire)
    assert find(wire, tmp_path, ONLINE)["P1"].outcome == "holds"


@pytest.mark.parametrize("host", [None, "online-conference"])
def test_p1_is_broken_where_another_home_than_the_organisers_hosts(host: str | None, tmp_path: Path) -> None:
    wire = wire_with(onprem_front_end=("bob",))
    online_conference(wire)
    both = Call(kind="conference", participants=("alice", "carol"), organiser="alice", host=host)
    found = find(wire, tmp_path, both, homes={"alice": "onprem", "carol": "online"})["P1"]
    assert found.outcome == "broken"
    assert "lives at conf of pool online, though alice, who organised it, is homed in onprem" in found.reason


def test_p1_is_left_open_where_nothing_says_who_organised_it(tmp_path: Path) -> None:
    wire = Wire()
    online_conference(wire)
    found = find(wire, tmp_path, ONLINE.model_copy(update={"organiser": None}))["P1"]
    assert found.outcome == "cannot tell"
    assert "nothing says who organised it" in found.reason


def test_p1_is_left_open_without_media(tmp_path: Path) -> None:
    assert find(Wire(), tmp_path, ONLINE)["P1"].outcome == "cannot tell"


def test_p2_is_broken_by_media_that_goes_elsewhere(tmp_path: Path) -> None:
    wire = Wire()
    talk(wire, ("alice", "core", "bob"), (ALICE, 50000), (BOB, 50001))
    found = find(wire, tmp_path, ONLINE)["P2"]
    assert found.outcome == "broken"
    assert "did not go to conf" in found.reason


@pytest.mark.parametrize("principle", ["P2", "P5"])
def test_p2_and_p5_are_broken_by_a_way_past_every_edge(tmp_path: Path, principle: str) -> None:
    wire = wire_with(online_conference=("fe",), online_front_end=())
    conference_without_edge(wire)
    assert find(wire, tmp_path / "past", ONLINE)[principle].outcome == "broken"
    through = Wire()
    online_conference(through)
    assert find(through, tmp_path / "through", ONLINE)[principle].outcome == "holds"


def test_p3_is_broken_by_a_relay_that_nobody_needed(tmp_path: Path) -> None:
    wire = Wire()
    for number in range(3):
        relayed_call(wire, relays=1, sequence=number)
    check_directly(wire, answered=True)
    found = find(wire, tmp_path, P2P)["P3"]
    assert found.outcome == "broken"
    assert "although direct checks went both ways" in found.reason


def test_p3_is_left_open_where_no_direct_way_was_tried(tmp_path: Path) -> None:
    wire = Wire()
    for number in range(3):
        relayed_call(wire, relays=1, sequence=number)
    assert find(wire, tmp_path, P2P)["P3"].outcome == "cannot tell"


def test_p4_is_broken_by_signaling_to_another_pools_server(tmp_path: Path) -> None:
    wire = wire_with(onprem_front_end=("bob",))
    signaling_by_er(wire)
    found = find(wire, tmp_path, P2P, homes={"alice": "onprem", "carol": "online"})["P4"]
    assert found.outcome == "broken"
    assert "alice, homed in onprem: signaling alice -> fe" in found.reason


@pytest.mark.parametrize(
    ("method", "status", "outcome"),
    [("REGISTER", 301, "holds"), ("REGISTER", 200, "broken"), ("INVITE", 302, "broken"), ("REGISTER", 401, "broken")],
)
def test_p4_allows_being_redirected_home_and_nothing_else(
    method: str, status: int, outcome: str, tmp_path: Path
) -> None:
    wire = wire_with(onprem_front_end=("bob",))
    head = f"Call-ID: 1@alice\r\nCSeq: 1 {method}\r\n\r\n"
    asked, answered = f"{method} sip:contoso.example SIP/2.0\r\n{head}", f"SIP/2.0 {status} Answer\r\n{head}"
    wire.carry(("alice", "core", "bob"), (ALICE, 50010), (BOB, 5060), asked.encode(), tcp=Tcp(1, 1))
    wire.carry(("bob", "core", "alice"), (BOB, 5060), (ALICE, 50010), answered.encode(), tcp=Tcp(1, 1))
    signaling_by_er(wire)
    found = find(wire, tmp_path, homes={"alice": "online"})["P4"]
    assert found.outcome == outcome, found
    if outcome == "holds":
        assert any("bob only redirected alice to its home (frame 3)" in sentence for sentence in found.evidence)


def test_p4_is_left_open_behind_a_server_of_no_pool(tmp_path: Path) -> None:
    wire = Wire()
    register = b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n"
    wire.carry(("alice", "core", "fabrikam", "dave"), (ALICE, 50010), ("10.8.0.9", 5060), register, tcp=Tcp(1, 1))
    found = find(wire, tmp_path, homes={"alice": "online"})["P4"]
    assert found.outcome == "cannot tell"
    assert "dave is no pool's server" in found.reason


def test_p4_lets_a_user_outside_go_through_the_edge_and_nobody_inside(tmp_path: Path) -> None:
    wire = wire_with(onprem_front_end=("bob",), onprem_edge=("edge1",))
    register = b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n"
    wire.carry((*TO_HOTEL[::-1], "edge1"), (CAROL, 50010), (EDGE1, 5060), register, tcp=Tcp(1, 1))
    assert find(wire, tmp_path / "outside", homes={"carol": "onprem"})["P4"].outcome == "holds"
    wire.carry(BY_ER, (ALICE, 50010), (EDGE1, 5060), register, tcp=Tcp(1, 1, ip_id=2))
    assert find(wire, tmp_path / "inside", homes={"alice": "onprem"})["P4"].outcome == "broken"


def test_p6_is_broken_by_a_relay_inside_and_by_none_outside(tmp_path: Path) -> None:
    wire = wire_with(onprem_conference=("bob",))
    talk(wire, ("alice", "core", "bob"), (ALICE, 50000), (BOB, 50001))
    alone = Call(kind="conference", participants=("alice",), organiser="alice")
    assert find(wire, tmp_path / "inside", alone, homes={"alice": "onprem"})["P6"].outcome == "holds"
    talk(wire, ("carol", "hotel-nat", "transit", "fw-inet", "core", "bob"), (CAROL, 50000), (BOB, 50003))
    found = find(wire, tmp_path / "outside", OWN, homes={"alice": "onprem", "carol": "onprem"})["P6"]
    assert found.outcome == "broken"
    assert "carol is outside the network of bob" in found.reason


def test_expressroute_used_is_broken_by_signaling_over_the_internet(tmp_path: Path) -> None:
    wire = Wire()
    way = (*BY_INTERNET[:-1], "fe")
    register = b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n"
    inner, outer, server = (ALICE, 50010), (INET_POOL, 40010), (FE, 5060)
    wire.carry(way, inner, server, register, nat={"fw-inet": (outer, server)}, tcp=Tcp(1, 1))
    found = find(wire, tmp_path, P2P)["ER+"]
    assert found.outcome == "broken"
    assert "over customer, internet, microsoft (inet, border" in found.reason


def announced(*known_to: str) -> Wire:
    """Return a wire whose plan has bob's own address known to routers of these kinds of segment, by BGP."""
    plan = make_plan()
    bob = next(node for node in plan.nodes if node.name == "bob")
    at = bob.model_copy(update={"interfaces": (bob.interfaces[0].model_copy(update={"address": f"{BOB}/32"}),)})
    routers = tuple(
        bob.model_copy(update={"name": f"of-{kind}", "kind": "router", "segment_kind": kind, "interfaces": ()})
        for kind in ("internet", "expressroute")
    )
    facts = [RouteFact(node=f"of-{kind}", prefix="0.0.0.0/0", via="10.9.0.1") for kind in ("internet", "expressroute")]
    facts += [RouteFact(node=f"of-{kind}", prefix=f"{BOB}/32", via="10.9.0.1") for kind in known_to]
    others = tuple(node for node in plan.nodes if node.name != "bob")
    return Wire(plan=plan.model_copy(update={"nodes": (*others, at, *routers), "converged": tuple(facts)}))


@pytest.mark.parametrize(
    ("known_to", "outcome"),
    [
        (("internet",), "does not apply"),
        (("internet", "expressroute"), "broken"),
        (("expressroute",), "broken"),
        ((), "broken"),
    ],
)
def test_expressroute_used_asks_nothing_of_a_server_that_is_announced_on_the_internet_alone(
    known_to: tuple[str, ...], outcome: str, tmp_path: Path
) -> None:
    wire = announced(*known_to)
    way = ("fe", "ms", "transit", "fw-inet", "core", "bob")
    wire.carry(way, (FE, 50010), (BOB, 5060), b"INVITE sip:bob@contoso.example SIP/2.0\r\n\r\n", tcp=Tcp(1, 1))
    found = find(wire, tmp_path, P2P)["ER+"]
    assert found.outcome == outcome
    told = "not asked of a server that is announced on the Internet alone: signaling fe -> bob"
    assert any(sentence.startswith(told) for sentence in found.evidence) == (outcome != "broken")


def test_expressroute_used_asks_nothing_of_a_circuit_that_is_down(tmp_path: Path) -> None:
    wire = Wire(plan=make_plan(down=["er"]))
    way = (*BY_INTERNET[:-1], "fe")
    wire.carry(way, (ALICE, 50010), (FE, 5060), b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n", tcp=Tcp(1, 1))
    found = find(wire, tmp_path, P2P)["ER+"]
    assert (found.outcome, found.reason) == ("does not apply", "no circuit is up")


def test_expressroute_not_used_is_broken_by_a_hotel_guest_on_the_circuit(tmp_path: Path) -> None:
    wire = Wire()
    talk(wire, (*TO_HOTEL[::-1], "fw-er", "core", "bob"), (CAROL, 50000), (BOB, 50001))
    found = find(wire, tmp_path, P2P)["ER-"]
    assert found.outcome == "broken"
    assert "media carol -> bob" in found.reason


def test_expressroute_not_used_is_broken_by_neighbours_who_meet_outside(tmp_path: Path) -> None:
    wire = Wire()
    talk(wire, ("alice", "core", "fw-inet", "transit", "fw-inet", "core", "bob"), (ALICE, 50000), (BOB, 50001))
    found = find(wire, tmp_path, LOCAL)["ER-"]
    assert found.outcome == "broken"


@pytest.mark.parametrize("name", ["P1", "P2", "P3", "P4", "P5", "P6", "ER+", "ER-"])
def test_no_principle_holds_of_an_empty_capture(tmp_path: Path, name: str) -> None:
    found = find(wire_with(onprem_conference=("bob",)), tmp_path, P2P, ONLINE, OWN)
    assert found[name].outcome in ("cannot tell", "does not apply")


def tunnelled(directory: Path, *, onward: str | None = "fe", address: str = FE) -> Finding:
    """Let alice signal through bob's node, her web proxy, which hands on to another node, and return what P4 says."""
    wire = wire_with(proxy=("bob",), online_front_end=("fe",), online_edge=("edge1",))
    signal(wire, ("alice", "core", "bob"), (ALICE, 50010), (BOB, 5060))
    if onward is not None:
        signal(wire, ("bob", "core", "fw-er", "ms", onward), (BOB, 50011), (address, 5060), at=10)
    scenario = make_scenario(MEDIA_ER)
    parties = {"alice": scenario.parties["alice"].model_copy(update={"proxy": "proxy"})}
    return judge_principles(read_run(wire.write(directory, scenario.model_copy(update={"parties": parties}))))["P4"]


def signal(wire: Wire, way: Sequence[str], one: Any, other: Any, at: int = 1) -> None:
    """Let two ends without NAT exchange a SIP request and its answer; *at*: the first of their IP identifications."""
    request, answer = b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"
    wire.carry(way, one, other, b"", tcp=Tcp(100, 0, 2, at))
    wire.carry(way[::-1], other, one, b"", tcp=Tcp(900, 101, 0x12, at))
    wire.carry(way, one, other, request, tcp=Tcp(101, 901, 0x18, at + 1))
    wire.carry(way[::-1], other, one, answer, tcp=Tcp(901, 101 + len(request), 0x18, at + 1))


def test_signaling_through_a_web_proxy_is_followed_to_the_home_server(tmp_path: Path) -> None:
    found = tunnelled(tmp_path / "home")
    assert (found.outcome, any("bob hands it on: signaling bob -> fe" in told for told in found.evidence)) == (
        "holds",
        True,
    )
    found = tunnelled(tmp_path / "stray", onward="edge2", address=EDGE2)
    assert (found.outcome, "bob hands on signaling bob -> edge2" in found.reason) == ("broken", True)
    found = tunnelled(tmp_path / "nothing", onward=None)
    assert (found.outcome, "is not seen to hand it on" in found.reason) == ("cannot tell", True)


def test_who_only_watches_a_broadcast_need_not_sign_in(tmp_path: Path) -> None:
    wire = wire_with(online_front_end=("fe",))
    signaling_by_er(wire)
    scenario = make_scenario(MEDIA_ER, calls=[ONLINE])
    parties = {name: scenario.parties[name] for name in ("alice", "bob")}
    for attendees, outcome in (((), "cannot tell"), (("bob",), "holds")):
        broadcast = Broadcast(cdn="cdn", attendees=attendees) if attendees else None
        case = scenario.model_copy(update={"parties": parties, "broadcast": broadcast})
        found = judge_principles(read_run(wire.write(tmp_path / outcome, case)))["P4"]
        assert found.outcome == outcome
