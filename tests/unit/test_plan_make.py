"""What a plan says, worked out from the files that are shipped."""

import json
import re
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from typing import Any

import pytest
from small_topologies import topology

from testbed import catalogue
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.plan.addresses import pool_addresses
from testbed.plan.model import Job, Plan
from testbed.plan.names import sip_servers
from testbed.scenario import Change
from testbed.spec.reader import read_spec

SECONDS = 1_000_000_000
SLUGS = [
    "online/p2p-internal",
    "online/p2p-external",
    "online/p2p-federated",
    "online/conference-internal",
    "online/conference-external",
    "online/conference-third-party",
    "online/pstn-internal",
    "online/pstn-external",
]


def file_of(slug: str) -> Path:
    return catalogue.choose([slug], everything=False, table=None)[0]


def plan_of(
    slug: str, changed: Mapping[str, Any] | None = None, *, remove: tuple[str, ...] = (), seed: int = 1
) -> Plan:
    """Return the plan of a shipped scenario, changed by dotted keys."""
    if not changed and not remove and seed == 1:
        return shipped(slug)
    spec = read_spec(file_of(slug), (Change(set=dict(changed or {}), remove=remove),))
    return make_plan(spec, duration_ns=5 * SECONDS, seed=seed)


@cache
def shipped(slug: str) -> Plan:
    return make_plan(read_spec(file_of(slug)), duration_ns=5 * SECONDS, seed=1)


def job(plan: Plan, name: str) -> Job:
    return next(job for job in plan.jobs if job.name == name)


def arguments(plan: Plan, name: str) -> Mapping[str, Any]:
    return job(plan, name).arguments


@pytest.mark.parametrize("slug", SLUGS)
def test_equal_arguments_give_equal_plans_and_json_gives_them_back(slug: str) -> None:
    plan = plan_of(slug)
    assert make_plan(read_spec(file_of(slug)), duration_ns=5 * SECONDS, seed=1) == plan
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_the_seed_decides_every_secret_and_nothing_else() -> None:
    one, other = plan_of("online/p2p-external"), plan_of("online/p2p-external", seed=2)
    assert arguments(one, "alice")["password"] != arguments(other, "alice")["password"]
    assert arguments(one, "on-fe")["relay_secret"] != arguments(other, "on-fe")["relay_secret"]
    assert other.model_copy(update={"jobs": one.jobs, "seed": 1}) == one


@pytest.mark.parametrize("slug", SLUGS)
def test_every_job_can_be_handed_over_as_json(slug: str) -> None:
    for each in plan_of(slug).jobs:
        assert json.loads(json.dumps(each.arguments)) == each.arguments
        assert (each.arguments["name"], each.arguments["node"]) == (each.name, each.node)
        IPv4Address(each.arguments["address"])


def test_interfaces_are_named_after_the_neighbour_and_have_macs_of_their_own() -> None:
    plan = plan_of("online/p2p-internal")
    macs = [port.mac for node in plan.nodes for port in node.interfaces]
    assert len(macs) == len(set(macs)) == 2 * len(plan.links)
    assert all(re.fullmatch(r"02:00:00:00:[0-9a-f]{2}:[0-9a-f]{2}", mac) for mac in macs)
    ends = {(node.name, port.name, port.link) for node in plan.nodes for port in node.interfaces}
    for link in plan.links:
        assert (link.a.node, link.b.node, link.name) in ends
        assert (link.b.node, link.a.node, link.name) in ends


def test_routers_forward_and_hosts_do_not() -> None:
    settings = {node.name: node.sysctls for node in plan_of("online/p2p-internal").nodes}
    assert settings["core"]["net.ipv4.ip_forward"] == settings["fw-er"]["net.ipv4.ip_forward"] == "1"
    assert settings["alice"]["net.ipv4.ip_forward"] == "0"
    assert settings["alice"]["net.ipv4.ip_local_port_range"] == "50000\t50059"
    for name in ("all", "default", "core", "ce-er"):
        assert settings["fw-er"][f"net.ipv4.conf.{name}.rp_filter"] == "0"
    assert settings["fw-er"]["net.netfilter.nf_conntrack_tcp_loose"] == "0"
    assert "net.netfilter.nf_conntrack_tcp_loose" not in settings["core"]


def test_a_nodes_own_settings_come_last() -> None:
    strict = {"net.ipv4.conf.all.rp_filter": "1", "net.ipv4.conf.core.rp_filter": "1"}
    plan = plan_of("online/p2p-internal", {"nodes.fw-er.sysctl": strict})
    settings = next(node.sysctls for node in plan.nodes if node.name == "fw-er")
    assert settings["net.ipv4.conf.all.rp_filter"] == settings["net.ipv4.conf.core.rp_filter"] == "1"
    assert settings["net.ipv4.conf.ce-er.rp_filter"] == "0"


