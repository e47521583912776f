"""Name servers of a scenario: who answers which names with what, worked out from its pools and the topology's services.

Split DNS, as in life: a name server that everybody may ask has each SIP domain's servers as they are seen from outside;
an organisation's own resolver has its own servers as they are seen from inside, and asks another for the rest. Where an
organisation's own pool shares a domain with the online one (hybrid), all records of the domain point at its own.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from testbed.plan.addresses import host_name, inner_address, own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.cast import Cast
from testbed.plan.model import DnsRecord, Job, NameServer, Plan
from testbed.plan.signaling import SIPS_PORT, Signaling
from testbed.topology import Topology

_KINDS: Final = ("resolver", "name-server")
_NAMED_SERVICES: Final = ("cdn", "crl", "portal", "telemetry")
SERVICES: Final = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
"Transport to what a client asks for (RFC 3263 section 4.2)."
FEDERATION: Final = {**SERVICES, "tls": "_sipfederationtls._tcp"}
"Transport to what a server of another organisation asks for."
WEB_SERVICE: Final = "lyncdiscover"
"What clients of a domain's web service ask for in it."


class Names:
    """The name servers that a scenario needs, and what each knows."""

    def __init__(
        self, cast: Cast, adjacency: Adjacency, signaling: Signaling, others: Iterable[DnsRecord] = ()
    ) -> None:
        """*others* are records that everybody may see, besides those of the pools."""
        self._signaling, self._others = signaling, tuple(others)
        self._cast, self._topology, self._adjacency = cast, cast.topology, adjacency
        self.pool_of = {
            domain: self._first_asked(domain) for name in cast.pools() for domain in cast.pool(name).domains
        }

    def servers(self) -> tuple[NameServer, ...]:
        """Return the name servers that take part: those whom a party's machine asks, whom they ask, and legs name."""
        scenario, needed = self._cast.scenario, dict[str, None]()
        named = [end for leg in scenario.legs for end in (leg.from_, leg.to) if end in self._topology.services]
        asked = [self.asked_by(party.node) for party in scenario.parties.values() if not self._cast.is_phone(party)]
        pools = self._cast.pools()
        by_servers = [
            self.asked_by(node)
            for pool in pools
            if any(self.finds(pool, domain) for other in pools for domain in self._cast.pool(other).domains)
            for node in self.routers(pool)
        ]
        for first in [*asked, *by_servers, *named]:
            at = first
            while at is not None and at not in needed and self._topology.services[at].kind in _KINDS:
                needed[at] = None
                at = self._topology.services[at].forward
        return tuple(self._server(name) for name in self._topology.services if name in needed)

    def asked_by(self, node: str) -> str | None:
        """Return the name server that *node*'s machine asks, that of its organisation; None without one."""
        organisation = self._cast.organisation(node)
        services = self._topology.services.items()
        return next((name for name, service in services if organisation in service.clients), None)

    def finds(self, pool: str, domain: str) -> bool:
        """Whether servers of *pool* ask a name server for those of *domain*: another organisation's, and not its own.

        Between pools that share a domain, and within an organisation, who is where is set up by hand, as in life.
        """
        others = [other for other in self._cast.pools() if domain in self._cast.pool(other).domains]
        is_shared = domain in self._cast.pool(pool).domains
        by_hand = is_shared or any(map(self._cast.is_connector, (pool, *others)))
        own = self._cast.organisation(self._cast.front_end(pool))
        is_elsewhere = all(self._cast.organisation(self._cast.front_end(other)) != own for other in others)
        return not by_hand and is_elsewhere and self.asked_by(self.routers(pool)[0]) is not None

    def routers(self, pool: str) -> tuple[str, ...]:
        """Return the servers of a pool that send requests to other organisations."""
        return self._cast.role_nodes(pool, "edge" if self._cast.pool(pool).access_edge else "front-end")

    def _server(self, name: str) -> NameServer:
        service = self._topology.services[name]
        inside = self._cast.organisation(service.node) if service.kind == "resolver" else None
        records = tuple(dict.fromkeys(self._inside(inside) if inside else self._outside()))
        return NameServer(
            name=name,
            node=service.node,
            address=str(own_address(self._topology, self._adjacency, service.node)),
            clients=service.clients,
            forward=service.forward,
            zones=tuple(dict.fromkeys(map(self._zone_inside if inside else _top_level, records))),
            records=records,
        )

    def _zone_inside(self, record: DnsRecord) -> str:
        """Return the SIP domain that a record is in; else its own name, whose neighbours others may know."""
        domains = (domain for domain in self.pool_of if record.name.endswith(f".{domain}"))
        asked = (domain for domain in domains if self._is_own(self.pool_of[domain]))
        return next(asked, record.name)

    def _first_asked(self, domain: str) -> str:
        """Return the pool that a domain's records point at: an organisation's own before the online one."""
        pools = [name for name in self._cast.pools() if domain in self._cast.pool(name).domains]
        return min(pools, key=lambda name: not self._is_own(name))

    def _is_own(self, pool: str) -> bool:
        node = self._cast.front_end(pool)
        return self._topology.segments[self._topology.nodes[node].segment].kind == "customer"

    def _outside(self) -> Iterator[DnsRecord]:
        yield from self._others
        for domain, pool in self.pool_of.items():
            has_gate = self._cast.pool(pool).access_edge
            gate = self._cast.role_nodes(pool, "edge")[0] if has_gate else self._cast.front_end(pool)
            yield from self._sip(domain, pool, gate)
            if self._signaling.uses_tls:
                port = self._signaling.client_port(pool, gate, "tls")
                yield self._service(f"_sip._tls.{domain}", gate, port)
                yield self._service(f"{FEDERATION['tls']}.{domain}", gate, SIPS_PORT)
        for pool in self._cast.pools():
            gates = () if self._cast.pool(pool).access_edge else (self._cast.front_end(pool),)
            for node in (*gates, *self._cast.role_nodes(pool, "edge")):
                yield self._host(node, str(own_address(self._topology, self._adjacency, node)))

    def _inside(self, organisation: str) -> Iterator[DnsRecord]:
        own = [
            name
            for name in self._cast.pools()
            if self._cast.organisation(self._cast.front_end(name)) == organisation and not self._cast.is_connector(name)
        ]
        for domain, pool in self.pool_of.items():
            if pool in own:
                yield from self._sip(domain, pool, self._cast.front_end(pool))
                if self._signaling.uses_tls:
                    yield self._service(f"_sipinternaltls._tcp.{domain}", self._cast.front_end(pool), SIPS_PORT)
        for pool in own:
            front_end = self._cast.front_end(pool)
            yield self._host(front_end, str(own_address(self._topology, self._adjacency, front_end)))
            for edge in self._cast.role_nodes(pool, "edge"):
                yield self._host(edge, str(inner_address(self._topology, self._adjacency, edge)))

    def _sip(self, domain: str, pool: str, node: str) -> Iterator[DnsRecord]:
        """Yield the records by which clients find a domain's server."""
        for transport, service in SERVICES.items():
            if transport != "tls" or self._signaling.uses_tls:
                yield self._service(f"{service}.{domain}", node, self._signaling.client_port(pool, node, transport))
        if self._signaling.has_web_clients(pool) and node == self._cast.front_end(pool):
            address = str(own_address(self._topology, self._adjacency, node))
            yield DnsRecord(name=f"{WEB_SERVICE}.{domain}", kind="A", target=address)

    def _service(self, name: str, node: str, port: int) -> DnsRecord:
        return DnsRecord(name=name, kind="SRV", target=host_name(self._topology, node), port=port)

    def _host(self, node: str, address: str) -> DnsRecord:
        return DnsRecord(name=host_name(self._topology, node), kind="A", target=address)


