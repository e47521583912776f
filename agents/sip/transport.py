"""UDP, TCP and TLS for SIP, on asyncio: the only module of this package that touches sockets.

A `Flow` is what a message came over or goes out on: for UDP the local socket and the remote address, for TCP and TLS
the connection. Answers go back over the flow of their request, and a server reaches a registered client over the flow
of its registration (RFC 5626), because firewalls let nothing else through. A server on "0.0.0.0" has one UDP socket
for each of its addresses, so that an answer leaves from the address the request was sent to, whatever the routing
table prefers.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import ifaddr

from agents.sip.errors import CertificateRefused, MalformedMessage, TransportFailure
from agents.sip.framing import StreamFramer
from agents.sip.hop import Hop, Listen, TransportName
from agents.sip.marking import connect, mark
from agents.sip.tls import Credentials, check_identity, refusal_of
from agents.sip.tunnel import WebProxy, open_tunnel

ANY_ADDRESS = "0.0.0.0"
Endpoint = tuple[str, int]


class Flow(Protocol):
    """A way to one remote address, over one local one."""

    @property
    def transport(self) -> TransportName: ...
    @property
    def local(self) -> Endpoint: ...
    @property
    def remote(self) -> Endpoint: ...
    @property
    def is_open(self) -> bool: ...

    def send(self, data: bytes) -> None:
        """Send one whole message. Raises TransportFailure if the way is closed; loss is silent."""

    def give_up(self) -> None:
        """Close a connection at once, unsent data and all; UDP has none."""


class Network(Protocol):
    """What a SIP stack needs of the outside; `SocketNetwork` is the real one, tests have one in memory."""

    on_message: Callable[[bytes, Flow], None]
    on_lost: Callable[[Flow], None]

    async def listen(self, listen: Listen) -> None: ...
    async def flow_to(self, hop: Hop) -> Flow: ...
    async def close(self) -> None: ...
    def port_of(self, flow: Flow) -> int:
        """Return the port for Via and Contact on *flow*: the listening one of its transport, if there is one."""
        ...

    def find(self, transport: TransportName, remote: Endpoint, local_address: str) -> Flow | None:
        """Return an open flow between the two, if one exists without connecting."""
        ...


def local_addresses() -> list[str]:
    """Return the IPv4 addresses of all interfaces."""
    return [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]


def address_facing(address: str) -> str:
    """Return the local address from which the kernel would send to *address*; raise TransportFailure if none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # a datagram socket: nothing is sent
        except OSError as problem:
            raise TransportFailure(f"no way to {address}: {problem.strerror}") from None
        return str(probe.getsockname()[0])


class UdpFlow:
    """A local UDP socket and a remote address."""

    transport: TransportName = "udp"

    def __init__(self, endpoint: "_UdpEndpoint", remote: Endpoint) -> None:
        self._endpoint = endpoint
        self.local = endpoint.local
        self.remote = remote

    @property
    def is_open(self) -> bool:
        """Whether the local socket is still there."""
        return not self._endpoint.socket.is_closing()

    def send(self, data: bytes) -> None:
        """Send one datagram."""
        if not self.is_open:
            raise TransportFailure(f"the UDP socket {self.local} is closed")
        self._endpoint.socket.sendto(data, self.remote)

    def give_up(self) -> None:
        """Do nothing: there is no connection."""


class _UdpEndpoint(asyncio.DatagramProtocol):
    def __init__(self, network: "SocketNetwork") -> None:
        self._network = network

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.socket = cast(asyncio.DatagramTransport, transport)
        self.local: Endpoint = transport.get_extra_info("sockname")[:2]
        mark(transport.get_extra_info("socket"))

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._network.on_message(data, UdpFlow(self, (addr[0], addr[1])))

    def error_received(self, exc: Exception) -> None:
        """An ICMP error: it does not say which message it is about, so the timers find out."""


