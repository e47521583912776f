"""The Front End's web service on loopback: curl as a stock client, and what it refuses."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from loopback import free_port

from agents.front_end import FrontEnd
from agents.sip.hop import Hop
from agents.sip.ua import UserAgent
from testbed.plan.certificates import Certificates

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl"),
]
SERVER, BOB = "127.0.0.2", "127.0.0.4"
DEADLINE_S = 30.0
CERTIFICATES = Certificates("test")
ALICE = {"username": "sip:alice@contoso.example", "password": "rosebud"}


@asynccontextmanager
async def running_front_end() -> AsyncIterator[tuple[Hop, int]]:
    """Run a Front End; return its SIP address and the port of its web service."""
    sip_port, port = free_port(SERVER), free_port(SERVER)
    shown = CERTIFICATES.of("fe", ["fe.contoso.example", "contoso.example"], "valid")
    job: dict[str, Any] = {
        "domains": ["contoso.example"],
        "users": {"sip:alice@contoso.example": "rosebud", "sip:bob@contoso.example": "rosebud"},
        "listen": [{"transport": "tcp", "port": sip_port, "address": SERVER}],
        "rest": {"listen": [{"transport": "tls", "port": port, "address": SERVER}]},
        "tls": {"authority": CERTIFICATES.trusted, "certificate": shown.certificate, "key": shown.key},
    }
    front_end = FrontEnd(job, lambda message: None)
    await front_end.start()
    try:
        yield Hop(SERVER, sip_port, "tcp"), port
    finally:
        await front_end.stop()


class Curl:
    """A stock HTTPS client that trusts the test's authority."""

    def __init__(self, port: int, directory: Path) -> None:
        self._port, self._authority, self.token = port, directory / "authority.pem", ""
        self._authority.write_text(CERTIFICATES.trusted)

    async def ask(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        """Return the status and the JSON document of the answer."""
        arguments = [
            "curl", "--silent", "--show-error", "--max-time", "20", "--request", method,
            "--cacert", str(self._authority), "--resolve", f"contoso.example:{self._port}:{SERVER}",
            "--write-out", "\n%{http_code}", "--header", f"Authorization: Bearer {self.token}",
        ]  # fmt: skip
        if document is not None:
            arguments += ["--json", json.dumps(document)]
        process = await asyncio.create_subprocess_exec(
            *arguments, f"https://contoso.example:{self._port}{path}", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        async with asyncio.timeout(DEADLINE_S):
            said, problem = await process.communicate()
        assert process.returncode == 0, problem.decode()
        body, _, status = said.decode().rpartition("\n")
        return int(status), json.loads(body) if body else None

    async def sign_in(self) -> str:
        """Get a token and sign in; return the path of the application."""
        _, links = await self.ask("GET", "/autodiscover")
        _, granted = await self.ask("POST", links["token"], ALICE)
        self.token = granted["access_token"]
        status, made = await self.ask("POST", links["applications"])
        assert status == 201
        return f"{links['applications']}/{made['id']}"


def test_curl_signs_in_writes_to_a_sip_user_and_is_told_of_the_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_front_end() as (sip, port):
            curl = Curl(port, tmp_path)
            application = await curl.sign_in()
            bob = UserAgent(uri="sip:bob@contoso.example", local_address=BOB, server=sip, password="rosebud")
            received: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue()

            async def take(*message: Any) -> None:
                received.put_nowait(message)

            bob.on_message = take
            await bob.start()
            await bob.register()
            message = {"to": "sip:bob@contoso.example", "text": "gr\u00fcezi"}
            assert await curl.ask("POST", f"{application}/messages", message) == (200, {"status": 200})
            sender, _, body = received.get_nowait()
            assert (sender, body.decode()) == ("sip:alice@contoso.example", "gr\u00fcezi")
            waiting = asyncio.create_task(curl.ask("GET", f"{application}/events?after=0"))
            await bob.message("sip:alice@contoso.example", "salut")
            _, told = await waiting
            event = {"event": "message", "from": "sip:bob@contoso.example", "text": "salut"}
            assert told == {"events": [event], "last": 1}
            assert (await curl.ask("DELETE", application))[0] == 204
            await bob.stop()

    asyncio.run(scenario())


def test_the_web_service_refuses_what_it_should(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running_front_end() as (_, port):
            curl = Curl(port, tmp_path)
            assert (await curl.ask("POST", "/token", {**ALICE, "password": "wrong"}))[0] == 403
            assert (await curl.ask("POST", "/token", {"username": "x"}))[0] == 400
            assert (await curl.ask("POST", "/applications"))[0] == 401
            application = await curl.sign_in()
            nobody = {"to": "sip:bob@contoso.example", "text": "x"}
            assert await curl.ask("POST", f"{application}/messages", nobody) == (200, {"status": 480})
            assert (await curl.ask("GET", f"{application}/events?after=x"))[0] == 400
            assert (await curl.ask("GET", "/applications/other/events"))[0] == 404

    asyncio.run(scenario())
