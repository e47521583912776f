"""The plan as the analysis needs it: which way a hop goes, whose an address is, which links may not be trusted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, ip_network
from typing import Final

import numpy as np

from testbed.analysis.demux import Bools, Ints
from testbed.plan.model import LinkPlan, NodePlan, Plan

ANYONE: Final = -1
"MAC address of an end that forwards frames for others."


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a link: a hop."""

    link: str
    forward: bool
    source: str
    target: str
    segment: str
    segment_kind: str


class Network:
    """A plan, indexed. A hop's number is twice the link's index, plus one where it goes forward."""

    def __init__(self, plan: Plan, incomplete: Iterable[str] = ()) -> None:
        self.plan = plan
        self.nodes: Mapping[str, NodePlan] = {node.name: node for node in plan.nodes}
        self.links: Mapping[str, LinkPlan] = {link.name: link for link in plan.links}
        self.link_index = {link.name: index for index, link in enumerate(plan.links)}
        self.directions = tuple(hop for link in plan.links for hop in _hops(link))
        self._node_index = {node.name: index for index, node in enumerate(plan.nodes)}
        self._owners = dict(_owners(plan.addresses))
        self._organisation = {node.segment: node.organisation for node in plan.nodes}
        self._islands = self._join({name for name in incomplete if name in self.links})
        self.relays = frozenset(job.node for job in plan.jobs if job.program == "edge") | frozenset(
            name for role, names in plan.roles.items() if role.endswith("-edge") for name in names
        )

    def owner(self, address: int) -> str | None:
        """Return the node that *address* (32-bit number) belongs to; a NAT pool's belongs to its firewall."""
        return self._owners.get(address)

    def is_host(self, node: str | None) -> bool:
        """Return whether *node* starts and ends packets of its own."""
        return node is not None and node in self.nodes and self.nodes[node].kind == "host"

    def organisation(self, link: str) -> str:
        """Return who runs *link*."""
        return self._organisation.get(self.links[link].segment, "")

    def bridged(self, one: str, other: str) -> bool:
        """Return whether a packet may have gone from *one* to *other* over incompletely captured links alone."""
        return one != other and self._islands[self._node_index[one]] == self._islands[self._node_index[other]]

    def is_leaky(self, node: str) -> bool:
        """Return whether a packet at *node* may have gone on unseen."""
        mine = self._islands[self._node_index[node]]
        return self._islands.count(mine) > 1

    def hop_ends(self) -> tuple[Ints, Ints]:
        """Return, by hop number, the node it leaves and the node it reaches."""
        ends = [(self._node_index[hop.source], self._node_index[hop.target]) for hop in self.directions]
        table = np.array(ends, np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def starts_packets(self) -> Bools:
        """Return, by node number, whether it is a host."""
        return np.array([node.kind == "host" for node in self.plan.nodes], np.bool_)

    def islands(self) -> Ints:
        """Return, by node number, the island of incompletely captured links it is on."""
        return np.array(self._islands, np.int64)

    @cached_property
    def receivers(self) -> Ints:
        """Return, by hop number, the MAC address that a frame must have to be for that end; ANYONE for a switch."""
        by_link = {(i.link, node.name): i.mac for node in self.plan.nodes for i in node.interfaces}
        macs = []
        for hop in self.directions:
            mac = by_link.get((hop.link, hop.target))
            anyone = mac is None or self.nodes[hop.target].kind == "switch"
            macs.append(ANYONE if mac is None or anyone else int(mac.replace(":", ""), 16))
        return np.array(macs, np.int64)

    def _join(self, incomplete: set[str]) -> list[int]:
        island = list(range(len(self.plan.nodes)))
        for name in incomplete:
            link = self.links[name]
            one, other = island[self._node_index[link.a.node]], island[self._node_index[link.b.node]]
            island = [one if mine == other else mine for mine in island]
        return island


def _hops(link: LinkPlan) -> tuple[Direction, Direction]:
    a, b = link.a.node, link.b.node
    return (
        Direction(link.name, False, b, a, link.segment, link.segment_kind),
        Direction(link.name, True, a, b, link.segment, link.segment_kind),
    )


def _owners(addresses: Mapping[str, str]) -> Iterable[tuple[int, str]]:
    for text, node in addresses.items():
        if "-" in text:
            first, last = (int(IPv4Address(part)) for part in text.split("-"))
            yield from ((number, node) for number in range(first, last + 1))
        elif "/" in text:
            yield from ((int(address), node) for address in ip_network(text, strict=False))
        else:
            yield int(IPv4Address(text)), node
