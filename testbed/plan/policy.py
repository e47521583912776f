"""What a firewall's policy says about one packet: the same rules that `testbed.plan.firewall` writes for iptables."""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from testbed.topology import Firewall, FirewallRule

Protocol = Literal["tcp", "udp", "icmp"]
Payload = Literal["", "stun", "tls"]
"What a flow's packets carry, where a firewall may look into them."
OWN_FILTERING = "address-and-port-dependent"
"Filtering of a NAT (RFC 4787 section 5) that Linux's connection tracking has by itself."
DEFAULT_RULE = "default"
"Name of the final drop."
INVALID_RULE = "invalid"
"Name of the drop of what connection tracking does not know."
BUILT_IN_RULES = (INVALID_RULE, DEFAULT_RULE)
"Drops of every firewall, whatever its policy names."


@dataclass(frozen=True, slots=True)
class Probe:
    """A packet that starts a flow, as a firewall sees it in its FORWARD chain."""

    protocol: Protocol
    source: IPv4Address
    destination: IPv4Address
    source_port: int = 0
    destination_port: int = 0
    payload: Payload = ""
    "Empty for a packet without any, as TCP's first."


@dataclass(frozen=True, slots=True)
class Decision:
    """What the policy does with a NEW packet, and which rule says so."""

    accepted: bool
    rule: str


def zone_of(firewall: Firewall, neighbour: str) -> str | None:
    """Return the zone that an interface (named after its neighbour) is in; None if it is in none."""
    return next((zone for zone, members in firewall.zones.items() if neighbour in members), None)


def port_bounds(ports: str) -> tuple[int, int]:
    """Return the first and last port of "443" or "50000-59999"; raise ValueError if they are no ports in order."""
    first, dash, last = ports.partition("-")
    low, high = int(first), int(last if dash else first)
    if not 0 <= low <= high <= 65535:
        raise ValueError(f"{ports!r} is no range of ports")
    return low, high


def decide(firewall: Firewall, *, arrives_by: str, leaves_by: str, probe: Probe) -> Decision:
    """Judge a NEW packet by the rules in order; *arrives_by* and *leaves_by* are interfaces."""
    entering, leaving = zone_of(firewall, arrives_by), zone_of(firewall, leaves_by)
    for name, rule in firewall.rules.items():
        if rule.from_ in ("any", entering) and rule.to in ("any", leaving) and _matches(rule, probe):
            return Decision(rule.action == "accept", name)
    return Decision(False, DEFAULT_RULE)


def refusal(firewall: Firewall, *, arrives_by: str, leaves_by: str, probe: Probe) -> str | None:
    """Return the rule that drops a packet for what it carries, whatever connection it belongs to; None without one."""
    entering, leaving = zone_of(firewall, arrives_by), zone_of(firewall, leaves_by)
    for name, rule in firewall.rules.items():
        zones = rule.from_ in ("any", entering) and rule.to in ("any", leaving)
        if zones and rule.payload is not None and _matches(rule, probe):
            return name
    return None


def _matches(rule: FirewallRule, probe: Probe) -> bool:
    return (
        rule.protocol in ("any", probe.protocol)
        and rule.payload in (None, probe.payload)
        and (rule.source is None or probe.source in rule.source)
        and (rule.destination is None or probe.destination in rule.destination)
        and _port_in(rule.source_ports, probe.source_port)
        and _port_in(rule.destination_ports, probe.destination_port)
    )


def _port_in(ranges: tuple[str, ...], port: int) -> bool:
    return not ranges or any(low <= port <= high for low, high in map(port_bounds, ranges))
