"""A broadcast in the plan: its programs, who watches what, the ways of the stream, and faults in what was written."""

from pathlib import Path
from typing import Any

import pytest

from testbed.catalogue import find_scenario
from testbed.errors import SpecError
from testbed.plan import make_plan, stock
from testbed.plan.model import Plan
from testbed.plan.names import lookup
from testbed.scenario import Change
from testbed.spec.reader import read_spec

BROADCAST = "online/meeting-broadcast"
CALL_NS = 5_000_000_000


def plan_of(slug: str, set_: dict[str, Any] | None = None, remove: tuple[str, ...] = ()) -> Plan:
    path: Path = find_scenario(slug)
    return make_plan(read_spec(path, (Change(set=set_ or {}, remove=remove),)), duration_ns=CALL_NS, seed=1)


def test_encoder_cache_and_audience_have_their_jobs() -> None:
    jobs = {job.name: job for job in plan_of(BROADCAST).jobs}
    origin, cdn, bob = jobs["broadcast-origin"], jobs["cdn"], jobs["bob"]
    assert (origin.node, origin.program, origin.stage) == ("on-cast", "broadcast", "party")
    assert origin.arguments["address"] == "10.250.0.50"
    assert origin.arguments["conference"] == {
        "server": {"address": "10.250.0.30", "port": 5060, "transport": "tcp"},
        "target": "sip:conference-1@contoso.example",
    }
    assert origin.arguments["origin"]["ready"] == [{"address": "198.18.129.2", "port": 80}]
    assert (cdn.program, cdn.stage) == ("stock", "service")
    assert "proxy_pass http://198.18.129.2:80;" in cdn.arguments["files"]["nginx.conf"]
    assert (bob.program, bob.arguments["viewers"], bob.arguments["buffer_ns"]) == ("attendee", 25, 3_000_000_000)


def test_attendees_watch_and_presenters_call() -> None:
    calls = {call.party: call.target for call in plan_of(BROADCAST).calls}
    assert calls == {
        "alice": "sip:conference-1@contoso.example",
        "carol": "sip:conference-1@contoso.example",
        "bob": "http://cdn.internet.example/live/index.m3u8",
    }


def test_the_audience_finds_the_network_by_its_name() -> None:
    plan = plan_of(BROADCAST)
    bob = next(job for job in plan.jobs if job.name == "bob")
    asked = next(server.name for server in plan.name_servers if server.address == bob.arguments["resolver"])
    found = lookup(plan.name_servers, asked, "cdn.internet.example", "A")
    assert found is not None and found.target == "198.19.16.2"


def test_nothing_of_it_runs_where_nothing_is_broadcast() -> None:
    names = [job.name for job in plan_of("online/conference-mixed").jobs]
    assert "cdn" not in names and "broadcast-origin" not in names


def test_the_stream_goes_by_the_internet_all_the_way() -> None:
    plan = plan_of(BROADCAST)
    (pulled,) = plan.predictions("stream", "bob", "cdn")
    (fetched,) = plan.predictions("stream", "cdn", "broadcast-origin")
    assert pulled.forward[-2:] == ("ce-inet-transit1", "cdn-transit1")
    assert fetched.forward == ("cdn-transit1", "transit1-msborder", "msborder-ms-near", "ms-near-on-cast")
    assert {path.return_end for path in (pulled, fetched)} == {"DELIVERED"}


def test_the_encoder_is_told_where_the_conference_would_be_though_it_is_stopped() -> None:
    jobs = {job.name: job for job in plan_of(BROADCAST, {"nodes.on-conf.stopped": True}).jobs}
    assert jobs["broadcast-origin"].arguments["conference"]["server"]["address"] == "10.250.0.30"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"broadcast.cdn": "cnd"}, "broadcast.cdn: no service of kind cdn 'cnd'; did you mean 'cdn'"),
        ({"broadcast.cdn": "broadcast-origin"}, "no service of kind cdn 'broadcast-origin'"),
        ({"broadcast.call": 3}, "broadcast.call: call 3 is no conference; conferences: 0"),
        ({"broadcast.attendees": ["alice"]}, "broadcast.attendees: 'alice' takes part in a call"),
        ({"broadcast.attendees": ["bop"]}, "broadcast.attendees: no party 'bop'"),
        ({"broadcast.viewers": 0}, "broadcast.viewers: "),
        ({"broadcast.viewers": 61}, "broadcast.viewers: 'bob' has local ports for 60, one for each player"),
        ({"nodes.bob.local_ports": "50000"}, "broadcast.viewers: 'bob' has local ports for 1,"),
        ({"parties.bob.visits": ["cdn"]}, "parties.bob.visits: 'cdn' has the broadcast, and no page besides"),
        ({"services.cdn.forward": "internet-dns"}, "services.cdn.forward: no origin 'internet-dns'"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plan_of(BROADCAST, change)


def test_a_cache_needs_an_origin() -> None:
    with pytest.raises(SpecError, match=r"services\.cdn\.forward: missing; a cdn asks an origin"):
        plan_of(BROADCAST, remove=("services.cdn.forward",))


def test_a_network_that_keeps_nothing_is_configured_so() -> None:
    kept = stock.cache_configuration("192.0.2.1", upstream="192.0.2.2", caches=True)
    unkept = stock.cache_configuration("192.0.2.1", upstream="192.0.2.2", caches=False)
    assert "proxy_cache kept;" in kept and "proxy_cache " not in unkept
