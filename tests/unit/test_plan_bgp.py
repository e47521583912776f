"""The decision process of BGP, rule by rule; that BIRD decides the same is seen in every run, which waits for it."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from small_topologies import ANYWHERE, Document, neighbour_at, route_at, speakers, told_by_origin

from testbed.errors import SpecError
from testbed.plan.adjacency import Adjacency
from testbed.plan.bgp import converge, peerings
from testbed.topology import Topology

DIAMOND = [("origin", "left"), ("origin", "right"), ("left", "ours"), ("right", "ours")]


def diamond(**more: object) -> Topology:
    """Two ways of equal length from `origin` to `ours`; the router identifiers favour `left`."""
    asns = {"origin": 64500, "left": 64501, "right": 64502, "ours": 64503}
    arguments = {"announcements": told_by_origin("left", "right"), "transit": ("left", "right"), **more}
    return speakers(asns, DIAMOND, **arguments)  # type: ignore[arg-type]


def test_equal_routes_go_to_the_lowest_router_identifier() -> None:
    assert neighbour_at("ours", diamond()) == "left"


def test_local_preference_beats_the_router_identifier() -> None:
    assert neighbour_at("ours", diamond(sessions={"right-ours": {"local_preference": {"ours": 150}}})) == "right"


def test_local_preference_of_the_other_end_does_not_count() -> None:
    assert neighbour_at("ours", diamond(sessions={"right-ours": {"local_preference": {"right": 150}}})) == "left"


def test_local_preference_beats_the_length_of_the_path() -> None:
    cables = [("origin", "ours"), ("origin", "middle"), ("middle", "ours")]
    asns = {"origin": 64500, "middle": 64501, "ours": 64502}
    told = told_by_origin("ours", "middle")
    preferred = {"middle-ours": {"local_preference": {"ours": 150}}}
    straight = speakers(asns, cables, announcements=told, transit=("middle",))
    detour = speakers(asns, cables, announcements=told, transit=("middle",), sessions=preferred)
    assert neighbour_at("ours", straight) == "origin"
    assert neighbour_at("ours", detour) == "middle"


def test_a_speaker_without_transit_passes_nothing_on() -> None:
    assert neighbour_at("ours", diamond(transit=("right",))) == "right"
    assert neighbour_at("ours", diamond(transit=())) is None


def test_an_announcement_reaches_only_those_it_is_told_to() -> None:
    assert neighbour_at("ours", diamond(announcements=told_by_origin("right"))) == "right"


def test_a_route_filter_takes_only_its_communities() -> None:
    wanted = {"left-ours": {"accept_communities": {"ours": ["12076:5030"]}}}
    assert neighbour_at("ours", diamond(sessions=wanted)) == "right"
    told = told_by_origin("left", "right", communities=("12076:5030", "12076:5100"))
    assert neighbour_at("ours", diamond(sessions=wanted, announcements=told)) == "left"


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "10.1.0.0/16", "172.16.0.0/12", "192.168.7.0/24"])
def test_default_and_private_prefixes_are_refused_where_asked(prefix: str) -> None:
    told = {"it": {"prefix": prefix, "at": "origin", "to": ["left", "right"]}}
    refusing = {"left-ours": {"refuse_default": ["ours"]}}
    route = route_at("ours", diamond(announcements=told, sessions=refusing), IPv4Network(prefix))
    assert route is not None
    assert route.neighbour == "right"


def test_refusing_private_prefixes_leaves_public_ones() -> None:
    assert neighbour_at("ours", diamond(sessions={"left-ours": {"refuse_default": ["ours"]}})) == "left"


@pytest.mark.parametrize("table", ["links", "sessions"])
def test_a_cable_or_session_that_is_down_carries_no_route(table: str) -> None:
    assert neighbour_at("ours", diamond(**{table: {"left-ours": {"up": False}}})) == "right"


def test_a_path_with_our_own_number_is_a_loop() -> None:
    asns = {"origin": 64500, "middle": 64501, "ours": 64500}
    world = speakers(asns, [("origin", "middle"), ("middle", "ours")], announcements=told_by_origin("middle"))
    assert neighbour_at("middle", world) == "origin"
    assert neighbour_at("ours", world) is None


def test_external_beats_internal() -> None:
    asns = {"origin": 64500, "inner": 64501, "ours": 64501}
    cables = [("origin", "inner"), ("inner", "ours"), ("origin", "ours")]
    world = speakers(asns, cables, announcements=told_by_origin("inner", "ours"))
    assert neighbour_at("ours", world) == "origin"
    assert neighbour_at("inner", world) == "origin"


def test_internal_neighbours_pass_on_external_routes_and_keep_the_preference() -> None:
    asns = {"origin": 64500, "inner": 64501, "ours": 64501}
    cables = [("origin", "inner"), ("inner", "ours")]
    preferred = {"origin-inner": {"local_preference": {"inner": 150}}}
    route = route_at("ours", speakers(asns, cables, announcements=told_by_origin("inner"), sessions=preferred))
    assert route is not None
    assert (route.neighbour, route.local_preference, route.as_path) == ("inner", 150, (64500,))


def test_internal_routes_are_not_reflected() -> None:
    asns = {"origin": 64500, "one": 64501, "two": 64501, "three": 64501}
    cables = [("origin", "one"), ("one", "two"), ("two", "three")]
    world = speakers(asns, cables, announcements=told_by_origin("one"), transit=("two",))
    assert neighbour_at("two", world) == "one"
    assert neighbour_at("three", world) is None


def test_a_static_route_for_the_same_prefix_wins_and_is_not_overwritten() -> None:
    world = diamond(nodes={"ours": {"routes": {str(ANYWHERE): "right"}}})
    assert neighbour_at("ours", world) is None


def test_an_announced_static_route_goes_away_with_its_cable() -> None:
    cables = [("host", "origin"), ("origin", "ours")]
    asns = {"origin": 64500, "ours": 64501}
    nodes: Document = {"host": {"kind": "host"}, "origin": {"routes": {str(ANYWHERE): "host"}}}
    told = told_by_origin("ours")
    up = speakers(asns, cables, announcements=told, nodes=nodes)
    down = speakers(asns, cables, announcements=told, nodes=nodes, links={"host-origin": {"up": False}})
    assert neighbour_at("ours", up) == "origin"
    assert neighbour_at("ours", down) is None


def test_an_announced_prefix_without_a_route_is_unreachable_at_its_origin() -> None:
    route = route_at("origin", diamond())
    assert route is not None
    assert route.via is None


def across_a_firewall(rules: Document, routes: dict[str, str]) -> Topology:
    """`origin` - `edge` - firewall - `core`: internal BGP between edge and core, through the firewall."""
    return speakers(
        {"origin": 64500, "edge": 64501, "core": 64501},
        [("origin", "edge"), ("edge", "fw"), ("fw", "core")],
        announcements=told_by_origin("edge"),
        sessions={"edge-core": {"ends": ["edge", "core"]}},
        nodes={
            "fw": {"kind": "firewall"},
            "core": {"kind": "router", "routes": routes},
            "edge": {"kind": "router", "routes": {"100.64.2.0/30": "fw"}},
        },
        firewalls={"fw": {"zones": {"inside": ["core"], "outside": ["edge"]}, "rules": rules}},
    )


BGP_RULE: Document = {"bgp": {"from": "inside", "to": "outside", "protocol": "tcp", "destination_ports": ["179"]}}
BGP_INWARDS: Document = {"bgp": {**BGP_RULE["bgp"], "from": "outside", "to": "inside"}}
TO_EDGE = {"100.64.1.0/30": "fw"}


def test_a_next_hop_behind_a_firewall_is_reached_over_a_static_route() -> None:
    route = route_at("core", across_a_firewall(BGP_RULE, TO_EDGE))
    assert route is not None
    assert (route.via, route.interface) == (IPv4Address("100.64.2.1"), "fw")
    assert route.next_hop == IPv4Address("100.64.1.1")


def test_a_next_hop_that_nothing_leads_to_is_no_route() -> None:
    assert neighbour_at("core", across_a_firewall(BGP_RULE, {})) is None


@pytest.mark.parametrize("rules", [{}, {"bgp": {**BGP_RULE["bgp"], "destination_ports": ["178"]}}])
def test_a_firewall_that_refuses_bgp_keeps_the_session_down(rules: Document) -> None:
    assert neighbour_at("core", across_a_firewall(rules, TO_EDGE)) is None


def test_one_side_that_may_connect_is_enough_for_a_session() -> None:
    assert neighbour_at("core", across_a_firewall(BGP_INWARDS, TO_EDGE)) == "fw"


@pytest.mark.parametrize(("rules", "opener"), [(BGP_RULE, ["core"]), (BGP_INWARDS, ["edge"]), ({}, [])])
def test_only_an_end_that_the_firewall_lets_through_opens_the_session(rules: Document, opener: list[str]) -> None:
    topology = across_a_firewall(rules, TO_EDGE)
    found = peerings(topology, Adjacency(topology))
    ends = {node: peering for node in ("edge", "core") for peering in found[node] if peering.session == "edge-core"}
    assert [node for node, peering in ends.items() if not peering.passive] == opener


def test_policies_that_chase_each_other_are_an_error() -> None:
    ring = ["one", "two", "three"]
    asns = {"origin": 64500, "one": 64501, "two": 64502, "three": 64503}
    cables = [("origin", name) for name in ring] + [("one", "two"), ("two", "three"), ("three", "one")]
    around = {f"{a}-{b}": {"local_preference": {a: 200, b: 50}} for a, b in cables[3:]}
    world = speakers(asns, cables, announcements=told_by_origin(*ring), transit=tuple(ring), sessions=around)
    with pytest.raises(SpecError, match="does not settle"):
        converge(world)


def test_a_speaker_without_an_address_is_an_error() -> None:
    world = speakers({"origin": 64500, "ours": 64501}, [])
    with pytest.raises(SpecError, match="needs a link with an address"):
        converge(world)
