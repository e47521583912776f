"""SIP over TLS on loopback: OpenSSL as a stock client, and our user agents through Access Edge and Front End."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback import free_port

from agents.edge import AccessEdge
from agents.front_end import FrontEnd
from agents.sip.errors import CertificateRefused, SipFailure
from agents.sip.hop import Hop
from agents.sip.tls import Credentials
from agents.sip.ua import IncomingCall, UserAgent
from testbed.plan.certificates import Certificates, Condition

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.interop
SERVER, ALICE, BOB, EDGE = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
DEADLINE_S = 30.0
CERTIFICATES = Certificates("test")
TRUST = Credentials(authority=CERTIFICATES.trusted)
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\nm=audio 6002 RTP/AVP 0\r\n"


def credentials(node: str, condition: Condition = "valid") -> dict[str, str]:
    shown = CERTIFICATES.of(node, [f"{node}.contoso.example", "contoso.example"], condition)
    return {"authority": CERTIFICATES.trusted, "certificate": shown.certificate, "key": shown.key}


@asynccontextmanager
async def running_front_end(condition: Condition = "valid") -> AsyncIterator[Hop]:
    port = free_port(SERVER)
    job: dict[str, Any] = {
        "domains": ["contoso.example"],
        "users": {"sip:alice@contoso.example": "rosebud", "sip:bob@contoso.example": "rosebud"},
        "listen": [{"transport": "tls", "port": port, "address": SERVER}],
        "tls": credentials("fe", condition),
    }
    front_end = FrontEnd(job, lambda message: None)
    await front_end.start()
    try:
        yield Hop(SERVER, port, "tls", "contoso.example")
    finally:
        await front_end.stop()


@asynccontextmanager
async def running_access_edge(front_end: Hop, condition: Condition = "valid") -> AsyncIterator[Hop]:
    port = free_port(EDGE)
    name = {"address": front_end.address, "port": front_end.port, "transport": "tls", "name": "fe.contoso.example"}
    listen = [{"transport": "tls", "port": port, "address": EDGE}]
    job = {
        "external_address": EDGE, "access_edge": {"listen": listen, "next": name}, "tls": credentials("edge", condition)
    }  # fmt: skip
    access_edge = AccessEdge(job, print)
    await access_edge.start()
    try:
        yield Hop(EDGE, port, "tls", "contoso.example")
    finally:
        await access_edge.stop()


@asynccontextmanager
async def signed_in(user: str, address: str, server: Hop) -> AsyncIterator[UserAgent]:
    agent = UserAgent(
        uri=f"sip:{user}@contoso.example", local_address=address, server=server, password="rosebud", tls=TRUST
    )
    await agent.start()
    try:
        await agent.register()
        yield agent
        await agent.unregister()
    finally:
        await agent.stop()


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_openssl_trusts_the_front_end_for_its_domain_and_is_answered(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(CERTIFICATES.trusted)

    async def ask(server: Hop) -> tuple[int, str]:
        options = (
            "OPTIONS sip:contoso.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKopenssl\r\n"
            "From: <sip:a@contoso.example>;tag=1\r\nTo: <sip:contoso.example>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
            "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        process = await asyncio.create_subprocess_exec(
            str(OPENSSL), "s_client", "-connect", f"{server.address}:{server.port}", "-CAfile", str(authority),
            "-verify_return_error", "-verify_hostname", server.name, "-quiet", "-no_ign_eof", "-x509_strict",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(options.encode())
        said = b""
        async with asyncio.timeout(DEADLINE_S):
            while b"\r\n\r\n" not in said and (more := await process.stdout.read(4096)):
                said += more
            process.stdin.close()
            return await process.wait(), said.decode()

    async def scenario(condition: Condition) -> tuple[int, str]:
        async with running_front_end(condition) as server:
            return await ask(server)

    status, said = asyncio.run(scenario("valid"))
    assert (status, "SIP/2.0 200 OK" in said) == (0, True), said
    status, said = asyncio.run(scenario("other-name"))
    assert status != 0
    assert "hostname mismatch" in said.lower()


@pytest.mark.parametrize("is_outside", [False, True], ids=["inside", "outside"])
def test_a_call_by_tls_inside_and_through_the_access_edge(is_outside: bool) -> None:
    async def scenario() -> None:
        async with running_front_end() as server, running_access_edge(server) as access_edge:
            gate = access_edge if is_outside else server
            async with signed_in("alice", ALICE, server) as alice, signed_in("bob", BOB, gate) as bob:

                async def take_call(call: IncomingCall) -> None:
                    dialog = await call.accept(SDP)
                    await dialog.bye()

                bob.on_invite = take_call
                async with asyncio.timeout(DEADLINE_S):
                    dialog = await alice.invite("sip:bob@contoso.example", SDP, timeout_s=DEADLINE_S)
                    await dialog.ended.wait()
                    assert dialog.ended_by == "remote"

    asyncio.run(scenario())


@pytest.mark.parametrize("condition", ["expired", "other-name", "other-authority"])
def test_a_client_does_not_register_where_the_certificate_is_wrong(condition: Condition) -> None:
    async def scenario() -> None:
        async with running_front_end(condition) as server:
            with pytest.raises(CertificateRefused, match=f"certificate of {SERVER}:"):
                async with signed_in("alice", ALICE, server):
                    pass

    asyncio.run(scenario())


def test_a_front_end_refuses_an_access_edge_of_another_authority() -> None:
    async def scenario() -> None:
        async with running_front_end() as server, running_access_edge(server, "other-authority") as gate:
            authorities = f"{CERTIFICATES.trusted}{_other_authority()}"
            agent = UserAgent(
                uri="sip:bob@contoso.example", local_address=BOB, server=gate, password="rosebud",
                tls=Credentials(authority=authorities),
            )  # fmt: skip
            await agent.start()
            try:
                with pytest.raises(SipFailure, match="REGISTER answered 503"):
                    await agent.register()
            finally:
                await agent.stop()

    asyncio.run(scenario())


def _other_authority() -> str:
    """Return the authority by which a certificate of condition "other-authority" is issued."""
    from testbed.plan.certificates import Authority

    return Authority("test/other", name="Another authority").certificate
