"""Which packets stand for a leg: who opens the flow, from which address and port, to which.

What the agents are told (the plan's jobs) comes first: a user's server, the Edge that the Front End gives the user,
the relay of a conference. Only where no job tells is an address chosen here, and then the note says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from testbed.plan.bgp import PRIVATE
from testbed.plan.exchange import Exchange, Opening, exchange
from testbed.plan.model import Job, Plan
from testbed.plan.policy import Protocol
from testbed.plan.relays import TURN_PORT, Relays, Target
from testbed.plan.walk import Packet, Simulator
from testbed.scenario import Leg, Scenario
from testbed.topology import Topology

SIP_PORT: Final = 5060
EPHEMERAL_PORT: Final = 49152
"First port of Linux's usual range for clients that are given none."


class CannotTell(Exception):
    """The leg's packets cannot be worked out; the message says why."""


@dataclass(frozen=True, slots=True)
class LegFlow:
    """The packets that stand for a leg."""

    opening: Opening
    opens_backwards: bool = False
    "Whether the opener is the leg's `to`: then the leg's forward path is that of the answers."
    note: str = ""
    onward: Opening | None = None
    "The second stretch, where the leg's far end is behind a relay of the opener's own."


class LegFlows:
    """Works out the flows of one scenario's legs."""

    def __init__(self, topology: Topology, scenario: Scenario, plan: Plan, simulator: Simulator) -> None:
        self._topology = topology
        self._parties = scenario.parties
        self._plan = plan
        self._simulator = simulator
        self._relays = Relays(plan)

    def of(self, leg: Leg) -> LegFlow:
        """Return the flow that stands for *leg*; raise CannotTell."""
        return self._signaling(leg) if leg.flow == "signaling" else self._media(leg)

    def nodes(self, name: str) -> tuple[str, ...]:
        """Return the nodes that a leg's `from` or `to` means; raise CannotTell."""
        if name in self._parties:
            return (self._parties[name].node,)
        found = self._plan.roles.get(name) or ((name,) if name in self._topology.nodes else ())
        if not found:
            raise CannotTell(f"{name!r} is no node in this plan")
        return found

    def _signaling(self, leg: Leg) -> LegFlow:
        for opener, server, backwards in ((leg.from_, leg.to, False), (leg.to, leg.from_, True)):
            for job in self._jobs_of(opener):
                for target in _targets(job.arguments):
                    if self._owner(target.address) in self.nodes(server):
                        return self._towards(job.node, self.nodes(server), target, backwards, "")
        opener, server, backwards = (leg.to, leg.from_, True) if leg.to in self._parties else (leg.from_, leg.to, False)
        told = next((target for job in self._jobs_of(opener) for target in _targets(job.arguments)), None)
        fallback = told or Target(
            self._address(self.nodes(server)[0], seen_from=self.nodes(opener)[0]), SIP_PORT, "tcp"
        )
        return self._towards(self.nodes(opener)[0], self.nodes(server), fallback, backwards, f"{opener}'s server")

    def _media(self, leg: Leg) -> LegFlow:
        for opener, edge, backwards in ((leg.from_, leg.to, False), (leg.to, leg.from_, True)):
            if self._is_edge(edge) and not self._is_edge(opener):
                return self._by_edge(opener, edge, backwards)
        here = self.nodes(leg.from_)[0]
        target = Target(self._address(self.nodes(leg.to)[0], seen_from=here), self._media_port(leg.to), "udp")
        opening = self._opening(here, target, source_port=self._media_port(leg.from_), both_open=True)
        return LegFlow(opening, note=self._candidates(leg))

    def _by_edge(self, opener: str, edge: str, backwards: bool) -> LegFlow:
        """Return the flow of a party's or server's media to an Edge: its own as a relay, or the other end's."""
        node, edges = self.nodes(opener)[0], self.nodes(edge)
        jobs = self._jobs_of(opener)
        own = next(filter(None, map(self._relays.given, jobs)), None)
        found = self._relays.peer(opener) if opener in self._parties else None
        if found is None:
            return self._towards(node, edges, own, backwards, f"{opener}'s Edge")
        peer, controls = found
        note = self._direct(node, peer)
        mine = next(filter(None, map(self._relays.relayed, jobs)), None)
        theirs = self._relays.relayed(peer)
        if self._passes(node, own, theirs) and (
            controls or not self._passes(peer.node, self._relays.given(peer), mine)
        ):
            return self._towards(node, edges, theirs, backwards, f"{peer.name}'s Edge", note)
        return self._by_own_relay(opener, edges, own, (mine, theirs), backwards, note)

    def _by_own_relay(
        self, opener: str, edges: tuple[str, ...], own: Target | None,
        relayed: tuple[Target | None, Target | None], backwards: bool, note: str,
    ) -> LegFlow:  # fmt: skip
        """Return the flow by the opener's own relay, and on from there where the wanted Edge is the other end's."""
        mine, theirs = relayed
        node = self.nodes(opener)[0]
        first, last = (None if target is None else self._owner(target.address) for target in relayed)
        if own is None or mine is None or theirs is None or first is None or first in edges or last not in edges:
            return self._towards(node, edges, own, backwards, f"{opener}'s Edge", note)
        opening = self._opening(node, own, source_port=self._first_local_port(node))
        packet = Packet("udp", mine.address, mine.port, theirs.address, theirs.port)
        notes = filter(None, (note, f"by {opener}'s own relay, {first}"))
        return LegFlow(opening, backwards, "; ".join(notes), Opening(first, packet, both_open=True))

    def _passes(self, node: str, own: Target | None, relayed: Target | None) -> bool:
        """Whether packets from *node* reach a relayed address, which lets them in, and its answers *node*.

        A relay lets in whom its client was told of (RFC 8656 section 9): a candidate of *node*, whose own relay is *own*.
        """
        if relayed is None or self._owner(relayed.address) is None:
            return False
        told = self._try(node, relayed)
        mapped = self._try(node, own).out.packet.source if own is not None else None
        return told.is_delivered and told.out.packet.source in (self._address(node, seen_from=node), mapped)

    def _try(self, node: str, target: Target) -> Exchange:
        """Return what becomes of a flow to *target*, of which nothing is remembered."""
        self._simulator.forget()
        told = exchange(self._opening(node, target, source_port=self._first_local_port(node)), self._simulator)
        self._simulator.forget()
        return told

    def _direct(self, node: str, other: Job) -> str:
        """Return a note where the two ends reach each other without any Edge, which ICE prefers."""
        target = Target(self._address(other.node, seen_from=node), self._first_local_port(other.node), "udp")
        self._simulator.forget()
        opening = self._opening(node, target, source_port=self._first_local_port(node), both_open=True)
        open_ = exchange(opening, self._simulator).is_delivered
        self._simulator.forget()
        return f"{node} and {other.node} reach each other directly, which ICE prefers to an Edge" if open_ else ""

    def _candidates(self, leg: Leg) -> str:
        many = [
            f"{name}: first of {len(self.nodes(name))}" for name in (leg.from_, leg.to) if len(self.nodes(name)) > 1
        ]
        return "; ".join(many)

    def _towards(
        self, opener: str, wanted: tuple[str, ...], target: Target | None, backwards: bool, what: str, note: str = ""
    ) -> LegFlow:
        """Return the flow from *opener* to *target*, if a wanted node has that address; else to a wanted node."""
        notes = [note]
        if target is None or self._owner(target.address) not in wanted:
            elsewhere = f" is at {self._owner(target.address) or target.address}" if target else " is told by no job"
            protocol: Protocol = target.protocol if target else "udp"
            port = target.port if target else TURN_PORT
            target = Target(self._address(wanted[0], seen_from=opener), port, protocol)
            notes.append(f"{what}{elsewhere}; taken: {wanted[0]} {target.address}:{port}")
        opening = self._opening(opener, target, source_port=self._first_local_port(opener))
        return LegFlow(opening, opens_backwards=backwards, note="; ".join(filter(None, notes)))

    def _opening(self, opener: str, target: Target, *, source_port: int, both_open: bool = False) -> Opening:
        source = self._simulator.source_for(opener, target.address) or self._address(opener, seen_from=opener)
        packet = Packet(target.protocol, source, source_port, target.address, target.port)
        return Opening(opener, packet, both_open)

    def _owner(self, address: IPv4Address) -> str | None:
        for link in self._topology.links.values():
            for node, interface in link.addresses.items():
                if interface.ip == address:
                    return node
        return self._plan.addresses.get(str(address))

    def _address(self, node: str, *, seen_from: str) -> IPv4Address:
        """Choose one of a node's addresses: on a LAN shared with *seen_from*, else a public one, else the first."""
        own = [link.addresses[node] for link in self._topology.links.values() if node in link.addresses]
        if not own:
            raise CannotTell(f"{node} has no address")
        near = {
            link.addresses[seen_from].network for link in self._topology.links.values() if seen_from in link.addresses
        }
        shared = [one for one in own if one.network in near]
        public = [one for one in own if not any(one.ip in private for private in PRIVATE)]
        return (shared or public or own)[0].ip

    def _programs(self, name: str) -> set[str]:
        nodes = self.nodes(name)
        return {job.program for job in self._plan.jobs if job.node in nodes}

    def _is_edge(self, name: str) -> bool:
        return name not in self._parties and ("edge" in self._programs(name) or name.endswith("-edge"))

    def _jobs_of(self, name: str) -> list[Job]:
        """Return the jobs of a party, or of all nodes that a role or node's name means."""
        if name in self._parties:
            return [job for job in self._plan.jobs if job.name == name]
        return [job for node in self.nodes(name) for job in self._plan.jobs if job.node == node]

    def _media_port(self, name: str) -> int:
        """Return the first port that media of a party, server or Edge (the address it relays from) may have."""
        node = self.nodes(name)[0]
        pools = [pool for pool in self._topology.pools.values() if node in pool.roles.get("edge", ())]
        if pools and self._is_edge(name):
            return int(pools[0].relay_ports.partition("-")[0])
        return self._first_local_port(node)

    def _first_local_port(self, node: str) -> int:
        ports = self._topology.nodes[node].local_ports
        return int(ports.partition("-")[0]) if ports else EPHEMERAL_PORT


def _targets(arguments: Any) -> Iterator[Target]:
    """Yield every SIP server that a job's arguments name, wherever in them: {"address", "port", "transport"}."""
    if isinstance(arguments, list | tuple):
        for one in arguments:
            yield from _targets(one)
    elif isinstance(arguments, dict):
        if {"address", "port", "transport"} <= arguments.keys():
            yield Target(IPv4Address(arguments["address"]), int(arguments["port"]), arguments["transport"])
        for one in arguments.values():
            yield from _targets(one)
