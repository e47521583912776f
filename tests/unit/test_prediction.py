"""Predicted paths: packets walked through two exits with a firewall each, and legs turned into packets."""

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from testbed.catalogue import list_scenarios
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.plan.exchange import Opening, exchange
from testbed.plan.explain import MARK, explain_lines, first_difference
from testbed.plan.firewall import iptables_text
from testbed.plan.model import End, Job, LinkPlan, Plan
from testbed.plan.policy import Protocol
from testbed.plan.prediction import NEVER_SENT, UNKNOWN, predict
from testbed.plan.shared_state import conntrackd_text
from testbed.plan.walk import Packet, Simulator, Step, Walk
from testbed.scenario import Change, Leg, Scenario
from testbed.spec import Spec
from testbed.spec.places import scenario_id
from testbed.spec.reader import read_spec
from testbed.topology import LinkShape, Topology

REPOSITORY = Path(__file__).resolve().parents[2]
CLIENT, SERVER = IPv4Address("10.0.1.2"), IPv4Address("198.18.1.2")


def link(a: str, b: str, network: str, **more: Any) -> dict[str, Any]:
    """Return a /24 with a at .1 or .2 and b at the other, as `network` (a.b.c) and the order say."""
    return {"segment": "wan", "ends": [a, b], "addresses": {a: f"{network}.1/24", b: f"{network}.2/24"}, **more}


def two_exits(back_by: str = "fw-a", **tables: Any) -> Topology:
    """Client - r - (fw-a | fw-b) - x - server; out by fw-a, back by *back_by*; *tables* go over the usual ones."""
    rules = {"out": {"from": "in", "to": "out", "protocol": "any"}}
    firewall = {"zones": {"in": ["r"], "out": ["x"]}, "rules": rules}
    roles = {"edge": ["server"], "conference": ["r"]}
    gates = {"default": "x", "10.0.1.0/24": "r"}
    document: dict[str, Any] = {
        "name": "two-exits",
        "title": "Two exits",
        "segments": {"wan": {"kind": "customer", "organisation": "contoso", "title": "WAN"}},
        "nodes": {
            "client": {"segment": "wan", "kind": "host", "routes": {"default": "r"}, "local_ports": "50000-50059"},
            "lan": {"segment": "wan", "kind": "switch"},
            "r": {"segment": "wan", "kind": "router", "routes": {"default": "fw-a"}},
            "fw-a": {"segment": "wan", "kind": "firewall", "routes": gates},
            "fw-b": {"segment": "wan", "kind": "firewall", "routes": gates},
            "x": {"segment": "wan", "kind": "router", "routes": {"10.0.1.0/24": back_by, "192.0.2.0/24": back_by}},
            "server": {"segment": "wan", "kind": "host", "routes": {"default": "x"}},
        },
        "links": {
            "client-lan": {"segment": "wan", "ends": ["client", "lan"], "addresses": {"client": "10.0.1.2/24"}},
            "lan-r": {"segment": "wan", "ends": ["lan", "r"], "addresses": {"r": "10.0.1.1/24"}},
            "r-a": link("r", "fw-a", "10.0.2"),
            "r-b": link("r", "fw-b", "10.0.3"),
            "a-x": link("fw-a", "x", "10.0.4"),
            "b-x": link("fw-b", "x", "10.0.5"),
            "x-server": link("x", "server", "198.18.1"),
        },
        "firewalls": {"fw-a": firewall, "fw-b": firewall},
        "pools": {"online": {"title": "O", "domains": ["o.example"], "roles": roles}},
    }
    for table, entries in tables.items():
        for name, entry in entries.items():
            document[table][name] = {**document[table].get(name, {}), **entry}
    return Topology.model_validate(document)


def send(
    topology: Topology,
    protocol: Protocol = "udp",
    port: int = 3478,
    sysctls: Mapping[str, Mapping[str, str]] = {},
    both_open: bool = False,
) -> tuple[Walk, Walk | None]:
    """Open a flow from the client to the server."""
    packet = Packet(protocol, CLIENT, 50000, SERVER, port)
    told = exchange(Opening("client", packet, both_open), Simulator(topology, sysctls))
    return told.out, told.back