class StreamFlow(asyncio.Protocol):
    """A TCP connection, plain or with TLS."""

    def __init__(self, network: "SocketNetwork", transport: TransportName, beyond: Endpoint | None = None) -> None:
        """*beyond* is the far end of a tunnel, where the connection itself ends at a web proxy."""
        self.transport: TransportName = transport
        self._network, self._beyond = network, beyond
        self._framer = StreamFramer()
        self.local: Endpoint = ("", 0)
        self.remote: Endpoint = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the two ends (asyncio calls this)."""
        self._socket = cast(asyncio.Transport, transport)
        self.local = transport.get_extra_info("sockname")[:2]
        self.remote = self._beyond or transport.get_extra_info("peername")[:2]
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._network.add_connection(self)

    def data_received(self, data: bytes) -> None:
        """Cut the stream into messages (asyncio calls this)."""
        try:
            for message in self._framer.feed(data):
                self._network.on_message(message, self)
        except MalformedMessage:
            self._socket.abort()  # the next message's border is lost (section 18.3)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the stack (asyncio calls this)."""
        self._network.remove_connection(self)

    @property
    def is_open(self) -> bool:
        """Whether the connection stands."""
        return not self._socket.is_closing()

    def send(self, data: bytes) -> None:
        """Send one message."""
        if not self.is_open:
            raise TransportFailure(f"the connection to {self.remote[0]}:{self.remote[1]} is closed")
        self._socket.write(data)

    def check_certificate(self, name: str) -> None:
        """Raise CertificateRefused unless the other end, which we connected to by TLS, is *name*."""
        check_identity(self._socket.get_extra_info("peercert"), name)

    def give_up(self) -> None:
        """Close at once; whoever asks for a way to the same place gets a new connection."""
        self._socket.abort()


