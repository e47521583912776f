"""A stock SIPp registers and calls through our Front End, on loopback: the proof that what we speak is SIP."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from loopback import free_port

from agents.edge import AccessEdge
from agents.front_end import FrontEnd
from agents.sip.hop import Hop
from agents.sip.ua import IncomingCall, SipError, UserAgent

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("sipp") is None, reason="needs sipp (Debian package sip-tester)"),
]

Transport = Literal["udp", "tcp"]
SCENARIOS = Path(__file__).parent
SERVER, ALICE, BOB, EDGE = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
DEADLINE_S = 30.0
ANSWER = "v=0\r\no=bob 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\nm=audio 6002 RTP/AVP 0\r\n"


@asynccontextmanager
async def running_access_edge(front_end: Hop) -> AsyncIterator[Hop]:
    """Run an Access Edge in front of *front_end* at a free port of EDGE."""
    port = free_port(EDGE)
    listen = [{"transport": transport, "port": port, "address": EDGE} for transport in ("udp", "tcp")]
    next_hop = {"address": front_end.address, "port": front_end.port, "transport": "tcp"}
    job = {"external_address": EDGE, "access_edge": {"listen": listen, "next": next_hop}}
    access_edge = AccessEdge(job, print)
    await access_edge.start()
    try:
        yield Hop(EDGE, port)
    finally:
        await access_edge.stop()


@asynccontextmanager
async def running_front_end(
    port: int = 0, say: Callable[[dict[str, Any]], None] = lambda message: None
) -> AsyncIterator[Hop]:
    """Run a Front End with the users alice and bob at a port of SERVER, a free one if none is given."""
    port = port or free_port(SERVER)
    job = {
        "domains": ["contoso.example"],
        "users": {"sip:alice@contoso.example": "rosebud", "sip:bob@contoso.example": "rosebud"},
        "listen": [{"transport": transport, "port": port, "address": SERVER} for transport in ("udp", "tcp")],
    }
    front_end = FrontEnd(job, say)
    await front_end.start()
    try:
        yield Hop(SERVER, port)
    finally:
        await front_end.stop()


async def start_sipp(scenario: str, address: str, port: int, server: Hop, transport: Transport, *more: str) -> "Sipp":
    """Start SIPp with one of our scenario files at *address*."""
    process = await asyncio.create_subprocess_exec(
        "sipp", f"{server.address}:{server.port}", "-sf", str(SCENARIOS / f"{scenario}.xml"),
        "-i", address, "-p", str(port), "-m", "1", "-nostdin", "-t", "t1" if transport == "tcp" else "u1",
        "-timeout", "20", "-timeout_error", *more,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    return Sipp(process, scenario)


class Sipp:
    """A SIPp that runs one scenario once."""

    def __init__(self, process: asyncio.subprocess.Process, scenario: str) -> None:
        self._process, self._scenario = process, scenario

    async def status(self) -> int:
        """Return its exit status: 0 if every message of the scenario came as it says."""
        async with asyncio.timeout(DEADLINE_S):
            self._output, _ = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode

    async def succeed(self) -> None:
        """Fail the test, with SIPp's words, unless the scenario went through."""
        status = await self.status()
        output = self._output.decode(errors="replace")
        assert status == 0, f"sipp {self._scenario} ended with {status}:\n{output[-3000:]}"

    async def listens(self, address: str, port: int, transport: Transport) -> None:
        """Wait until it has bound its port (looked up in /proc/net)."""
        a, b, c, d = (int(part) for part in address.split("."))
        wanted = f"{d:02X}{c:02X}{b:02X}{a:02X}:{port:04X}"
        async with asyncio.timeout(DEADLINE_S):
            while not any(line.split()[1] == wanted for line in _proc_net(transport)):
                assert self._process.returncode is None, f"sipp {self._scenario} ended early"
                await asyncio.sleep(0.02)


def _proc_net(transport: Transport) -> list[str]:
    return Path(f"/proc/net/{transport}").read_text().splitlines()[1:]


async def register_by_sipp(
    user: str, address: str, port: int, server: Hop, transport: Transport, password: str
) -> Sipp:
    """Start the registration of *user*."""
    credentials = ("-s", user, "-au", user, "-ap", password)
    return await start_sipp("register", address, port, server, transport, *credentials)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_two_sipps_register_and_call_each_other_through_the_front_end(transport: Transport) -> None:
    async def scenario() -> None:
        async with running_front_end() as server:
            alice_port, bob_port = free_port(ALICE), free_port(BOB)
            await (await register_by_sipp("bob", BOB, bob_port, server, transport, "rosebud")).succeed()
            called = await start_sipp("called", BOB, bob_port, server, transport)
            await called.listens(BOB, bob_port, transport)
            caller = await start_sipp("caller", ALICE, alice_port, server, transport)
            await asyncio.gather(caller.succeed(), called.succeed())

    asyncio.run(scenario())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("is_outside", [False, True], ids=["inside", "outside"])
def test_sipp_calls_our_user_agent_inside_and_through_the_access_edge(transport: Transport, is_outside: bool) -> None:
    async def scenario() -> None:
        async with running_front_end() as server, running_access_edge(server) as access_edge:
            gate = access_edge if is_outside else server
            hop = Hop(gate.address, gate.port, transport)
            bob = UserAgent(uri="sip:bob@contoso.example", local_address=BOB, server=hop, password="rosebud")
            ended_by: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

            async def take_call(call: IncomingCall) -> None:
                assert "m=audio 6000" in call.offer
                await call.ring()
                dialog = await call.accept(ANSWER)
                await dialog.ended.wait()
                ended_by.set_result(dialog.ended_by)

            bob.on_invite = take_call
            await bob.start()
            await bob.register()
            await (await start_sipp("caller", ALICE, free_port(ALICE), gate, transport)).succeed()
            async with asyncio.timeout(DEADLINE_S):
                assert await ended_by == "remote"
            await bob.unregister()
            await bob.stop()

    asyncio.run(scenario())


def test_sipp_with_a_wrong_password_is_not_registered() -> None:
    async def scenario() -> int:
        async with running_front_end() as server:
            return await (await register_by_sipp("bob", BOB, free_port(BOB), server, "udp", "wrong")).status()

    assert asyncio.run(scenario()) != 0


def test_a_user_agent_whose_front_end_starts_anew_registers_again_by_itself() -> None:
    async def scenario() -> None:
        async with running_front_end() as server:
            hop = Hop(server.address, server.port, "tcp")
            bob = UserAgent(uri="sip:bob@contoso.example", local_address=BOB, server=hop, password="rosebud")
            losses: asyncio.Queue[SipError] = asyncio.Queue()
            bob.on_registration_lost = losses.put_nowait
            await bob.start()
            await bob.register()
        said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        async with asyncio.timeout(DEADLINE_S):
            await losses.get()  # the connection is lost, and at first nobody answers
            async with running_front_end(server.port, said.put_nowait):
                assert (await said.get())["event"] == "registered"
                await bob.stop()

    asyncio.run(scenario())
