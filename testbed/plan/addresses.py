"""Interfaces, MAC addresses and owners: which address is where."""

from collections.abc import Iterator
from ipaddress import IPv4Address, summarize_address_range
from typing import Final

from testbed.errors import SpecError
from testbed.plan.adjacency import Adjacency
from testbed.plan.bgp import DEFAULT_ROUTE, active_static_routes, static_routes
from testbed.plan.model import Interface, Route
from testbed.topology import Topology

MASQUERADE: Final = "masquerade"
_POOL_LIMIT: Final = 4096


def interfaces(topology: Topology) -> dict[str, tuple[Interface, ...]]:
    """Return every node's interfaces in the order of the links, with MAC addresses counted from 02:00:00:00:00:01."""
    found: dict[str, list[Interface]] = {name: [] for name in topology.nodes}
    count = 0
    for name, link in topology.links.items():
        for node, neighbour in (link.ends, link.ends[::-1]):
            count += 1
            address = link.addresses.get(node)
            found[node].append(
                Interface(
                    name=neighbour,
                    mac=f"02:00:00:00:{count >> 8:02x}:{count & 0xFF:02x}",
                    address=None if address is None else str(address),
                    link=name,
                )
            )
    return {node: tuple(each) for node, each in found.items()}


def netlink_routes(topology: Topology, adjacency: Adjacency, node: str) -> tuple[Route, ...]:
    """Return the static routes that are set by netlink: none for a BGP speaker, and none over a cable that is down."""
    if node in topology.bgp:
        return ()
    return tuple(
        Route(prefix=str(prefix), via=str(hop.peer_address.ip), interface=hop.interface)
        for prefix, neighbour in active_static_routes(topology, adjacency, node).items()
        for hop in (adjacency.between(node, neighbour),)
    )


def owners(topology: Topology) -> dict[str, str]:
    """Return every address of an interface or a NAT pool, and the node that has it."""
    found = {str(a.ip): node for link in topology.links.values() for node, a in link.addresses.items()}
    for node, firewall in topology.firewalls.items():
        for name, nat in firewall.nat.items():
            for address in pool_addresses(topology, f"firewalls.{node}.nat.{name}", nat.pool):
                found.setdefault(str(address), node)
    return found


def pool_addresses(topology: Topology, key: str, pool: str) -> Iterator[IPv4Address]:
    """Yield the addresses of a NAT pool ("a", "a-b"); none for masquerade; raise SpecError for anything else."""
    if pool == MASQUERADE:
        return
    first, dash, last = pool.partition("-")
    try:
        low, high = IPv4Address(first), IPv4Address(last if dash else first)
        networks = list(summarize_address_range(low, high))
    except ValueError as error:
        problem = f"must be an address, a range a-b or {MASQUERADE!r}: {error}"
        raise SpecError(topology.name, f"{key}.pool", problem) from None
    if int(high) - int(low) >= _POOL_LIMIT:
        raise SpecError(topology.name, f"{key}.pool", f"holds more than {_POOL_LIMIT} addresses")
    for network in networks:
        yield from network


def own_address(topology: Topology, adjacency: Adjacency, node: str) -> IPv4Address:
    """Return the address by which the rest of the world knows *node*: on the interface of its default route."""
    hops = adjacency.of(node)
    default = static_routes(topology, node).get(DEFAULT_ROUTE)
    if default is not None:
        return adjacency.between(node, default).address.ip
    if not hops:
        raise SpecError(topology.name, f"nodes.{node}", "has no address: it needs a link with a neighbour")
    return hops[0].address.ip


def address_facing(topology: Topology, adjacency: Adjacency, node: str, client: str) -> IPv4Address:
    """Return the address at which *client* reaches *node*: on a network that both are on, else its own address."""
    shared = [hop.peer_address.ip for hop in adjacency.of(client) if hop.peer == node]
    return shared[0] if shared else own_address(topology, adjacency, node)


def inner_address(topology: Topology, adjacency: Adjacency, node: str) -> IPv4Address:
    """Return the address on the node's other side (an Edge's internal one); the same where it has only one."""
    outer = own_address(topology, adjacency, node)
    return next((hop.address.ip for hop in adjacency.of(node) if hop.address.ip != outer), outer)


def host_name(topology: Topology, node: str) -> str:
    """Return the name of *node* in the DNS."""
    return f"{node}.{topology.segments[topology.nodes[node].segment].organisation}.example"