OUT = ("client-lan", "lan-r", "r-a", "a-x", "x-server")


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_symmetric_flow_goes_the_same_way_back(protocol: Protocol) -> None:
    out, back = send(two_exits(), protocol)
    assert back is not None
    assert (out.links, out.disposition) == (OUT, "DELIVERED")
    assert (back.links, back.disposition) == (OUT[::-1], "DELIVERED")


@pytest.mark.parametrize(("protocol", "rule"), [("tcp", "invalid"), ("udp", "default")])
def test_an_answer_at_the_other_firewall_finds_no_session(protocol: Protocol, rule: str) -> None:
    out, back = send(two_exits("fw-b"), protocol)
    assert back is not None
    assert out.disposition == "DELIVERED"
    assert back.disposition == f"NO_SESSION_ON_RETURN:fw-b:{rule}"
    assert back.links == ("x-server", "b-x")


def test_a_udp_answer_passes_the_other_firewall_where_a_rule_lets_it_start_a_flow() -> None:
    rules = {"in": {"from": "out", "to": "in", "protocol": "udp", "source_ports": ["3478"]}}
    out, back = send(two_exits("fw-b", firewalls={"fw-b": {"rules": rules}}))
    assert back is not None and back.disposition == "DELIVERED"
    assert back.links == ("x-server", "b-x", "r-b", "lan-r", "client-lan") != out.links[::-1]


def test_a_stateless_firewall_lets_the_answer_through_and_the_other_drops_the_ack() -> None:
    topology = two_exits("fw-b", firewalls={"fw-b": {"stateful": False}})
    out, back = send(topology, "tcp")
    assert back is not None and back.disposition == "DELIVERED"
    assert out.disposition == "HALF_SEEN_FLOW:fw-a:invalid"
    assert out.links == ("client-lan", "lan-r", "r-a")
    assert send(topology, "udp")[0].disposition == "DELIVERED"


def test_a_stateless_firewall_drops_what_no_rule_mirrors() -> None:
    rules = {"out": {"from": "in", "to": "out", "protocol": "tcp", "destination_ports": ["443"]}}
    _, back = send(two_exits("fw-b", firewalls={"fw-b": {"stateful": False, "rules": rules}}))
    assert back is not None and back.disposition == "DENIED_BY_RULE:fw-b:default"


def test_strict_reverse_path_filtering_drops_before_the_rules() -> None:
    routes = {"fw-b": {"routes": {"default": "r", "10.0.1.0/24": "r"}}}
    strict = {"fw-b": {"net.ipv4.conf.x.rp_filter": "1"}}
    loose = {"fw-b": {"net.ipv4.conf.all.rp_filter": "2"}}
    topology = two_exits("fw-b", nodes=routes)
    ends = [back.disposition for back in (send(topology, sysctls=s)[1] for s in (strict, loose, {})) if back]
    assert ends == ["REVERSE_PATH_FILTER:fw-b", *["NO_SESSION_ON_RETURN:fw-b:default"] * 2]


def test_a_source_without_any_route_fails_the_loose_filter_too() -> None:
    topology = two_exits("fw-b", nodes={"fw-b": {"routes": {"10.0.1.0/24": "r"}}})
    _, back = send(topology, sysctls={"fw-b": {"net.ipv4.conf.all.rp_filter": "2"}})
    assert back is not None and back.disposition == "REVERSE_PATH_FILTER:fw-b"


def test_a_flow_that_no_rule_allows_is_denied_with_the_rules_name() -> None:
    drop = {"no-turn": {"from": "any", "to": "any", "protocol": "udp", "action": "drop"}}
    out, back = send(two_exits(firewalls={"fw-a": {"rules": drop}}))
    assert (out.disposition, out.links, back) == ("DENIED_BY_RULE:fw-a:no-turn", OUT[:3], None)
    out, _ = send(two_exits(firewalls={"fw-a": {"rules": {}}}))
    assert out.disposition == "DENIED_BY_RULE:fw-a:default"


