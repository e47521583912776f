"""Probe flows in a world: clients and servers for TCP and UDP in many nodes, all in one process.

A socket stays in the network namespace that it was made in, so that one event loop serves every node.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from testbed.emulation.syscalls import inside_network

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_DATAGRAM_BYTES: Final = 1500


@dataclass(frozen=True, slots=True)
class Probe:
    """One flow to be tried."""

    client: str
    source: str
    source_port: int
    "Unique in the world: it tells the flow in captures, also behind a NAT, which keeps a port that is free."
    server: str
    address: str
    port: int
    protocol: Literal["tcp", "udp"]


class Servers:
    """What answers probes: TCP by accepting, UDP by an echo."""

    def __init__(self, netns_fd: Callable[[str], int]) -> None:
        self._netns_fd = netns_fd
        self._listening: dict[tuple[str, str, int, str], socket.socket] = {}
        self._accepted: list[socket.socket] = []

    def serve(self, probes: Iterable[Probe]) -> None:
        """Listen wherever *probes* go and nobody listens yet."""
        for probe in probes:
            key = probe.server, probe.address, probe.port, probe.protocol
            if key not in self._listening:
                self._listening[key] = self._listen(probe)

    def _listen(self, probe: Probe) -> socket.socket:
        loop = asyncio.get_running_loop()
        with inside_network(self._netns_fd(probe.server)):
            server = _socket(probe.protocol)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((probe.address, probe.port))
        if probe.protocol == "tcp":
            server.listen(256)
            loop.add_reader(server, self._accept, server)
        else:
            loop.add_reader(server, _echo, server)
        return server

    def _accept(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        self._accepted.append(connection)

    def drop_connections(self) -> None:
        """Reset what was accepted."""
        for connection in self._accepted:
            _reset(connection)
        self._accepted.clear()


def _socket(protocol: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _echo(server: socket.socket) -> None:
    with contextlib.suppress(OSError):  # an ICMP error to an earlier answer, or no route back: the packets tell
        data, sender = server.recvfrom(_DATAGRAM_BYTES)
        server.sendto(bytes(255 - byte for byte in data), sender)  # else it would be the same packet, going on


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    connection.close()


class Clients:
    """The other ends of a round of probes."""

    def __init__(self, netns_fd: Callable[[str], int]) -> None:
        self._netns_fd = netns_fd
        self._sockets: list[socket.socket] = []
        self.answered: set[int] = set()
        "Source ports of the probes that were."
        self._tasks: list[asyncio.Task[None]] = []

    def send(self, probes: Iterable[Probe]) -> None:
        """Begin all of them."""
        for probe in probes:
            with inside_network(self._netns_fd(probe.client)):
                client = _socket(probe.protocol)
            client.bind((probe.source, probe.source_port))
            self._sockets.append(client)
            self._tasks.append(asyncio.create_task(self._try(probe, client)))

    async def _try(self, probe: Probe, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # refused, unreachable: the packets tell
            await loop.sock_connect(client, (probe.address, probe.port))
            if probe.protocol == "udp":
                await loop.sock_sendall(client, probe.source_port.to_bytes(4, "big") * 8)
                await loop.sock_recv(client, _DATAGRAM_BYTES)
            self.answered.add(probe.source_port)

    async def wait(self, expected: set[int], *, limit_s: float) -> None:
        """Return when all *expected* have been answered, or after *limit_s*."""
        deadline = asyncio.get_running_loop().time() + limit_s
        while not expected <= self.answered and self._tasks:
            left_s = deadline - asyncio.get_running_loop().time()
            pending = [task for task in self._tasks if not task.done()]
            if left_s <= 0 or not pending:
                return
            await asyncio.wait(pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def close(self) -> None:
        """Give up what is unanswered, and reset the rest."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._sockets:
            if client.type == socket.SOCK_STREAM:
                _reset(client)
            else:
                client.close()
