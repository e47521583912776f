"""Which way each of Microsoft's endpoints is reached in a topology, and whether the endpoint file allows that way."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from testbed.endpoints import Endpoint, port_ranges
from testbed.errors import UsageError
from testbed.plan.exchange import Opening, exchange
from testbed.plan.policy import Protocol
from testbed.plan.walk import Packet, Simulator
from testbed.spec.faults import suggest
from testbed.topology import Topology

_CLIENT_PORT = 50000


@dataclass(frozen=True, slots=True)
class Way:
    """How a client's packets get to a prefix."""

    endpoint: int
    "Id of the endpoint set."
    prefix: IPv4Network
    protocol: Protocol
    port: int
    nodes: tuple[str, ...]
    "Hosts in the prefix that are reached alike."
    forward: tuple[str, ...]
    "Kinds of segment in the order of travel."
    return_: tuple[str, ...]
    end: str
    "DELIVERED, or where and why the first direction that fails ends, as a prediction writes it."
    is_allowed: bool
    "False where they cross ExpressRoute and the endpoint must not be reached so."


def first_client(topology: Topology) -> str:
    """Return the first host of a customer that clients run on; raise UsageError if there is none."""
    for name, node in topology.nodes.items():
        if node.kind == "host" and node.local_ports and topology.segments[node.segment].kind == "customer":
            return name
    raise UsageError(f"topology {topology.name} has no client in a customer's network; name a node with --from")


def ways(topology: Topology, client: str) -> tuple[Way, ...]:
    """Return the ways from *client* to each IPv4 prefix of the topology's endpoints; raise UsageError."""
    hosts = [name for name, node in topology.nodes.items() if node.kind == "host"]
    if client not in hosts:
        raise UsageError(f"no host {client!r} in topology {topology.name}; {suggest(client, hosts, what='there are')}")
    simulator = Simulator(topology, {name: dict(node.sysctl) for name, node in topology.nodes.items()})
    found: dict[tuple[object, ...], Way] = {}
    for endpoint in topology.endpoints:
        for prefix in endpoint.ipv4:
            for node, address in _hosts_in(topology, prefix):
                way = _way(topology, simulator, client, endpoint, prefix, node, address)
                key = (way.endpoint, way.prefix, way.forward, way.return_, way.end)
                earlier = found[key].nodes if key in found else ()
                found[key] = replace(way, nodes=(*earlier, node))
    return tuple(found.values())


def _hosts_in(topology: Topology, prefix: IPv4Network) -> Iterator[tuple[str, IPv4Address]]:
    for link in topology.links.values():
        for node, address in link.addresses.items():
            if address.ip in prefix and topology.nodes[node].kind == "host":
                yield node, address.ip


def _way(
    topology: Topology,
    simulator: Simulator,
    client: str,
    endpoint: Endpoint,
    prefix: IPv4Network,
    node: str,
    address: IPv4Address,
) -> Way:
    """Return the way by the first of the endpoint's ports that gets an answer, or by its first if none does."""
    source = simulator.source_for(client, address)
    tried = []
    for protocol, port in _doors(endpoint):
        if source is None:
            return Way(endpoint.id, prefix, protocol, port, (node,), (), (), f"NO_ROUTE:{client}", True)
        simulator.forget()
        told = exchange(Opening(client, Packet(protocol, source, _CLIENT_PORT, address, port)), simulator)
        ends = [told.out.disposition, *([told.back.disposition] if told.back else [])]
        forward, return_ = _kinds(topology, told.out.links), _kinds(topology, told.back.links if told.back else ())
        end = next((end for end in ends if end != "DELIVERED"), "DELIVERED")
        is_allowed = endpoint.express_route or "expressroute" not in (*forward, *return_)
        tried.append(Way(endpoint.id, prefix, protocol, port, (node,), forward, return_, end, is_allowed))
        if told.is_delivered:
            return tried[-1]
    return tried[0]


def _doors(endpoint: Endpoint) -> Iterator[tuple[Protocol, int]]:
    """Yield the ports of an endpoint that a flow may be opened to: of a range the first."""
    yield from (("tcp", low) for low, _ in port_ranges(endpoint.tcp_ports or ""))
    yield from (("udp", low) for low, _ in port_ranges(endpoint.udp_ports or ""))


def _kinds(topology: Topology, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(topology.segments[topology.links[name].segment].kind) for name in links))
