"""BIRD's configuration of a speaker: the policy that `testbed.plan.bgp` works out the outcome of."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from testbed.plan.adjacency import Adjacency
from testbed.plan.bgp import DEFAULT_ROUTE, PRIVATE, Peering, is_aggregate, peerings, router_ids, static_routes
from testbed.topology import Announcement, Topology

_TIMERS: Final = ("connect delay time 1", "connect retry time 1", "error wait time 1, 4", "hold time 30")
"Peers that start together meet within a second; the hold time survives a busy machine."
_BFD_TIMERS: Final = "min rx interval 300 ms; min tx interval 300 ms; multiplier 3;"
"What Microsoft's edge routers offer on ExpressRoute."
_MULTIHOP_TTL: Final = 8


def bird_configurations(topology: Topology, adjacency: Adjacency) -> dict[str, str]:
    """Return the whole BIRD 2 configuration of every speaker."""
    ids = router_ids(topology)
    sessions = peerings(topology, adjacency)
    return {node: _configuration(topology, adjacency, node, ids[node], sessions[node]) for node in topology.bgp}


def _configuration(
    topology: Topology, adjacency: Adjacency, node: str, router_id: IPv4Address, sessions: tuple[Peering, ...]
) -> str:
    blocks = [
        [f"# {node}: {topology.nodes[node].title}", "log stderr { warning, error, fatal, bug, auth };"],
        [f"router id {router_id};"],
        ["protocol device { scan time 1; }"],
        list(_bfd(sessions)),
        # Connected prefixes are there to resolve next hops; the kernel has them already.
        ["protocol direct { ipv4; }"],
        [
            "protocol kernel {",
            "  learn off;",
            "  ipv4 {",
            "    import none;",
            "    export filter { if source = RTS_DEVICE then reject; accept; };",
            "  };",
            "}",
        ],
        list(_static(topology, adjacency, node)),
        list(_aggregates(topology, node)),
        *(list(_session(topology, node, peering)) for peering in sessions),
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _bfd(sessions: tuple[Peering, ...]) -> Iterator[str]:
    if any(peering.bfd for peering in sessions):
        yield f'protocol bfd {{ interface "*" {{ {_BFD_TIMERS} }}; }}'


def _static(topology: Topology, adjacency: Adjacency, node: str) -> Iterator[str]:
    routes = static_routes(topology, node)
    if routes:
        yield "protocol static static_routes {"
        yield "  ipv4;"
        for prefix, neighbour in routes.items():
            yield f"  route {prefix} via {adjacency.between(node, neighbour).peer_address.ip};"
        yield "}"


def _aggregates(topology: Topology, node: str) -> Iterator[str]:
    prefixes = dict.fromkeys(a.prefix for a in topology.announcements.values() if a.at == node)
    own = [prefix for prefix in prefixes if is_aggregate(topology, node, prefix)]
    if own:
        yield "protocol static aggregates {"
        yield "  ipv4;"
        for prefix in own:
            yield f"  route {prefix} unreachable;"
        yield "}"


def _session(topology: Topology, node: str, peering: Peering) -> Iterator[str]:
    session = topology.sessions[peering.session]
    yield f"protocol bgp {_symbol(peering.peer)} {{"
    yield f'  description "{peering.session}";'
    if not session.up:
        yield "  disabled;"
    yield f"  local {peering.address} as {topology.bgp[node].asn};"
    yield f"  neighbor {peering.peer_address} as {topology.bgp[peering.peer].asn};"
    yield f"  multihop {_MULTIHOP_TTL};" if peering.multihop else "  direct;"
    if peering.passive:
        yield "  passive yes;"
    if peering.bfd:
        yield "  bfd on;"
    for timer in _TIMERS:
        yield f"  {timer};"
    yield "  ipv4 {"
    yield "    next hop self;"
    yield "    import filter {"
    yield from (f"      {line}" for line in _import(topology, node, peering))
    yield "    };"
    yield "    export filter {"
    yield from (f"      {line}" for line in _export(topology, node, peering))
    yield "    };"
    yield "  };"
    yield "}"


def _import(topology: Topology, node: str, peering: Peering) -> Iterator[str]:
    session = topology.sessions[peering.session]
    if node in session.refuse_default:
        private = ", ".join(f"{prefix}+" for prefix in PRIVATE)
        yield f"if net ~ [ {DEFAULT_ROUTE}, {private} ] then reject;"
    communities = session.accept_communities.get(node)
    if communities is not None:
        matches = " || ".join(f"{_pair(community)} ~ bgp_community" for community in communities)
        yield f"if !({matches or 'false'}) then reject;"
    if node in session.local_preference:
        yield f"bgp_local_pref = {session.local_preference[node]};"
    yield "accept;"


def _export(topology: Topology, node: str, peering: Peering) -> Iterator[str]:
    for announcement in topology.announcements.values():
        if announcement.at == node and peering.peer in announcement.to:
            yield from _announce(announcement)
    # BIRD does not tell an internal neighbour what another internal neighbour told it.
    if topology.bgp[node].transit or not peering.external:
        yield "if source = RTS_BGP then accept;"
    yield "reject;"


def _announce(announcement: Announcement) -> Iterator[str]:
    yield f"if net = {announcement.prefix} && source ~ [ RTS_STATIC, RTS_DEVICE ] then {{"
    for community in announcement.communities:
        yield f"  bgp_community.add({_pair(community)});"
    yield "  accept;"
    yield "}"


def _pair(community: str) -> str:
    high, _, low = community.partition(":")
    return f"({int(high)}, {int(low)})"


def _symbol(name: str) -> str:
    """Turn a node's name into a BIRD symbol, which a hyphen would end."""
    return "to_" + name.replace("-", "_")
