"""Seeded mutations of a topology, as changes: announcements, sessions, rules, pools, routes, filters and links."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, TypeVar

from testbed.errors import SpecError
from testbed.plan.bgp import converge
from testbed.scenario import Change
from testbed.spec.change import apply_edits, edits_of
from testbed.spec.references import topology_faults
from testbed.topology import Topology

Edits = tuple[dict[str, object], tuple[str, ...]]
"What a kind of mutation sets and removes."
_Kind = Callable[[Topology, Random], Edits]
_Item = TypeVar("_Item")
_MOST_AT_ONCE: Final = 3


def mutation(topology: Topology, seed: int) -> tuple[Change, Topology]:
    """Return a change of one to three mutations, and *topology* with it; always one that can be built."""
    random = Random(seed)
    while True:
        change = _change(topology, random)
        try:
            document = topology.model_dump(mode="json", by_alias=True)
            changed = Topology.model_validate(apply_edits(document, edits_of(change, f"seed {seed}"), Topology))
            if next(topology_faults(changed), None) is None:
                converge(changed)
                return change, changed
        except (SpecError, ValueError):
            continue  # two mutations of one thing that do not fit each other, or preferences that never settle


def _change(topology: Topology, random: Random) -> Change:
    edits: dict[str, object] = {}
    removals: list[str] = []
    for kind in random.sample(_KINDS, random.randint(1, _MOST_AT_ONCE)):
        set_, remove = kind(topology, random)
        edits |= set_
        removals += remove
    return Change(set=edits, remove=tuple(removals))


def _one(random: Random, items: Iterator[_Item] | Sequence[_Item]) -> _Item:
    return random.choice(list(items))


def _unannounced(topology: Topology, random: Random) -> Edits:
    return {}, (f"announcements.{_one(random, list(topology.announcements))}",)


def _announced_to_fewer(topology: Topology, random: Random) -> Edits:
    name = _one(random, [name for name, each in topology.announcements.items() if len(each.to) > 1])
    told = topology.announcements[name].to
    return {f"announcements.{name}.to": random.sample(told, random.randint(1, len(told) - 1))}, ()


def _announced_elsewhere(topology: Topology, random: Random) -> Edits:
    """Announce a prefix at another border of the same organisation, instead or as well."""
    name = _one(random, [n for n, each in topology.announcements.items() if len(_borders(topology, each.at)) > 1])
    announcement = topology.announcements[name]
    at = _one(random, [each for each in _borders(topology, announcement.at) if each != announcement.at])
    to = _peers_outside(topology, at)
    told = random.sample(to, random.randint(1, len(to)))
    if random.random() < 0.5:
        return {f"announcements.{name}.at": at, f"announcements.{name}.to": told}, ()
    table = {**announcement.model_dump(mode="json"), "at": at, "to": told}
    return {f"announcements.{name}-too": table}, ()


def _organisation(topology: Topology, node: str) -> str:
    return topology.segments[topology.nodes[node].segment].organisation


def _borders(topology: Topology, node: str) -> list[str]:
    mine = _organisation(topology, node)
    return [each for each in topology.bgp if _organisation(topology, each) == mine and _peers_outside(topology, each)]


def _peers_outside(topology: Topology, node: str) -> list[str]:
    ends = [session.ends for session in topology.sessions.values() if node in session.ends]
    peers = [other if node == one else one for one, other in ends]
    return [peer for peer in peers if topology.bgp[peer].asn != topology.bgp[node].asn]


def _preferred_otherwise(topology: Topology, random: Random) -> Edits:
    name = _one(random, list(topology.sessions))
    end = _one(random, topology.sessions[name].ends)
    return {f"sessions.{name}.local_preference.{end}": _one(random, (50, 90, 110, 150, 200))}, ()


def _session_down(topology: Topology, random: Random) -> Edits:
    return {f"sessions.{_one(random, list(topology.sessions))}.up": False}, ()


def _route_filter_gone(topology: Topology, random: Random) -> Edits:
    name = _one(random, [name for name, each in topology.sessions.items() if each.accept_communities])
    return {}, (f"sessions.{name}.accept_communities",)


def _untagged(topology: Topology, random: Random) -> Edits:
    name = _one(random, [name for name, each in topology.announcements.items() if each.communities])
    return {f"announcements.{name}.communities": []}, ()


def _rules(topology: Topology) -> list[str]:
    """Return the rules but those of ICMP, which no probe is, and of BGP: a session that stands outlives its rule."""
    return [
        f"firewalls.{node}.rules.{name}"
        for node, firewall in topology.firewalls.items()
        for name, rule in firewall.rules.items()
        if rule.destination_ports != ("179",) and rule.protocol != "icmp"
    ]


def _rule_gone(topology: Topology, random: Random) -> Edits:
    return {}, (_one(random, _rules(topology)),)


def _rule_drops(topology: Topology, random: Random) -> Edits:
    return {f"{_one(random, _rules(topology))}.action": "drop"}, ()


def _rule_added(topology: Topology, random: Random) -> Edits:
    node = _one(random, list(topology.firewalls))
    zones = ["any", *topology.firewalls[node].zones]
    protocol = _one(random, ("tcp", "udp", "any"))
    rule = {"from": _one(random, zones), "to": _one(random, zones), "protocol": protocol}
    return {f"firewalls.{node}.rules.mutant": rule}, ()


def _stateless(topology: Topology, random: Random) -> Edits:
    return {f"firewalls.{_one(random, list(topology.firewalls))}.stateful": False}, ()


def _pools(topology: Topology) -> list[tuple[str, str]]:
    return [(f"firewalls.{node}.nat.{name}", each.pool) for node, firewall in topology.firewalls.items()
            for name, each in firewall.nat.items()]  # fmt: skip


def _pool_gone(topology: Topology, random: Random) -> Edits:
    return {}, (_one(random, _pools(topology))[0],)


def _other_pool(topology: Topology, random: Random) -> Edits:
    key, own = _one(random, _pools(topology))
    others = sorted({pool for _, pool in _pools(topology)} | {"masquerade", "192.0.2.240-192.0.2.247"})
    return {f"{key}.pool": _one(random, [pool for pool in others if pool != own])}, ()


def _route_gone(topology: Topology, random: Random) -> Edits:
    """Take a static route from a BGP speaker: its BIRD has it, so that a running world can lose it."""
    keys = [f'nodes.{node}.routes."{prefix}"' for node in topology.bgp for prefix in topology.nodes[node].routes
            if prefix.startswith(("192.0.2.", "198.18."))]  # fmt: skip
    return {}, (_one(random, keys),)


def _reverse_path_filter(topology: Topology, random: Random) -> Edits:
    routing = [name for name, node in topology.nodes.items() if node.kind in ("router", "firewall")]
    mode = _one(random, ("1", "2"))
    return {f'nodes.{_one(random, routing)}.sysctl."net.ipv4.conf.all.rp_filter"': mode}, ()


def _link_down(topology: Topology, random: Random) -> Edits:
    kinds = {name: node.kind for name, node in topology.nodes.items()}
    between = [name for name, link in topology.links.items() if {"router", "firewall"} >= {kinds[x] for x in link.ends}]
    return {f"links.{_one(random, between)}.up": False}, ()


_KINDS: Final[tuple[_Kind, ...]] = (
    _unannounced, _announced_to_fewer, _announced_elsewhere, _preferred_otherwise, _session_down, _route_filter_gone,
    _untagged, _rule_gone, _rule_drops, _rule_added, _stateless, _pool_gone, _other_pool, _route_gone,
    _reverse_path_filter, _link_down,
)  # fmt: skip
