"""The A/V Edge is a real coturn: it takes our time-limited credentials, refuses others, and its death is an error."""

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from aioice import stun, turn

from agents import edge
from agents.child import ChildFailure
from agents.ice import RelayError, TurnServer, TurnTransport, try_relay
from agents.sip.relay import Relay, make_credentials
from testbed.plan.certificates import Authority

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("turnserver") is None, reason="needs turnserver (Debian package coturn)"),
]

# Loopback addresses of this process alone, so that two test runs at once do not meet.
EXTERNAL, INTERNAL = (f"127.{net}.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}" for net in (17, 18))
UDP_PORT, TCP_PORT = 34_780, 34_430
DEADLINE_S = 30.0
JOB: dict[str, Any] = {
    "external_address": EXTERNAL,
    "internal_address": INTERNAL,
    "relay_ports": "34800-34899",
    "udp_port": UDP_PORT,
    "tcp_port": TCP_PORT,
    "relay_secret": "se#cret",
    "realm": "contoso.example",
    "access_edge": None,
}


class RunningEdge:
    """An Edge in this process, as the conductor sees it."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._stop = asyncio.Event()
        self.lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(edge.main(job, self._commands(), self.lines.put_nowait))

    async def _commands(self) -> AsyncIterator[dict[str, Any]]:
        await self._stop.wait()
        yield {"do": "stop"}

    async def line(self) -> dict[str, Any]:
        """Return the next line it says; raise what it raised if it ended."""
        said = asyncio.create_task(self.lines.get())
        done, _ = await asyncio.wait({said, self.task}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if said not in done:
            said.cancel()
            self.task.result()
        return said.result()

    async def stop(self) -> None:
        self._stop.set()
        async with asyncio.timeout(DEADLINE_S):
            await self.task


def only_child() -> int:
    """Return the process id of this process's one child."""
    (child,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return int(child)


AUTHORITY = Authority("a secret", name="Authority of the test")
TLS_JOB: dict[str, Any] = {
    **JOB,
    "tls": {"authority": AUTHORITY.certificate, **asdict(AUTHORITY.issue(["edge"], label="e", addresses=[EXTERNAL]))},
}


async def try_by(transport: TurnTransport, address: str = EXTERNAL, trusts: str = AUTHORITY.certificate) -> None:
    """Try the ladder's rung against the Edge."""
    credentials = make_credentials(secret="se#cret", user="alice", relay=Relay(address=address), now_s=int(time.time()))
    server = TurnServer(
        address=address, port=TCP_PORT, transport=transport, trusts=trusts,
        username=credentials.username, password=credentials.password,
    )  # fmt: skip
    await try_relay(server, limit_s=DEADLINE_S)


async def allocate(address: str, port: int, transport: str, *, secret: str = "se#cret", lifetime_s: int = 60) -> str:
    """Allocate a relayed address and return it."""
    credentials = make_credentials(
        secret=secret, user="alice@contoso.example", relay=Relay(address=address), now_s=int(time.time()),
        lifetime_s=lifetime_s,
    )  # fmt: skip
    relay, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol, server_addr=(address, port), username=credentials.username,
        password=credentials.password, transport=transport,
    )  # fmt: skip
    relayed: str = relay.get_extra_info("sockname")[0]
    relay.close()
    return relayed


def test_coturn_gives_the_outer_address_from_both_sides_over_udp_and_tcp_to_whoever_knows_the_secret() -> None:
    async def scenario() -> None:
        running = RunningEdge(JOB)
        assert (await running.line())["type"] == "ready"
        for address in (EXTERNAL, INTERNAL):
            assert await allocate(address, UDP_PORT, "udp") == EXTERNAL
            assert await allocate(address, TCP_PORT, "tcp") == EXTERNAL
        for wrong in ({"secret": "other"}, {"lifetime_s": -10}):
            with pytest.raises(stun.TransactionFailed, match="401"):
                await allocate(EXTERNAL, UDP_PORT, "udp", **wrong)
        await running.stop()
        assert (await running.lines.get())["type"] == "result"

    asyncio.run(scenario())


def test_one_port_speaks_turn_over_tcp_and_inside_tls_and_its_certificate_is_verified() -> None:
    async def scenario() -> None:
        running = RunningEdge(TLS_JOB)
        assert (await running.line())["type"] == "ready"
        await try_by("tcp")
        await try_by("tls")
        another = Authority("another secret", name="Another authority").certificate
        for refused in ({"trusts": another}, {"address": INTERNAL}):
            with pytest.raises(RelayError, match="certificate verify failed"):
                await try_by("tls", **refused)
        await running.stop()

    asyncio.run(scenario())


def test_clients_that_ask_at_once_right_after_the_start_are_all_served() -> None:
    async def scenario() -> None:
        running = RunningEdge(JOB)
        assert (await running.line())["type"] == "ready"
        for _ in range(6):
            addresses = (EXTERNAL, INTERNAL, EXTERNAL, INTERNAL)
            relayed = await asyncio.gather(*(allocate(address, UDP_PORT, "udp") for address in addresses))
            assert relayed == [EXTERNAL] * len(addresses)
        await running.stop()

    asyncio.run(scenario())


def test_the_death_of_coturn_ends_the_edge_with_its_last_words() -> None:
    async def scenario() -> None:
        running = RunningEdge(JOB)
        assert (await running.line())["type"] == "ready"
        os.kill(only_child(), signal.SIGKILL)
        with pytest.raises(ChildFailure, match="turnserver ended with status -9: "):
            await running.line()

    asyncio.run(scenario())


def test_a_coturn_whose_port_is_taken_never_counts_as_ready() -> None:
    async def scenario() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind((INTERNAL, UDP_PORT))
            server = edge.TurnServer(JOB)
            with pytest.raises(ChildFailure, match="turnserver"):
                await server.start(limit_s=2.0)
            await server.stop()

    asyncio.run(scenario())
