"""Sockets of a given port range and DSCP, for libraries that open their own: an event loop that hands them out.

aioice binds any free port and marks nothing. It opens its sockets by the event loop's own methods, so the loop is
where a program can say otherwise without reaching into it: what is opened within `marked` is bound to a port of the
range and marked, what is opened elsewhere is as ever.
"""

import asyncio
import contextlib
import errno
import random
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Final

from agents.kinds import Mark

_ANY: Final = "0.0.0.0"
_current: ContextVar[Mark | None] = ContextVar("mark", default=None)


@contextlib.contextmanager
def marked(mark: Mark | None) -> Iterator[None]:
    """Have sockets that this task and its children open meanwhile bound and marked so; None changes nothing.

    Raise RuntimeError where the running loop is not a `MarkingEventLoop`: it would not listen.
    """
    if mark is not None and not isinstance(asyncio.get_running_loop(), MarkingEventLoop):
        raise RuntimeError("sockets can be marked on a MarkingEventLoop only")
    token = _current.set(mark)
    try:
        yield
    finally:
        _current.reset(token)


def open_marked(kind: socket.SocketKind, address: str, mark: Mark) -> socket.socket:
    """Return a socket bound to *address* and a free port of the range; raise OSError (EADDRINUSE) if there is none."""
    opened = socket.socket(socket.AF_INET, kind)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, mark.tos)
        ports = list(range(mark.first_port, mark.last_port + 1))
        for port in random.sample(ports, len(ports)):
            try:
                opened.bind((address, port))
            except OSError as problem:
                if problem.errno != errno.EADDRINUSE:
                    raise
            else:
                return opened
        raise OSError(errno.EADDRINUSE, f"no free port of {mark.first_port}-{mark.last_port} at {address}")
    except BaseException:
        opened.close()
        raise


class MarkingEventLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop; within `marked`, sockets that nobody gave a port come from the range and are marked."""

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        """Open a UDP socket, as asyncio documents it."""
        mark = _current.get()
        if mark is None or options or (local_addr and local_addr[1]):
            return await super().create_datagram_endpoint(protocol_factory, local_addr, remote_addr, **options)
        opened = open_marked(socket.SOCK_DGRAM, local_addr[0] if local_addr else _ANY, mark)
        try:
            if remote_addr is not None:
                opened.connect(remote_addr)  # a datagram socket: no packet is sent, nothing is waited for
            return await super().create_datagram_endpoint(protocol_factory, sock=opened)
        except BaseException:
            opened.close()
            raise

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Open a TCP connection, as asyncio documents it."""
        mark = _current.get()
        if mark is None or host is None or options.get("sock") or options.get("local_addr"):
            return await super().create_connection(protocol_factory, host, port, **options)
        opened = open_marked(socket.SOCK_STREAM, _ANY, mark)
        try:
            await self.sock_connect(opened, (host, port))
            if options.get("ssl"):
                options.setdefault("server_hostname", host)
            return await super().create_connection(protocol_factory, sock=opened, **options)
        except BaseException:
            opened.close()
            raise
