"""Where SIP is awaited and sent to: ports, transports, the names that TLS servers answer for, their certificates."""

from collections.abc import Sequence
from typing import Any, Final

from testbed.plan.addresses import host_name, inner_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.cast import Cast
from testbed.plan.certificates import Certificates
from testbed.plan.model import Job

SIP_PORT: Final = 5060
SIPS_PORT: Final = 5061
SIP_PORTS: Final = (SIP_PORT, SIPS_PORT)
HTTPS_PORT: Final = 443
CLIENT_TLS_PORT: Final = 443
"""Of an Online pool, where its web service does not have it. A pool of one's own has 5061: its Edge has one address, on
which 443 is the A/V Edge's."""
PLAIN: Final = ({"transport": "udp", "port": SIP_PORT}, {"transport": "tcp", "port": SIP_PORT})

Document = dict[str, Any]


class Signaling:
    """The signaling addresses of one scenario, as its jobs name them."""

    def __init__(self, cast: Cast, adjacency: Adjacency) -> None:
        self._cast, self._adjacency = cast, adjacency
        pools = [cast.pool(name) for name in cast.pools()]
        parties = cast.scenario.parties.values()
        by_tls = {transport for party in parties for transport in (party.transport, *party.turn_transports)}
        by_tls |= {pool.trunk for pool in pools} | {pool.servers for pool in pools}
        self._certificates = Certificates(cast.secret("certificates")) if {"tls", "https"} & by_tls else None

    def server(self, pool: str, node: str) -> Document:
        """Return what a server's job says of itself: where it listens and, where TLS is used, its certificate."""
        return {"listen": self.listen(pool, node), **self.identity(pool, node)}

    def listen(self, pool: str, node: str) -> list[Document]:
        """Return the ports at which a server of *pool* awaits requests."""
        if self._certificates is None:
            return list(PLAIN)
        ports = [SIPS_PORT, CLIENT_TLS_PORT] if self._client_port(pool, node) == CLIENT_TLS_PORT else [SIPS_PORT]
        return [*PLAIN, *({"transport": "tls", "port": port} for port in ports)]

    def web_service(self, pool: str) -> Document:
        """Return a Front End's `rest`: where it awaits clients by HTTPS; nothing where it has none."""
        return {"rest": {"listen": [{"transport": "tls", "port": HTTPS_PORT}]}} if self.has_web_clients(pool) else {}

    def has_web_clients(self, pool: str) -> bool:
        """Return whether a user of *pool* has no SIP but the web service."""
        return any(party.transport == "https" for party in self._cast.users(pool).values())

    def identity(self, pool: str, node: str, *, addresses: Sequence[str] = ()) -> Document:
        """Return a server's `tls`: whom it trusts and what it shows; nothing where nobody uses TLS.

        *addresses* are those that its certificate holds, besides its names.
        """
        if self._certificates is None:
            return {}
        condition = self._cast.topology.nodes[node].certificate
        shown = self._certificates.of(node, self._names(pool, node), condition, addresses=addresses)
        return {"tls": {"authority": self._certificates.trusted, "certificate": shown.certificate, "key": shown.key}}

    def trust(self) -> Document:
        """Return a client's `tls`: whom it trusts; nothing where nobody uses TLS."""
        return {} if self._certificates is None else {"tls": {"authority": self._certificates.trusted}}

    def gate(self, pool: str, *, seen_from: str) -> str:
        """Return the server at which signaling enters a pool: its Access Edge from outside, else its Front End."""
        if self._cast.pool(pool).access_edge and not self._cast.is_inside(seen_from, pool):
            return self._cast.role_nodes(pool, "edge")[0]
        return self._cast.front_end(pool)

    def for_client(self, pool: str, *, seen_from: str, transport: str, domain: str) -> Document:
        """Return the server of a client at *seen_from*, which must answer for the *domain* of the client's user."""
        if transport == "https":
            address = str(self._cast.address(self._cast.front_end(pool), seen_from=seen_from))
            return _hop_document(address, "tls", name=domain, port=HTTPS_PORT)
        node = self.gate(pool, seen_from=seen_from)
        port = self.client_port(pool, node, transport)
        return self._hop(node, seen_from=seen_from, transport=transport, port=port, name=domain)

    @property
    def uses_tls(self) -> bool:
        """Whether anybody does, so that servers have certificates."""
        return self._certificates is not None

    def client_port(self, pool: str, node: str, transport: str) -> int:
        """Return the port at which clients reach a server of *pool*."""
        return self._client_port(pool, node) if transport == "tls" else SIP_PORT

    def within(self, pool: str, node: str, *, seen_from: str) -> Document:
        """Return the way from one server of *pool* to another."""
        return self._to_host(pool, str(self._cast.address(node, seen_from=seen_from)), node)

    def inward(self, pool: str, node: str) -> Document:
        """Return the way to a server of *pool* at its internal address."""
        return self._to_host(pool, str(inner_address(self._cast.topology, self._adjacency, node)), node)

    def _to_host(self, pool: str, address: str, node: str) -> Document:
        return _hop_document(address, self._cast.pool(pool).servers, name=self._host_name(pool, node))

    def outward(self, pool: str, other: str, *, seen_from: str) -> Document:
        """Return the next server from a Front End of *pool* to another pool: its own Access Edge, if it has one."""
        if self._cast.pool(pool).access_edge:
            return self.within(pool, self._cast.role_nodes(pool, "edge")[0], seen_from=seen_from)
        return self.across(other, seen_from=seen_from)

    def across(self, other: str, *, seen_from: str) -> Document:
        """Return the way to a pool from a server of another one, whose trunk decides what it comes by."""
        pool = self._cast.pool(other)
        return self._hop(
            self.gate(other, seen_from=seen_from), seen_from=seen_from, transport=pool.trunk, name=pool.domains[0]
        )

    def _hop(self, node: str, *, seen_from: str, transport: str, name: str, port: int = 0) -> Document:
        return _hop_document(str(self._cast.address(node, seen_from=seen_from)), transport, name=name, port=port)

    def _client_port(self, pool: str, node: str) -> int:
        is_online = not self._cast.pool(pool).access_edge and node == self._cast.front_end(pool)
        return CLIENT_TLS_PORT if is_online and not self.has_web_clients(pool) else SIPS_PORT

    def _names(self, pool: str, node: str) -> Sequence[str]:
        """Return what a server answers for: its host name, and where signaling enters the pool its SIP domains."""
        gates = (*self._cast.role_nodes(pool, "edge"), self._cast.front_end(pool))
        return (self._host_name(pool, node), *(self._cast.pool(pool).domains if node in gates else ()))

    def _host_name(self, pool: str, node: str) -> str:
        return host_name(self._cast.topology, node)


def _hop_document(address: str, transport: str, *, name: str, port: int = 0) -> Document:
    hop: Document = {"address": address, "port": port or SIP_PORT, "transport": transport}
    return {**hop, "port": port or SIPS_PORT, "name": name} if transport == "tls" else hop


def endpoints(jobs: Sequence[Job], addresses: dict[str, str]) -> tuple[str, ...]:
    """Return "address:port" of every server that awaits signaling elsewhere than at the usual ports."""
    found = dict.fromkeys(
        f"{address}:{listen['port']}"
        for job in jobs
        for listen in _listens(job.arguments)
        if listen["port"] not in SIP_PORTS
        for address, node in addresses.items()
        if node == job.node
    )
    return tuple(found)


def _listens(arguments: Document) -> list[Document]:
    parts = (arguments, arguments.get("access_edge") or {}, arguments.get("rest") or {})
    return [listen for part in parts for listen in part.get("listen", ())]