@pytest.mark.parametrize(
    ("tables", "node"),
    [
        ({"nodes": {"r": {"routes": {}}}}, "r"),
        ({"nodes": {"client": {"routes": {}}}}, "client"),
        ({"links": {"r-a": {"up": False}}}, "r"),
        ({"links": {"x-server": {"up": False}}}, "x"),
        ({"links": {"lan-r": {"up": False}}}, "client"),
    ],
)
def test_without_a_route_or_a_cable_the_packet_ends_there(tables: dict[str, Any], node: str) -> None:
    out, back = send(two_exits(**tables))
    assert (out.disposition, back) == (f"NO_ROUTE:{node}", None)


def test_a_host_does_not_forward() -> None:
    out, _ = send(two_exits(nodes={"r": {"kind": "host"}}))
    assert out.disposition == "NO_ROUTE:r" and "does not forward" in out.note
    out, _ = send(two_exits(), sysctls={"r": {"net.ipv4.ip_forward": "0"}})
    assert out.disposition == "NO_ROUTE:r"


def test_a_loop_ends_when_the_ttl_does() -> None:
    out, _ = send(two_exits(nodes={"x": {"routes": {"198.18.1.2/32": "fw-b", "10.0.0.0/8": "fw-b"}},
                                   "fw-b": {"routes": {"default": "x"}}},
                            firewalls={"fw-b": {"rules": {"all": {"from": "any", "to": "any"}}}}))  # fmt: skip
    assert out.disposition.startswith("NO_ROUTE:") and "TTL" in out.note


POOL = {"nat": {"pool": {"to_zone": "out", "pool": "192.0.2.1-192.0.2.9"}}}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_source_nat_is_undone_for_the_answer(protocol: Protocol) -> None:
    out, back = send(two_exits(firewalls={"fw-a": POOL}), protocol)
    assert back is not None
    assert out.packet.source == IPv4Address("192.0.2.1")
    assert (back.disposition, back.packet.destination, back.links) == ("DELIVERED", CLIENT, OUT[::-1])


def test_an_answer_to_a_pool_that_is_routed_to_the_other_firewall_is_lost_there() -> None:
    out, back = send(two_exits("fw-b", firewalls={"fw-a": POOL}), "tcp")
    assert back is not None and out.is_delivered
    assert back.disposition == "NO_SESSION_ON_RETURN:fw-b:invalid"


def test_masquerade_takes_the_address_of_the_exit_and_an_answer_to_a_stranger_dies_in_its_input_chain() -> None:
    nat = {"nat": {"hide": {"to_zone": "out", "source": "10.0.1.0/24", "pool": "masquerade"}}}
    topology = two_exits(firewalls={"fw-a": nat})
    out, back = send(topology)
    assert back is not None and back.is_delivered and out.packet.source == IPv4Address("10.0.4.1")
    stray = Simulator(topology, {}).walk(out.packet.answer(), "server")
    assert stray.disposition == "NO_SESSION_ON_RETURN:fw-a:default"


def test_nat_leaves_other_sources_alone() -> None:
    nat = {"nat": {"hide": {"to_zone": "out", "source": "10.9.0.0/16", "pool": "masquerade"}}}
    assert send(two_exits(firewalls={"fw-a": nat}))[0].packet.source == CLIENT


def test_an_answer_that_another_firewall_translates_is_a_nat_mismatch() -> None:
    rules = {"in": {"from": "out", "to": "in"}}
    nat = {"hide": {"to_zone": "in", "pool": "masquerade"}}
    _, back = send(two_exits("fw-b", firewalls={"fw-b": {"rules": rules, "nat": nat}}))
    assert back is not None and back.disposition == "NAT_MISMATCH:client"
    assert back.note == "the answer comes from 10.0.3.2:3478"


