"""iptables text of a firewall, written just as `iptables-save` 1.8.9 prints it back, so that the two can be compared.

What a rule drops for its payload goes first. Stateful: INVALID is dropped, RELATED and ESTABLISHED pass, NEW passes by
the policy's rules, and the rest is dropped. Stateless: each accepting rule also lets the answers through by its mirror
image, and nothing is remembered. Every rule carries its name as a comment; a drop is logged to NFLOG under it first.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final

from testbed.errors import SpecError
from testbed.plan.bgp import BGP_PORT
from testbed.plan.policy import DEFAULT_RULE, INVALID_RULE, OWN_FILTERING, port_bounds
from testbed.plan.shared_state import SYNC_PORT
from testbed.topology import Firewall, FirewallRule, SourceNat, Topology

NFLOG_GROUP: Final = 100
_MULTIPORT_LIMIT: Final = 15
"xt_multiport holds 15 ports; a range takes two of them."
_NEW: Final = "-m conntrack --ctstate NEW"
_STUN: Final = {
    "udp": '-m u32 --u32 "0x0>>0x16&0x3c@0xc=0x2112a442"',
    "tcp": '-m u32 --u32 "0x0>>0x16&0x3c@0xc>>0x1a&0x3c@0x4=0x2112a442"',
}
"""STUN's magic cookie, bytes 4 to 7 of the payload: past the IP header, whose length its byte 0 tells, and past UDP's 8
bytes or TCP's header, whose length its byte 12 tells. A segment that begins inside another message escapes."""


