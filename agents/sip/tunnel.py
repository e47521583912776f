"""A connection through a web proxy: HTTP CONNECT (RFC 9110 section 9.3.6), after which bytes pass as they are."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from agents.sip.errors import TransportFailure
from agents.sip.marking import connect

_LONGEST_ANSWER_BYTES: Final = 16384


@dataclass(frozen=True, slots=True)
class WebProxy:
    """Where a web proxy takes requests."""

    address: str
    port: int

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read `{"address", "port"}` of an agent's job; raise ValueError where it is not that."""
        try:
            return cls(str(document["address"]), int(document["port"]))
        except KeyError as missing:
            raise ValueError(f"a web proxy needs the key {missing}, which {dict(document)} lacks") from None

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


async def open_tunnel(proxy: WebProxy, target: tuple[str, int], source: tuple[str, int] | None) -> socket.socket:
    """Return a socket that is connected, through *proxy*, to *target*; *source* is the local address to bind.

    Raises OSError if the proxy cannot be reached, TransportFailure if it does not open the tunnel.
    """
    tunnel = await connect(proxy.address, proxy.port, source)
    try:
        loop = asyncio.get_running_loop()
        authority = f"{target[0]}:{target[1]}"
        await loop.sock_sendall(tunnel, f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        status = _status(await _answer(tunnel, proxy), proxy)
        if not 200 <= status[0] < 300:
            raise TransportFailure(f"the proxy {proxy} opens no tunnel to {authority}: {status[0]} {status[1]}".strip())
    except BaseException:
        tunnel.close()
        raise
    return tunnel


async def _answer(tunnel: socket.socket, proxy: WebProxy) -> bytes:
    """Read up to the end of the header section and no further: what follows is the far end's."""
    loop = asyncio.get_running_loop()
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = await loop.sock_recv(tunnel, 1)
        if not byte:
            raise TransportFailure(f"the proxy {proxy} closed the connection before it answered CONNECT")
        answer += byte
        if len(answer) > _LONGEST_ANSWER_BYTES:
            raise TransportFailure(f"the proxy {proxy} answers CONNECT with more than {_LONGEST_ANSWER_BYTES} bytes")
    return answer


def _status(answer: bytes, proxy: WebProxy) -> tuple[int, str]:
    """Return code and reason of a status line (RFC 9112 section 4)."""
    line = answer.split(b"\r\n", 1)[0].decode("latin-1")
    version, _, rest = line.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
        raise TransportFailure(f"the proxy {proxy} answers CONNECT with {line[:60]!r}, which is no HTTP")
    return int(code), reason