def test_two_ends_that_both_send_open_the_firewall_for_each_other() -> None:
    inward = {"fw-a": {"rules": {"in": {"from": "out", "to": "in"}}}}
    assert send(two_exits(firewalls=inward))[0].disposition == "DENIED_BY_RULE:fw-a:default"
    out, back = send(two_exits(firewalls=inward), both_open=True)
    assert back is not None and out.is_delivered and back.is_delivered


def strangers(nat: dict[str, Any], *, from_port: int = 3478) -> Walk:
    """Let client send to server, and return what becomes of a packet from another port of server to its mapping."""
    hide = {"to_zone": "out", "pool": "masquerade", **nat}
    simulator = Simulator(two_exits(firewalls={"fw-a": {"nat": {"hide": hide}}}), {})
    out = simulator.walk(Packet("udp", CLIENT, 50000, SERVER, 3478), "client")
    back = out.packet.answer()
    return simulator.walk(replace(back, source_port=from_port, step=Step.FIRST), "server")


LAX = {"filtering": "endpoint-independent", "host": str(CLIENT)}
BY_ADDRESS = {"filtering": "address-dependent", "host": str(CLIENT)}


def test_filtering_of_a_nat_decides_which_stranger_comes_in() -> None:
    assert strangers({}).is_delivered, "that is the answer"
    assert strangers({}, from_port=9).disposition.endswith("fw-a:default")
    for nat in (LAX, BY_ADDRESS):
        walk = strangers(nat, from_port=9)
        assert (walk.is_delivered, walk.packet.destination, walk.packet.destination_port) == (True, CLIENT, 50000)


def test_only_an_independent_filter_lets_another_address_in() -> None:
    for nat, is_in in ((LAX, True), (BY_ADDRESS, False)):
        hide = {"to_zone": "out", "pool": "masquerade", **nat}
        simulator = Simulator(two_exits(firewalls={"fw-a": {"nat": {"hide": hide}}}), {})
        mapped = simulator.walk(Packet("udp", CLIENT, 50000, SERVER, 3478), "client").packet
        stranger = Packet("udp", IPv4Address("10.0.5.2"), 7, mapped.source, mapped.source_port)
        walk = simulator.walk(stranger, "x")
        assert walk.is_delivered == is_in
        if is_in:
            answer = simulator.walk(walk.packet.answer(), "client")
            assert answer.packet.source == mapped.source, "the answer leaves by the same mapping"


def test_a_symmetric_nat_maps_each_destination_to_another_port() -> None:
    hide = {"to_zone": "out", "pool": "masquerade", "mapping": "address-and-port-dependent"}
    simulator = Simulator(two_exits(firewalls={"fw-a": {"nat": {"hide": hide}}}), {})
    ports = {simulator.walk(Packet("udp", CLIENT, 50000, SERVER, to), "client").packet.source_port for to in (1, 2, 3)}
    assert len(ports) == 3 and 50000 not in ports
    assert strangers({"mapping": "address-and-port-dependent"}).is_delivered


@pytest.mark.parametrize("scenario", [entry.scenario for entry in list_scenarios() if entry.table == "nat"])
def test_the_route_through_two_nats_is_predicted_as_its_scenario_expects(scenario: str) -> None:
    spec = read_spec(REPOSITORY / "scenarios" / f"{scenario}.toml")
    plan = make_plan(spec, duration_ns=1, seed=1)
    media = [path for path in plan.predicted if path.flow == "media"]
    assert all(path.forward_end == path.return_end == "DELIVERED" for path in media)
    assert {path.to for path in media} == ({"grace"} if spec.scenario.relays == (0,) else {"online-edge"})


# From legs to packets

LEGS = [
    {"flow": "signaling", "from": "ann", "to": "server", "crosses": ["customer"]},
    {"flow": "media", "from": "ann", "to": "online-edge", "crosses": ["customer"]},
    {"flow": "media", "from": "online-edge", "to": "online-conference", "crosses": ["customer"]},
    {"flow": "media", "from": "ann", "to": "bob", "crosses": ["customer"]},
]


