"""Edge server: the A/V Edge is Debian's coturn, a child; the Access Edge is a SIP proxy in front of the Front End.

Job: `{"external_address", "internal_address", "relay_ports": "50000-59999", "relay_secret", "realm", "udp_port"?,
"tcp_port"?, "access_edge": {"listen": [{"transport", "port"}], "next": {"address", "port", "transport"}, "routes":
[...]?, "resolver"?} | null, "sip_t1_ns"?}`. coturn listens at both addresses and relays at the external one only, so
servers inside have a relayed address that the world can reach. `routes` and `resolver`, as in a Front End's job, are
for requests that the pool sends out through this Edge.
"""

import asyncio
import contextlib
import secrets
import sqlite3
import struct
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sipmessage import Request

from agents.child import ChildFailure, ChildProgram, serve_until_told
from agents.front_end import Say, StaticRoute
from agents.names import finder_of
from agents.pace import LoopLag
from agents.sip.hop import Hop, Listen
from agents.sip.proxy import Proxy, Target
from agents.sip.proxying import Refusal
from agents.sip.stack import ServerTransaction, Stack
from agents.sip.tls import Credentials
from agents.sip.transaction import Timing
from agents.sip.transport import Flow, Network, SocketNetwork
from agents.stock import stop_command

READY_LIMIT_S = 15.0
SCHEMA = Path("/usr/share/coturn/schema.sql")
"Tables of coturn's database, as its package brings them."
DATABASE, CERTIFICATE, KEY = "turndb", "certificate.pem", "key.pem"
_PROBE_INTERVAL_S = 0.1
_MAGIC_COOKIE = 0x2112A442
_BINDING_REQUEST, _BINDING_SUCCESS = 0x0001, 0x0101


def turnserver_configuration(job: Mapping[str, Any], directory: Path) -> str:
    """Return coturn's configuration file; *directory* is for what it writes. Raises ValueError for a wrong job."""
    low, dash, high = str(job["relay_ports"]).partition("-")
    if not (low.isdecimal() and (high.isdecimal() or not dash)):
        raise ValueError(f"relay_ports must be like '50000-59999', not {job['relay_ports']!r}")
    external = str(job["external_address"])
    addresses = _listening_addresses(job)
    lines = [
        f"listening-port={int(job.get('udp_port', 3478))}",
        *(f"listening-ip={address}" for address in addresses),
        *_tcp_listener(job, directory, addresses),
        f"relay-ip={external}",
        f"min-port={low}",
        f"max-port={high or low}",
        f"realm={job['realm']}",
        "lt-cred-mech",
        "use-auth-secret",
        f"static-auth-secret={job['relay_secret']}",
        "fingerprint",
        "no-multicast-peers",
        "no-cli",
        "no-dtls",
        "no-rfc5780",
        "no-software-attribute",
        "no-dynamic-ip-list",
        "no-dynamic-realms",
        "relay-threads=1",
        # A socket for each client: on one socket for all, coturn's mark of one client's packets is every client's.
        "ne=1",
        f"userdb={directory / DATABASE}",
        f"pidfile={directory / 'turnserver.pid'}",
        "log-file=stdout",
        "simple-log",
    ]
    return "\n".join(lines) + "\n"


def _tcp_listener(job: Mapping[str, Any], directory: Path, addresses: Sequence[str]) -> list[str]:
    """Return the lines for the TCP port; with a certificate it speaks TLS too, as each connection begins."""
    port = int(job.get("tcp_port", 443))
    if Credentials.from_json(job.get("tls")) is None:
        return ["no-tls", *(f"aux-server={address}:{port}" for address in addresses)]
    return [f"tls-listening-port={port}", f"cert={directory / CERTIFICATE}", f"pkey={directory / KEY}"]


def _listening_addresses(job: Mapping[str, Any]) -> list[str]:
    external = str(job["external_address"])
    return list(dict.fromkeys([external, str(job.get("internal_address") or external)]))


