"""Which packets stand for a leg: who opens the flow, from which address and port, to which.

What the agents are told (the plan's jobs) comes first: a user's server, the Edge that the Front End gives the user,
the relay of a conference. Only where no job tells is an address chosen here, and then the note says so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Final

from testbed.plan.bgp import PRIVATE
from testbed.plan.exchange import Opening, exchange
from testbed.plan.jobs import TURN_UDP_PORT
from testbed.plan.marks import marks_at, transport_kind
from testbed.plan.model import Job, Plan
from testbed.plan.names import sip_servers
from testbed.plan.policy import Protocol
from testbed.plan.relays import RelayedPair, Relays, Target
from testbed.plan.signaling import SIP_PORT
from testbed.plan.walk import Packet, Simulator
from testbed.scenario import FlowKind, Leg, Scenario
from testbed.topology import MediaKind, Topology

_ASKED: Final[dict[FlowKind, tuple[Protocol, int]]] = {
    "dns": ("udp", 53),
    "crl": ("tcp", 80),
    "portal": ("tcp", 443),
    "telemetry": ("tcp", 443),
    "cdn": ("tcp", 443),
    "stream": ("tcp", 80),
}
"What a server of each kind of flow is asked by; signaling and media are not asked for at one port."
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
    "What follows where the leg's Edge is the other end's, and the opener's own relay comes before it."


@dataclass(frozen=True, slots=True)
class _Way:
    """Where media goes to by a pair of candidates."""

    node: str
    target: Target
    pair: RelayedPair


class LegFlows:
    """Works out the flows of one scenario's legs."""

    def __init__(self, topology: Topology, scenario: Scenario, plan: Plan, simulator: Simulator) -> None:
        self._topology = topology
        self._parties = scenario.parties
        self._scenario = scenario
        self._kind: MediaKind | None = None
        "Kind of media whose ports the packets have, of the leg that is worked out."
        self._plan = plan
        self._simulator = simulator
        self._relays = Relays(plan, self._first_that_passes)

    def of(self, leg: Leg) -> tuple[LegFlow, ...]:
        """Return the flows that may stand for *leg*, the most likely first; raise CannotTell."""
        self._kind = transport_kind(self._scenario, leg.media or "audio") if leg.flow == "media" else None
        if leg.flow == "media":
            return self._media(leg)
        return (self._signaling(leg) if leg.flow == "signaling" else self._request(leg),)

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
                for target in self._told(job):
                    if self._owner(target.address) in self.nodes(server):
                        return self._towards(job.node, self.nodes(server), target, backwards, "")
        opener, server, backwards = (leg.to, leg.from_, True) if leg.to in self._parties else (leg.from_, leg.to, False)
        told = next((target for job in self._jobs_of(opener) for target in self._told(job)), None)
        fallback = told or Target(
            self._address(self.nodes(server)[0], seen_from=self.nodes(opener)[0]), SIP_PORT, "tcp"
        )
        return self._towards(self.nodes(opener)[0], self.nodes(server), fallback, backwards, f"{opener}'s server")

    def _request(self, leg: Leg) -> LegFlow:
        """Return the flow of a leg whose `from` asks a server: for names, or for what a web server has."""
        opener, server = self.nodes(leg.from_)[0], self.nodes(leg.to)[0]
        protocol, port = _ASKED[leg.flow]
        target = Target(self._address(server, seen_from=opener), port, protocol)
        return LegFlow(self._opening(opener, target, source_port=self._first_local_port(opener)))

    def _media(self, leg: Leg) -> tuple[LegFlow, ...]:
        for opener, edge, backwards in ((leg.from_, leg.to, False), (leg.to, leg.from_, True)):
            if self._is_edge(edge) and not self._is_edge(opener):
                return self._by_edge(opener, edge, backwards)
        here = self.nodes(leg.from_)[0]
        if (mapped := self._by_mapped_addresses(leg)) is not None:
            return (mapped,)
        target = Target(self._address(self.nodes(leg.to)[0], seen_from=here), self._media_port(leg.to), "udp")
        opening = self._opening(here, target, source_port=self._media_port(leg.from_), both_open=True)
        return (LegFlow(opening, note=self._candidates(leg)),)

    def _by_mapped_addresses(self, leg: Leg) -> LegFlow | None:
        """Return the flow of two clients behind NATs that reach each other by their server-reflexive candidates."""
        for one in self._jobs_of(leg.from_):
            for other in self._jobs_of(leg.to):
                for caller, callee, backwards in ((one, other, False), (other, one, True)):
                    opening = self._mapped_opening(caller, callee)
                    if opening is not None and self._is_delivered(opening):
                        note = f"{caller.name} to {callee.name}'s server-reflexive candidate"
                        return LegFlow(opening, opens_backwards=backwards, note=note)
        return None

    def _mapped_opening(self, caller: Job, callee: Job) -> Opening | None:
        """Return what *caller* sends to the mapped address of *callee*, after both have asked their STUN servers.

        None where no NAT is before *callee*, or one of the two reaches no STUN server over UDP.
        """
        asked = {}
        for job in (caller, callee):
            server = self._relays.given(job)
            if server is None or server.protocol != "udp" or not self._passes(job.node, server):
                return None
            asked[job.name] = self._opening(job.node, server, source_port=self._first_local_port(job.node))
        self._simulator.forget()
        seen = {name: exchange(opening, self._simulator).out.packet for name, opening in asked.items()}
        self._simulator.forget()
        if seen[callee.name].source == asked[callee.name].packet.source:
            return None
        before = tuple(asked.values())

        def towards(job: Job, peer: Job) -> Packet:
            own, mapped = asked[job.name].packet, seen[peer.name]
            return replace(own, destination=mapped.source, destination_port=mapped.source_port, payload="")

        knock = Opening(callee.node, towards(callee, caller))
        return Opening(caller.node, towards(caller, callee), both_open=True, before=before, other=knock)

    def _by_edge(self, opener: str, edge: str, backwards: bool) -> tuple[LegFlow, ...]:
        """Return the flows of a party's or server's media to an Edge: its own as a relay, or the other end's."""
        edges, sessions = self.nodes(edge), list(self._sessions(opener))
        ways = [way for session in sessions for way in self._ways(*session)]
        used: dict[tuple[str, Target], list[str]] = {}
        for way in ways:
            if self._owner(way.target.address) in edges:
                used.setdefault((way.node, way.target), []).append(way.pair.name)
        direct = "; ".join(dict.fromkeys(filter(None, (self._direct(job, peer) for job, peer, _ in sessions))))
        if used:
            return tuple(
                self._towards(node, edges, target, backwards, "", f"{_pairing(names)}; {direct}".removesuffix("; "))
                for (node, target), names in used.items()
            )
        for way in ways:
            if way.pair.between is not None and self._owner(way.pair.between[1].address) in edges:
                return (self._by_own_relay(way, way.pair.between, backwards),)
        instead = [f"ICE takes {self._owner(way.target.address)}" for way in ways[:1]]
        none = ["no pair of candidates with a relay gets through"] if sessions and not ways else []
        note = "; ".join(filter(None, [direct, *instead, *none]))
        own = next(filter(None, map(self._relays.given, self._jobs_of(opener))), None)
        return (self._towards(self.nodes(opener)[0], edges, own, backwards, f"{opener}'s Edge", note),)

    def _sessions(self, opener: str) -> Iterator[tuple[Job, Job, bool]]:
        """Yield the ICE sessions that need an Edge, or all where none does: own job, peer, whether the own controls."""
        every = [(job, peer, controls) for job in self._jobs_of(opener) for peer, controls in self._relays.peers(job)]
        yield from [one for one in every if not self._direct(one[0], one[1])] or every

    def _ways(self, job: Job, peer: Job, controls: bool) -> Iterator[_Way]:
        """Yield where *job* sends its media by each pair of candidates that works for both ends."""
        for pair in self._relays.pairs(job, peer, controls=controls):
            if pair.way is not None and self._is_let_in(job, pair.way) and self._is_let_in(peer, pair.others_way):
                yield _Way(job.node, pair.way, pair)

    def _by_own_relay(self, way: _Way, between: tuple[Target, Target], backwards: bool) -> LegFlow:
        """Return the flow by the opener's own relay, which the leg does not name, and on to the other end's."""
        relay = str(self._owner(between[0].address))
        packet = Packet("udp", between[0].address, between[0].port, between[1].address, between[1].port)
        opening = self._opening(way.node, way.target, source_port=self._first_local_port(way.node))
        note = f"{_pairing([way.pair.name])}, by {relay}"
        return LegFlow(opening, backwards, note, Opening(relay, packet, both_open=True))

    def _is_let_in(self, job: Job, relay: Target | None) -> bool:
        """Whether *job*'s packets pass a relay both ways: its own, or the other end's, told of its candidates.

        A relay drops what comes from elsewhere (RFC 8656 section 9): a source that NAT gave on another way, for one.
        """
        own = self._relays.given(job)
        if relay is None or not self._passes(job.node, relay):
            return False
        host = self._simulator.source_for(job.node, relay.address)
        mapped = self._source_at(job.node, own) if own is not None else None
        return relay == own or self._source_at(job.node, relay) in (host, mapped)

    def _source_at(self, node: str, target: Target) -> IPv4Address:
        """Return the address that *target* sees packets from *node* come from."""
        self._simulator.forget()
        told = exchange(self._opening(node, target, source_port=self._first_local_port(node)), self._simulator)
        self._simulator.forget()
        return told.out.packet.source

    def _first_that_passes(self, node: str, rungs: Sequence[Target]) -> Target:
        """Return the first way to a relay that packets pass both ways, or the first of all where none does."""
        return next((target for target in rungs if len(rungs) > 1 and self._passes(node, target)), rungs[0])

    def _passes(self, node: str, relay: Target | None) -> bool:
        """Whether packets from *node* reach a relay that runs, at one of its addresses, and its answers *node*."""
        owner = self._owner(relay.address) if relay is not None else None
        if relay is None or owner is None or self._topology.nodes[owner].stopped:
            return False
        return self._is_delivered(self._opening(node, relay, source_port=self._first_local_port(node)))

    def _is_delivered(self, opening: Opening) -> bool:
        self._simulator.forget()
        delivered = exchange(opening, self._simulator).is_delivered
        self._simulator.forget()
        return delivered

    def _direct(self, job: Job, other: Job) -> str:
        """Return a note where the two ends reach each other without any Edge, which ICE prefers."""
        node = job.node
        target = Target(self._address(other.node, seen_from=node), self._first_local_port(other.node), "udp")
        straight = self._opening(node, target, source_port=self._first_local_port(node), both_open=True)
        mapped = (self._mapped_opening(*ends) for ends in ((job, other), (other, job)))
        open_ = any(self._is_delivered(opening) for opening in (straight, *mapped) if opening is not None)
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
            port = target.port if target else TURN_UDP_PORT
            target = Target(self._address(wanted[0], seen_from=opener), port, protocol)
            notes.append(f"{what}{elsewhere}; taken: {wanted[0]} {target.address}:{port}")
        opening = self._opening(opener, target, source_port=self._first_local_port(opener))
        return LegFlow(opening, opens_backwards=backwards, note="; ".join(filter(None, notes)))

    def _opening(self, opener: str, target: Target, *, source_port: int, both_open: bool = False) -> Opening:
        source = self._simulator.source_for(opener, target.address) or self._address(opener, seen_from=opener)
        packet = Packet(target.protocol, source, source_port, target.address, target.port, payload=target.payload)
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

    def _told(self, job: Job) -> Iterator[Target]:
        """Yield the SIP servers that a job is told of, by address or by a name that its name server knows."""
        for address, port, transport in sip_servers(self._plan, job):
            yield Target(IPv4Address(address), port, "udp" if transport == "udp" else "tcp")
        yield from _targets(job.arguments)

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
        mark = marks_at(self._plan, node).get(self._kind) if self._kind is not None else None
        ports = mark["ports"] if mark is not None else self._topology.nodes[node].local_ports
        return int(ports.partition("-")[0]) if ports else EPHEMERAL_PORT


def _pairing(names: list[str]) -> str:
    """Say when ICE takes a way: by which pairs of candidates."""
    return f"where ICE selects {', or '.join(dict.fromkeys(names))}"


def _targets(arguments: Any) -> Iterator[Target]:
    """Yield every SIP server that a job's arguments name, wherever in them: {"address", "port", "transport"}."""
    if isinstance(arguments, list | tuple):
        for one in arguments:
            yield from _targets(one)
    elif isinstance(arguments, dict):
        if {"address", "port", "transport"} <= arguments.keys():
            protocol: Protocol = "udp" if arguments["transport"] == "udp" else "tcp"
            yield Target(IPv4Address(arguments["address"]), int(arguments["port"]), protocol)
        for one in arguments.values():
            yield from _targets(one)
