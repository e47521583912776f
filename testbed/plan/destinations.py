"""Which way each of Microsoft's endpoints is reached in a topology, and whether the endpoint file allows that way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network

from testbed.endpoints import Endpoint, covers, port_ranges
from testbed.errors import UsageError
from testbed.plan.addresses import inner_address, own_address
from testbed.plan.exchange import Opening, exchange
from testbed.plan.names import served_names
from testbed.plan.policy import Protocol
from testbed.plan.walk import Packet, Simulator
from testbed.spec.faults import suggest
from testbed.topology import Topology

_CLIENT_PORT = 50000
_Host = tuple[str, IPv4Address]
"A node and one of its addresses."


@dataclass(frozen=True, slots=True)
class Way:
    """How a client's packets get to a destination."""

    endpoint: int
    "Id of the endpoint set."
    destination: IPv4Network | str
    "One of its IPv4 prefixes, or of its names as the file writes it."
    protocol: Protocol
    port: int
    nodes: tuple[str, ...]
    "Hosts of the destination that are reached alike."
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
    """Return the ways from *client* to each host that an IPv4 prefix or a name of the topology's endpoints stands for.

    None for a destination where the topology has no host. Raises UsageError.
    """
    hosts = [name for name, node in topology.nodes.items() if node.kind == "host"]
    if client not in hosts:
        raise UsageError(f"no host {client!r} in topology {topology.name}; {suggest(client, hosts, what='there are')}")
    simulator = Simulator(topology, {name: dict(node.sysctl) for name, node in topology.nodes.items()})
    found: dict[tuple[object, ...], Way] = {}
    known = [(name, _told(topology, simulator, client, node)) for name, node in served_names(topology)]
    for endpoint in topology.endpoints:
        for destination, (node, address) in dict.fromkeys(_hosts_of(topology, endpoint, known)):
            way = _way(topology, simulator, client, endpoint, destination, node, address)
            key = (way.endpoint, way.destination, way.forward, way.return_, way.end)
            earlier = found[key].nodes if key in found else ()
            found[key] = replace(way, nodes=(*earlier, node))
    return tuple(found.values())


def _told(topology: Topology, simulator: Simulator, client: str, node: str) -> _Host:
    """Return *node* and the address that *client* is told of it: split DNS gives its own organisation the inner one."""
    organisations = {topology.segments[topology.nodes[name].segment].organisation for name in (client, node)}
    address = inner_address if len(organisations) == 1 else own_address
    return node, address(topology, simulator.fib.adjacency, node)


def _hosts_of(
    topology: Topology, endpoint: Endpoint, known: Sequence[tuple[str, _Host]]
) -> Iterator[tuple[IPv4Network | str, _Host]]:
    """Yield each destination of *endpoint* with each host that it stands for; *known*: names and what they lead to."""
    for prefix in endpoint.ipv4:
        yield from ((prefix, host) for host in _hosts_in(topology, prefix))
    for url in endpoint.urls:
        yield from ((url, host) for name, host in known if covers(url, name))


def _hosts_in(topology: Topology, prefix: IPv4Network) -> Iterator[_Host]:
    for link in topology.links.values():
        for node, address in link.addresses.items():
            if address.ip in prefix and topology.nodes[node].kind == "host":
                yield node, address.ip


def _way(
    topology: Topology,
    simulator: Simulator,
    client: str,
    endpoint: Endpoint,
    destination: IPv4Network | str,
    node: str,
    address: IPv4Address,
) -> Way:
    """Return the way by the first of the endpoint's ports that gets an answer, or by its first if none does."""
    source = simulator.source_for(client, address)
    tried = []
    for protocol, port in _doors(endpoint):
        if source is None:
            return Way(endpoint.id, destination, protocol, port, (node,), (), (), f"NO_ROUTE:{client}", True)
        simulator.forget()
        told = exchange(Opening(client, Packet(protocol, source, _CLIENT_PORT, address, port)), simulator)
        ends = [told.out.disposition, *([told.back.disposition] if told.back else [])]
        forward, return_ = _kinds(topology, told.out.links), _kinds(topology, told.back.links if told.back else ())
        end = next((end for end in ends if end != "DELIVERED"), "DELIVERED")
        is_allowed = endpoint.express_route or "expressroute" not in (*forward, *return_)
        tried.append(Way(endpoint.id, destination, protocol, port, (node,), forward, return_, end, is_allowed))
        if told.is_delivered:
            return tried[-1]
    return tried[0]


def _doors(endpoint: Endpoint) -> Iterator[tuple[Protocol, int]]:
    """Yield the ports of an endpoint that a flow may be opened to: of a range the first."""
    yield from (("tcp", low) for low, _ in port_ranges(endpoint.tcp_ports or ""))
    yield from (("udp", low) for low, _ in port_ranges(endpoint.udp_ports or ""))


def _kinds(topology: Topology, links: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(topology.segments[topology.links[name].segment].kind) for name in links))