def make_database(path: Path) -> None:
    """Make coturn's database with its tables. Raises ChildFailure if coturn's package is not whole.

    Left to itself each thread of coturn makes them on its first query, and a query meanwhile finds the database locked:
    then coturn refuses right credentials with 401, although they need no database (seen with 4.6.1: 2 of 100 clients).
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.executescript("PRAGMA journal_mode=WAL;" + SCHEMA.read_text())
    except (OSError, sqlite3.Error) as problem:
        raise ChildFailure(f"cannot make coturn's database from {SCHEMA} (Debian package coturn): {problem}") from None


class TurnServer:
    """coturn as a child in our network namespace."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        """Read the job; raise ValueError where it is wrong."""
        self._directory = tempfile.TemporaryDirectory(prefix="edge-")
        self._configuration = turnserver_configuration(job, Path(self._directory.name))
        self._endpoints = [(address, int(job.get("udp_port", 3478))) for address in _listening_addresses(job)]
        self._credentials = Credentials.from_json(job.get("tls"))
        self.child = ChildProgram("turnserver", "coturn")

    async def start(self, *, limit_s: float = READY_LIMIT_S) -> None:
        """Start it; return when it answers STUN at each address. Raises ChildFailure, also after *limit_s*."""
        directory = Path(self._directory.name)
        make_database(directory / DATABASE)
        path = directory / "turnserver.conf"
        path.write_text(self._configuration)
        if self._credentials is not None:
            (directory / CERTIFICATE).write_text(self._credentials.certificate)
            (directory / KEY).write_text(self._credentials.key)
        await self.child.start(
            ["-c", str(path)], directory=directory, serves=self._all_answer(), what="answers to STUN", limit_s=limit_s
        )

    async def _all_answer(self) -> None:
        await asyncio.gather(*(stun_answers(*endpoint) for endpoint in self._endpoints))

    async def stop(self) -> None:
        """End the child and remove its files."""
        await self.child.stop()
        self._directory.cleanup()


class _Probe(asyncio.DatagramProtocol):
    def __init__(self, transaction_id: bytes) -> None:
        self._transaction_id = transaction_id
        self.answered = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if data[:2] == struct.pack("!H", _BINDING_SUCCESS) and data[8:20] == self._transaction_id:
            self.answered.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens yet (ICMP port unreachable): ask again."""


async def stun_answers(address: str, port: int) -> None:
    """Send STUN binding requests (RFC 8489) until one is answered; the caller sets the limit."""
    transaction_id = secrets.token_bytes(12)
    loop = asyncio.get_running_loop()
    # A socket is connected, so that a refusal is seen, and bound by the kernel to an address that reaches the server.
    transport, probe = await loop.create_datagram_endpoint(lambda: _Probe(transaction_id), remote_addr=(address, port))
    try:
        while not probe.answered.is_set():
            transport.sendto(struct.pack("!HHI", _BINDING_REQUEST, 0, _MAGIC_COOKIE) + transaction_id)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_INTERVAL_S):
                    await probe.answered.wait()
    finally:
        transport.close()


class AccessEdge:
    """The SIP proxy at a pool's border: what comes from outside goes to the Front End, the home server of its users."""

    def __init__(self, job: Mapping[str, Any], say: Say, *, network: Network | None = None) -> None:
        """Read the job; raise ValueError where it is wrong. *network* stands in for sockets in tests."""
        access = job["access_edge"]
        self._front_end = Hop.from_json(access["next"])
        self._routes = [StaticRoute.from_json(route) for route in access.get("routes", ())]
        self._inside = str(job.get("internal_address") or "")
        self._has_two_sides = self._inside not in ("", str(job["external_address"]))
        self._listens = [Listen.from_json(listen) for listen in access["listen"]]
        self._stack = Stack(
            network or SocketNetwork.for_server(self._listens, Credentials.from_json(job.get("tls"))),
            timing=Timing(t1_ns=int(job.get("sip_t1_ns", 500_000_000))),
        )
        self._proxy = Proxy(self._stack, self._route, listens=self._listens, find=finder_of(access, say))
        self._stack.on_request = self._take_request

    async def start(self) -> None:
        """Open the ports. Raises TransportFailure."""
        await self._stack.start(self._listens)

    async def stop(self) -> None:
        """Close everything."""
        await self._stack.stop()

    def _take_request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if request.method == "OPTIONS" and self._proxy.is_own(request.uri) and not request.headers.get("Route"):
            transaction.answer(200)
            return
        with_path = request.method == "REGISTER" and not self._is_inside(transaction.flow)
        self._stack.spawn(self._proxy.forward(transaction, with_path=with_path))

    def _is_inside(self, flow: Flow) -> bool:
        return flow.remote[0] == self._front_end.address or (self._has_two_sides and flow.local[0] == self._inside)

    def _route(self, request: Request, flow: Flow) -> Target | Refusal:
        if not self._is_inside(flow):
            return Target(self._front_end)
        route = next((route for route in self._routes if route.takes(request.uri)), None)
        return Refusal(404) if route is None else Target(route.next)


async def main(job: Mapping[str, Any], commands: AsyncIterator[dict[str, Any]], say: Say) -> None:
    """Serve until told to stop. Raises ChildFailure (coturn died), TransportFailure, ValueError for a wrong job."""
    turn_server = TurnServer(job)
    access_edge = AccessEdge(job, say) if job.get("access_edge") else None
    try:
        await turn_server.start()
        if access_edge is not None:
            await access_edge.start()
        lag = LoopLag()
        say({"type": "ready"})
        await serve_until_told(turn_server.child, stop_command(commands))
    finally:
        if access_edge is not None:
            await access_edge.stop()
        await turn_server.stop()
    say({"type": "result", "loop_lag_ns": lag.stop()})
