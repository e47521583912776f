"""A client's visits to a real nginx: answered, and refused where the certificate is revoked, foreign or another's."""

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from cryptography import x509

from agents.browser import Browser, Visit, VisitFailure, check_list
from agents.names import NameFailure, Names
from agents.stock import Settings, StockProgram
from testbed.plan import stock
from testbed.plan.certificates import Authority

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin") is None, reason="needs nginx (package nginx-light)"
    ),
]

# A loopback address of this process alone, so that two test runs at once do not meet.
ADDRESS = f"127.20.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}"
LIST_PORT, WEB_PORT = 38_080, 38_443
LIST_URL = f"http://crl.example:{LIST_PORT}/authority.crl"
OURS, OTHER = Authority("ours", name="Ours"), Authority("other", name="Other")


class EverythingHere:
    """A name server by whom all is at one address, and one name that nobody has."""

    async def address(self, host: str) -> str:
        if host == "nowhere.example":
            raise NameFailure("name not resolved: nowhere.example")
        return ADDRESS


@asynccontextmanager
async def serving(server: str, port: int, files: dict[str, Any]) -> AsyncIterator[None]:
    arguments = stock.nginx(server.replace(":80;", f":{port};").replace(":443 ssl", f":{port} ssl"), ADDRESS, port=port)
    program = StockProgram(Settings.from_job({**arguments, "files": {**arguments["files"], **files}}))
    await program.start()
    try:
        yield
    finally:
        await program.stop()


async def told(
    url: str = f"https://portal.example:{WEB_PORT}/", *, revoked: list[str] | None = None, by: Authority = OURS,
    lists_by: Authority = OURS, kind: str = "portal",
) -> list[dict[str, Any]]:  # fmt: skip
    """Return what a client says of one visit to nginx, whose certificate *by* issued and *lists_by* may revoke."""
    shown, said = by.issue(["portal.example"], label="portal", crl=LIST_URL), list[dict[str, Any]]()
    content = {"base64": base64.b64encode(lists_by.revoke(revoked or [])).decode()}
    page: dict[str, Any] = {"certificate.pem": shown.certificate, "key.pem": shown.key, "www/index.html": "<h1>Hello"}
    portal = stock.https_configuration(ADDRESS, accepts=kind == "telemetry")
    async with (
        serving(stock.list_configuration(ADDRESS), LIST_PORT, {"www/authority.crl": content}),
        serving(portal, WEB_PORT, page),
    ):
        browser = Browser(cast(Names, EverythingHere()), OURS.certificate, said.append)
        await browser.visit(Visit(service="it", kind=kind, url=url))
    return said


@pytest.mark.parametrize(("kind", "status", "size"), [("portal", 200, 9), ("telemetry", 204, 0)])
def test_a_visit_looks_the_certificate_up_and_is_answered(kind: str, status: int, size: int) -> None:
    looked_up, visited = asyncio.run(told(kind=kind))
    assert (looked_up["event"], looked_up["url"], looked_up["entries"]) == ("revocations", LIST_URL, 0)
    assert (visited["event"], visited["status"], visited["bytes"]) == ("visited", status, size)


def test_a_revoked_certificate_ends_the_visit() -> None:
    looked_up, failed = asyncio.run(told(revoked=["portal"]))
    assert looked_up["entries"] == 1
    assert failed["event"] == "visit-failed" and "is revoked, says" in failed["cause"]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"by": OTHER}, "CERTIFICATE_VERIFY_FAILED"),
        ({"lists_by": OTHER}, "not signed by the authority"),
        ({"url": f"https://elsewhere.example:{WEB_PORT}/"}, "certificate is not valid for 'elsewhere.example'"),
        ({"url": f"https://portal.example:{WEB_PORT}/nothing"}, "was answered 404, not 200"),
        ({"url": "https://nowhere.example/"}, "name not resolved"),
        ({"url": "https://portal.example:38001/"}, "Connection refused"),
    ],
)
def test_what_is_wrong_is_told_as_the_cause(given: dict[str, Any], cause: str) -> None:
    failed = asyncio.run(told(**given))[-1]
    assert failed["event"] == "visit-failed" and cause in failed["cause"]


def test_a_list_is_taken_from_its_authority_only_and_while_it_is_in_date() -> None:
    ours = x509.load_pem_x509_certificate(OURS.certificate.encode())
    assert len(check_list(OURS.revoke(["one", "two"]), ours)) == 2
    with pytest.raises(VisitFailure, match="not signed by the authority"):
        check_list(OTHER.revoke([]), ours)
    with pytest.raises(VisitFailure, match="was good until 2049"):
        check_list(OURS.revoke([]), ours, now=datetime(2050, 1, 1, tzinfo=UTC))
    with pytest.raises(VisitFailure, match="is no list of revoked certificates"):
        check_list(b"<html>", ours)
