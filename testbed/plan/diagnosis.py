"""Every pair of client and service, both ways: which are asymmetric, which firewall sees half of a flow, and a cure.

A suggested change is not a guess: it is made to a copy of the topology, all pairs are walked again, and only one that
mends the pair is told, with what else it would alter.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from testbed.plan.addresses import own_address
from testbed.plan.adjacency import Adjacency
from testbed.plan.exchange import Exchange, Opening, exchange
from testbed.plan.jobs import TURN_UDP_PORT
from testbed.plan.policy import Protocol, zone_of
from testbed.plan.signaling import SIP_PORT
from testbed.plan.walk import Packet, Simulator, Walk
from testbed.scenario import Change
from testbed.spec.change import apply_edits, edits_of
from testbed.spec.references import topology_faults
from testbed.topology import Topology

_CLIENT_PORT = 50000


@dataclass(frozen=True, slots=True)
class Pair:
    """Who opens flows to whom."""

    client: str
    service: str
    "Role, as <pool>-<role>."
    node: str
    protocol: Protocol
    port: int

    @property
    def title(self) -> str:
        """Return how a reader calls it."""
        return f"{self.client} -> {self.service} ({self.node}, {self.protocol} {self.port})"


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of a pair's packets."""

    pair: Pair
    forward: tuple[str, ...]
    return_: tuple[str, ...]
    end: str
    "DELIVERED, or where and why the first direction that fails ends, as a prediction writes it."
    half_seen_by: tuple[str, ...]
    "Stateful firewalls that see one direction only."
    source: IPv4Address
    "Source address as the service sees it."

    @property
    def is_symmetric(self) -> bool:
        """Whether packets take the same links both ways."""
        return self.forward == self.return_[::-1]


