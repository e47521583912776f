"""The emulated network: Mininet's nodes, links and network, configured over netlink instead of by a shell in each node.

A node is a network namespace held by a file descriptor; a shell is started in it only when someone types a command.
Interfaces are made with their number, address and both namespaces given, so that nothing must be looked up or moved.
Nothing is ever torn down: the world ends, and the kernel removes it all.
"""

import os
from pathlib import Path
from typing import Any, ClassVar, Final

from mininet.link import Intf, Link
from mininet.net import Mininet
from mininet.node import Node

from testbed.emulation import mounts, offloads, sysctls, tools
from testbed.emulation import netlink as nl
from testbed.emulation.links import ShapedLink
from testbed.emulation.syscalls import new_network
from testbed.plan.model import End, Interface, LinkPlan, NodePlan, Plan

BRIDGE: Final = "_bridge"
"The bridge in a switch; no node's name has an underscore."
SWITCHBOARD: Final = "_switchboard"
_BRIDGE_INDEX: Final = 9
_FIRST_INDEX: Final = 10
"Below are the loopback and the tunnels that some kernels put into every namespace."
_INDEXES_PER_LINK: Final = 4
"""Interface numbers are unique in the world: A's, B's and the switchboard's two. The kernel takes a veth whose number
equals its peer's for a physical card, and its bridge hears of the carrier up to a second late (linkwatch)."""
_TCPDUMP: Final = 'tcpdump() { echo "tcpdump cannot drop its rights in a world; this is tshark:"; tshark "$@"; }'
"tcpdump insists on changing its groups, which a user namespace made without root forbids; tshark's options are alike."
_SWITCHBOARD_SYSCTLS: Final = {"net.ipv4.ip_forward": "0", "net.ipv6.conf.all.disable_ipv6": "1",
                               "net.ipv6.conf.default.disable_ipv6": "1"}  # fmt: skip


