"""What clients visit besides calls: which servers that needs, under which names, with which certificates."""

import base64
from typing import Any

import pytest
from cryptography import x509

from agents.stock import Settings
from testbed import catalogue
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.plan.model import Job, Plan
from testbed.plan.names import lookup
from testbed.scenario import Change
from testbed.spec.reader import read_spec


def plan_of(changed: dict[str, Any] | None = None, remove: tuple[str, ...] = ()) -> Plan:
    path = catalogue.choose(["general/internet-only-traffic"], everything=False, table=None)[0]
    return make_plan(read_spec(path, (Change(set=changed or {}, remove=remove),)), duration_ns=10**9, seed=1)


def job(plan: Plan, name: str) -> Job:
    return next(each for each in plan.jobs if each.name == name)


def listed(plan: Plan) -> x509.CertificateRevocationList:
    (content,) = (text for name, text in job(plan, "crl").arguments["files"].items() if name.endswith(".crl"))
    return x509.load_der_x509_crl(base64.b64decode(content["base64"]))


def shown(plan: Plan, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(job(plan, name).arguments["files"]["certificate.pem"].encode())


def test_who_visits_is_told_where_and_whom_to_trust_and_who_does_not_is_told_nothing() -> None:
    plan = plan_of()
    visits = job(plan, "alice").arguments["visits"]
    assert [(one["service"], one["kind"], one["url"]) for one in visits["to"]] == [
        ("admin-portal", "portal", "https://admin-portal.microsoft.example/"),
        ("telemetry", "telemetry", "https://telemetry.microsoft.example/"),
        ("cdn", "cdn", "https://cdn.internet.example/"),
    ]
    assert "visits" not in job(plan, "gina").arguments


def test_the_servers_are_found_by_name_through_the_customers_own_resolver() -> None:
    plan = plan_of()
    for name, address in (
        ("admin-portal.microsoft", "198.18.130.2"),
        ("cdn.internet", "198.19.16.2"),
        ("crl.internet", "198.19.160.2"),
    ):
        record = lookup(plan.name_servers, "contoso-resolver", f"{name}.example", "A")
        assert record is not None and record.target == address


def test_a_certificate_says_where_the_list_is_that_it_would_be_in() -> None:
    plan = plan_of()
    certificate = shown(plan, "admin-portal")
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for point in points for name in point.full_name or ()] == [
        "http://crl.internet.example/authority.crl"
    ]
    trusted = x509.load_pem_x509_certificate(job(plan, "alice").arguments["visits"]["authority"].encode())
    certificate.verify_directly_issued_by(trusted)
    assert listed(plan).is_signature_valid(trusted.public_key())  # type: ignore[arg-type]


def test_the_list_has_what_is_revoked_and_nothing_else() -> None:
    assert len(listed(plan_of())) == 0
    plan = plan_of({"nodes.admin-portal.certificate": "revoked"})
    serials = [entry.serial_number for entry in listed(plan)]
    assert serials == [shown(plan, "admin-portal").serial_number]
    assert shown(plan, "telemetry").serial_number not in serials


def test_no_web_server_is_started_where_nobody_visits() -> None:
    plan = plan_of({"parties.alice.visits": []})
    assert not {"crl", "admin-portal", "telemetry", "cdn"} & {each.name for each in plan.jobs}


def test_every_job_of_a_stock_program_is_one_that_it_takes() -> None:
    for each in plan_of().jobs:
        if each.program == "stock":
            assert Settings.from_job(each.arguments).ready


@pytest.mark.parametrize(
    ("changed", "remove", "problem"),
    [
        ({"parties.alice.visits": ["portal"]}, (), "no service of kind portal, telemetry or cdn 'portal'"),
        ({}, ("services.contoso-resolver",), "no name server has 'contoso' among its clients"),
        ({}, ("services.crl",), "need a service of kind crl"),
    ],
)
def test_a_visit_that_cannot_be_made_is_refused(changed: dict[str, Any], remove: tuple[str, ...], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plan_of(changed, (*remove, "legs.2", "legs.2", "legs.2") if remove else ())
