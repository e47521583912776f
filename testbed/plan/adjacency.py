"""Who is next to whom: the neighbours that a node reaches in one IP hop, with Ethernet switches looked through."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface

from testbed.errors import SpecError
from testbed.topology import Topology, is_dead


@dataclass(frozen=True, slots=True)
class Adjacent:
    """One IP hop from a node to a peer."""

    node: str
    peer: str
    interface: str
    "Interface of *node* that leads there: named after the peer, or after the switch between."
    address: IPv4Interface
    peer_address: IPv4Interface
    links: tuple[str, ...]
    "Cables between the two, in order: one, or two and more with switches between."
    up: bool
    "Whether all of them are up."
    dead: bool = False
    "Whether one of them, though up, loses every packet of a direction."


class Adjacency:
    """The IP neighbours of every node of a topology."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._cables: dict[str, list[tuple[str, str]]] = {name: [] for name in topology.nodes}
        for name, link in topology.links.items():
            a, b = link.ends
            self._cables[a].append((name, b))
            self._cables[b].append((name, a))
        self._of: dict[str, tuple[Adjacent, ...]] = {
            name: tuple(self._hops(name)) for name, node in topology.nodes.items() if node.kind != "switch"
        }

    def of(self, node: str) -> tuple[Adjacent, ...]:
        """Return every hop out of *node*, in the order of the topology file."""
        return self._of.get(node, ())

    def between(self, node: str, peer: str) -> Adjacent:
        """Return the hop from *node* to *peer*; raise SpecError where there is none, or more than one."""
        hops = [hop for hop in self.of(node) if hop.peer == peer]
        if len(hops) != 1:
            near = ", ".join(sorted({hop.peer for hop in self.of(node)})) or "nobody"
            problem = "more than one link leads there" if hops else f"no link leads there; neighbours: {near}"
            raise SpecError(self._topology.name, f"nodes.{node}", f"next hop {peer!r}: {problem}")
        return hops[0]

    def owner(self, node: str, address: IPv4Address) -> Adjacent | None:
        """Return the hop from *node* to the neighbour that has *address*, or None."""
        return next((hop for hop in self.of(node) if hop.peer_address.ip == address), None)

    def path(self, node: str, peer: str) -> tuple[Adjacent, ...]:
        """Return the shortest way from *node* to *peer* over all cables, those that are down too; empty without one."""
        came_by: dict[str, tuple[Adjacent, ...]] = {node: ()}
        waiting = deque([node])
        while waiting and peer not in came_by:
            here = waiting.popleft()
            for hop in self.of(here):
                if hop.peer not in came_by:
                    came_by[hop.peer] = (*came_by[here], hop)
                    waiting.append(hop.peer)
        return came_by.get(peer, ())

    def _hops(self, node: str) -> Iterator[Adjacent]:
        for link, peer in self._cables[node]:
            own = self._topology.links[link].addresses.get(node)
            if own is None:
                continue
            for links, end in self._beyond(peer, (link,), {node}):
                theirs = self._topology.links[links[-1]].addresses.get(end)
                if theirs is not None and theirs.ip in own.network:
                    up = all(self._topology.links[name].up for name in links)
                    dead = any(is_dead(self._topology.links[name]) for name in links)
                    yield Adjacent(node, end, peer, own, theirs, links, up, dead)

    def _beyond(self, node: str, links: tuple[str, ...], seen: set[str]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield the nodes with addresses at and behind *node*, which is reached over *links*."""
        if self._topology.nodes[node].kind != "switch":
            yield links, node
            return
        seen = seen | {node}
        for link, peer in self._cables[node]:
            if peer not in seen:
                yield from self._beyond(peer, (*links, link), seen)
