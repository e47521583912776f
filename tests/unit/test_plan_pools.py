"""Several pools in one scenario: who routes whom where, which servers are started, and by which relays media goes."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.scenario import Change
from testbed.spec.places import scenario_id
from testbed.spec.reader import read_spec


@cache
def plan(slug: str) -> Plan:
    return make_plan(read_spec(catalogue.find_scenario(slug)), duration_ns=1, seed=1)


def job(slug: str, name: str) -> dict[str, Any]:
    return next(job.arguments for job in plan(slug).jobs if job.name == name)


def next_hops(routes: list[dict[str, Any]]) -> dict[str, str]:
    return {route["match"]: route["next"].get("address", "by DNS") for route in routes}


def test_each_pool_of_a_shared_domain_knows_its_own_users_and_sends_the_rest_out_through_its_edge() -> None:
    cloud, own = job("hybrid/p2p-mixed-homes", "on-fe"), job("hybrid/p2p-mixed-homes", "dc-fe")
    assert list(cloud["users"]) == ["sip:alice@contoso.example"]
    assert list(own["users"]) == ["sip:bob@contoso.example"]
    assert next_hops(cloud["routes"]) == {r"^contoso\.example$": "192.0.2.140"}
    assert set(next_hops(own["routes"]).values()) == {"10.1.24.21"}
    access_edge = job("hybrid/p2p-mixed-homes", "dc-edge")["access_edge"]
    assert access_edge["next"]["address"] == "10.1.24.20"
    assert next_hops(access_edge["routes"])[r"^fabrikam\.example$"] == "by DNS"


def test_only_the_servers_of_the_parties_homes_are_started() -> None:
    names = ["contoso-resolver", "internet-dns"]
    assert [job.name for job in plan("hybrid/p2p-both-onprem").jobs] == [*names, "dc-edge", "dc-fe", "alice", "bob"]
    assert not any(job.name.startswith(("dc-", "cce-")) for job in plan("online/pstn-internal").jobs)


def test_cloud_connector_stands_behind_its_edge_and_has_no_front_end() -> None:
    slug = "cloud-connector/pstn-internal"
    assert {job.program for job in plan(slug).jobs if job.name.startswith("cce-")} == {"edge", "mediation"}
    assert next_hops(job(slug, "on-fe")["routes"])[r"^\+[0-9]+$"] == "192.0.2.150"
    assert job(slug, "cce-edge")["access_edge"]["next"]["address"] == "10.1.25.40"
    assert job(slug, "cce-med")["front_end"]["address"] == job(slug, "cce-med")["relay"]["address"] == "10.1.25.21"


def test_a_telephone_has_the_address_that_faces_its_mediation_server() -> None:
    for slug, server in (("hybrid/pstn", "dc-med"), ("cloud-connector/pstn-internal", "cce-med")):
        assert job(slug, "phone")["address"] == job(slug, server)["gateway"]["address"]


def test_a_server_behind_the_backbone_uses_the_inner_side_of_edge_and_front_end() -> None:
    far = job("online/conference-other-region", "on-conf-far")
    assert (far["relay"]["address"], far["front_end"]["address"]) == ("10.250.0.21", "10.250.0.10")


@pytest.mark.parametrize(
    ("home", "host", "server"),
    [("online", None, "on-conf"), ("onprem", None, "dc-conf"), ("onprem", "online-conference", "on-conf")],
)
def test_a_conference_goes_to_its_organisers_home_unless_it_names_a_host(
    home: str, host: str | None, server: str
) -> None:
    call = {"kind": "conference", "participants": ["alice", "bob"], "organiser": "alice"}
    changed = {"parties.alice.home": home, "calls.0": call | ({"host": host} if host else {})}
    spec = read_spec(catalogue.find_scenario("hybrid/conference-onprem-organiser"), (Change(set=changed),))
    calls = make_plan(spec, duration_ns=1, seed=1).calls
    assert {answerer for each in calls for answerer in each.answerers} == {server}


@pytest.mark.parametrize("path", catalogue.choose(everything=True), ids=scenario_id)
def test_every_conference_of_the_catalogue_lives_where_its_organiser_is_homed(path: Path) -> None:
    scenario = read_spec(path).scenario
    for call in scenario.calls:
        if call.kind == "conference":
            home = scenario.parties[call.organiser or ""].home
            assert (scenario.host_of(call) or "").startswith(f"{home}-conference")


@pytest.mark.parametrize(("host", "problem"), [("onprem-conference", "no role of a Mediation Server"), ("cce", "cce-")])
def test_a_telephone_call_can_only_be_hosted_by_a_mediation_server(host: str, problem: str) -> None:
    calls = [{"kind": "pstn", "caller": "alice", "callee": "phone", "host": host}]
    with pytest.raises(SpecError, match=problem):
        read_spec(catalogue.find_scenario("hybrid/pstn"), (Change(set={"calls": calls}),))


def test_a_user_whose_address_the_far_relay_was_not_told_goes_by_its_own_relay_first() -> None:
    (path,) = plan("hybrid/conference-online-organiser").predictions("media", "alice", "online-edge")
    assert path.forward.index("dc-edge-lan-dc") < path.forward.index("dmz-fw-er") < len(path.forward) - 1
    assert path.forward[-1] == "on-edge1-ms-lan"
    assert path.return_ == path.forward[::-1]
    (straight,) = plan("online/conference-internal").predictions("media", "alice", "online-edge")
    assert "dmz-fw-er" not in straight.forward


@pytest.mark.parametrize(
    ("change", "ends", "kinds"),
    [
        (Change(), "DELIVERED", "expressroute"),
        (
            Change(remove=("announcements.edge-prefix-over-er",), set={"sessions.dmz-ce-er.up": False}),
            "DELIVERED",
            "internet",
        ),
        (Change(remove=("announcements.edge-prefix-over-er",)), "NO_SESSION_ON_RETURN:fw-internet", "expressroute"),
    ],
)
def test_servers_meet_where_the_prefix_of_the_dmz_is_announced(change: Change, ends: str, kinds: str) -> None:
    spec = read_spec(catalogue.find_scenario("hybrid/conference-online-organiser"), (change,))
    made = make_plan(spec, duration_ns=1, seed=1)
    (path,) = made.predictions("signaling", "onprem-edge", "online-front-end")
    assert path.return_end.startswith(ends)
    kind_of = {link.name: link.segment_kind for link in made.links}
    assert {kind_of[name] for name in path.forward} - {"customer", "microsoft"} == {kinds}
