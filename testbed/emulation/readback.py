"""What the kernel has, read back and held against the plan before any traffic flows.

Mininet does not tell when a command fails, and a network that differs silently from its plan gives verdicts about
something else. So every difference is an error that names the node, what was wanted and what is there.
"""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any, Final

from testbed.emulation import firewalls, offloads, sysctls
from testbed.emulation.firewall_text import rule_differences
from testbed.emulation.netlink import IFF_NOARP, IFF_UP, Netlink
from testbed.emulation.network import BRIDGE, EmulatedNetwork, NamespaceNode
from testbed.emulation.syscalls import inside_network
from testbed.errors import RigError
from testbed.plan.model import NodePlan

_KERNELS_OWN: Final = frozenset({2, 12})
"Routes that come from addresses (RTPROT_KERNEL) and from BIRD (RTPROT_BIRD)."


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceState:
    """One interface, as wanted or as found."""

    mac: str
    mtu: int
    up: bool
    arp: bool = True
    addresses: frozenset[str] = frozenset()
    bridge: bool = False
    "Whether it is a port of its node's bridge."
    offloads: frozenset[str] = frozenset()
    "Those that are on."
    qdisc: str = "noqueue"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node, as wanted or as found."""

    interfaces: Mapping[str, InterfaceState]
    routes: frozenset[tuple[str, str, str]] = frozenset()
    "Static: prefix, next hop, interface."
    sysctls: Mapping[str, str] = field(default_factory=dict)
    iptables: str = ""


def wanted_state(node: NodePlan, down: Iterable[str]) -> NodeState:
    """Return what the kernel must have for *node*, with the links *down* not up."""
    cut = set(down)
    interfaces = {
        x.name: InterfaceState(
            mac=x.mac, mtu=x.mtu, up=x.link not in cut, bridge=node.kind == "switch",
            addresses=frozenset([x.address] if x.address else []),
        )
        for x in node.interfaces
    }  # fmt: skip
    routes = frozenset((x.prefix, x.via, x.interface) for x in node.routes if interfaces[x.interface].up)
    return NodeState(interfaces=interfaces, routes=routes, sysctls=node.sysctls, iptables=node.iptables or "")


def differences(wanted: NodeState, found: NodeState) -> list[str]:
    """Compare what a node should be with what it is, each difference in one line."""
    return [
        *_interface_differences(wanted.interfaces, found.interfaces),
        *(f"route {_route(x)} is missing" for x in sorted(wanted.routes - found.routes)),
        *(f"route {_route(x)} is not in the plan" for x in sorted(found.routes - wanted.routes)),
        *(
            f"sysctl {name}: wanted {value!r}, found {found.sysctls[name]!r}"
            for name, value in wanted.sysctls.items()
            if not sysctls.is_met(name, wanted=value, found=found.sysctls[name])
        ),
        *rule_differences(wanted.iptables, found.iptables),
    ]


def _route(route: tuple[str, str, str]) -> str:
    prefix, via, interface = route
    return f"{prefix} via {via} on {interface}"


def _interface_differences(wanted: Mapping[str, InterfaceState], found: Mapping[str, InterfaceState]) -> Iterable[str]:
    for name in sorted({*wanted, *found}):
        if name not in found:
            yield f"interface {name} is missing"
        elif name not in wanted:
            yield f"interface {name} is not in the plan"
        else:
            for key in InterfaceState.__dataclass_fields__:
                want, have = getattr(wanted[name], key), getattr(found[name], key)
                if want != have:
                    yield f"interface {name}: {key}: wanted {_shown(want)}, found {_shown(have)}"


def _shown(value: object) -> str:
    return ", ".join(sorted(value)) or "none" if isinstance(value, frozenset) else str(value)


def read_interfaces(netns_fd: int, where: str) -> dict[str, InterfaceState]:
    """Return every interface of a namespace but its loopback and its bridge."""
    with Netlink(netns_fd, where=where) as kernel:
        links, addresses, qdiscs = kernel.links(), kernel.addresses(), kernel.qdiscs()
    names = {x["index"]: x.get_attr("IFLA_IFNAME") for x in links}
    shown = [x for x in links if names[x["index"]] not in ("lo", BRIDGE)]
    on = offloads.offloads_on(netns_fd, [names[x["index"]] for x in shown])
    roots = {x["index"]: x.get_attr("TCA_KIND") for x in qdiscs}
    states = {}
    for link in shown:
        index = link["index"]
        owned = (x for x in addresses if x["index"] == index)
        states[names[index]] = InterfaceState(
            mac=link.get_attr("IFLA_ADDRESS"),
            mtu=link.get_attr("IFLA_MTU"),
            up=bool(link["flags"] & IFF_UP),
            arp=not link["flags"] & IFF_NOARP,
            addresses=frozenset(f"{x.get_attr('IFA_LOCAL')}/{x['prefixlen']}" for x in owned),
            bridge=names.get(link.get_attr("IFLA_MASTER")) == BRIDGE,
            offloads=frozenset(on[names[index]]),
            # An interface that was never up has its "noop" still.
            qdisc=roots.get(index, "noqueue") if link["flags"] & IFF_UP else "noqueue",
        )
    return states


def read_routes(netns_fd: int, where: str) -> dict[tuple[str, str, str], int]:
    """Return the main table: (prefix, next hop, interface) to the protocol that set it."""
    with Netlink(netns_fd, where=where) as kernel:
        routes = kernel.routes()
    with inside_network(netns_fd):
        names = dict(socket.if_nameindex())
    return {
        (prefix_of(x), x.get_attr("RTA_GATEWAY") or "nobody", names.get(x.get_attr("RTA_OIF"), "none")): x["proto"]
        for x in routes
    }


def prefix_of(route: Any) -> str:
    """Return the prefix of a route message."""
    destination = route.get_attr("RTA_DST") or "0.0.0.0"
    return str(IPv4Network(f"{destination}/{route['dst_len']}"))


def _read_node(node: NamespaceNode, iptables: str) -> NodeState:
    routes = read_routes(node.netns_fd, node.name)
    return NodeState(
        interfaces=read_interfaces(node.netns_fd, node.name),
        routes=frozenset(x for x, protocol in routes.items() if protocol not in _KERNELS_OWN),
        sysctls=sysctls.read_sysctls(node.netns_fd, node.plan.sysctls),
        iptables=iptables,
    )


async def read_back(network: EmulatedNetwork) -> int:
    """Read back every node and the switchboard; return how many facts were compared.

    Raises RigError with the first difference and the number of others.
    """
    filtering = [x.name for x in firewalls.filtering_nodes(network)]
    saved = dict(zip(filtering, await asyncio.gather(*map(firewalls.saved_rules, filtering)), strict=True))
    return await asyncio.to_thread(_compare_all, network, saved)


def _compare_all(network: EmulatedNetwork, saved: Mapping[str, str]) -> int:
    faults: list[str] = []
    facts = 0
    for node in network.nodes:
        wanted = wanted_state(node.plan, network.down)
        found = _read_node(node, saved.get(node.name, ""))
        faults += [f"{node.name}: {x}" for x in differences(wanted, found)]
        facts += sum(map(len, (wanted.interfaces, wanted.routes, wanted.sysctls, wanted.iptables.splitlines())))
    faults += [f"switchboard: {x}" for x in _switchboard_differences(network)]
    if faults:
        others = f" (and {len(faults) - 1} other differences)" if len(faults) > 1 else ""
        raise RigError(f"the network is not what the plan says: {faults[0]}{others}")
    return facts


def _switchboard_differences(network: EmulatedNetwork) -> list[str]:
    found = read_interfaces(network.switchboard_fd, "switchboard")
    wanted = {}
    for link in network.shaped:
        for name in (link.interface_a, link.interface_b):
            if name in found:  # its address is of no matter
                mac, mtu = found[name].mac, 1500
                wanted[name] = InterfaceState(mac=mac, mtu=mtu, up=link.plan.up, arp=False)
            else:
                wanted[name] = InterfaceState(mac="", mtu=1500, up=link.plan.up, arp=False)
    return list(_interface_differences(wanted, found))
