"""A packet's walk through the topology: routes, reverse-path filters, connection tracking, policy and source NAT.

The order at each node is the Linux kernel's: PREROUTING (connection tracking, and NAT undone for answers), reverse-path
filter and route lookup, FORWARD, POSTROUTING (source NAT, and the connection confirmed). A walk changes the connection
tables of the firewalls it passes, so that the walk of the answer finds, or misses, what the first packet left there.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import IPv4Address
from typing import Final

from testbed.plan.adjacency import Adjacent
from testbed.plan.fib import Entry, Fib
from testbed.plan.policy import OWN_FILTERING, Payload, Probe, Protocol, decide, refusal, zone_of
from testbed.topology import Firewall, Topology

HOPS_LIMIT: Final = 64
"Routed hops before a packet's TTL is used up."
GOES_ROUND: Final = "the packet goes round until its TTL is used up"
"Note on a walk that ends so."


class Step(Enum):
    """What a packet is in its flow; for TCP the first three are the handshake (RFC 9293 section 3.5)."""

    FIRST = "first"
    "SYN, or the first datagram."
    ANSWER = "answer"
    "SYN-ACK, or a datagram back."
    LATER = "later"
    "ACK and what follows from the opening side."


@dataclass(frozen=True, slots=True)
class Packet:
    """The part of a packet that decides where it goes."""

    protocol: Protocol
    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    step: Step = Step.FIRST
    payload: Payload = ""
    "What the flow's packets carry; those of TCP's handshake carry nothing."

    def answer(self) -> "Packet":
        """Return what its receiver sends back."""
        back = (self.destination, self.destination_port, self.source, self.source_port)
        return Packet(self.protocol, *back, Step.ANSWER, self.payload)

    @property
    def tuple_(self) -> tuple[Protocol, IPv4Address, int, IPv4Address, int]:
        """Its five-tuple."""
        return self.protocol, self.source, self.source_port, self.destination, self.destination_port


@dataclass(slots=True)
class Session:
    """A firewall's connection-tracking entry."""

    original: Packet
    translated: Packet
    """The original as it left: after source NAT, and its answers come to this source; or, of a stranger that a NAT lets
    in, after its destination was translated to the host inside."""
    is_answered: bool = False


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a packet went, and how that ended."""

    links: tuple[str, ...]
    disposition: str
    "DELIVERED, or NAME:node or NAME:node:rule, NAME from the closed list."
    packet: Packet
    "As it was at the end, after NAT."
    at: str
    "Node where the walk ended."
    note: str = ""

    @property
    def is_delivered(self) -> bool:
        """Whether it reached the node that has its destination address."""
        return self.disposition == "DELIVERED"


@dataclass(slots=True)
class _Traveller:
    """A packet on its way."""

    packet: Packet
    node: str
    entrance: str | None = None
    links: list[str] = field(default_factory=list)
    passed: tuple[Session, bool] | None = None
    "The connection it belongs to at this node, and whether it is of the original direction."

    def end(self, name: str, *, rule: str = "", note: str = "") -> Walk:
        disposition = ":".join(part for part in (name, self.node, rule) if part)
        return Walk(tuple(self.links), disposition, self.packet, self.node, note)


class Simulator:
    """The network of one topology with its firewalls' connection tables, empty at first."""

    def __init__(self, topology: Topology, sysctls: Mapping[str, Mapping[str, str]]) -> None:
        """*sysctls* is each node's settings by dotted name, as the plan sets them."""
        self.fib = Fib(topology)
        self._topology = topology
        self._sysctls = sysctls
        self._sessions: dict[str, list[Session]] = {}
        for name, firewall in topology.firewalls.items():  # two that share their state have one table
            other = firewall.shares_state_with
            hears = any(link.up and {*link.ends} == {name, other} for link in topology.links.values())
            self._sessions[name] = self._sessions.get(other or "", []) if hears else []
        self._addresses: dict[str, set[IPv4Address]] = {}
        for link in topology.links.values():
            for node, address in link.addresses.items() if link.up else ():
                self._addresses.setdefault(node, set()).add(address.ip)

    def forget(self) -> None:
        """Empty the connection tables."""
        for table in self._sessions.values():
            table.clear()

    def adopt(self, before: "Simulator") -> None:
        """Take over the connection tables of the same network before its routes changed."""
        for firewall, table in before._sessions.items():
            self._sessions[firewall][:] = [replace(session) for session in table]

    def owner(self, address: IPv4Address) -> str | None:
        """Return the node that has *address*, or None."""
        return next((node for node, own in self._addresses.items() if address in own), None)

    def source_for(self, node: str, destination: IPv4Address) -> IPv4Address | None:
        """Return the address that *node* sends from, that of the interface its route leaves by; None without one."""
        entry = self.fib.lookup(node, destination)
        hops = [hop for hop in self.fib.adjacency.of(node) if entry is not None and hop.interface == entry.interface]
        return hops[0].address.ip if hops else None

    def walk(self, packet: Packet, start: str) -> Walk:
        """Send *packet* from node *start* and follow it to its end."""
        at = _Traveller(packet, start)
        for _ in range(HOPS_LIMIT):
            ended = self._pass(at)
            if ended is not None:
                return ended
        return at.end("NO_ROUTE", note=GOES_ROUND)

    def _pass(self, at: _Traveller) -> Walk | None:
        """Take the packet through one node and over the link behind it; return the walk if it ends here."""
        firewall = self._topology.firewalls.get(at.node)
        at.passed = None
        if firewall is not None and _tracks(firewall):
            self._track(at)
        if at.entrance is not None:
            if self._is_filtered(at):
                return at.end("REVERSE_PATH_FILTER")
            if at.packet.destination in self._addresses.get(at.node, ()):
                return self._arrive(at, firewall)
            if not self._forwards(at.node):
                return at.end("NO_ROUTE", note=f"{at.node} does not forward")
        return self._forward(at, firewall)

    def _forward(self, at: _Traveller, firewall: Firewall | None) -> Walk | None:
        entry = self.fib.lookup(at.node, at.packet.destination)
        if entry is None or not entry.interface:
            return at.end("NO_ROUTE", note=f"{at.node} has no route to {at.packet.destination}")
        if firewall is not None and at.entrance is not None:
            ended = self._filter(at, firewall, at.entrance, entry)
            if ended is not None:
                return ended
        hop = self.fib.neighbour(at.node, entry, at.packet.destination)
        if hop is None:
            wanted = entry.gateway or at.packet.destination
            return at.end("NO_ROUTE", note=f"nobody behind {at.node}'s interface {entry.interface} has {wanted}")
        if firewall is not None and _tracks(firewall):
            self._confirm(at, firewall, hop)
        at.links += hop.links
        at.node, at.entrance = hop.peer, self.fib.entrance(hop)
        return None

    def _track(self, at: _Traveller) -> None:
        """Find the packet's connection, and undo source NAT where it is an answer."""
        for session in self._sessions[at.node]:
            if at.packet.tuple_ == session.original.tuple_:
                at.passed = session, True
                inside = session.translated
                at.packet = replace(at.packet, destination=inside.destination, destination_port=inside.destination_port)
                return
            if at.packet.tuple_ == session.translated.answer().tuple_:
                at.passed = session, False
                at.packet = replace(session.original.answer(), step=at.packet.step)
                return
        if (inside_host := self._admitted(at)) is not None:
            session = Session(
                at.packet, replace(at.packet, destination=inside_host[0], destination_port=inside_host[1])
            )
            self._sessions[at.node].append(session)
            at.passed, at.packet = (session, True), session.translated

    def _admitted(self, at: _Traveller) -> tuple[IPv4Address, int] | None:
        """Return the socket inside that a stranger's packet is for, where the NAT's filtering lets it in (RFC 4787)."""
        packet, lax = at.packet, {nat.filtering for nat in self._topology.firewalls[at.node].nat.values()}
        if packet.protocol != "udp" or lax == {OWN_FILTERING}:
            return None
        for session in self._sessions[at.node]:
            mapped = session.translated.source, session.translated.source_port
            is_known = packet.source == session.original.destination or "endpoint-independent" in lax
            if (
                mapped == (packet.destination, packet.destination_port)
                and is_known
                and session.original.source != mapped[0]
            ):
                return session.original.source, session.original.source_port
        return None

    def _is_filtered(self, at: _Traveller) -> bool:
        """Whether the reverse-path filter drops it: 1 strict, 2 loose (RFC 3704, ip-sysctl)."""
        settings = self._sysctls.get(at.node, {})
        names = (f"net.ipv4.conf.{which}.rp_filter" for which in ("all", at.entrance))
        mode = max(int(settings.get(name, "0")) for name in names)
        if mode == 0:
            return False
        back = self.fib.lookup(at.node, at.packet.source)
        if back is None or not back.interface:
            return True
        return mode == 1 and back.interface != at.entrance

    def _forwards(self, node: str) -> bool:
        usual = "1" if self._topology.nodes[node].kind in ("router", "firewall") else "0"
        return self._sysctls.get(node, {}).get("net.ipv4.ip_forward", usual) == "1"

    def _arrive(self, at: _Traveller, firewall: Firewall | None) -> Walk:
        if firewall is None:
            return Walk(tuple(at.links), "DELIVERED", at.packet, at.node)
        # For the firewall itself: an answer to a NAT address for which it knows no connection ends in its INPUT chain.
        name = "NO_SESSION_ON_RETURN" if at.packet.step is Step.ANSWER else "DENIED_BY_RULE"
        return at.end(name, rule="default")

    def _filter(self, at: _Traveller, firewall: Firewall, entrance: str, entry: Entry) -> Walk | None:
        """Judge the packet by the FORWARD chain; return the walk if it is dropped."""
        refused_by = refusal(firewall, arrives_by=entrance, leaves_by=entry.interface, probe=_probe(at.packet))
        if refused_by is not None:
            return at.end("DENIED_BY_RULE", rule=refused_by)
        if at.passed is not None and firewall.stateful:
            session, is_original = at.passed
            if at.packet.protocol == "tcp" and is_original and at.packet.step is Step.LATER and not session.is_answered:
                return at.end("HALF_SEEN_FLOW", rule="invalid", note=f"{at.node} never saw the SYN-ACK")
            session.is_answered |= not is_original
            return None
        if firewall.stateful and at.packet.protocol == "tcp" and at.packet.step is not Step.FIRST:
            name = "NO_SESSION_ON_RETURN" if at.packet.step is Step.ANSWER else "HALF_SEEN_FLOW"
            return at.end(name, rule="invalid")
        decision = decide(firewall, arrives_by=entrance, leaves_by=entry.interface, probe=_probe(at.packet))
        if decision.accepted or (not firewall.stateful and _is_mirrored(firewall, at.packet, entrance, entry)):
            return None
        is_answer = at.packet.step is Step.ANSWER and firewall.stateful
        return at.end("NO_SESSION_ON_RETURN" if is_answer else "DENIED_BY_RULE", rule=decision.rule)

    def _confirm(self, at: _Traveller, firewall: Firewall, hop: Adjacent) -> None:
        """Translate the source: as before for a known connection, by policy for a new one, which is remembered."""
        if at.passed is not None:
            session, is_original = at.passed
            if is_original:
                at.packet = replace(session.translated, step=at.packet.step)
            return
        if at.packet.protocol == "tcp" and at.packet.step is not Step.FIRST:
            return  # INVALID (nf_conntrack_tcp_loose = 0), which only a stateless policy lets through: no NAT, no entry
        before = at.packet
        source, port = _translated(firewall, before, hop)
        at.packet = replace(before, source=source, source_port=port)
        self._sessions[at.node].append(Session(before, at.packet))


