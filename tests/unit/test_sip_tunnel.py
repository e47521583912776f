"""SIP through a web proxy: HTTP CONNECT as the proxy sees it, the bytes after it, and what becomes of a refusal."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agents.sip.errors import TransportFailure
from agents.sip.hop import Hop
from agents.sip.transport import Flow, SocketNetwork
from agents.sip.tunnel import WebProxy, open_tunnel

TARGET = ("198.18.64.10", 5060)
GRANTED = b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n"
OPTIONS = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 0\r\n\r\n"


class Proxy:
    """A web proxy that says *answer* to each CONNECT, and is then itself the far end, which echoes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.served: list[asyncio.Event] = []

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.served.append(over := asyncio.Event())
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(self._answer)
        with contextlib.suppress(ConnectionError):
            while self._answer == GRANTED and (data := await reader.read(1000)):
                writer.write(data)
            writer.close()
            await writer.wait_closed()
        over.set()


@asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[tuple[Proxy, WebProxy]]:
    served = Proxy(answer)
    server = await asyncio.start_server(served.take, "127.0.0.1", 0)
    try:
        yield served, WebProxy("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await asyncio.gather(*(over.wait() for over in served.served))


def test_messages_pass_through_one_tunnel_that_stands_for_the_far_end() -> None:
    async def scene() -> None:
        async with proxy(GRANTED) as (served, where):
            network = SocketNetwork(local_address="127.0.0.1", proxy=where)
            heard: asyncio.Queue[tuple[bytes, Flow]] = asyncio.Queue()
            network.on_message = lambda data, flow: heard.put_nowait((data, flow))
            hop = Hop(*TARGET, "tcp")
            flow, again = await asyncio.gather(network.flow_to(hop), network.flow_to(hop))
            flow.send(OPTIONS)
            assert await asyncio.wait_for(heard.get(), 5) == (OPTIONS, flow)
            assert again is flow and flow.remote == TARGET
            assert network.find("tcp", TARGET, "127.0.0.1") is flow
            assert served.requests == [b"CONNECT 198.18.64.10:5060 HTTP/1.1\r\nHost: 198.18.64.10:5060\r\n\r\n"]
            await network.close()

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 403 Access violation\r\n\r\n", "opens no tunnel to 198.18.64.10:5060: 403 Access violation"),
        (b"SIP/2.0 200 OK\r\n\r\n", "answers CONNECT with 'SIP/2.0 200 OK', which is no HTTP"),
        (b"HTTP/1.1 200", "closed the connection before it answered CONNECT"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000, "answers CONNECT with more than 16384 bytes"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_told(answer: bytes, problem: str) -> None:
    async def scene() -> None:
        async with proxy(answer) as (_, where):
            with pytest.raises(TransportFailure, match=problem):
                await SocketNetwork(local_address="127.0.0.1", proxy=where).flow_to(Hop(*TARGET, "tcp"))

    asyncio.run(scene())


def test_a_proxy_that_is_not_there_is_told() -> None:
    async def scene() -> None:
        async with proxy(GRANTED) as (_, where):
            pass
        with pytest.raises(TransportFailure, match=rf"cannot connect to 198.18.64.10:5060 by the proxy {where}: "):
            await SocketNetwork(local_address="127.0.0.1", proxy=where).flow_to(Hop(*TARGET, "tcp"))
        with pytest.raises(OSError):
            await open_tunnel(where, TARGET, None)

    asyncio.run(scene())


def test_a_job_without_a_port_is_told() -> None:
    with pytest.raises(ValueError, match="a web proxy needs the key 'port'"):
        WebProxy.from_json({"address": "192.0.2.1"})
