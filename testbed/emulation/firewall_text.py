"""What iptables prints, as values: rule sets to compare, rules with their counters, connection-tracking events."""

import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Final

_CHAIN: Final = re.compile(r":(\S+) (\S+)")
_COUNTED: Final = re.compile(r"\[(\d+):(\d+)\] (-A .*)")
_DISCARDS: Final = (
    "Ip.InHdrErrors", "Ip.InAddrErrors", "Ip.InDiscards", "Ip.OutDiscards", "Ip.OutNoRoutes", "Ip.FragFails",
    "IpExt.InNoRoutes", "IpExt.InTruncatedPkts",
)  # fmt: skip
_EVENT: Final = re.compile(r"\[(\d+)\.(\d{1,9})\]\s*(.*)")


@dataclass(slots=True)
class Table:
    """One table: the policy of each chain ("-" for a user's own), and the rules in order."""

    policies: dict[str, str] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing: the kernel may list tables that nobody filled."""
        return not self.rules and all(policy == "ACCEPT" for policy in self.policies.values())


def parse_tables(text: str) -> dict[str, Table]:
    """Read what `iptables-save` prints, counters and comments aside."""
    tables: dict[str, Table] = {}
    table = Table()
    for line in map(str.strip, text.splitlines()):
        if line.startswith("*"):
            table = tables.setdefault(line[1:], Table())
        elif match := _CHAIN.match(line):
            table.policies[match[1]] = match[2]
        elif line.startswith("-A"):
            table.rules.append(line)
        elif match := _COUNTED.match(line):
            table.rules.append(match[3])
    return tables


def rule_differences(wanted: str, found: str) -> list[str]:
    """Compare two rule sets; each difference says table, what was wanted, what is there."""
    want, have = parse_tables(wanted), parse_tables(found)
    differences = []
    for name in sorted({*want, *have}):
        a, b = want.get(name, Table()), have.get(name, Table())
        if a.is_empty and b.is_empty:
            continue
        for chain in sorted({*a.policies, *b.policies}):
            policies = [x.policies.get(chain, "ACCEPT") for x in (a, b)]
            if policies[0] != policies[1]:
                differences.append(f"iptables {name} {chain}: wanted policy {policies[0]}, found {policies[1]}")
        for n in range(max(len(a.rules), len(b.rules))):
            rules = [x.rules[n] if n < len(x.rules) else "nothing" for x in (a, b)]
            if rules[0] != rules[1]:
                differences.append(f"iptables {name} rule {n + 1}: wanted {rules[0]!r}, found {rules[1]!r}")
                break  # an inserted rule shifts all that follow
    return differences


def counted_rules(text: str) -> list[dict[str, Any]]:
    """Read what `iptables-save -c` prints: each rule with its counters, as firewalls.json has it."""
    rules = []
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif match := _COUNTED.match(line):
            words = shlex.split(match[3])
            name = words[words.index("--comment") + 1] if "--comment" in words else ""
            rules.append({
                "table": table, "chain": words[1], "rule": name,
                "packets": int(match[1]), "bytes": int(match[2]), "text": match[3],
            })  # fmt: skip
    return rules


def parse_event(line: str) -> dict[str, Any] | None:
    """Read one line of `conntrack -E -o timestamp`; None for one without a time."""
    match = _EVENT.match(line.strip())
    if match is None:
        return None
    return {"t_ns": int(match[1]) * 1_000_000_000 + int(match[2].ljust(9, "0")), "text": match[3].strip()}


def summed_statistics(text: str) -> dict[str, int]:
    """Add up what `conntrack -S` prints for each processor."""
    sums: dict[str, int] = {}
    for key, value in re.findall(r"(\w+)=(\d+)", text):
        if key != "cpu":
            sums[key] = sums.get(key, 0) + int(value)
    return sums


def reverse_path_drops(netstat: str) -> int:
    """Return IPReversePathFilter from /proc/net/netstat: packets that strict or loose rp_filter dropped."""
    return _protocol_counters(netstat)["TcpExt.IPReversePathFilter"]


def kernel_discards(snmp: str, netstat: str, interfaces: str) -> dict[str, int]:
    """Return what a node's kernel lost outside of any rule, by counter, leaving out what is zero.

    From /proc/net/snmp and netstat (RFC 4293: Ip.InHdrErrors and so on), and /proc/net/dev: packets that an interface
    dropped, received ("core.rx_dropped", its backlog was full) or to be sent ("core.tx_dropped").
    """
    counters = {**_protocol_counters(snmp), **_protocol_counters(netstat)}
    found = {name: counters.get(name, 0) for name in _DISCARDS}
    for line in interfaces.splitlines():
        name, colon, values = line.partition(":")
        if colon and name.strip() != "lo":
            columns = [int(value) for value in values.split()]
            found[f"{name.strip()}.rx_dropped"], found[f"{name.strip()}.tx_dropped"] = columns[3], columns[11]
    return {name: count for name, count in found.items() if count}


def _protocol_counters(text: str) -> dict[str, int]:
    """Read pairs of lines as /proc/net/snmp and netstat have them: names, then values, each after "Protocol:"."""
    counters = {}
    lines = [line.split() for line in text.splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        protocol = names[0].rstrip(":")
        counters.update({f"{protocol}.{n}": int(v) for n, v in zip(names[1:], values[1:], strict=True)})
    return counters