class NamespaceNode(Node):  # type: ignore[misc]
    """A node of the plan: its namespace, and a shell in it once one is asked for."""

    isSetup: ClassVar = True
    "Mininet looks for ifconfig otherwise, which nothing here uses."

    def __init__(self, name: str, *, plan: NodePlan, indexes: dict[str, int], **params: Any) -> None:
        self.plan = plan
        self.indexes = indexes
        "Interface to the number it gets."
        self.netns_fd = -1
        super().__init__(name, **{**params, "inNamespace": True})

    def create(self) -> None:
        """Make the namespace, with every setting that exists before its interfaces do."""
        self.netns_fd = new_network()
        mounts.name_network(self.name, self.netns_fd)
        early = {name: value for name, value in self.plan.sysctls.items() if sysctls.of_interface(name) is None}
        sysctls.write_sysctls(self.netns_fd, early, where=self.name)

    def attach(self) -> None:
        """Find the namespace that another process of this world made."""
        self.netns_fd = os.open(mounts.NETWORKS / self.name, os.O_RDONLY | os.O_CLOEXEC)

    @property
    def is_switch(self) -> bool:
        """Whether it is an Ethernet switch."""
        return self.plan.kind == "switch"

    def configure(self, down: set[str]) -> None:
        """Bring up interfaces (but for the links *down*), then give them addresses and routes."""
        offloads.switch_off(self.netns_fd, [x.name for x in self.plan.interfaces])
        late = {name: value for name, value in self.plan.sysctls.items() if sysctls.of_interface(name)}
        sysctls.write_sysctls(self.netns_fd, late, where=self.name)
        with nl.Netlink(self.netns_fd, where=self.name) as kernel:
            kernel.carry_out(self._requests(down))

    def _requests(self, down: set[str]) -> list[nl.Request]:
        requests = [nl.set_link("lo", 1, up=True)]
        if self.is_switch:
            requests += [nl.add_bridge(BRIDGE, _BRIDGE_INDEX), nl.set_link(BRIDGE, _BRIDGE_INDEX, up=True)]
        master = _BRIDGE_INDEX if self.is_switch else None
        for interface in self.plan.interfaces:
            index = self.indexes[interface.name]
            if interface.address:
                requests.append(nl.add_address(index, interface.address))
            requests.append(nl.set_link(interface.name, index, up=interface.link not in down, master=master))
        for route in self.plan.routes:
            if self.link_of(route.interface) not in down:
                requests.append(nl.add_route(route.prefix, route.via, self.indexes[route.interface]))
        return requests

    def link_of(self, interface: str) -> str:
        """Return the link that an interface is an end of."""
        return next(x.link for x in self.plan.interfaces if x.name == interface)

    # What Mininet's command line calls.

    def startShell(self, mnopts: str | None = None) -> None:
        """Do nothing: `ensure_shell` starts one when a command comes."""

    def ensure_shell(self) -> None:
        """Start the shell that Mininet's commands need, in the node."""
        if self.shell is None:
            super().startShell()
            super().cmd(_TCPDUMP)

    def _popen(self, cmd: list[str], **params: Any) -> Any:
        if cmd[:2] == ["mnexec", "-cdn"]:  # a new namespace for the shell: use the node's
            cmd = [tools.find_tool("nsenter"), f"--net={mounts.NETWORKS / self.name}", "mnexec", "-cd", *cmd[2:]]
        return super()._popen(cmd, **params)

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:
        """Send a command to the node's shell."""
        self.ensure_shell()
        super().sendCmd(*args, **kwargs)

    def cmd(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command in the node's shell and return its output."""
        self.ensure_shell()
        return super().cmd(*args, **kwargs)

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        """Start a program in the node."""
        self.ensure_shell()
        return super().popen(*args, **kwargs)

    def config(self, **params: Any) -> dict[str, Any]:
        """Do nothing: `EmulatedNetwork.build` has configured everything."""
        return {}


class PlannedInterface(Intf):  # type: ignore[misc]
    """An interface as the plan has it."""

    def __init__(self, name: str, *, planned: Interface, **params: Any) -> None:
        self.planned = planned
        super().__init__(name, **params)
        if planned.address:
            self.ip, self.prefixLen = planned.address.split("/")

    def config(self, **_params: Any) -> dict[str, Any]:
        """Do nothing: the network is configured as a whole."""
        return {}

    def updateIP(self) -> str | None:
        """Return the address; nothing in a world changes it."""
        return self.ip


class PlannedLink(Link):  # type: ignore[misc]
    """A link of the plan: a veth between its nodes, or two into the switchboard."""

    @classmethod
    def makeIntfPair(cls, *_args: Any, **_params: Any) -> None:
        """Do nothing: `EmulatedNetwork.build` makes all interfaces at once."""


class EmulatedNetwork(Mininet):  # type: ignore[misc]
    """All nodes and links of a plan, as Mininet's network."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.switchboard_fd = -1
        Mininet.inited = True  # its own init would insist on real root and raise limits of the whole machine
        super().__init__(controller=None, link=PlannedLink, autoSetMacs=False, waitConnected=False)
        numbers = {x.name: _FIRST_INDEX + n * _INDEXES_PER_LINK for n, x in enumerate(plan.links)}
        is_b = {(x.b.node, x.b.interface) for x in plan.links}
        for node in plan.nodes:
            indexes = {x.name: numbers[x.link] + ((node.name, x.name) in is_b) for x in node.interfaces}
            add = self.addSwitch if node.kind == "switch" else self.addHost
            add(node.name, cls=NamespaceNode, plan=node, indexes=indexes)
        for link in plan.links:
            ends = [(self.node(end.node), self._interface(end)) for end in (link.a, link.b)]
            (node_a, a), (node_b, b) = ends
            self.addLink(node_a, node_b, intfName1=a.name, intfName2=b.name, addr1=a.mac, addr2=b.mac,
                         cls1=PlannedInterface, cls2=PlannedInterface,
                         params1={"planned": a}, params2={"planned": b})  # fmt: skip

    def node(self, name: str) -> NamespaceNode:
        """Return a node by its name."""
        node: NamespaceNode = self.nameToNode[name]
        return node

    @property
    def nodes(self) -> list[NamespaceNode]:
        """Every node, in the plan's order."""
        return [self.node(x.name) for x in self.plan.nodes]

    @property
    def shaped(self) -> list[ShapedLink]:
        """The links that go through the switchboard."""
        return [ShapedLink(n, x) for n, x in enumerate(self.plan.links) if x.is_shaped]

    @property
    def down(self) -> set[str]:
        """Names of the links that are not up."""
        return {x.name for x in self.plan.links if not x.up}

    def _interface(self, end: End) -> Interface:
        return next(x for x in self.node(end.node).plan.interfaces if x.name == end.interface)

    def build(self) -> None:
        """Make all of it; raise RigError with the first thing the kernel refused."""
        for node in self.nodes:
            node.create()
        self.switchboard_fd = new_network()
        mounts.name_network(SWITCHBOARD, self.switchboard_fd)
        sysctls.write_sysctls(self.switchboard_fd, _SWITCHBOARD_SYSCTLS, where="switchboard")
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            with nl.Netlink(here, where="links") as kernel:
                kernel.carry_out(self._veths())
        finally:
            os.close(here)
        for node in self.nodes:
            node.configure(self.down)
        self._configure_switchboard()
        self.built = True

    def attach(self) -> None:
        """Take over the network that another process of this world has built."""
        for node in self.nodes:
            node.attach()
        self.built = True

    def set_link(self, link: LinkPlan) -> None:
        """Bring both ends of *link* up or down, and give static routes back that the kernel dropped with them."""
        for end in (link.a, link.b):
            node = self.node(end.node)
            index = node.indexes[end.interface]
            master = _BRIDGE_INDEX if node.is_switch else None
            requests = [nl.set_link(end.interface, index, up=link.up, master=master)]
            if link.up:
                routes = [x for x in node.plan.routes if x.interface == end.interface]
                requests += [nl.add_route(x.prefix, x.via, index) for x in routes]
            with nl.Netlink(node.netns_fd, where=node.name) as kernel:
                kernel.carry_out(requests)

    def _end(self, end: End) -> nl.VethEnd:
        node, interface = self.node(end.node), self._interface(end)
        return nl.VethEnd(netns_fd=node.netns_fd, index=node.indexes[interface.name], name=interface.name,
                          mac=interface.mac, mtu=interface.mtu)  # fmt: skip

    def _switchboard_end(self, n: int, name: str, mtu: int) -> nl.VethEnd:
        index = _switchboard_index(n, name)
        mac = f"06:00:00:00:{index >> 8 & 255:02x}:{index & 255:02x}"
        return nl.VethEnd(netns_fd=self.switchboard_fd, index=index, name=name, mac=mac, mtu=mtu)

    def _veths(self) -> list[nl.Request]:
        requests = []
        for n, link in enumerate(self.plan.links):
            a, b = self._end(link.a), self._end(link.b)
            if link.is_shaped:
                requests.append(nl.add_veth(a, self._switchboard_end(n, f"w{n}a", a.mtu)))
                requests.append(nl.add_veth(b, self._switchboard_end(n, f"w{n}b", b.mtu)))
            else:
                requests.append(nl.add_veth(a, b))
        return requests

    def _configure_switchboard(self) -> None:
        interfaces = [
            (name, _switchboard_index(x.index, name), x.plan.up)
            for x in self.shaped
            for name in (x.interface_a, x.interface_b)
        ]
        offloads.switch_off(self.switchboard_fd, [name for name, _, _ in interfaces])
        # Without "arp off" the kernel would answer ARP for the frames that pass.
        with nl.Netlink(self.switchboard_fd, where="switchboard") as kernel:
            kernel.carry_out([nl.set_link(name, index, up=up, arp=False) for name, index, up in interfaces])


def _switchboard_index(n: int, interface: str) -> int:
    return _FIRST_INDEX + n * _INDEXES_PER_LINK + (2 if interface.endswith("a") else 3)


def network_path(node: str) -> Path:
    """Return the path by which a node's network namespace can be entered in this world."""
    return mounts.NETWORKS / node
