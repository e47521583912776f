"""Cross-references of a topology: whether what it names exists, and whether its addresses fit together.

Every function yields faults; `testbed.spec.reader` tells them with file and key.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.plan.policy import OWN_FILTERING
from testbed.spec.endpoints import endpoint_faults
from testbed.spec.faults import Fault, Key, name_faults, one_of
from testbed.spec.service_references import service_faults
from testbed.spec.wiring import Port, Wiring
from testbed.topology import Firewall, Link, SourceNat, Topology

EMULATED: tuple[IPv4Network, ...] = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "192.0.2.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "198.18.0.0/15",
    )
)
"Private (RFC 1918, 6598), documentation (RFC 5737) and benchmark (RFC 2544) prefixes: what nodes may be called."
_EMULATED_TEXT = "a private, documentation or benchmark range (" + ", ".join(map(str, EMULATED)) + ")"


def topology_faults(topology: Topology, *, with_endpoints: bool = True) -> Iterator[Fault]:
    """Yield what is wrong between the parts of a topology that is right part by part."""
    unknown = [*_segment_faults(topology), *_end_faults(topology)]
    yield from unknown
    if any(fault.key[0] == "links" for fault in unknown):
        return  # what follows walks the cables
    wiring = Wiring(topology)
    yield from _link_faults(topology, wiring)
    yield from _address_faults(topology)
    yield from _lan_faults(topology, wiring)
    yield from _route_faults(topology, wiring)
    yield from _bgp_faults(topology)
    yield from _firewall_faults(topology, wiring)
    yield from _pool_faults(topology)
    if with_endpoints:
        yield from endpoint_faults(topology)
    yield from service_faults(topology)
    for kind, table in topology.media.items():
        for field in ("client_ports", "server_ports"):
            yield from port_faults(("media", kind, field), [getattr(table, field)])


def port_faults(key: Key, ranges: Iterable[str]) -> Iterator[Fault]:
    """Yield a fault for each range of ports that is none."""
    for text in ranges:
        first, _, last = text.partition("-")
        if not 1 <= int(first) <= int(last or first) <= 65535:
            yield Fault(key, f"{text!r} is no range of ports from 1 to 65535, lowest first")


def _segment_faults(topology: Topology) -> Iterator[Fault]:
    for table, entries in (("nodes", topology.nodes), ("links", topology.links)):
        for name, entry in entries.items():
            yield from name_faults((table, name, "segment"), [entry.segment], topology.segments, "segment")
    for name, node in topology.nodes.items():
        yield from port_faults(("nodes", name, "local_ports"), [node.local_ports] if node.local_ports else [])


def _end_faults(topology: Topology) -> Iterator[Fault]:
    for name, link in topology.links.items():
        key: Key = ("links", name, "ends")
        yield from name_faults(key, link.ends, topology.nodes, "node")
        if link.ends[0] == link.ends[1]:
            yield Fault(key, f"both ends are {link.ends[0]!r}")


def _link_faults(topology: Topology, wiring: Wiring) -> Iterator[Fault]:
    first_between: dict[frozenset[str], str] = {}
    for name, link in topology.links.items():
        first = first_between.setdefault(frozenset(link.ends), name)
        if first != name:
            a, b = link.ends
            yield Fault(
                ("links", name, "ends"),
                f"{a} and {b} are joined by {first!r} already; an interface is named "
                "after its neighbour, so put a switch between for a second link",
            )
        yield from _end_address_faults(name, link, wiring)


def _end_address_faults(name: str, link: Link, wiring: Wiring) -> Iterator[Fault]:
    key: Key = ("links", name, "addresses")
    yield from name_faults(key, link.addresses, link.ends, "end")
    for node in link.ends:
        if wiring.is_switch(node) and node in link.addresses:
            yield Fault((*key, node), "is a switch, which has no address")
        if not wiring.is_switch(node) and node not in link.addresses:
            yield Fault(key, f"{node} has no address; only a switch has none")


def _address_faults(topology: Topology) -> Iterator[Fault]:
    owner: dict[IPv4Address, str] = {}
    for name, link in topology.links.items():
        for node, address in link.addresses.items():
            key: Key = ("links", name, "addresses", node)
            here = f"{node} on {name}"
            if (first := owner.setdefault(address.ip, here)) != here:
                yield Fault(key, f"{address.ip} is the address of {first} already")
            yield from _range_faults(key, address.ip)
            yield from _host_part_faults(key, address)


def _range_faults(key: Key, address: IPv4Address) -> Iterator[Fault]:
    if not any(address in network for network in EMULATED):
        yield Fault(key, f"{address} is not in {_EMULATED_TEXT}")


def _host_part_faults(key: Key, address: IPv4Interface) -> Iterator[Fault]:
    network = address.network
    if network.prefixlen < 31 and address.ip in (network.network_address, network.broadcast_address):
        yield Fault(key, f"{address} is the network's own or its broadcast address")


def _lan_faults(topology: Topology, wiring: Wiring) -> Iterator[Fault]:
    for ports in wiring.lans():
        given = [(port, address) for port in ports if (address := _address(topology, port)) is not None]
        for port, address in given[1:]:
            first, expected = given[0]
            if address.network != expected.network:
                yield Fault(
                    ("links", port.link, "addresses", port.node),
                    f"{address} is outside {expected.network}, the range of its neighbour {first.node}",
                )


def _address(topology: Topology, port: Port) -> IPv4Interface | None:
    return topology.links[port.link].addresses.get(port.node)


def _route_faults(topology: Topology, wiring: Wiring) -> Iterator[Fault]:
    for name, node in topology.nodes.items():
        near = wiring.neighbours(name)
        if node.routes and node.kind == "switch":
            yield Fault(("nodes", name, "routes"), "is a switch, which routes nothing")
            continue
        for prefix, via in node.routes.items():
            key: Key = ("nodes", name, "routes", prefix)
            yield from _prefix_faults(key, prefix)
            if via not in topology.nodes:
                yield from name_faults(key, [via], topology.nodes, "node")
            elif via not in near:
                yield Fault(key, f"{via!r} is no neighbour of {name}; its neighbours: {one_of(near)}")


def _prefix_faults(key: Key, prefix: str) -> Iterator[Fault]:
    if prefix != "default":
        try:
            IPv4Network(prefix)
        except ValueError as error:
            yield Fault(key, f"must be 'default' or an IPv4 prefix like '10.1.0.0/24': {error}")


def _bgp_faults(topology: Topology) -> Iterator[Fault]:
    yield from name_faults(("bgp",), topology.bgp, topology.nodes, "node")
    for name in topology.bgp:
        if name in topology.nodes and topology.nodes[name].kind == "switch":
            yield Fault(("bgp", name), "is a switch, which speaks no BGP")
    neighbours: dict[str, set[str]] = {}
    for name, session in topology.sessions.items():
        key: Key = ("sessions", name)
        yield from name_faults((*key, "ends"), session.ends, topology.bgp, "BGP speaker")
        if session.ends[0] == session.ends[1]:
            yield Fault((*key, "ends"), f"both ends are {session.ends[0]!r}")
        for field in ("local_preference", "accept_communities", "refuse_default"):
            yield from name_faults((*key, field), getattr(session, field), session.ends, "end")
        for node, communities in session.accept_communities.items():
            yield from _community_faults((*key, "accept_communities", node), communities)
        neighbours.setdefault(session.ends[0], set()).add(session.ends[1])
        neighbours.setdefault(session.ends[1], set()).add(session.ends[0])
    for name, announcement in topology.announcements.items():
        key = ("announcements", name)
        yield from name_faults((*key, "at"), [announcement.at], topology.bgp, "BGP speaker")
        yield from _community_faults((*key, "communities"), announcement.communities)
        what = f"neighbour with a session with {announcement.at}"
        yield from name_faults((*key, "to"), announcement.to, neighbours.get(announcement.at, ()), what)


def _community_faults(key: Key, communities: Iterable[str]) -> Iterator[Fault]:
    for text in communities:
        parts = text.split(":")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) < 65536 for part in parts):
            yield Fault(key, f"{text!r} is no BGP community like '12076:5030' (RFC 1997)")


def _firewall_faults(topology: Topology, wiring: Wiring) -> Iterator[Fault]:
    yield from name_faults(("firewalls",), topology.firewalls, topology.nodes, "node")
    for name, node in topology.nodes.items():
        if (node.kind == "firewall") != (name in topology.firewalls):
            missing = f"its kind is {node.kind!r}, and only a 'firewall' has a policy"
            yield (
                Fault(("firewalls", name), missing)
                if name in topology.firewalls
                else Fault(("nodes", name, "kind"), f"is a firewall without a policy; write [firewalls.{name}]")
            )
    for name, firewall in topology.firewalls.items():
        if name in topology.nodes:
            yield from _zone_faults(name, firewall, wiring)
            yield from _rule_faults(name, firewall)
            yield from _sharing_faults(name, firewall, topology, wiring)


def _sharing_faults(name: str, firewall: Firewall, topology: Topology, wiring: Wiring) -> Iterator[Fault]:
    key: Key = ("firewalls", name, "shares_state_with")
    other = firewall.shares_state_with
    if other is None:
        return
    yield from name_faults(key, [other], topology.firewalls, "firewall")
    if other in topology.firewalls:
        if topology.firewalls[other].shares_state_with != name:
            yield Fault(key, f"{other} must name {name} too: set firewalls.{other}.shares_state_with")
        if other not in wiring.cables.get(name, {}):
            yield Fault(key, f"there is no link between {name} and {other}, over which they would tell each other")
        if not firewall.stateful:
            yield Fault(key, f"{name} keeps no state to share; it needs stateful = true")


def _zone_faults(name: str, firewall: Firewall, wiring: Wiring) -> Iterator[Fault]:
    zone_of: dict[str, str] = {}
    for zone, members in firewall.zones.items():
        key: Key = ("firewalls", name, "zones", zone)
        yield from name_faults(key, members, wiring.cables.get(name, {}), f"node cabled to {name}")
        for member in members:
            if (first := zone_of.setdefault(member, zone)) != zone:
                yield Fault(key, f"{member} is in zone {first!r} already")


def _rule_faults(name: str, firewall: Firewall) -> Iterator[Fault]:
    zones = {*firewall.zones, "any"}
    for rule_name, rule in firewall.rules.items():
        key: Key = ("firewalls", name, "rules", rule_name)
        yield from name_faults((*key, "from"), [rule.from_], zones, "zone")
        yield from name_faults((*key, "to"), [rule.to], zones, "zone")
        for field in ("source_ports", "destination_ports"):
            ranges = getattr(rule, field)
            yield from port_faults((*key, field), ranges)
            if ranges and rule.protocol not in ("tcp", "udp"):
                yield Fault((*key, field), f"protocol {rule.protocol!r} has no ports; allowed: tcp, udp")
        if rule.payload is not None and (rule.action != "drop" or rule.protocol not in ("tcp", "udp")):
            yield Fault((*key, "payload"), "is for rules with action 'drop' and protocol 'tcp' or 'udp'")
    for nat_name, nat in firewall.nat.items():
        key = ("firewalls", name, "nat", nat_name)
        yield from name_faults((*key, "to_zone"), [nat.to_zone], firewall.zones, "zone")
        yield from _nat_pool_faults((*key, "pool"), nat)
        if (nat.host is not None) != (nat.filtering != OWN_FILTERING):
            problem = "is missing: a NAT with this filtering needs the host that gets what strangers send"
            extra = f"is of no use: with filtering {OWN_FILTERING!r} no stranger comes in"
            yield Fault((*key, "host"), problem if nat.host is None else extra)
        if nat.host is not None and nat.source is not None and nat.host not in nat.source:
            yield Fault((*key, "host"), f"{nat.host} is outside {nat.source}, the `source` whose flows it translates")


def _nat_pool_faults(key: Key, nat: SourceNat) -> Iterator[Fault]:
    if nat.pool == "masquerade":
        return
    first, _, last = nat.pool.partition("-")
    try:
        ends = IPv4Address(first), IPv4Address(last or first)
    except ValueError:
        kinds = "an IPv4 address, a range like '192.0.2.1-192.0.2.9' or 'masquerade'"
        yield Fault(key, f"must be {kinds}, not {nat.pool!r}")
        return
    if ends[0] > ends[1]:
        yield Fault(key, f"the range {nat.pool!r} ends before it begins")
    for address in dict.fromkeys(ends):
        yield from _range_faults(key, address)


def _pool_faults(topology: Topology) -> Iterator[Fault]:
    hosts = [name for name, node in topology.nodes.items() if node.kind != "switch"]
    for name, pool in topology.pools.items():
        key: Key = ("pools", name)
        for role, nodes in pool.roles.items():
            yield from name_faults((*key, "roles", role), nodes, hosts, "node")
            if not nodes:
                yield Fault((*key, "roles", role), "names no node")
        yield from port_faults((*key, "relay_ports"), [pool.relay_ports])
