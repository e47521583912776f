"""What BGP settles on in a topology: the decision process of RFC 4271 section 9.1 as BIRD 2 carries it out.

Pure: `converge` exchanges routes between the speakers in rounds until nothing changes. `testbed.plan.routing` writes
BIRD configurations of the same policy, and the emulation waits until the kernels hold what is worked out here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import Final

from testbed.errors import SpecError
from testbed.plan.adjacency import Adjacency
from testbed.plan.policy import Probe, decide
from testbed.topology import BgpSession, Topology

BGP_PORT: Final = 179
DEFAULT_LOCAL_PREFERENCE: Final = 100
DEFAULT_ROUTE: Final = IPv4Network("0.0.0.0/0")
PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
"RFC 1918; refused, with everything inside them, by `refuse_default`."
_ROUNDS_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class BestRoute:
    """The route that a speaker chose for a prefix, as it stands in its kernel's table."""

    prefix: IPv4Network
    via: IPv4Address | None
    "First hop that the kernel is told; None: unreachable, an aggregate that the speaker originates itself."
    interface: str
    "Interface it leaves by, or empty."
    neighbour: str
    "Node that has the address *via*, or empty."
    next_hop: IPv4Address | None = None
    "BGP's NEXT_HOP; differs from *via* where it lies behind another hop."
    learned_from: str = ""
    "Speaker that told it; empty for its own."
    external: bool = False
    "Whether it was told by another AS."
    as_path: tuple[int, ...] = ()
    local_preference: int = DEFAULT_LOCAL_PREFERENCE
    communities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peering:
    """One end's view of a session: the addresses it runs between."""

    session: str
    node: str
    peer: str
    address: IPv4Address
    peer_address: IPv4Address
    external: bool
    multihop: bool
    "Whether other nodes stand between, such as a firewall."
    bfd: bool
    alive: bool
    "Whether it can come up: the session, its cables, and tcp port 179 through the firewalls between."
    passive: bool
    "Whether it leaves it to the peer to open the connection, as an end does whose attempts a firewall would drop."


def router_ids(topology: Topology) -> dict[str, IPv4Address]:
    """Return the BGP identifier of every speaker: the lowest of its addresses."""
    found: dict[str, list[IPv4Address]] = {name: [] for name in topology.bgp}
    for link in topology.links.values():
        for node, address in link.addresses.items():
            if node in found:
                found[node].append(address.ip)
    for node, addresses in found.items():
        if not addresses:
            raise SpecError(topology.name, f"bgp.{node}", "a BGP speaker needs a link with an address")
    return {node: min(addresses) for node, addresses in found.items()}


def peerings(topology: Topology, adjacency: Adjacency) -> dict[str, tuple[Peering, ...]]:
    """Return the sessions of every speaker, in the order of the topology file."""
    found: dict[str, list[Peering]] = {name: [] for name in topology.bgp}
    for name, session in topology.sessions.items():
        for node, peer in (session.ends, session.ends[::-1]):
            found[node].append(_peering(topology, adjacency, name, session, node, peer))
    return {node: tuple(each) for node, each in found.items()}


def _peering(topology: Topology, adjacency: Adjacency, name: str, session: BgpSession, node: str, peer: str) -> Peering:
    # The way is looked up from the first end, so that both ends agree on it where several are equally short.
    way = adjacency.path(*session.ends)
    if not way:
        raise SpecError(topology.name, f"sessions.{name}", f"no way over links from {node} to {peer}")
    opener = _opener(topology, adjacency, session)
    addresses = {session.ends[0]: way[0].address.ip, session.ends[1]: way[-1].peer_address.ip}
    return Peering(
        session=name,
        node=node,
        peer=peer,
        address=addresses[node],
        peer_address=addresses[peer],
        external=topology.bgp[node].asn != topology.bgp[peer].asn,
        multihop=len(way) > 1,
        bfd=_bfd(topology, name, session, is_direct=len(way) == 1),
        alive=session.up and all(hop.up and not hop.dead for hop in way) and opener is not None,
        passive=opener != node,
    )


