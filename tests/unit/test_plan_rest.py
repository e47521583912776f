"""The web service in a plan: who gets a port, and who gives way."""

from typing import Any

from testbed import catalogue
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.scenario import Change
from testbed.spec.reader import read_spec


def plan_of(scenario: str, **changed: Any) -> Plan:
    change = Change(set={key.replace("__", "."): value for key, value in changed.items()})
    return make_plan(read_spec(catalogue.find_scenario(scenario), (change,)), duration_ns=1, seed=1)


def arguments(plan: Plan, name: str) -> dict[str, Any]:
    return next(job.arguments for job in plan.jobs if job.name == name)


def way_of(plan: Plan, name: str) -> tuple[Any, ...]:
    server = arguments(plan, name)["server"]
    return server["port"], server["transport"], server["name"]


def test_a_client_of_the_web_service_has_443_and_sip_by_tls_gives_way_to_it() -> None:
    plan = plan_of("online/message-rest-internal", parties__bob__transport="tls")
    programs = {job.name: job.program for job in plan.jobs}
    assert (programs["alice"], programs["bob"]) == ("rest_client", "client")
    assert way_of(plan, "alice") == (443, "tls", "contoso.example")
    assert arguments(plan, "on-fe")["rest"] == {"listen": [{"transport": "tls", "port": 443}]}
    assert all(one["port"] != 443 for one in arguments(plan, "on-fe")["listen"])
    assert "198.18.64.10:443" in plan.signaling_endpoints


def test_a_pool_without_such_clients_has_no_web_service() -> None:
    assert "rest" not in arguments(plan_of("online/p2p-internal-tls", parties__bob__transport="tls"), "on-fe")