def _tracks(firewall: Firewall) -> bool:
    return firewall.stateful or bool(firewall.nat)


def _probe(packet: Packet) -> Probe:
    has_payload = packet.protocol != "tcp" or packet.step is Step.LATER
    return Probe(
        packet.protocol,
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        packet.payload if has_payload else "",
    )


def _is_mirrored(firewall: Firewall, packet: Packet, entrance: str, entry: Entry) -> bool:
    """Whether a stateless policy lets *packet* through as an answer: its accepting rules hold both ways."""
    accepting = {name: rule for name, rule in firewall.rules.items() if rule.action == "accept"}
    policy = firewall.model_copy(update={"rules": accepting})
    return decide(policy, arrives_by=entry.interface, leaves_by=entrance, probe=_probe(packet.answer())).accepted


def _translated(firewall: Firewall, packet: Packet, hop: Adjacent) -> tuple[IPv4Address, int]:
    """Return the source that *packet* leaves with: of a pool with several addresses the first."""
    zone = zone_of(firewall, hop.interface)
    for nat in firewall.nat.values():
        if nat.to_zone == zone and (nat.source is None or packet.source in nat.source):
            address = hop.address.ip if nat.pool == "masquerade" else IPv4Address(nat.pool.partition("-")[0])
            return address, packet.source_port if nat.mapping == "endpoint-independent" else _some_port(packet)
    return packet.source, packet.source_port


def _some_port(packet: Packet) -> int:
    """Return the public port of a NAT that gives each destination another: any that differs will do."""
    return 1024 + zlib.crc32(repr(packet.tuple_).encode()) % 64_512