class SocketNetwork:
    """The sockets of one SIP element."""

    def __init__(
        self, *, local_address: str = ANY_ADDRESS, tls: Credentials | None = None, proxy: WebProxy | None = None
    ) -> None:
        """With a *proxy* every connection that is opened goes through it."""
        self.on_message: Callable[[bytes, Flow], None] = lambda data, flow: None
        self.on_lost: Callable[[Flow], None] = lambda flow: None
        self._local_address, self._proxy = local_address, proxy
        self._tls = tls
        self._udp: dict[str, _UdpEndpoint] = {}
        "The socket to send from, by local address: the first that was bound there."
        self._udp_sockets: list[_UdpEndpoint] = []
        self._connections: dict[tuple[TransportName, Endpoint], StreamFlow] = {}
        self._servers: list[asyncio.Server] = []
        self._stream_ports: dict[TransportName, list[int]] = {}
        "Where connections are awaited."
        self._connecting: dict[tuple[TransportName, Endpoint], asyncio.Lock] = {}

    @classmethod
    def for_server(cls, listens: Sequence[Listen], tls: Credentials | None = None) -> "SocketNetwork":
        """Return the network of a server: one that listens at a single address sends from there too."""
        addresses = {listen.address for listen in listens}
        return cls(local_address=addresses.pop() if len(addresses) == 1 else ANY_ADDRESS, tls=tls)

    async def listen(self, listen: Listen) -> None:
        """Await messages on a port. Raises TransportFailure if it is taken, ValueError for TLS and no certificate."""
        try:
            if listen.transport == "udp":
                for address in local_addresses() if listen.address == ANY_ADDRESS else [listen.address]:
                    await self._bind_udp(address, listen.port)
            else:
                await self._bind_stream(listen)
        except OSError as problem:
            where = f"{listen.transport} {listen.address}:{listen.port}"
            raise TransportFailure(f"cannot listen on {where}: {problem.strerror or problem}") from None

    async def _bind_udp(self, address: str, port: int) -> _UdpEndpoint:
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(lambda: _UdpEndpoint(self), local_addr=(address, port))
        self._udp.setdefault(address, endpoint)
        self._udp_sockets.append(endpoint)
        return endpoint

    async def _bind_stream(self, listen: Listen) -> None:
        loop = asyncio.get_running_loop()
        context = self._credentials().server_context() if listen.transport == "tls" else None
        server = await loop.create_server(
            lambda: StreamFlow(self, listen.transport), listen.address, listen.port, reuse_address=True, ssl=context,
            start_serving=False,
        )  # fmt: skip
        self._servers.append(server)
        for waiting in server.sockets:
            mark(waiting)  # before it listens, so that the first SYN is answered so too
        await server.start_serving()
        self._stream_ports.setdefault(listen.transport, []).append(server.sockets[0].getsockname()[1])

    def _credentials(self) -> Credentials:
        if self._tls is None:
            raise TransportFailure("TLS needs credentials, and there are none")
        return self._tls

    async def flow_to(self, hop: Hop) -> Flow:
        """Return a way to *hop*, connecting if need be. Raises TransportFailure."""
        if hop.transport == "udp":
            return await self._udp_flow(hop)
        key = hop.transport, (hop.address, hop.port)
        # Two requests at once to a new hop must share one connection.
        async with self._connecting.setdefault(key, asyncio.Lock()):
            if (connection := self._connections.get(key)) is not None and connection.is_open:
                return connection
            return await self._connect(hop)

    async def _udp_flow(self, hop: Hop) -> Flow:
        local = address_facing(hop.address)
        endpoint = self._udp.get(local)
        if endpoint is None and self._local_address in self._udp:
            endpoint = self._udp[self._local_address]
        if endpoint is None:
            try:
                endpoint = await self._bind_udp(local if self._local_address == ANY_ADDRESS else self._local_address, 0)
            except OSError as problem:
                raise TransportFailure(f"no UDP socket towards {hop}: {problem.strerror or problem}") from None
        return UdpFlow(endpoint, (hop.address, hop.port))

    async def _connect(self, hop: Hop) -> StreamFlow:
        source = None if self._local_address == ANY_ADDRESS else (self._local_address, 0)
        where = f"{hop.address}:{hop.port}"
        is_tls = hop.transport == "tls"
        context = self._credentials().client_context() if is_tls else None
        server_name = (hop.name or hop.address) if is_tls else None
        loop = asyncio.get_running_loop()
        try:
            if self._proxy is None:
                beyond, opened = None, await connect(hop.address, hop.port, source)
            else:
                beyond = (hop.address, hop.port)
                opened = await open_tunnel(self._proxy, beyond, source)
            _, flow = await loop.create_connection(
                lambda: StreamFlow(self, hop.transport, beyond), sock=opened, ssl=context, server_hostname=server_name
            )
        except OSError as problem:
            if (refusal := refusal_of(problem, where)) is not None:
                raise refusal from None
            why = problem.strerror or errno.errorcode.get(problem.errno or 0, "") or str(problem)
            by = f" by the proxy {self._proxy}" if self._proxy else ""
            raise TransportFailure(f"cannot connect to {where}{by}: {why}") from None
        if is_tls:
            try:
                flow.check_certificate(hop.name)
            except CertificateRefused as problem:
                flow.give_up()
                raise CertificateRefused(f"certificate of {where}: {problem}") from None
        return flow

    def port_of(self, flow: Flow) -> int:
        """Return the port that reaches us for *flow*."""
        ports = self._stream_ports.get(flow.transport, [])
        return ports[0] if ports and flow.local[1] not in ports else flow.local[1]

    def find(self, transport: TransportName, remote: Endpoint, local_address: str) -> Flow | None:
        """Return the open connection to *remote*, or the UDP socket at *local_address*."""
        if transport != "udp":
            connection = self._connections.get((transport, remote))
            return connection if connection is not None and connection.is_open else None
        endpoint = self._udp.get(local_address)
        return None if endpoint is None else UdpFlow(endpoint, remote)

    def add_connection(self, connection: StreamFlow) -> None:
        """Make a connection known for reuse."""
        self._connections[connection.transport, connection.remote] = connection

    def remove_connection(self, connection: StreamFlow) -> None:
        """Forget a connection that was lost, and say so."""
        key = connection.transport, connection.remote
        if self._connections.get(key) is connection:
            del self._connections[key]
        self.on_lost(connection)

    async def close(self) -> None:
        """Close every socket."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.give_up()
        for endpoint in self._udp_sockets:
            endpoint.socket.abort()
        await asyncio.sleep(0)