def spec_of(topology: Topology, legs: list[dict[str, Any]]) -> Spec:
    document = {
        "id": "x", "row": "X", "table": "rules", "title": "T", "topology": "two-exits",
        "parties": {"ann": {"node": "client", "home": "online", "uri": "sip:ann@o.example"},
                    "bob": {"node": "server", "home": "online", "uri": "sip:bob@o.example"}},
        "calls": [{"kind": "p2p", "caller": "ann", "callee": "bob"}],
        "legs": legs,
    }  # fmt: skip
    return Spec(Scenario.model_validate(document), topology, document)


def job(name: str, node: str, program: str, **arguments: Any) -> Job:
    return Job(name=name, node=node, program=program, arguments=arguments, stage="service")


def plan_of(topology: Topology, *jobs: Job) -> Plan:
    links = tuple(
        LinkPlan(name=name, segment="wan", segment_kind="customer", a=End(node=one.ends[0], interface=one.ends[1]),
                 b=End(node=one.ends[1], interface=one.ends[0]), shape_forward=LinkShape(), shape_return=LinkShape(),
                 up=one.up, captured=True)
        for name, one in topology.links.items()
    )  # fmt: skip
    roles: dict[str, tuple[str, ...]] = {
        "online-edge": ("server",),
        "online-conference": ("r",),
        "ann": ("client",),
        "bob": ("server",),
    }
    return Plan(scenario="x", row="X", seed=1, nodes=(), links=links, converged=(), jobs=jobs, calls=(), roles=roles,
                addresses={}, sip_ports=(5060,), predicted=(), duration_ns=1, setup_limit_ns=1)  # fmt: skip


RELAYS = {"relays": [{"address": "198.18.1.2", "internal_address": "198.18.1.2", "udp_port": 3478, "tcp_port": 443}]}
JOBS = (
    job("ann", "client", "client", uri="sip:ann@o.example", turn_transports=["tcp"],
        server={"address": "198.18.1.2", "port": 5061, "transport": "tcp"}),
    job("fe", "x", "front_end", relay_of={"sip:ann@o.example": 0}, **RELAYS),
    job("server", "server", "edge"),
    job("conf", "r", "conference", relay={"address": "198.18.1.2", "udp_port": 3478}),
)  # fmt: skip


def test_each_kind_of_leg_becomes_the_packets_that_the_jobs_will_send() -> None:
    topology = two_exits(nodes={"x": {"routes": {"10.0.0.0/16": "fw-a"}}})
    signaling, relay, conference, direct = predict(spec_of(topology, LEGS), plan_of(topology, *JOBS))
    assert signaling.note == "tcp 10.0.1.2:50000 -> 198.18.1.2:5061"
    assert relay.note == "tcp 10.0.1.2:50000 -> 198.18.1.2:443"
    assert conference.note == "udp 10.0.2.1:49152 -> 198.18.1.2:3478"
    assert direct.note == "udp 10.0.1.2:50000 -> 198.18.1.2:49152"
    for path in (signaling, relay, direct):
        assert path.forward == OUT and path.return_ == OUT[::-1]
    assert conference.forward == ("x-server", "a-x", "r-a"), "the conference opens, so the Edge's side is the answer"


def test_what_no_job_tells_is_said_in_the_note() -> None:
    topology = two_exits()
    path = predict(spec_of(topology, LEGS[1:2]), plan_of(topology))[0]
    assert path.forward_end == "DELIVERED"
    assert path.note.endswith("ann's Edge is told by no job; taken: server 198.18.1.2:3478")


def test_a_leg_that_means_no_node_is_unknown_and_not_delivered() -> None:
    topology = two_exits()
    legs = [{"flow": "media", "from": "ann", "to": "nobody", "crosses": ["customer"]}]
    path = predict(spec_of(topology, legs), plan_of(topology))[0]
    assert (path.forward_end, path.return_end, path.forward) == (UNKNOWN, UNKNOWN, ())