def test_static_routes_are_set_by_netlink_except_in_a_bgp_speaker() -> None:
    nodes = {node.name: node for node in plan_of("online/p2p-internal").nodes}
    (default,) = nodes["alice"].routes
    assert (default.prefix, default.via, default.interface) == ("0.0.0.0/0", "10.1.16.1", "lan-a")
    assert not nodes["core"].routes
    assert "route 10.1.16.0/24 via 10.1.0.18;" in (nodes["core"].bird or "")


def test_a_link_that_is_down_takes_its_routes_and_facts_with_it() -> None:
    up = plan_of("online/p2p-internal")
    down = plan_of("online/p2p-internal", {"links.site-a-core.up": False})
    assert next(node for node in down.nodes if node.name == "site-a").routes == ()
    assert ("core", "10.1.16.0/24") in {(fact.node, fact.prefix) for fact in up.converged}
    assert ("core", "10.1.16.0/24") not in {(fact.node, fact.prefix) for fact in down.converged}


def via(plan: Plan, node: str, prefix: str) -> str | None:
    (fact,) = [fact for fact in plan.converged if (fact.node, fact.prefix) == (node, prefix)]
    return fact.via


def test_routes_to_wait_for_name_the_next_hop_and_prefixes_that_must_not_come() -> None:
    plan = plan_of("online/p2p-internal")
    assert via(plan, "core", "198.18.64.0/19") == "10.1.0.10"
    assert via(plan, "ms-near", "192.0.2.64/26") == "198.18.0.6"
    assert via(plan, "transit1", "192.0.2.64/26") is None
    assert via(plan, "ce-er", "198.51.100.64/26") is None


def test_routes_move_to_the_internet_without_the_circuit() -> None:
    plan = plan_of("online/p2p-internal", {"links.er-pe1-msee1.up": False, "links.er-pe2-msee2.up": False})
    assert via(plan, "core", "198.18.64.0/19") == "10.1.0.2"
    assert via(plan, "ms-near", "192.0.2.64/26") is None


def test_routes_move_to_the_secondary_connection_without_the_primary() -> None:
    plan = plan_of("online/p2p-internal", {"links.er-pe1-msee1.up": False})
    assert via(plan, "core", "198.18.64.0/19") == "10.1.0.10"
    assert via(plan, "ce-er", "198.18.64.0/19") == "100.64.0.6"
    assert via(plan, "ms-near", "192.0.2.64/26") == "198.18.0.10"


def test_addresses_tell_interfaces_and_nat_pools_from_each_other() -> None:
    owners = plan_of("online/p2p-internal").addresses
    assert owners["10.1.16.10"] == "alice"
    assert owners["198.18.64.10"] == owners["10.250.0.10"] == "on-fe"
    assert owners["192.0.2.0"] == owners["192.0.2.63"] == "fw-internet"
    assert owners["192.0.2.64"] == owners["192.0.2.127"] == "fw-er"
    assert "192.0.2.128" not in owners


def test_roles_name_servers_and_parties() -> None:
    roles = plan_of("online/p2p-external").roles
    assert roles["online-edge"] == ("on-edge1", "on-edge2")
    assert roles["tailspin-front-end"] == ("tail-fe",)
    assert roles["carol"] == ("carol",)


def test_users_sign_in_at_their_front_end_and_share_its_secrets() -> None:
    plan = plan_of("online/p2p-external")
    alice, front_end = arguments(plan, "alice"), arguments(plan, "on-fe")
    assert alice["server"] == {"domain": "contoso.example", "transport": "tcp"}
    assert (alice["resolver"], arguments(plan, "carol")["resolver"]) == ("10.1.24.53", "198.19.128.10")
    assert front_end["users"]["sip:alice@contoso.example"] == alice["password"]
    assert front_end["relay_secret"] == arguments(plan, "on-edge1")["relay_secret"]
    assert len({alice["password"], arguments(plan, "carol")["password"], front_end["relay_secret"]}) == 3
    assert alice["tone_hz"] != arguments(plan, "carol")["tone_hz"]


def test_everybody_who_listens_is_told_who_plays_which_tone() -> None:
    plan = plan_of("online/pstn-internal")
    tones = {name: arguments(plan, name)["tone_hz"] for name in ("alice", "phone")}
    assert len(set(tones.values())) == 2
    assert all(arguments(plan, name)["tones"] == tones for name in ("alice", "phone", "on-med"))


