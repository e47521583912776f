"""BIRD's configuration: the policy of the topology file, and nothing that the file does not say."""

from small_topologies import Document, speakers, told_by_origin

from testbed.plan.adjacency import Adjacency
from testbed.plan.routing import bird_configurations
from testbed.topology import Topology


def configuration(world: Topology, node: str) -> str:
    return bird_configurations(world, Adjacency(world))[node]


def session(world: Topology, node: str, peer: str) -> list[str]:
    """Return the lines of one session's block, without indentation."""
    block = configuration(world, node).split(f"protocol bgp to_{peer} {{\n")[1].split("\n}\n")[0]
    return [line.strip() for line in block.splitlines()]


def filter_of(lines: list[str], which: str) -> list[str]:
    """Return what an import or export filter does, line by line."""
    start = lines.index(f"{which} filter {{") + 1
    return lines[start : lines.index("};", start)]


def pair(**more: object) -> Topology:
    arguments: Document = {"announcements": told_by_origin("ours", communities=("12076:5030",)), **more}
    return speakers({"origin": 64500, "ours": 64501}, [("origin", "ours")], **arguments)


def test_a_session_runs_between_the_addresses_of_its_cable() -> None:
    lines = session(pair(), "ours", "origin")
    assert "local 100.64.0.2 as 64501;" in lines
    assert "neighbor 100.64.0.1 as 64500;" in lines
    assert "direct;" in lines


def test_one_end_opens_the_connection_and_the_other_waits_for_it() -> None:
    waits = {
        node: "passive yes;" in session(pair(), node, peer) for node, peer in (("origin", "ours"), ("ours", "origin"))
    }
    assert waits == {"origin": False, "ours": True}


def test_a_session_that_is_down_is_disabled() -> None:
    assert "disabled;" in session(pair(sessions={"origin-ours": {"up": False}}), "ours", "origin")
    assert "disabled;" not in session(pair(), "ours", "origin")


def test_without_a_policy_everything_is_taken_and_only_announcements_are_told() -> None:
    assert filter_of(session(pair(), "ours", "origin"), "import") == ["accept;"]
    assert filter_of(session(pair(), "ours", "origin"), "export") == ["reject;"]
    assert filter_of(session(pair(), "origin", "ours"), "export") == [
        "if net = 203.0.113.0/24 && source ~ [ RTS_STATIC, RTS_DEVICE ] then {",
        "bgp_community.add((12076, 5030));",
        "accept;",
        "}",
        "reject;",
    ]


def test_the_import_policy_refuses_first_and_prefers_last() -> None:
    policy = {
        "accept_communities": {"ours": ["12076:5030", "12076:5010"]},
        "local_preference": {"ours": 150},
        "refuse_default": ["ours"],
    }
    assert filter_of(session(pair(sessions={"origin-ours": policy}), "ours", "origin"), "import") == [
        "if net ~ [ 0.0.0.0/0, 10.0.0.0/8+, 172.16.0.0/12+, 192.168.0.0/16+ ] then reject;",
        "if !((12076, 5030) ~ bgp_community || (12076, 5010) ~ bgp_community) then reject;",
        "bgp_local_pref = 150;",
        "accept;",
    ]


def test_an_empty_route_filter_lets_nothing_in() -> None:
    """Microsoft peering announces nothing until a route filter is attached."""
    lines = session(pair(sessions={"origin-ours": {"accept_communities": {"ours": []}}}), "ours", "origin")
    assert filter_of(lines, "import")[0] == "if !(false) then reject;"


def test_transit_passes_on_what_it_learned() -> None:
    passes = "if source = RTS_BGP then accept;"
    assert passes in filter_of(session(pair(transit=("ours",)), "ours", "origin"), "export")
    assert passes not in filter_of(session(pair(), "ours", "origin"), "export")


def test_internal_neighbours_are_told_what_was_learned_outside() -> None:
    world = speakers({"one": 64500, "two": 64500}, [("one", "two")])
    assert filter_of(session(world, "one", "two"), "export") == ["if source = RTS_BGP then accept;", "reject;"]
    assert "next hop self;" in session(world, "one", "two")


def test_static_routes_and_aggregates_are_originated() -> None:
    text = configuration(pair(nodes={"origin": {"routes": {"default": "ours", "10.9.0.0/16": "ours"}}}), "origin")
    assert "route 0.0.0.0/0 via 100.64.0.2;" in text
    assert "route 10.9.0.0/16 via 100.64.0.2;" in text
    assert "route 203.0.113.0/24 unreachable;" in text


def test_an_announced_prefix_with_a_route_is_no_aggregate() -> None:
    text = configuration(pair(nodes={"origin": {"routes": {"203.0.113.0/24": "ours"}}}), "origin")
    assert "route 203.0.113.0/24 via 100.64.0.2;" in text
    assert "unreachable" not in text


def test_the_router_identifier_is_the_lowest_address() -> None:
    world = speakers({"one": 64500, "two": 64501, "three": 64502}, [("one", "two"), ("two", "three")])
    assert "router id 100.64.0.2;" in configuration(world, "two")
    assert "router id 100.64.1.2;" in configuration(world, "three")