def _bfd(topology: Topology, name: str, session: BgpSession, *, is_direct: bool) -> bool:
    if session.bfd and not is_direct:
        raise SpecError(topology.name, f"sessions.{name}.bfd", "other nodes stand between its ends: BFD is for one hop")
    return session.bfd


def _opener(topology: Topology, adjacency: Adjacency, session: BgpSession) -> str | None:
    """Return the end that opens the TCP connection: the first that can through every firewall between; None if none.

    Where both try at once, as speakers that start together do, the connections collide (RFC 4271 section 6.8), and it
    takes another second until one stands.
    """
    way = adjacency.path(*session.ends)
    here, there = way[0].address.ip, way[-1].peer_address.ip
    out = Probe("tcp", here, there, source_port=49152, destination_port=BGP_PORT)
    back = Probe("tcp", there, here, source_port=49152, destination_port=BGP_PORT)
    firewalls = [
        (topology.firewalls[before.peer], adjacency.between(before.peer, before.node).interface, after.interface)
        for before, after in pairwise(way)
        if before.peer in topology.firewalls
    ]
    if all(decide(f, arrives_by=a, leaves_by=b, probe=out).accepted for f, a, b in firewalls):
        return session.ends[0]
    if all(decide(f, arrives_by=b, leaves_by=a, probe=back).accepted for f, a, b in firewalls):
        return session.ends[1]
    return None


def active_static_routes(topology: Topology, adjacency: Adjacency, node: str) -> dict[IPv4Network, str]:
    """Return the node's static routes whose cable is up: prefix to neighbour."""
    written = static_routes(topology, node).items()
    return {prefix: neighbour for prefix, neighbour in written if adjacency.between(node, neighbour).up}


def converge(topology: Topology) -> dict[str, dict[IPv4Network, BestRoute]]:
    """Return what each speaker's BGP puts into its kernel: prefix to best route.

    Connected and static routes are not in it; where a speaker has one for the same prefix it wins, as in BIRD.
    Raise SpecError where the policies make the speakers go round in circles.
    """
    return _Exchange(topology).run()