def test_one_legs_sessions_do_not_help_another() -> None:
    topology = two_exits("fw-b")
    there = {"flow": "media", "from": "ann", "to": "online-edge", "crosses": ["customer"]}
    first, second = predict(spec_of(topology, [there, there]), plan_of(topology, *JOBS))
    assert first == second and first.return_end == "NO_SESSION_ON_RETURN:fw-b:invalid"


def explained(topology: Topology) -> list[str]:
    plan = plan_of(topology, *JOBS)
    return explain_lines(plan.model_copy(update={"predicted": predict(spec_of(topology, LEGS[1:2]), plan)}))


def test_a_symmetric_path_is_told_once() -> None:
    assert explained(two_exits()) == [
        "media ann -> online-edge",
        "  tcp 10.0.1.2:50000 -> 198.18.1.2:443",
        "    client -> lan  (customer, client-lan)",
        "    lan -> r  (customer, lan-r)",
        "    r -> fw-a  (customer, r-a)",
        "    fw-a -> x  (customer, a-x)",
        "    x -> server  (customer, x-server)",
        "  both ways: DELIVERED",
    ]


def test_the_hop_where_a_lost_answer_leaves_the_forward_path_is_marked() -> None:
    lines = explained(two_exits("fw-b"))
    assert lines[-3:] == [
        "  return: NO_SESSION_ON_RETURN:fw-b:invalid",
        "    server -> x  (customer, x-server)",
        f"  {MARK} x -> fw-b  (customer, b-x)",
    ]


def test_the_first_hop_where_delivered_directions_differ_is_marked_once() -> None:
    topology = two_exits("fw-b", firewalls={"fw-b": {"rules": {"in": {"from": "out", "to": "in"}}}})
    spec = spec_of(topology, LEGS[2:3] + LEGS[3:])
    plan = plan_of(topology)
    path = predict(spec, plan)[1]
    assert first_difference(path) == 2
    lines = explain_lines(plan.model_copy(update={"predicted": (path,)}))
    (marked,) = [line for line in lines if line.startswith(f"  {MARK}")]
    assert "r -> fw-a  (customer, r-a)" in marked and "fw-b -> r  (customer, r-b)" in marked


def test_a_direction_that_depends_on_a_lost_one_is_never_sent() -> None:
    topology = two_exits(firewalls={"fw-a": {"rules": {}}})
    path = predict(spec_of(topology, LEGS[1:2]), plan_of(topology, *JOBS))[0]
    assert (path.forward_end, path.return_end, path.return_) == ("DENIED_BY_RULE:fw-a:default", NEVER_SENT, ())


def test_a_stopped_server_is_reached_and_does_not_answer() -> None:
    topology = two_exits(nodes={"server": {"stopped": True}})
    path = predict(spec_of(topology, LEGS[1:2]), plan_of(topology, *JOBS))[0]
    assert (path.forward_end, path.return_end, path.return_) == ("DELIVERED", NEVER_SENT, ())
    assert path.note.endswith("the programs of server are stopped, so nobody answers")


def test_a_stopped_opener_sends_nothing() -> None:
    topology = two_exits(nodes={"r": {"stopped": True}, "x": {"routes": {"10.0.0.0/16": "fw-a"}}})
    path = predict(spec_of(topology, LEGS[2:3]), plan_of(topology, *JOBS))[0]
    assert (path.forward_end, path.return_end) == (NEVER_SENT, NEVER_SENT)


def test_parties_that_cannot_reach_each_other_are_said_to_need_an_edge() -> None:
    topology = two_exits(firewalls={"fw-a": {"rules": {}}})
    path = predict(spec_of(topology, LEGS[3:]), plan_of(topology, *JOBS))[0]
    assert path.note.endswith("so ICE takes an Edge, if the two ends have any")


def notes_of(scenario: str, *changes: Change) -> list[list[str]]:
    """Return, by media leg, the notes of its predicted paths."""
    spec = read_spec(REPOSITORY / "scenarios" / f"{scenario}.toml", changes)
    plan = make_plan(spec, duration_ns=1, seed=1)
    legs = dict.fromkeys(path.leg for path in plan.predicted if path.flow == "media")
    return [[path.note for path in plan.predictions(*leg)] for leg in legs]


