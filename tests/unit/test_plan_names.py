"""Which names a scenario's name servers answer, and what each network's clients are told."""

import pytest

from agents.stock import Settings
from testbed import catalogue
from testbed.plan import make_plan, stock
from testbed.plan.model import NameServer, Plan
from testbed.plan.names import lookup, sip_servers
from testbed.scenario import Change
from testbed.spec.reader import read_spec


def plan_of(slug: str, change: Change | None = None) -> Plan:
    path = catalogue.choose([slug], everything=False, table=None)[0]
    return make_plan(read_spec(path, (change,) if change else ()), duration_ns=1_000_000_000, seed=1)


def server_of(plan: Plan, name: str) -> NameServer:
    return next(server for server in plan.name_servers if server.name == name)


def address_of(plan: Plan, asked: str, domain: str, transport: str = "tcp") -> str | None:
    """Return where a client of the name server *asked* goes for a domain: SRV, then A."""
    server = lookup(plan.name_servers, asked, f"_sip._{transport}.{domain}", "SRV")
    host = lookup(plan.name_servers, asked, server.target, "A") if server else None
    return host.target if host else None


def test_a_customer_without_servers_of_its_own_asks_the_internet_for_everything() -> None:
    plan = plan_of("online/p2p-internal")
    resolver = server_of(plan, "contoso-resolver")
    assert (resolver.records, resolver.zones, resolver.forward) == ((), (), "internet-dns")
    assert address_of(plan, "contoso-resolver", "contoso.example") == "198.18.64.10"


def test_only_the_name_servers_of_those_who_take_part_are_started() -> None:
    assert {server.name for server in plan_of("online/p2p-internal").name_servers} == {
        "contoso-resolver",
        "internet-dns",
    }
    third_party = plan_of("online/conference-third-party")
    assert {server.name for server in third_party.name_servers} >= {"tailspin-resolver", "internet-dns"}


def test_split_dns_shows_the_front_end_inside_and_the_access_edge_outside() -> None:
    plan = plan_of("hybrid/p2p-mixed-homes")
    assert address_of(plan, "contoso-resolver", "contoso.example") == "10.1.24.20"
    assert address_of(plan, "internet-dns", "contoso.example") == "192.0.2.140"


def test_in_a_hybrid_deployment_all_records_of_the_shared_domain_point_on_premises() -> None:
    outside = server_of(plan_of("hybrid/p2p-mixed-homes"), "internet-dns")
    targets = {record.target for record in outside.records if record.name.endswith(".contoso.example")}
    assert "dc-edge.contoso.example" in targets and "on-fe.microsoft.example" not in targets


def test_an_edge_has_its_internal_address_inside_and_its_public_one_outside() -> None:
    plan = plan_of("hybrid/p2p-mixed-homes")
    told = {
        asked: lookup(plan.name_servers, asked, "dc-edge.contoso.example", "A")
        for asked in ("contoso-resolver", "internet-dns")
    }
    assert {asked: record and record.target for asked, record in told.items()} == {
        "contoso-resolver": "10.1.24.21",
        "internet-dns": "192.0.2.140",
    }


def test_nobody_is_told_of_a_name_that_is_not_there() -> None:
    plan = plan_of("online/p2p-internal")
    assert lookup(plan.name_servers, "contoso-resolver", "_sip._tcp.nowhere.example", "SRV") is None
    assert lookup(plan.name_servers, "no-such-server", "on-fe.microsoft.example", "A") is None


def test_the_program_of_a_stopped_node_is_left_out() -> None:
    running = plan_of("online/p2p-internal")
    assert "contoso-resolver" in {job.name for job in running.jobs}
    stopped = plan_of("online/p2p-internal", Change(set={"nodes.dc-dns.stopped": True}))
    assert "contoso-resolver" not in {job.name for job in stopped.jobs}


def test_a_resolver_forwards_to_the_address_of_the_server_that_it_asks() -> None:
    plan = plan_of("hybrid/p2p-mixed-homes")
    text = stock.dnsmasq_configuration(server_of(plan, "contoso-resolver"), forward_to="198.19.128.10")
    assert "server=198.19.128.10\n" in text
    assert "local=/contoso.example/\n" in text
    assert "srv-host=_sip._tcp.contoso.example,dc-fe.contoso.example,5060\n" in text
    assert "host-record=dc-fe.contoso.example,10.1.24.20\n" in text
    assert "server=" not in stock.dnsmasq_configuration(server_of(plan, "internet-dns"), forward_to=None)


