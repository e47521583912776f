"""A run as the principles see it: pools and their servers, places of nodes, and flows from program to program."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from testbed.analysis.legs import MEDIA
from testbed.analysis.packets import Kind
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Run
from testbed.scenario import Call, Party
from testbed.verdict.conversations import Conversation, conversations, stages
from testbed.verdict.principles.finding import counted

WIDE: Final = ("expressroute", "internet")
"Kinds of segment between organisations."


@dataclass(frozen=True, slots=True)
class AppHop:
    """Packets from one program's socket to the next: relays cut a media packet's way in pieces."""

    flow: str
    start: str
    "Node."
    end: str
    "Node that the packets got to; of packets that died, the one whose address they had."
    delivered: bool
    links: tuple[str, ...]
    between: tuple[str, ...]
    "Those of them that are ExpressRoute's or the Internet's."
    kinds: tuple[str, ...]
    "Kinds of segment crossed, in order."
    packets: int
    first_frame: int

    def words(self) -> str:
        """Say who sent what over which links; of links between organisations where there are some."""
        end = self.end if self.delivered else f"{self.end} (not delivered)"
        where = f"{', '.join(self.between or self.links)}; first frame {self.first_frame}"
        return f"{self.flow} {self.start} -> {end}: {counted(self.packets)} over {', '.join(self.kinds)} ({where})"


class World:
    """Lookups over one run. Pools are known by the parties' homes and, where the manifest has it, the topology."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.scenario = run.scenario
        self.roles = run.plan.roles
        homes = {party.home for party in run.scenario.parties.values() if party.home is not None}
        named = (run.manifest.get("topology") or {}).get("pools") or {}
        # The longest name first: of pools "online" and "online-far", a role of the latter begins with both.
        self.pools: tuple[str, ...] = tuple(sorted(homes | set(named), key=lambda name: (-len(name), name)))

    @cached_property
    def spoken(self) -> tuple[Conversation, ...]:
        """Media followed from one end to the other."""
        return conversations(self.run)

    @cached_property
    def hops(self) -> tuple[AppHop, ...]:
        """Signaling and media from socket to socket, alike ones counted together, the earliest first."""
        found: defaultdict[tuple[object, ...], list[AppHop]] = defaultdict(list)
        for walk in self.run.walks.walks:
            if walk.gaps or (walk.kind != Kind.SIP and walk.kind not in MEDIA):
                continue
            for hop in self._hops(walk):
                found[(hop.flow, hop.start, hop.end, hop.delivered, hop.links)].append(hop)
        joined = [_joined(same) for same in found.values()]
        return tuple(sorted(joined, key=lambda hop: hop.first_frame))

    def _hops(self, walk: Walk) -> Iterator[AppHop]:
        flow = "signaling" if walk.kind == Kind.SIP else "media"
        for stage in stages(self.run, walk):
            last = stage[-1]
            delivered = self.run.network.is_host(last.hop.target)
            owner = self.run.network.owner(last.flow.destination)
            end = last.hop.target if delivered else owner or last.hop.target
            yield AppHop(
                flow=flow,
                start=stage[0].hop.source,
                end=end,
                delivered=delivered,
                links=tuple(step.hop.link for step in stage),
                between=tuple(step.hop.link for step in stage if step.hop.segment_kind in WIDE),
                kinds=_kinds(stage),
                packets=walk.packets,
                first_frame=min(step.first_frame for step in stage),
            )

    def party_node(self, name: str) -> str:
        """Return where a party is."""
        return self.scenario.parties[name].node

    def parties_of(self, call: Call) -> dict[str, Party]:
        """Return the clients of a call, by name: telephones know no homes, no ICE and no Edge."""
        named = (call.caller, call.callee, *call.participants)
        parties = {name: self.scenario.parties[name] for name in named if name is not None}
        return {name: party for name, party in parties.items() if self.kind(party.node) != "pstn"}

    def hosts(self, call: Call) -> tuple[str, ...]:
        """Return the servers that a call says it goes to."""
        return self.roles.get(self.scenario.host_of(call) or "", ())

    def kind(self, node: str) -> str:
        """Return the kind of segment that a node stands in."""
        return self.run.network.nodes[node].segment_kind

    def organisation(self, node: str) -> str:
        """Return whose network a node stands in."""
        return self.run.network.nodes[node].organisation

    def servers(self, pool: str, role: str) -> frozenset[str]:
        """Return a pool's nodes of a role, variants of it included: "conference" takes "conference-far"."""
        prefix = f"{pool}-{role}"
        return frozenset(
            node
            for name, nodes in self.roles.items()
            if (name == prefix or name.startswith(f"{prefix}-")) and self._pool_of_role(name) == pool
            for node in nodes
        )

    def pool_of(self, node: str) -> str | None:
        """Return the pool that a server belongs to."""
        names = (name for name, nodes in self.roles.items() if node in nodes and name not in self.scenario.parties)
        return next((pool for name in names if (pool := self._pool_of_role(name))), None)

    def _pool_of_role(self, role: str) -> str | None:
        return next((pool for pool in self.pools if role.startswith(f"{pool}-")), None)

    def edges_on(self, each: Conversation) -> tuple[str, ...]:
        """Return the Edges that media passed, in the order of travel."""
        return tuple(node for node in each.nodes[1:-1] if node in self.run.network.relays)


def _kinds(stage: Sequence[Step]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.hop.segment_kind for step in stage))


def _joined(same: Sequence[AppHop]) -> AppHop:
    first = min(same, key=lambda hop: hop.first_frame)
    return replace(first, packets=sum(hop.packets for hop in same))


def between(hops: Sequence[Conversation], one: str, other: str) -> list[Conversation]:
    """Return what two nodes said to each other."""
    return [each for each in hops if {each.sender.node, each.receiver.node} == {one, other}]


def circuits(run: Run) -> Mapping[str, bool]:
    """Return, for each customer that has a circuit, whether one is up from its own network to Microsoft's."""
    nodes, links = run.network.nodes, run.plan.links
    found = {}
    for customer in {node.organisation for node in nodes.values() if node.segment_kind == "customer"}:
        own = {name for name, node in nodes.items() if (node.segment_kind, node.organisation) == ("customer", customer)}
        wires = [link for link in links if link.segment_kind == "expressroute"]
        if not any({link.a.node, link.b.node} & own for link in wires):
            continue
        reached, grew = set(own), True
        while grew:
            ends = [{link.a.node, link.b.node} for link in wires if link.up]
            new = {node for pair in ends if pair & reached for node in pair} - reached
            reached |= new
            grew = bool(new)
        found[customer] = any(nodes[name].segment_kind == "microsoft" for name in reached)
    return found