def test_the_callers_transport_is_that_of_the_party() -> None:
    plan = plan_of("online/p2p-external", {"parties.alice.transport": "udp", "parties.alice.turn_transports": ["tcp"]})
    assert arguments(plan, "alice")["server"]["transport"] == arguments(plan, "alice")["transport"] == "udp"
    assert arguments(plan, "alice")["turn_transports"] == ["tcp"]


def test_edges_are_given_in_turn_to_the_users_of_a_two_party_call() -> None:
    front_end = arguments(plan_of("online/p2p-external"), "on-fe")
    assert front_end["relay_of"] == {"sip:alice@contoso.example": 0, "sip:carol@contoso.example": 1}
    assert [relay["address"] for relay in front_end["relays"]] == ["198.18.64.21", "198.18.64.22"]
    assert [relay["internal_address"] for relay in front_end["relays"]] == ["10.250.0.21", "10.250.0.22"]


def test_all_who_meet_in_a_conference_share_the_edge_of_its_server() -> None:
    plan = plan_of("online/conference-internal")
    assert set(arguments(plan, "on-fe")["relay_of"].values()) == {0}
    relay = arguments(plan, "on-conf")["relay"]
    assert (relay["address"], relay["secret"]) == ("10.250.0.21", arguments(plan, "on-edge1")["relay_secret"])


def test_a_conference_is_found_by_its_front_end_and_called_by_each_participant() -> None:
    plan = plan_of("online/conference-internal")
    assert [(call.party, call.target, call.answerers) for call in plan.calls] == [
        ("alice", "sip:conference-1@contoso.example", ("on-conf",)),
        ("bob", "sip:conference-1@contoso.example", ("on-conf",)),
    ]
    assert len({call.call for call in plan.calls}) == 2
    (route,) = arguments(plan, "on-fe")["routes"]
    assert re.fullmatch(route["match"], "conference-1")
    assert not re.fullmatch(route["match"], "alice")
    assert route["next"] == {"address": "10.250.0.30", "port": 5060, "transport": "tcp"}


def test_a_guest_enters_by_the_access_edge_of_the_host_and_nothing_of_its_own_cloud_runs() -> None:
    plan = plan_of("online/conference-third-party")
    names = {"contoso-resolver", "tailspin-resolver", "internet-dns"}
    assert {each.name for each in plan.jobs} == names | {"tail-edge", "tail-fe", "tail-conf", "alice", "erin"}
    alice, erin = arguments(plan, "alice"), arguments(plan, "erin")
    assert (alice["guest"], alice["password"], alice["server"]["domain"]) == (True, None, "tailspin.example")
    assert list(sip_servers(plan, job(plan, "alice"))) == [("203.0.113.130", 5060, "tcp")]
    assert (erin["guest"], list(sip_servers(plan, job(plan, "erin")))) == (False, [("10.3.16.20", 5060, "tcp")])
    assert (alice["relay_side"], erin["relay_side"]) == ("external", "internal")
    assert arguments(plan, "tail-edge")["access_edge"]["next"]["address"] == "10.3.16.20"
    assert "sip:alice@anonymous.invalid" not in arguments(plan, "tail-fe")["users"]
    assert "sip:alice@anonymous.invalid" in arguments(plan, "tail-fe")["relay_of"]


def test_a_telephone_is_called_through_the_mediation_server() -> None:
    plan = plan_of("online/pstn-internal")
    (call,) = plan.calls
    assert (call.party, call.answerers) == ("alice", ("phone",))
    (route,) = arguments(plan, "on-fe")["routes"]
    number = call.target.removeprefix("sip:").partition("@")[0]
    assert re.fullmatch(route["match"], number)
    assert route["next"]["address"] == arguments(plan, "on-med")["address"] == "10.250.0.40"
    assert arguments(plan, "on-med")["gateway"] == {"address": arguments(plan, "phone")["address"], "port": 5060}
    assert job(plan, "phone").program == "phone"


def test_servers_come_before_parties() -> None:
    stages = [each.stage for each in plan_of("online/pstn-internal").jobs]
    assert stages == sorted(stages, key=["service", "party"].index)


def test_nothing_is_started_on_a_stopped_node_and_nobody_waits_for_it() -> None:
    plan = plan_of("online/p2p-external", {"nodes.on-edge1.stopped": True, "nodes.carol.stopped": True})
    assert {each.name for each in plan.jobs} == {"contoso-resolver", "internet-dns", "on-edge2", "on-fe", "alice"}
    (call,) = plan.calls
    assert call.answerers == ()