JOB = {"command": ["dnsmasq"], "package": "dnsmasq-base", "ready": [{"address": "127.0.0.1", "port": 53}]}


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"files": {"../etc/x": ""}}, "is not inside"),
        ({"files": {"/etc/x": ""}}, "is not inside"),
        ({"ready": []}, "names no address"),
    ],
)
def test_a_wrong_job_is_refused(changed: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Settings.from_job({**JOB, **changed})


def test_a_job_without_a_key_is_refused() -> None:
    with pytest.raises(ValueError, match="'package'"):
        Settings.from_job({key: value for key, value in JOB.items() if key != "package"})


@pytest.mark.parametrize("slug", [entry.scenario for entry in catalogue.list_scenarios()])
def test_every_client_of_the_catalogue_finds_its_server_by_name(slug: str) -> None:
    plan = plan_of(slug)
    asking = [job for job in plan.jobs if job.arguments.get("resolver") and job.program in ("client", "rest_client")]
    assert [job.name for job in asking if not list(sip_servers(plan, job))] == []


@pytest.mark.parametrize("slug", ["online/message-rest-internal", "online/message-rest-external"])
def test_a_client_of_the_web_service_finds_it_by_name(slug: str) -> None:
    plan = plan_of(slug)
    client = next(job for job in plan.jobs if job.program == "rest_client")
    asked = next(server.name for server in plan.name_servers if server.address == client.arguments["resolver"])
    found = lookup(plan.name_servers, asked, client.arguments["server"]["host"], "A")
    front_end = next(job for job in plan.jobs if "rest" in job.arguments)
    assert found is not None and found.target == front_end.arguments["address"]


def test_a_resolver_with_hosts_in_a_domain_that_it_does_not_serve_asks_others_for_the_rest() -> None:
    plan = plan_of("asymmetric/two-circuits")
    assert address_of(plan, "contoso-resolver", "contoso.example") == "198.18.64.10"
    assert address_of(plan, "contoso-resolver", "perimeter.example") == "192.0.2.194"
    assert "contoso.example" not in server_of(plan, "contoso-resolver").zones


def federated(plan: Plan, name: str) -> list[dict[str, str]]:
    """Return the domains that a server asks its name server for."""
    job = next(job for job in plan.jobs if job.name == name)
    part = job.arguments.get("access_edge") or job.arguments
    return [route["next"] for route in part["routes"] if "domain" in route["next"]]


@pytest.mark.parametrize(
    ("slug", "server", "domains", "found"),
    [
        ("hybrid/p2p-federated", "dc-edge", ["fabrikam.example"], [("198.18.64.10", 5060, "tcp")]),
        ("hybrid/p2p-federated-tls", "dc-edge", ["fabrikam.example"], [("198.18.64.10", 5061, "tls")]),
        ("hybrid/p2p-federated", "dc-fe", [], []),  # it has its Access Edge
        ("hybrid/p2p-federated", "on-fe", [], []),  # the domain is its own too
        ("online/conference-third-party-federated", "on-fe", ["tailspin.example"], [("203.0.113.130", 5060, "tcp")]),
        ("cloud-connector/pstn-external", "cce-edge", [], []),
    ],
)
def test_the_last_server_of_an_organisation_finds_others_by_name(
    slug: str, server: str, domains: list[str], found: list[tuple[str, int, str]]
) -> None:
    plan = plan_of(slug)
    job = next(job for job in plan.jobs if job.name == server)
    assert [following["domain"] for following in federated(plan, server)] == domains
    assert list(sip_servers(plan, job)) == found


@pytest.mark.parametrize("slug", [entry.scenario for entry in catalogue.list_scenarios()])
def test_every_domain_that_a_server_of_the_catalogue_asks_for_is_known_where_it_asks(slug: str) -> None:
    plan = plan_of(slug)
    for job in plan.jobs:
        if job.stage == "service" and "routes" in (job.arguments.get("access_edge") or job.arguments):
            assert len(list(sip_servers(plan, job))) == len(federated(plan, job.name))


def test_an_organisation_without_a_name_server_sends_to_addresses() -> None:
    nobody = Change(set={"services.internet-dns.clients": ["internet", "fabrikam"]})
    assert federated(plan_of("online/conference-third-party-federated", nobody), "on-fe") == []