def iptables_text(topology: Topology, node: str) -> str:
    """Return the iptables-restore text of firewall *node*; raise SpecError where a rule cannot be written."""
    firewall = topology.firewalls[node]
    lines = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]
    lines += _input(firewall, is_speaker=node in topology.bgp)
    lines += _forward(topology, node)
    lines += ["COMMIT"]
    if firewall.nat:
        lines += ["*nat", *(f":{chain} ACCEPT [0:0]" for chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"))]
        for name, nat in firewall.nat.items():
            lines += _source_nat(firewall, name, nat)
        lines += ["COMMIT"]
    return "\n".join(lines) + "\n"


def _input(firewall: Firewall, *, is_speaker: bool) -> Iterator[str]:
    yield _rule("INPUT", "-i lo", name="loopback", target="ACCEPT")
    if firewall.stateful:
        yield from _state("INPUT")
    if is_speaker:
        yield _rule("INPUT", "-p tcp", f"-m multiport --ports {BGP_PORT}", name="bgp", target="ACCEPT")
    if (other := firewall.shares_state_with) is not None:
        match = f"-i {other}", "-p udp", f"-m multiport --dports {SYNC_PORT}"
        yield _rule("INPUT", *match, name="state-sync", target="ACCEPT")
    yield _rule("INPUT", "-p icmp", name="icmp", target="ACCEPT")
    yield from _drop("INPUT", name=DEFAULT_RULE)


def _forward(topology: Topology, node: str) -> Iterator[str]:
    firewall = topology.firewalls[node]
    for name, rule in firewall.rules.items():
        _check(topology, node, name, rule)
        if rule.payload is not None:
            for entering, leaving in product(_members(firewall, rule.from_), _members(firewall, rule.to)):
                yield from _drop("FORWARD", *_match(rule, entering, leaving), _STUN[rule.protocol], name=name)
    for name, nat in firewall.nat.items():
        yield from _remember(firewall, name, nat)
    if firewall.stateful:
        yield from _state("FORWARD")
    for name, nat in firewall.nat.items():
        yield from _let_in(firewall, name, nat)
    for name, rule in firewall.rules.items():
        if rule.payload is not None:
            continue
        for entering, leaving in product(_members(firewall, rule.from_), _members(firewall, rule.to)):
            yield from _policy(firewall, name, rule, entering, leaving)
    yield from _drop("FORWARD", name=DEFAULT_RULE)


def _state(chain: str) -> Iterator[str]:
    yield from _drop(chain, "-m conntrack --ctstate INVALID", name=INVALID_RULE)
    yield _rule(chain, "-m conntrack --ctstate RELATED,ESTABLISHED", name="established", target="ACCEPT")


def _policy(firewall: Firewall, name: str, rule: FirewallRule, entering: str, leaving: str) -> Iterator[str]:
    match = _match(rule, entering, leaving, state=_NEW if firewall.stateful else "")
    if rule.action == "drop":
        yield from _drop("FORWARD", *match, name=name)
        return
    yield _rule("FORWARD", *match, name=name, target="ACCEPT")
    if not firewall.stateful:
        turned = {
            "source": rule.destination,
            "destination": rule.source,
            "source_ports": rule.destination_ports,
            "destination_ports": rule.source_ports,
        }
        answer = _match(rule.model_copy(update=turned), leaving, entering)
        yield _rule("FORWARD", *answer, name=name, target="ACCEPT")


def _match(rule: FirewallRule, entering: str, leaving: str, *, state: str = "") -> tuple[str, ...]:
    sources, destinations = _ports(rule.source_ports), _ports(rule.destination_ports)
    return (
        f"-s {rule.source}" if rule.source and rule.source.prefixlen else "",
        f"-d {rule.destination}" if rule.destination and rule.destination.prefixlen else "",
        entering and f"-i {entering}",
        leaving and f"-o {leaving}",
        "" if rule.protocol == "any" else f"-p {rule.protocol}",
        state,
        sources and f"-m multiport --sports {sources}",
        destinations and f"-m multiport --dports {destinations}",
    )


def _source_nat(firewall: Firewall, name: str, nat: SourceNat) -> Iterator[str]:
    if nat.filtering != OWN_FILTERING:
        for entering in _members(firewall, nat.to_zone):
            target = f"DNAT --to-destination {nat.host}"
            yield _rule("PREROUTING", entering and f"-i {entering}", "-p udp", name=name, target=target)
    # Persistent: a client keeps one public address towards all servers, as on a real NAT pool.
    persistent = " --persistent" if "-" in nat.pool else ""
    random = " --random-fully" if nat.mapping == "address-and-port-dependent" else ""
    target = "MASQUERADE" if nat.pool == "masquerade" else f"SNAT --to-source {nat.pool}"
    target += f"{random}{persistent}"
    source = f"-s {nat.source}" if nat.source and nat.source.prefixlen else ""
    for leaving in _members(firewall, nat.to_zone):
        yield _rule("POSTROUTING", source, leaving and f"-o {leaving}", name=name, target=target)


def _remember(firewall: Firewall, name: str, nat: SourceNat) -> Iterator[str]:
    """Yield the rules that note to which addresses the inside has sent; xt_recent keeps them in a list of that name."""
    if nat.filtering == "address-dependent":
        for leaving in _members(firewall, nat.to_zone):
            matches = ("-p udp", f"-m recent --set --name {name} --mask 255.255.255.255 --rdest")
            yield " ".join(["-A FORWARD", *filter(None, (leaving and f"-o {leaving}", *matches)), _comment(name)])


def _let_in(firewall: Firewall, name: str, nat: SourceNat) -> Iterator[str]:
    """Yield the rules that let in what Linux itself would not: UDP of strangers, which was translated to the host."""
    if nat.filtering == OWN_FILTERING:
        return
    known = f"-m recent --rcheck --name {name} --mask 255.255.255.255 --rsource"
    for entering in _members(firewall, nat.to_zone):
        match = (
            f"-d {nat.host}/32",
            entering and f"-i {entering}",
            "-p udp",
            _NEW,
            known if nat.filtering == "address-dependent" else "",
        )
        yield _rule("FORWARD", *match, name=name, target="ACCEPT")


def _drop(chain: str, *match: str, name: str) -> Iterator[str]:
    yield _rule(chain, *match, name=name, target=f"NFLOG --nflog-prefix {name} --nflog-group {NFLOG_GROUP}")
    yield _rule(chain, *match, name=name, target="DROP")


def _rule(chain: str, *match: str, name: str, target: str) -> str:
    return " ".join(["-A", chain, *filter(None, match), _comment(name), f"-j {target}"])


def _comment(name: str) -> str:
    return f"-m comment --comment {name}"


def _members(firewall: Firewall, zone: str) -> tuple[str, ...]:
    """Return the interfaces of a zone; one empty name, no condition at all, for "any"."""
    return ("",) if zone == "any" else firewall.zones[zone]


def _ports(ranges: tuple[str, ...]) -> str:
    bounds = [port_bounds(ports) for ports in ranges]
    return ",".join(str(low) if low == high else f"{low}:{high}" for low, high in bounds)


def _check(topology: Topology, node: str, name: str, rule: FirewallRule) -> None:
    key = f"firewalls.{node}.rules.{name}"
    if rule.payload is not None and (rule.action != "drop" or rule.protocol not in _STUN):
        raise SpecError(topology.name, key, "payload needs action drop and protocol tcp or udp")
    for ranges in (rule.source_ports, rule.destination_ports):
        if ranges and rule.protocol not in ("tcp", "udp"):
            raise SpecError(topology.name, key, f"ports need protocol tcp or udp, not {rule.protocol}")
        try:
            room = sum(1 if low == high else 2 for low, high in map(port_bounds, ranges))
        except ValueError as error:
            raise SpecError(topology.name, key, str(error)) from None
        if room > _MULTIPORT_LIMIT:
            raise SpecError(topology.name, key, f"holds at most {_MULTIPORT_LIMIT} ports (a range counts as two)")
