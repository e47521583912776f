"""The sysctls of a node: every setting that decides where a packet goes, said outright and never left to the host."""

from collections.abc import Iterable
from typing import Final

from testbed.topology import Node

_EVERYWHERE: Final = {"net.ipv6.conf.all.disable_ipv6": "1", "net.ipv6.conf.default.disable_ipv6": "1"}
_PER_INTERFACE: Final = {"rp_filter": "0", "accept_redirects": "0", "send_redirects": "0"}
"""The kernel takes the greater of `all` and the interface's own for rp_filter, and a new namespace copies the host's
values: so all three are set. Redirects would move a flow to another path in the middle of a call."""
_FIREWALL: Final = {
    # A TCP segment of a connection never seen from its start is INVALID, as on a firewall appliance.
    "net.netfilter.nf_conntrack_tcp_loose": "0",
    "net.netfilter.nf_conntrack_acct": "1",
}


def sysctls(node: Node, interfaces: Iterable[str], *, is_stateful: bool) -> dict[str, str]:
    """Return every setting of *node* by dotted name, the node's own last."""
    settings = dict(_EVERYWHERE)
    if node.kind != "switch":
        settings["net.ipv4.ip_forward"] = "0" if node.kind == "host" else "1"
        for interface in ("all", "default", *interfaces):
            for name, value in _PER_INTERFACE.items():
                settings[f"net.ipv4.conf.{interface}.{name}"] = value
        # One ICMP error for each packet that is refused: they are evidence.
        settings["net.ipv4.icmp_ratelimit"] = "0"
    if node.kind == "firewall" and is_stateful:
        settings |= _FIREWALL
    if node.local_ports is not None:
        low, _, high = node.local_ports.partition("-")
        settings["net.ipv4.ip_local_port_range"] = f"{low}\t{high or low}"
    return settings | node.sysctl
