"""Stock server programs as jobs: command, configuration files, and where each must answer before it counts as ready.

What the program `stock` of the agents is given (docs/agents.md); adding a server of someone else's is a function here.
"""

from collections.abc import Iterable
from typing import Any, Final

from testbed.plan.model import DnsRecord, NameServer

DNS_PORT: Final = 53
PROXY_PORT: Final = 8080
_RECORD_TTL_S: Final = 300
_TUNNEL_IDLE_S: Final = 7200
"Longer than any call: a proxy that closes a tunnel takes the registration with it."


def dnsmasq(server: NameServer, *, forward_to: str | None) -> dict[str, Any]:
    """Return the arguments of a name server; *forward_to* is the address of the one that it asks."""
    return {
        "command": ["dnsmasq", "--conf-file={directory}/dnsmasq.conf"],
        "package": "dnsmasq-base",
        "files": {"dnsmasq.conf": dnsmasq_configuration(server, forward_to=forward_to)},
        "ready": [{"address": server.address, "port": DNS_PORT}],
    }


def dnsmasq_configuration(server: NameServer, *, forward_to: str | None) -> str:
    """Return dnsmasq's configuration file."""
    lines = [
        "no-daemon",  # also: no change of user, for there is no other in a world
        "no-resolv",
        "no-hosts",
        "bind-interfaces",
        f"listen-address={server.address}",
        f"port={DNS_PORT}",
        f"local-ttl={_RECORD_TTL_S}",
        *(f"local=/{zone}/" for zone in server.zones),
        *([f"server={forward_to}"] if forward_to else []),
        *map(_record_line, server.records),
    ]
    return "\n".join(lines) + "\n"


def _record_line(record: DnsRecord) -> str:
    if record.kind == "A":
        return f"host-record={record.name},{record.target}"
    return f"srv-host={record.name},{record.target},{record.port}"


def tinyproxy(address: str, *, connect_ports: Iterable[int]) -> dict[str, Any]:
    """Return the arguments of a web proxy at *address* that opens tunnels to *connect_ports*."""
    return {
        "command": ["tinyproxy", "-d", "-c", "{directory}/tinyproxy.conf"],
        "package": "tinyproxy-bin",
        "files": {"tinyproxy.conf": tinyproxy_configuration(address, connect_ports=connect_ports)},
        "ready": [{"address": address, "port": PROXY_PORT}],
    }


def tinyproxy_configuration(address: str, *, connect_ports: Iterable[int]) -> str:
    """Return tinyproxy's configuration file."""
    lines = [
        f"Listen {address}",
        f"Port {PROXY_PORT}",
        f"Timeout {_TUNNEL_IDLE_S}",
        "LogLevel Connect",
        *(f"ConnectPort {port}" for port in connect_ports),
    ]
    return "\n".join(lines) + "\n"