def flows_of(scenario: str, *changes: Change) -> list[list[str]]:
    """Return, by media leg, where each of its predicted paths goes to, as its note has it."""
    return [
        [re.findall(r"-> ([\d.:]+)", note)[0] for note in notes if "selects" in note]
        for notes in notes_of(scenario, *changes)
    ]


EDGE1, EDGE2 = "198.18.64.21", "198.18.64.22"
NO_RELAYED_PORTS = Change(remove=("firewalls.fw-er.rules.media-high-udp",))


def test_either_partys_edge_may_relay_and_the_callees_comes_first() -> None:
    alice, carol = flows_of("online/p2p-external")
    assert alice == [f"{EDGE2}:50000", f"{EDGE1}:3478"]
    assert carol == [f"{EDGE2}:3478", f"{EDGE1}:50000"]


def test_a_path_says_which_candidates_put_the_media_on_it() -> None:
    (straight, by_own), (by_relay, _) = notes_of("online/p2p-external")
    assert straight.endswith("; where ICE selects alice's own address with carol's relayed one")
    assert by_own.endswith("; where ICE selects alice's relayed address with carol's own, or two relayed addresses")
    assert by_relay.endswith("; where ICE selects carol's relayed address with alice's own, or two relayed addresses")


def test_a_caller_that_only_turn_is_open_to_uses_its_own_edge_and_the_other_either() -> None:
    alice, carol = flows_of("online/p2p-external", NO_RELAYED_PORTS)
    assert alice == [f"{EDGE1}:3478"]
    assert carol == [f"{EDGE1}:50000", f"{EDGE2}:3478"]


def test_an_edge_that_is_stopped_relays_nothing() -> None:
    alice, carol = flows_of("online/p2p-external", Change(set={"nodes.on-edge2.stopped": True}))
    assert (alice, carol) == ([f"{EDGE1}:3478"], [f"{EDGE1}:50000"])


def test_where_no_pair_gets_through_the_own_edge_is_taken_and_the_note_says_so() -> None:
    closed = Change(remove=("firewalls.fw-er.rules.turn", "firewalls.fw-er.rules.media-high-udp"))
    (alice,), (carol,) = notes_of("online/p2p-external", closed)
    for note, edge in ((alice, EDGE1), (carol, EDGE2)):
        assert f"-> {edge}:3478; no pair of candidates with a relay gets through" in note


def test_ways_through_one_edge_are_one_path() -> None:
    (alice,), (server,) = notes_of("online/pstn-internal")
    assert f"{EDGE1}:50000; where" in alice and "; or udp 10.1.16.10:50000" in alice and f"{EDGE1}:3478" in alice
    assert "on-med's relayed address with alice's own" in server


def test_alternatives_are_explained_one_after_the_other() -> None:
    plan = make_plan(read_spec(REPOSITORY / "scenarios/online/p2p-external.toml"), duration_ns=1, seed=1)
    lines = explain_lines(plan)
    start = lines.index("media alice -> online-edge")
    leads = [line[:9] for line in lines[start : lines.index("media carol -> online-edge")] if "selects" in line]
    assert leads == ["  udp 10.", "  or udp "]


def test_a_leg_to_an_edge_that_ice_would_not_use_says_so() -> None:
    leg = {"flow": "media", "from": "alice", "to": "online-edge", "crosses": ["customer"]}
    *_, notes = notes_of("online/p2p-internal", Change(set={"legs.3": leg}))
    assert all(note.endswith("alice and bob reach each other directly, which ICE prefers to an Edge") for note in notes)
    assert not any("directly" in one for each in notes_of("online/p2p-external") for one in each)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scenarios/online").glob("*.toml")), ids=scenario_id)
