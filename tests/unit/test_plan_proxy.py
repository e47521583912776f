"""A web proxy in the plan: who starts it, who is told of it, what may use it, and the way out that it takes."""

from pathlib import Path
from typing import Any

import pytest

from testbed.catalogue import find_scenario
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.plan.stock import tinyproxy_configuration
from testbed.scenario import Change
from testbed.spec.reader import read_spec

PROXIED = "general/proxy-steers-to-internet"
CALL_NS = 5_000_000_000


def plan_of(slug: str, set_: dict[str, Any] | None = None, remove: tuple[str, ...] = ()) -> Plan:
    path: Path = find_scenario(slug)
    return make_plan(read_spec(path, (Change(set=set_ or {}, remove=remove),)), duration_ns=CALL_NS, seed=1)


def test_a_client_is_told_of_the_inner_side_of_its_proxy() -> None:
    jobs = {job.name: job for job in plan_of(PROXIED).jobs}
    assert jobs["alice"].arguments["proxy"] == {"address": "10.1.24.80", "port": 8080, "transport": "tcp"}
    assert jobs["bob"].arguments["proxy"] is None
    assert jobs["proxy"].arguments["ready"] == [{"address": "10.1.24.80", "port": 8080}]


def test_tunnels_are_signaling_only_where_there_is_a_proxy() -> None:
    assert plan_of(PROXIED).signaling_endpoints == ("10.1.24.80:8080", "10.1.26.2:8080")
    assert plan_of(PROXIED, remove=("parties.alice.proxy",)).signaling_endpoints == ()
    without = plan_of("online/conference-internal")
    assert "proxy" not in [job.name for job in without.jobs]


def test_a_proxy_that_only_a_leg_names_is_started_too() -> None:
    assert "proxy" in [job.name for job in plan_of(PROXIED, remove=("parties.alice.proxy",)).jobs]


def test_the_proxy_leaves_by_the_internet_and_media_by_expressroute() -> None:
    plan = plan_of(PROXIED)
    (out,) = plan.predictions("signaling", "proxy", "online-front-end")
    assert "transit1-msborder" in out.forward and out.return_ == out.forward[::-1]
    assert all("er-pe1-msee1" in path.forward for path in plan.predictions("media", "alice", "online-edge"))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"parties.alice.proxy": "proxi"}, "parties.alice.proxy: no service of kind proxy 'proxi'; .*'proxy'"),
        ({"parties.alice.proxy": "internet-dns"}, "no service of kind proxy 'internet-dns'"),
        ({"parties.alice.transport": "udp"}, "parties.alice.proxy: takes connections only"),
    ],
)
def test_a_wrong_proxy_is_told(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plan_of(PROXIED, change)


def test_tunnels_are_opened_to_the_ports_of_signaling_only() -> None:
    lines = tinyproxy_configuration("192.0.2.1", connect_ports=(5060, 5061)).splitlines()
    assert [line for line in lines if line.startswith("ConnectPort")] == ["ConnectPort 5060", "ConnectPort 5061"]
    assert "Listen 192.0.2.1" in lines