def test_a_stopped_caller_makes_no_call() -> None:
    assert plan_of("online/p2p-external", {"nodes.alice.stopped": True}).calls == ()


def test_predictions_are_made_for_every_leg() -> None:
    plan = plan_of("online/p2p-external")
    assert list(dict.fromkeys(path.leg for path in plan.predicted)) == [
        ("signaling", "alice", "online-front-end", None),
        ("signaling", "carol", "online-front-end", None),
        ("media", "alice", "online-edge", None),
        ("media", "carol", "online-edge", None),
    ]


def test_a_participant_without_a_home_is_a_guest() -> None:
    assert arguments(plan_of("online/conference-internal", remove=("parties.alice.home",)), "alice")["guest"]


@pytest.mark.parametrize(
    ("slug", "remove", "problem"),
    [
        ("online/pstn-internal", "pools.online.roles.mediation", r"calls\.0: pool 'online' has no mediation server"),
        ("online/pstn-internal", "parties.alice.home", r"calls\.0: one end of a PSTN call must be homed"),
        ("online/p2p-internal", "parties.alice.home", r"parties\.alice\.home: only a guest"),
        ("online/p2p-internal", "pools.online.roles.front-end", r"pools\.online\.roles: needs .* 'front-end'"),
        ("online/p2p-internal", "pools.online.roles.edge", r"pools\.online\.roles: needs .* 'edge'"),
    ],
)
def test_what_cannot_be_played_is_an_error_before_anything_starts(slug: str, remove: str, problem: str) -> None:
    leg = {"flow": "media", "from": "alice", "to": "site-a", "crosses": ["customer"]}
    with pytest.raises(SpecError, match=problem):
        plan_of(slug, {"legs": [leg]}, remove=(remove,))


@pytest.mark.parametrize("pool", ["192.0.2.9-192.0.2.1", "somewhere", "10.0.0.0-10.255.255.255", "192.0.2.1-"])
def test_a_nat_pool_that_is_none_is_named(pool: str) -> None:
    world = topology(nodes={"fw": {"kind": "firewall"}}, links={})
    with pytest.raises(SpecError, match=r"firewalls\.fw\.nat\.exit\.pool"):
        list(pool_addresses(world, "firewalls.fw.nat.exit", pool))


def test_every_address_of_a_shaped_link_is_in_the_plan() -> None:
    plan = plan_of("online/p2p-internal")
    given = [port.address for node in plan.nodes for port in node.interfaces if port.address is not None]
    assert {str(IPv4Interface(address).ip) for address in given} <= plan.addresses.keys()


def tls_server(plan: Plan, name: str) -> tuple[int, str, str]:
    """Return the port that a client's name server tells it, and what it is told by its job: transport and domain."""
    server = arguments(plan, name)["server"]
    ((_, port, _),) = sip_servers(plan, job(plan, name))
    return port, server["transport"], server["domain"]


def test_a_tls_client_goes_to_443_online_and_checks_for_its_own_domain() -> None:
    plan = plan_of("online/p2p-internal-tls")
    assert tls_server(plan, "alice") == (443, "tls", "contoso.example")
    listens = arguments(plan, "on-fe")["listen"]
    assert {(one["transport"], one["port"]) for one in listens} >= {("tls", 443), ("tls", 5061)}
    assert plan.signaling_endpoints == ("198.18.64.10:443", "10.250.0.10:443")
    assert "tls" not in arguments(shipped("online/p2p-internal"), "alice")


def test_servers_reach_each_other_by_tls_under_their_names() -> None:
    plan = plan_of("hybrid/p2p-federated-tls")
    assert tls_server(plan, "alice") == (5061, "tls", "contoso.example")
    assert tls_server(plan, "dave") == (443, "tls", "fabrikam.example")
    route = next(one["next"] for one in arguments(plan, "dc-fe")["routes"] if "fabrikam" in one["match"])
    assert (route["port"], route["transport"], route["name"]) == (5061, "tls", "dc-edge.contoso.example")
    edge = arguments(plan, "dc-edge")["access_edge"]
    assert (edge["next"]["transport"], edge["next"]["name"]) == ("tls", "dc-fe.contoso.example")
    assert {one["next"].get("name", "by DNS") for one in edge["routes"]} == {"contoso.example", "by DNS"}


def test_a_plan_with_certificates_can_be_repeated() -> None:
    one, again = (plan_of("online/p2p-internal-tls", {"parties.alice.uri": "sip:a@contoso.example"}) for _ in range(2))
    assert one == again
    other = plan_of("online/p2p-internal-tls", seed=2)
    assert arguments(other, "on-fe")["tls"]["key"] != arguments(one, "on-fe")["tls"]["key"]