def served_names(topology: Topology) -> Iterator[tuple[str, str]]:
    """Yield each host name that some scenario's name servers may have an address for, and a node that has it."""
    for pool in topology.pools.values():
        for role in ("front-end", "edge"):
            yield from ((host_name(topology, node), node) for node in pool.roles.get(role, ()))
        for node in pool.roles.get("front-end", ())[:1]:
            yield from ((f"{WEB_SERVICE}.{domain}", node) for domain in pool.domains)
    for service in topology.services.values():
        if service.kind in _NAMED_SERVICES:
            yield host_name(topology, service.node), service.node


def _top_level(record: DnsRecord) -> str:
    return record.name.rpartition(".")[2]


def lookup(servers: tuple[NameServer, ...], first: str, name: str, kind: str) -> DnsRecord | None:
    """Return what a client of the name server *first* is told of *name*, as the servers forward; None for nothing."""
    by_name = {server.name: server for server in servers}
    at = by_name.get(first)
    while at is not None:
        if any(name == zone or name.endswith(f".{zone}") for zone in at.zones) or at.forward is None:
            return next((record for record in at.records if (record.name, record.kind) == (name, kind)), None)
        at = by_name.get(at.forward)
    return None


def sip_servers(plan: Plan, job: Job) -> Iterator[tuple[str, int, str]]:
    """Yield address, port and transport of the servers that a job's names lead it to.

    A client's are its domain's, then its home; of a client of the web service it is the one whose host name it is told.
    A server's are those of other organisations. Nothing where a name is not resolved, or where the job has an address.
    """
    for part in (job.arguments, job.arguments.get("access_edge") or {}):
        asked = next((server.name for server in plan.name_servers if server.address == part.get("resolver")), None)
        if asked is not None:
            yield from _of_client(plan, job, asked) if job.stage == "party" else _of_routes(plan, part, asked)


def _of_routes(plan: Plan, arguments: dict[str, Any], asked: str) -> Iterator[tuple[str, int, str]]:
    for following in (route["next"] for route in arguments.get("routes", ())):
        if "domain" in following:
            transport = following["transport"]
            found = _server_of(plan, asked, f"{FEDERATION[transport]}.{following['domain']}")
            host = None if found is None else lookup(plan.name_servers, asked, found[0], "A")
            if found is not None and host is not None:
                yield host.target, found[1], transport


def _of_client(plan: Plan, job: Job, asked: str) -> Iterator[tuple[str, int, str]]:
    wanted = job.arguments.get("server")
    if not isinstance(wanted, dict):
        return
    if "host" in wanted and (record := lookup(plan.name_servers, asked, wanted["host"], "A")) is not None:
        yield record.target, wanted["port"], wanted["transport"]
    if "domain" not in wanted:
        return
    transport, uri = wanted["transport"], job.arguments.get("uri")
    hosts = [_server_of(plan, asked, f"{SERVICES[transport]}.{wanted['domain']}")]
    for front_end in plan.jobs:
        if (contact := front_end.arguments.get("moved", {}).get(uri)) is not None:
            host, _, port = contact.removeprefix("sip:").partition(";")[0].partition(":")
            hosts.append((host, int(port)))
    for found in filter(None, hosts):
        if (record := lookup(plan.name_servers, asked, found[0], "A")) is not None:
            yield record.target, found[1], transport


def _server_of(plan: Plan, asked: str, service: str) -> tuple[str, int] | None:
    record = lookup(plan.name_servers, asked, service, "SRV")
    return None if record is None or record.port is None else (record.target, record.port)
