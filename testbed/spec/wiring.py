"""Who is cabled to whom: a topology's links as a graph, and the LANs that switches make of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from testbed.topology import Topology


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a link that is not a switch's: the node and the link."""

    node: str
    link: str


class Wiring:
    """The cables of a topology, whether up or not."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    @cached_property
    def cables(self) -> dict[str, dict[str, str]]:
        """Node to its neighbours on a cable (switches are neighbours), each with the link between."""
        found: dict[str, dict[str, str]] = {}
        for name, link in self.topology.links.items():
            a, b = link.ends
            found.setdefault(a, {}).setdefault(b, name)
            found.setdefault(b, {}).setdefault(a, name)
        return found

    def is_switch(self, node: str) -> bool:
        """Whether *node* is an Ethernet switch."""
        known = self.topology.nodes.get(node)
        return known is not None and known.kind == "switch"

    def lan(self, link: str) -> tuple[Port, ...]:
        """Return every end that shares the Ethernet of *link*, looking through switches."""
        ports: dict[Port, None] = {}
        links, waiting = {link}, [link]
        while waiting:
            at = waiting.pop(0)
            for node in self.topology.links[at].ends:
                if not self.is_switch(node):
                    ports[Port(node, at)] = None
                    continue
                beyond = [other for other in self.cables[node].values() if other not in links]
                links.update(beyond)
                waiting.extend(beyond)
        return tuple(ports)

    def lans(self) -> Iterator[tuple[Port, ...]]:
        """Yield each LAN once."""
        seen: set[Port] = set()
        for link in self.topology.links:
            ports = self.lan(link)
            if ports and not seen.intersection(ports):
                seen.update(ports)
                yield ports

    def neighbours(self, node: str) -> dict[str, str]:
        """Return the nodes that *node* reaches without a router between, each with the node's own link towards it."""
        found: dict[str, str] = {}
        for link in self.cables.get(node, {}).values():
            for port in self.lan(link):
                if port.node != node:
                    found.setdefault(port.node, link)
        return found
