"""What each node's kernel routes: connected, static and BGP routes in one table, longest prefix first."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.plan.adjacency import Adjacency, Adjacent
from testbed.plan.bgp import active_static_routes, converge
from testbed.topology import Topology


@dataclass(frozen=True, slots=True)
class Entry:
    """One route of a node."""

    prefix: IPv4Network
    interface: str
    "Interface it leaves by; empty for an aggregate that the node originates and cannot reach."
    gateway: IPv4Address | None
    "Next hop; None where the destination itself is on the LAN."


class Fib:
    """The tables of every node of a topology, after BGP has settled."""

    def __init__(self, topology: Topology) -> None:
        self.adjacency = Adjacency(topology)
        self._tables: dict[str, list[Entry]] = {}
        learned = converge(topology)
        for name, node in topology.nodes.items():
            if node.kind == "switch":
                continue
            entries = self._connected(topology, name) + self._static(topology, name)
            entries += [Entry(route.prefix, route.interface, route.via) for route in learned.get(name, {}).values()]
            # A stable sort: for one prefix, connected goes before static and static before BGP.
            self._tables[name] = sorted(entries, key=lambda entry: -entry.prefix.prefixlen)

    def lookup(self, node: str, destination: IPv4Address) -> Entry | None:
        """Return the route of *node* with the longest prefix that holds *destination*; None if there is none."""
        return next((entry for entry in self._tables[node] if destination in entry.prefix), None)

    def neighbour(self, node: str, entry: Entry, destination: IPv4Address) -> Adjacent | None:
        """Return the hop that *entry* takes: the neighbour that answers ARP for the next hop, or None."""
        wanted = entry.gateway or destination
        for hop in self.adjacency.of(node):
            if hop.interface == entry.interface and hop.peer_address.ip == wanted and hop.up:
                return hop
        return None

    def entrance(self, hop: Adjacent) -> str:
        """Return the interface of the peer by which packets over *hop* come in."""
        back = hop.links[::-1]
        return next(other.interface for other in self.adjacency.of(hop.peer) if other.links == back)

    def _connected(self, topology: Topology, node: str) -> list[Entry]:
        entries = []
        for link in topology.links.values():
            if node in link.ends and node in link.addresses and link.up:
                neighbour = link.ends[0] if link.ends[1] == node else link.ends[1]
                entries.append(Entry(link.addresses[node].network, neighbour, None))
        return entries

    def _static(self, topology: Topology, node: str) -> list[Entry]:
        entries = []
        for prefix, via in active_static_routes(topology, self.adjacency, node).items():
            hop = self.adjacency.between(node, via)
            entries.append(Entry(prefix, hop.interface, hop.peer_address.ip))
        return entries
