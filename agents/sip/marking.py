"""The DSCP of signaling: sockets for SIP, and for the web service in its place, are opened or marked here."""

import asyncio
import socket
from contextvars import ContextVar

_dscp: ContextVar[int] = ContextVar("signaling_dscp", default=0)


def set_signaling_dscp(dscp: int) -> None:
    """Have this task and those it starts mark signaling with *dscp* (RFC 2474); raise ValueError if it is none."""
    if not 0 <= dscp < 64:
        raise ValueError(f"signaling_dscp must be from 0 to 63, not {dscp}")
    _dscp.set(dscp)


def mark(opened: socket.socket) -> None:
    """Mark what a socket sends; those that a listening one accepts have its mark."""
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _dscp.get() << 2)


def marked_socket() -> socket.socket:
    """Return a TCP socket, neither bound nor connected, that is marked from its SYN on."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    mark(opened)
    return opened


async def connect(address: str, port: int, source: tuple[str, int] | None) -> socket.socket:
    """Return a marked TCP socket, connected; *source* is the local address to bind. Raises OSError."""
    opened = marked_socket()
    try:
        if source is not None:
            opened.bind(source)
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