class _Exchange:
    """The speakers of one topology, telling each other their best routes."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._adjacency = Adjacency(topology)
        self._ids = router_ids(topology)
        self._peerings = peerings(topology, self._adjacency)
        self._statics = {node: active_static_routes(topology, self._adjacency, node) for node in topology.bgp}
        self._connected = {node: connected_prefixes(topology, node) for node in topology.bgp}

    def run(self) -> dict[str, dict[IPv4Network, BestRoute]]:
        best: dict[str, dict[IPv4Network, BestRoute]] = {
            node: {prefix: route for prefix, route in self._aggregates(node)} for node in self._topology.bgp
        }
        for _ in range(_ROUNDS_LIMIT):
            told = {node: self._decide(node, best) for node in self._topology.bgp}
            if told == best:
                return best
            best = told
        raise SpecError(self._topology.name, "sessions", "BGP does not settle: the preferences chase each other")

    def _aggregates(self, node: str) -> Iterator[tuple[IPv4Network, BestRoute]]:
        for announcement in self._topology.announcements.values():
            if announcement.at == node and is_aggregate(self._topology, node, announcement.prefix):
                yield announcement.prefix, BestRoute(announcement.prefix, None, "", "")

    def _decide(self, node: str, best: Mapping[str, Mapping[IPv4Network, BestRoute]]) -> dict[IPv4Network, BestRoute]:
        candidates: dict[IPv4Network, list[tuple[tuple[object, ...], BestRoute]]] = {}
        own = dict(self._aggregates(node))
        connected = {prefix for prefix, up in self._connected[node].items() if up}
        settled = self._statics[node].keys() | connected | own.keys()
        for peering in self._peerings[node]:
            if peering.alive:
                for offered in self._offers(peering, best[peering.peer]):
                    route = self._accept(peering, offered)
                    if route is not None and route.prefix not in settled:
                        candidates.setdefault(route.prefix, []).append((self._rank(node, route), route))
        chosen = {prefix: min(each, key=lambda one: one[0])[1] for prefix, each in candidates.items()}
        return own | chosen

    def _offers(self, peering: Peering, routes: Mapping[IPv4Network, BestRoute]) -> Iterator[BestRoute]:
        """Yield what the other end of *peering* sends to this one."""
        sender = peering.peer
        for announcement in self._topology.announcements.values():
            is_told = announcement.at == sender and peering.node in announcement.to
            if is_told and self._is_active(sender, announcement.prefix):
                told = BestRoute(announcement.prefix, None, "", "", communities=announcement.communities)
                yield self._export(peering, told)
        for route in routes.values():
            if route.learned_from and self._passes_on(sender, peering, route):
                yield self._export(peering, route)

    def _passes_on(self, sender: str, peering: Peering, route: BestRoute) -> bool:
        if route.learned_from == peering.node:
            return False
        if not peering.external:
            return route.external  # what one internal neighbour told is not told to another: no route reflection
        return self._topology.bgp[sender].transit

    def _export(self, peering: Peering, route: BestRoute) -> BestRoute:
        asn = self._topology.bgp[peering.peer].asn
        path = (asn, *route.as_path) if peering.external else route.as_path
        return replace(route, next_hop=peering.peer_address, as_path=path)

    def _accept(self, peering: Peering, route: BestRoute) -> BestRoute | None:
        session = self._topology.sessions[peering.session]
        node = peering.node
        if self._topology.bgp[node].asn in route.as_path:
            return None
        if node in session.refuse_default and is_refused(route.prefix):
            return None
        wanted = session.accept_communities.get(node)
        if wanted is not None and not set(wanted) & set(route.communities):
            return None
        preference = session.local_preference.get(node)
        if preference is None:
            preference = DEFAULT_LOCAL_PREFERENCE if peering.external else route.local_preference
        return self._resolve(
            replace(route, learned_from=peering.peer, external=peering.external, local_preference=preference), node
        )

    def _resolve(self, route: BestRoute, node: str) -> BestRoute | None:
        """Find the first hop to the route's next hop over connected and static routes; None if there is none."""
        assert route.next_hop is not None
        next_hop = route.next_hop
        hop = self._adjacency.owner(node, next_hop)
        if hop is None or not hop.up:
            static = [prefix for prefix in self._statics[node] if next_hop in prefix]
            if not static:
                return None
            hop = self._adjacency.between(node, self._statics[node][max(static, key=lambda p: p.prefixlen)])
        return replace(route, via=hop.peer_address.ip, interface=hop.interface, neighbour=hop.peer)

    def _rank(self, node: str, route: BestRoute) -> tuple[object, ...]:
        """Order the candidates for one prefix as BIRD does: the least is the best."""
        is_far = route.via != route.next_hop  # BIRD counts a next hop behind a static route as infinitely far away
        return (
            -route.local_preference,
            len(route.as_path),
            not route.external,
            is_far,
            self._ids[route.learned_from],
            route.next_hop,
        )

    def _is_active(self, node: str, prefix: IPv4Network) -> bool:
        """Whether the speaker has the prefix it announces: a static or connected one only while its cable is up."""
        if is_aggregate(self._topology, node, prefix):
            return True
        return prefix in self._statics[node] or self._connected[node].get(prefix, False)


def is_refused(prefix: IPv4Network) -> bool:
    """Whether `refuse_default` drops *prefix*: the default route and private prefixes."""
    return prefix == DEFAULT_ROUTE or any(prefix.subnet_of(private) for private in PRIVATE)


def static_routes(topology: Topology, node: str) -> dict[IPv4Network, str]:
    """Return the node's static routes as written: prefix to neighbour."""
    routes = topology.nodes[node].routes.items()
    return {DEFAULT_ROUTE if text == "default" else IPv4Network(text): neighbour for text, neighbour in routes}


def connected_prefixes(topology: Topology, node: str) -> dict[IPv4Network, bool]:
    """Return the prefixes of the node's own interfaces, and whether their cable is up."""
    links = [link for link in topology.links.values() if node in link.addresses]
    return {link.addresses[node].network: link.up for link in links}


def is_aggregate(topology: Topology, node: str, prefix: IPv4Network) -> bool:
    """Whether a speaker that announces *prefix* has no route for it, so that it originates an unreachable one."""
    return prefix not in static_routes(topology, node) and prefix not in connected_prefixes(topology, node)
