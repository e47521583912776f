"""Traffic that competes with calls for their links: iperf3 from one node to another, checked before anything starts.

Each entry of the scenario's `traffic` has a server of its own to send to, since iperf3's takes one sender at a time.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from testbed.errors import SpecError
from testbed.plan.addresses import address_facing
from testbed.plan.adjacency import Adjacency
from testbed.plan.exchange import Opening, exchange
from testbed.plan.model import Job, TrafficPlan
from testbed.plan.walk import Packet, Simulator
from testbed.spec import Spec
from testbed.units import format_rate

FIRST_PORT: Final = 5201
"iperf3's own."
MOST_BYTES: Final = 500_000_000
"Of all traffic of a run, on one link: every link's packets are captured whole."
IP_UDP_BYTES: Final = 28
_SOME_PORT: Final = 40_000
_MARGIN_S: Final = 60
"Beyond the media time, for calls that take longer to end; the sender is told to stop before."


def plan_traffic(spec: Spec, adjacency: Adjacency, *, duration_ns: int) -> tuple[TrafficPlan, ...]:
    """Return where the scenario's traffic goes; raise SpecError for what cannot arrive, or is too much to capture."""
    made = []
    for number, (name, traffic) in enumerate(spec.scenario.traffic.items()):
        if {traffic.from_, traffic.to} & {node for node, table in spec.topology.nodes.items() if table.stopped}:
            continue
        address = address_facing(spec.topology, adjacency, traffic.to, traffic.from_)
        port = FIRST_PORT + number
        made.append(
            TrafficPlan(
                name=name,
                sender=f"traffic-{name}",
                from_=traffic.from_,
                to=traffic.to,
                address=str(address),
                port=port,
                protocol=traffic.protocol,
                rate_bps=traffic.rate,
                links=_links(spec, name, address, port),
            )
        )
    _check_volume(spec, made, duration_ns)
    return tuple(made)


def traffic_jobs(spec: Spec, planned: tuple[TrafficPlan, ...], duration_ns: int) -> Iterator[Job]:
    """Yield the two programs of each traffic: iperf3's server, and the one that sends when it is told to."""
    for traffic in planned:
        given = spec.scenario.traffic[traffic.name]
        end = {"address": traffic.address, "port": traffic.port}
        sink = {
            "name": f"{traffic.sender}-sink",
            "node": traffic.to,
            "address": traffic.address,
            "command": ["iperf3", "--server", "--bind", traffic.address, "--port", str(traffic.port)],
            "package": "iperf3",
            "ready": [end],
        }
        payload_bytes = given.packet_bytes - IP_UDP_BYTES if given.protocol == "udp" else None
        # iperf3 counts payload, and each flow by itself.
        share = payload_bytes / given.packet_bytes if payload_bytes else 1.0
        sender = {
            "name": traffic.sender,
            "node": traffic.from_,
            "to": end,
            "protocol": given.protocol,
            "rate_bps": round(given.rate * share / given.flows),
            "flows": given.flows,
            "payload_bytes": payload_bytes,
            "dscp": given.dscp,
            "limit_s": duration_ns // 1_000_000_000 + _MARGIN_S,
        }
        yield Job(name=f"{traffic.sender}-sink", node=traffic.to, program="stock", arguments=sink, stage="service")
        yield Job(name=traffic.sender, node=traffic.from_, program="traffic", arguments=sender, stage="traffic")


def _links(spec: Spec, name: str, address: IPv4Address, port: int) -> tuple[str, ...]:
    """Return the links that it crosses; raise SpecError where it does not arrive, or its answers do not come back."""
    traffic = spec.scenario.traffic[name]
    sysctls = {node: dict(table.sysctl) for node, table in spec.topology.nodes.items()}
    simulator = Simulator(spec.topology, sysctls)
    ways: dict[str, tuple[str, ...]] = {}
    for protocol in dict.fromkeys(("tcp", traffic.protocol)):  # iperf3 has its control connection beside UDP
        source = simulator.source_for(traffic.from_, address)
        if source is None:
            raise _no_way(spec, name, f"{traffic.from_} has no route to {address}")
        packet = Packet(protocol, source, _SOME_PORT, address, port)
        told = exchange(Opening(traffic.from_, packet), simulator)
        if not told.is_delivered:
            ended = told.back if told.out.is_delivered and told.back else told.out
            raise _no_way(spec, name, f"{protocol.upper()} ends as {ended.disposition}")
        ways[protocol] = told.out.links
    return ways[traffic.protocol]


def _no_way(spec: Spec, name: str, why: str) -> SpecError:
    traffic = spec.scenario.traffic[name]
    problem = (
        f"cannot go from {traffic.from_} to {traffic.to}: {why}; choose nodes between which packets pass both ways"
    )
    return SpecError(spec.scenario.id, f"traffic.{name}", problem)


def _check_volume(spec: Spec, planned: list[TrafficPlan], duration_ns: int) -> None:
    for link in {link for traffic in planned for link in traffic.links}:
        over = [traffic for traffic in planned if link in traffic.links]
        rate_bps = sum(traffic.rate_bps for traffic in over)
        if (volume := rate_bps * duration_ns // 8_000_000_000) > MOST_BYTES:
            problem = (
                f"with all that crosses {link}, {format_rate(rate_bps)} for {duration_ns / 1e9:g} s is"
                f" {volume // 1_000_000} MB; at most {MOST_BYTES // 1_000_000} MB: lower the rate or the duration"
            )
            raise SpecError(spec.scenario.id, f"traffic.{over[0].name}.rate", problem)