@dataclass(frozen=True, slots=True)
class Cure:
    """A change that mends pairs, tried on the topology."""

    change: Change
    words: str
    mends: tuple[str, ...]
    breaks: tuple[str, ...]
    "Titles of pairs that worked and would not."
    moves: tuple[str, ...]
    "Titles of pairs that work before and after, by other links."


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All pairs of a topology, and a cure for each that asymmetry kills, where one is known."""

    findings: tuple[Finding, ...]
    cures: Mapping[str, Cure | None]
    "By title of the pair."


def diagnose(topology: Topology) -> Diagnosis:
    """Walk every pair of *topology* both ways, and look for the change that mends those that fail for asymmetry."""
    findings = _findings(topology)
    sick = [finding for finding in findings if is_asymmetric_death(finding)]
    cures: dict[str, Cure | None] = {}
    for finding in sick:
        known = next((cure for cure in cures.values() if cure and finding.pair.title in cure.mends), None)
        cures[finding.pair.title] = known or _cure(topology, finding, findings)
    return Diagnosis(findings, cures)


def is_asymmetric_death(finding: Finding) -> bool:
    """Whether a pair fails because a firewall sees half of its flow."""
    return finding.end.partition(":")[0] in ("NO_SESSION_ON_RETURN", "HALF_SEEN_FLOW", "REVERSE_PATH_FILTER")


def pairs(topology: Topology) -> Iterator[Pair]:
    """Yield each client with each service it may ask, and each Front End with the Access Edge of every other pool."""
    in_pools = {node for pool in topology.pools.values() for nodes in pool.roles.values() for node in nodes}
    clients = [name for name, node in topology.nodes.items() if node.local_ports and name not in in_pools]
    for name, pool in topology.pools.items():
        edges, front_ends = pool.roles.get("edge", ()), pool.roles.get("front-end", ())
        gate, role = (edges, "edge") if pool.access_edge else (front_ends, "front-end")
        for client in clients:
            if pool.access_edge and _organisation(topology, client) == _organisation(topology, (edges or gate)[0]):
                continue  # inside, its servers are reached without any exit
            for protocol in ("tcp", "udp"):
                yield from (Pair(client, f"{name}-{role}", node, protocol, SIP_PORT) for node in gate[:1])
            yield from (Pair(client, f"{name}-edge", node, "udp", TURN_UDP_PORT) for node in edges[:1])
        for other_name, other in topology.pools.items():
            opener = other.roles.get("front-end", ())[:1]
            if other_name != name and opener and gate:
                yield Pair(opener[0], f"{name}-{role}", gate[0], "tcp", SIP_PORT)


def _organisation(topology: Topology, node: str) -> str:
    return topology.segments[topology.nodes[node].segment].organisation


def _findings(topology: Topology) -> tuple[Finding, ...]:
    simulator = Simulator(topology, {name: dict(node.sysctl) for name, node in topology.nodes.items()})
    adjacency = Adjacency(topology)
    found = []
    for pair in pairs(topology):
        address = own_address(topology, adjacency, pair.node)
        source = simulator.source_for(pair.client, address)
        if source is not None:
            packet = Packet(pair.protocol, source, _CLIENT_PORT, address, pair.port)
            simulator.forget()
            first = simulator.walk(packet, pair.client)
            simulator.forget()
            found.append(_finding(topology, pair, first, exchange(Opening(pair.client, packet), simulator)))
    return tuple(found)


def _finding(topology: Topology, pair: Pair, first: Walk, told: Exchange) -> Finding:
    ends = [told.out.disposition] + ([told.back.disposition] if told.back else [])
    forward, back = first.links, told.back.links if told.back else ()
    end = next((each for each in ends if each != "DELIVERED"), "DELIVERED")
    stateful = {name for name, firewall in topology.firewalls.items() if firewall.stateful}
    there, here = _passed(topology, forward) & stateful, _passed(topology, back) & stateful
    half = tuple(sorted(there ^ here)) if back else ()
    return Finding(pair, forward, back, end, half, first.packet.source)


def _passed(topology: Topology, links: Sequence[str]) -> set[str]:
    return {node for name in links for node in topology.links[name].ends}


def _cure(topology: Topology, finding: Finding, before: Sequence[Finding]) -> Cure | None:
    """Return the first change that mends *finding* and breaks nothing, else the first that mends it, else None."""
    tried = [
        cure for change, words in _candidates(topology, finding) if (cure := _try(topology, change, words, before))
    ]
    mending = [cure for cure in tried if finding.pair.title in cure.mends]
    return next((cure for cure in mending if not cure.breaks), mending[0] if mending else None)


def _try(topology: Topology, change: Change, words: str, before: Sequence[Finding]) -> Cure | None:
    document = topology.model_dump(mode="json", by_alias=True)
    changed = Topology.model_validate(apply_edits(document, edits_of(change, "diagnosis"), Topology))
    if next(topology_faults(changed), None) is not None:
        return None
    after = {each.pair.title: each for each in _findings(changed)}
    mends, breaks, moves = [], [], []
    for old in before:
        title = old.pair.title
        new = after[title]
        if old.end != "DELIVERED" and new.end == "DELIVERED":
            mends.append(title)
        elif old.end == "DELIVERED" and new.end != "DELIVERED":
            breaks.append(title)
        elif old.end == "DELIVERED" and (old.forward, old.return_) != (new.forward, new.return_):
            moves.append(title)
    return Cure(change, words, tuple(mends), tuple(breaks), tuple(moves))


def _candidates(topology: Topology, finding: Finding) -> Iterator[tuple[Change, str]]:
    """Yield Microsoft's two remedies as changes: announce the source where it left, or translate it where it came in.

    What Microsoft announces, its customers cannot change.
    """
    way = _nodes(topology, finding.pair.client, finding.forward)
    back = _passed(topology, finding.return_)
    covering = {
        name: each
        for name, each in topology.announcements.items()
        if finding.source in each.prefix and topology.segments[topology.nodes[each.at].segment].kind == "customer"
    }
    for name, announcement in covering.items():
        if len(covering) > 1 and announcement.at in back and announcement.at not in way:
            words = (
                f"do not announce {announcement.prefix} at {announcement.at}: what has these addresses leaves elsewhere"
            )
            yield Change(remove=(f"announcements.{name}",)), words
    for name, announcement in covering.items():
        yield from _moves(topology, name, announcement.prefix, way)
    for place, node in enumerate(way[1:-1], 1):
        firewall = topology.firewalls.get(node)
        zone = firewall and zone_of(firewall, way[place + 1])
        if firewall is not None and firewall.stateful and zone:
            nat = {"to_zone": zone, "source": f"{finding.source}/32", "pool": "masquerade"}
            words = f"translate the source of what {node} lets in to its own address, so that answers come back to it"
            yield Change(set={f"firewalls.{node}.nat.{_fresh(firewall.nat)}": nat}), words


def _moves(topology: Topology, name: str, prefix: IPv4Network, way: Sequence[str]) -> Iterator[tuple[Change, str]]:
    """Yield announcing a prefix at each border router on the way out, to all its neighbours outside."""
    for place, node in enumerate(way[1:], 1):
        if node not in topology.bgp or _organisation(topology, node) != _organisation(topology, way[0]):
            continue
        peers = [
            session.ends[session.ends[0] == node] for session in topology.sessions.values() if node in session.ends
        ]
        outside = [peer for peer in peers if topology.bgp[peer].asn != topology.bgp[node].asn]
        if not outside or _organisation(topology, outside[0]) == _organisation(topology, node):
            continue
        edits: dict[str, object] = {f"announcements.{name}.at": node, f"announcements.{name}.to": outside}
        if str(prefix) not in topology.nodes[node].routes:
            edits[f'nodes.{node}.routes."{prefix}"'] = way[place - 1]
        yield Change(set=edits), f"announce {prefix} at {node} and nowhere else: there the requests leave"


def _nodes(topology: Topology, start: str, links: Sequence[str]) -> list[str]:
    way = [start]
    for name in links:
        one, other = topology.links[name].ends
        way.append(other if way[-1] == one else one)
    return [node for node in way if topology.nodes[node].kind != "switch"]


def _fresh(names: Mapping[str, object]) -> str:
    return next(name for name in ("inbound", *(f"inbound-{n}" for n in range(2, 100))) if name not in names)
