"""Sockets for signaling have the DSCP that the job says, from a connection's first packet on."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest

from agents.rest.server import WebService
from agents.sip.hop import Hop, Listen
from agents.sip.marking import marked_socket, set_signaling_dscp
from agents.sip.transport import SocketNetwork

HERE = "127.0.0.1"
CS3 = 24
OPTIONS = b"OPTIONS sip:a@b.example SIP/2.0\r\nContent-Length: 0\r\n\r\n"


def scene(play: Callable[[], Awaitable[None]], dscp: int = CS3) -> None:
    async def with_mark() -> None:
        set_signaling_dscp(dscp)
        await play()

    asyncio.run(with_mark())


def dscp_of(holder: Any) -> int:
    """Return the mark of an asyncio transport's socket."""
    opened = holder.get_extra_info("socket")
    return int(opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)) >> 2


def marks_received(dscp: int) -> list[int]:
    """Return the marks of a datagram sent to a socket, and of one sent back, as they come in."""
    found: list[int] = []

    async def play() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
            peer.bind((HERE, 0))
            peer.settimeout(5)
            network = SocketNetwork(local_address=HERE)
            (await network.flow_to(Hop(HERE, peer.getsockname()[1], "udp"))).send(OPTIONS)
            _, ancillary, _, _ = peer.recvmsg(4096, 64)
            found.extend(value[0] >> 2 for _, kind, value in ancillary if kind == socket.IP_TOS)
            await network.close()

    scene(play, dscp)
    return found


@pytest.mark.parametrize("dscp", [CS3, 0])
def test_datagrams_carry_the_mark_that_the_job_says(dscp: int) -> None:
    assert marks_received(dscp) == [dscp]


@pytest.mark.parametrize("dscp", [CS3, 0])
def test_both_ends_of_a_connection_are_marked(dscp: int) -> None:
    async def play() -> None:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        server, client = SocketNetwork(local_address=HERE), SocketNetwork(local_address=HERE)
        server.on_message = lambda data, flow: heard.put_nowait(flow)
        with socket.socket() as free:
            free.bind((HERE, 0))
            port = free.getsockname()[1]
        await server.listen(Listen("tcp", port, HERE))
        flow: Any = await client.flow_to(Hop(HERE, port, "tcp"))
        flow.send(OPTIONS)
        accepted = await asyncio.wait_for(heard.get(), 5)
        assert [dscp_of(flow._socket), dscp_of(accepted._socket)] == [dscp, dscp]
        [waiting] = server._servers[0].sockets
        assert waiting.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2 == dscp  # what answers a SYN
        await asyncio.gather(server.close(), client.close())

    scene(play, dscp)


def test_the_web_services_socket_is_marked_and_a_taken_port_is_told() -> None:
    async def play() -> None:
        service: Any = WebService({}, AsyncMock(), lambda message: None)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with contextlib.closing(marked_socket()) as taken:
            assert taken.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2 == CS3
            taken.bind((HERE, 0))
            taken.listen()
            with pytest.raises(OSError, match="in use"):
                await service.start(HERE, taken.getsockname()[1], context)
        await service.start(HERE, 0, context)
        [site] = service._runner.sites
        [waiting] = site._server.sockets
        assert waiting.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2 == CS3
        await service.stop()

    scene(play)


@pytest.mark.parametrize("dscp", [-1, 64])
def test_a_mark_that_is_none_is_refused(dscp: int) -> None:
    with pytest.raises(ValueError, match=f"signaling_dscp must be from 0 to 63, not {dscp}"):
        set_signaling_dscp(dscp)