def test_the_predicted_paths_of_the_first_table_cross_what_its_rows_say(path: Path) -> None:
    spec = read_spec(path)
    plan = make_plan(spec, duration_ns=1_000_000_000, seed=1)
    kinds = {link.name: link.segment_kind for link in plan.links}
    legs: dict[tuple[str, str, str, str | None], Leg] = {
        (leg.flow, leg.from_, leg.to, leg.media): leg for leg in spec.scenario.legs
    }
    assert {predicted.leg for predicted in plan.predicted} == set(legs)
    for predicted in plan.predicted:
        leg = legs[predicted.leg]
        assert (predicted.forward_end, predicted.return_end) == ("DELIVERED", "DELIVERED"), predicted
        for links in (predicted.forward, predicted.return_):
            assert {kinds[name] for name in links} == set(leg.crosses), predicted


def sharing(**tables: Any) -> Topology:
    """Return two exits whose firewalls share their connection table over a link of their own."""
    world = two_exits("fw-b", **tables).model_dump(mode="json", by_alias=True)
    world["links"]["a-b"] = link("fw-a", "fw-b", "10.0.9")
    world["firewalls"]["fw-a"]["shares_state_with"], world["firewalls"]["fw-b"]["shares_state_with"] = "fw-b", "fw-a"
    return Topology.model_validate(world)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_an_answer_by_the_other_firewall_passes_where_the_two_share_their_table(protocol: Protocol) -> None:
    packet = Packet(protocol, CLIENT, 50000, SERVER, 5060)
    for world, ends in ((two_exits("fw-b"), False), (sharing(), True)):
        told = exchange(Opening("client", packet), Simulator(world, {}))
        assert told.back is not None and told.back.is_delivered is ends


def test_firewalls_share_nothing_over_a_link_that_is_down() -> None:
    world = sharing().model_dump(mode="json", by_alias=True)
    world["links"]["a-b"]["up"] = False
    told = exchange(
        Opening("client", Packet("tcp", CLIENT, 50000, SERVER, 5060)), Simulator(Topology.model_validate(world), {})
    )
    assert told.back is not None and not told.back.is_delivered


def test_conntrackd_is_told_its_own_address_and_the_others_and_let_in() -> None:
    text, rules = conntrackd_text(sharing(), "fw-a") or "", iptables_text(sharing(), "fw-b")
    assert "IPv4_address 10.0.9.1" in text and "IPv4_Destination_Address 10.0.9.2" in text
    assert "-A INPUT -i fw-a -p udp -m multiport --dports 3780" in rules
    assert conntrackd_text(two_exits(), "fw-a") is None


@pytest.mark.parametrize(
    ("edits", "problem"),
    [
        ({"firewalls.fw-internet.shares_state_with": "fw-er"}, "fw-er must name fw-internet too"),
        ({"firewalls.fw-internet.shares_state_with": "nobody"}, "no firewall 'nobody'"),
        (
            {"firewalls.fw-internet.shares_state_with": "fw-er", "firewalls.fw-er.shares_state_with": "fw-internet"},
            "there is no link between",
        ),
    ],
)
def test_firewalls_that_cannot_share_are_told_so(edits: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        read_spec(REPOSITORY / "scenarios/online/p2p-internal.toml", (Change(set=edits),))


def test_each_kind_of_media_is_predicted_from_its_own_ports() -> None:
    path = REPOSITORY / "scenarios/online/conference-all-media.toml"
    control = read_spec(path).scenario.controls["video-ports-refused"]
    spec = read_spec(path, (Change(set=control.set, remove=control.remove),))
    plan = make_plan(spec, duration_ns=1_000_000_000, seed=1)
    kinds = ("audio", "video", "application-sharing", "file-transfer")
    first = {kind: plan.predictions("media", "alice", "online-edge", kind)[0] for kind in kinds}
    ends = {kind: path.forward_end for kind, path in first.items()}
    assert ends.pop("video") == "DENIED_BY_RULE:fw-er:default"
    assert set(ends.values()) == {"DELIVERED"}
    assert ":50040 " in first["file-transfer"].note
