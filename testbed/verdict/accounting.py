"""The kernel's evidence against the captures': what came to a firewall and did not leave, and what it dropped."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from testbed.analysis.demux import Ints
from testbed.analysis.drops import describe_tuple
from testbed.analysis.packets import TCP, UDP
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Json, Run
from testbed.analysis.sip import own_rows
from testbed.analysis.tracking import counted_drops
from testbed.plan.shared_state import SYNC_PORT
from testbed.verdict.checks import Check

_BGP_PORT = 179
_END_OF_TIME = 1 << 62
_ETHERNET_BYTES = 14
_FRAGMENT_MASK = 0x3FFF
"More fragments, and the offset (RFC 791 section 3.1)."
_SAME_TIME_NS = 50_000_000
"The log's time of a packet and that of the counters are good to this."
_FORWARDED_WITHIN_NS = 250_000_000
"A firewall that holds a piece until the others are there passes it on by then; SIP sends again after twice that."


def judge_accounting(run: Run) -> Check:
    """Judge whether, for every firewall, captures, log, counters and connection tracking tell the same of its drops."""
    expected = "packets that came and did not leave = packets that rules and reverse-path filter counted"
    observed: dict[str, dict[str, Any]] = {}
    faults: list[str] = []
    doubts: list[str] = []
    evidence: list[str] = []
    for node in run.plan.nodes:
        if node.iptables is None:
            continue
        account = _account(run, node.name)
        if not any(account.values()):
            continue
        observed[node.name] = {key: value for key, value in account.items() if value}
        doubt = _doubt(run, node.name)
        problems = _differences(node.name, account)
        for problem in problems:
            (doubts if doubt else faults).append(f"{problem}{doubt}")
        by_rule = ", ".join(f"{count} by rule {rule}" for rule, count in account["logged_by_rule"].items()) or "nothing"
        evidence.append(f"{node.name}: {account['vanished']} came and did not leave, dropped and logged: {by_rule}")
        if problems:
            evidence += [f"{node.name}: not in its log: {packets}" for packets in _unlogged(run, node.name)]
    told = tuple(evidence)
    if faults:
        return Check("accounting", expected, observed, "FAIL", faults[0], (*faults, *told))
    if doubts:
        return Check("accounting", expected, observed, "INCONCLUSIVE", doubts[0], (*doubts, *told))
    return Check(
        "accounting", expected, observed, "PASS", "captures, log and counters tell the same of every drop", told
    )


def _account(run: Run, firewall: str) -> dict[str, Any]:
    told = run.firewalls.get(firewall, {})
    drops = [drop for drop in run.drops if drop.firewall == firewall]
    # Frames on the last hop: copies of one packet that overlap in time (a SYN-ACK sent again) are one walk.
    lost = _ended_at(run, firewall)
    ended = [walk.steps[-1] for walk in lost]
    # Walks are of UDP and TCP without BGP; what else was dropped is counted apart.
    # Who has gone leaves connections behind that are still answered: packets go on being dropped while rules are read.
    began_ns, ended_ns = told.get("counted_ns") or (_END_OF_TIME, _END_OF_TIME)
    early = [drop for drop in drops if drop.time_ns < began_ns - _SAME_TIME_NS]
    late = [drop for drop in drops if drop.time_ns > ended_ns + _SAME_TIME_NS]
    followed = [d for d in drops if d.protocol in (TCP, UDP) and _BGP_PORT not in (d.source_port, d.destination_port)]
    return {
        "vanished": sum(step.packets for step in ended if _has_ports(step)),
        "vanished_twins": sum(walk.steps[-1].packets for walk in lost if _has_twin(run, firewall, walk)),
        "vanished_at_the_end": _last_seen_since(run, lost, began_ns - _SAME_TIME_NS),
        "vanished_rewritten": _rewritten(run, firewall, lost),
        "vanished_later_fragments": sum(step.packets for step in ended if not _has_ports(step)),
        "logged": len(followed),
        "logged_besides": len(drops) - len(followed),
        "counted": counted_drops(told),
        "logged_by_rule": dict(Counter(drop.rule for drop in drops)),
        "logged_before_counting": dict(Counter(drop.rule for drop in early)),
        "logged_after_counting": dict(Counter(drop.rule for drop in late)),
        "logged_invalid": sum(drop.rule == "invalid" and drop.time_ns < began_ns - _SAME_TIME_NS for drop in followed),
        "conntrack_invalid": (told.get("stats") or {}).get("invalid", 0),
        "reverse_path_filter": told.get("reverse_path_filter_drops") or 0,
        "lost_without_a_rule": _lost_without_a_rule(told),
    }


def _ended_at(run: Run, firewall: str) -> list[Walk]:
    return [walk for walk in run.walks.walks if walk.nodes[-1] == firewall and not _is_for_itself(walk)]


def _lost_without_a_rule(told: Json) -> dict[str, int]:
    """Return what the kernel counts as lost before or behind the rules, by counter.

    Connection tracking itself drops a packet whose entry another one has just made otherwise: `insert_failed` counts
    it, and in most cases `drop` does, too.
    """
    statistics = told.get("stats") or {}
    tracking = max(statistics.get("drop", 0), statistics.get("insert_failed", 0))
    return {**(told.get("discards") or {}), **({"conntrack.drop": tracking} if tracking else {})}


def _unlogged(run: Run, firewall: str) -> list[str]:
    """Return the packets that came, did not leave, and do not stand in the log as they came."""
    logged = Counter(drop.tuple5 for drop in run.drops if drop.firewall == firewall)
    found = []
    for step in (walk.steps[-1] for walk in _ended_at(run, firewall) if _has_ports(walk.steps[-1])):
        explained = min(step.packets, logged[step.flow.tuple5])
        logged[step.flow.tuple5] -= explained
        if explained < step.packets:
            ends = describe_tuple(step.flow.tuple5)
            found.append(f"{step.packets - explained} of {ends} (first frame {step.first_frame})")
    return found


def _is_for_itself(walk: Walk) -> bool:
    """Whether it is what firewalls that share their state tell each other."""
    return (walk.steps[-1].flow.protocol, walk.steps[-1].flow.destination_port) == (UDP, SYNC_PORT)


def _has_twin(run: Run, firewall: str, walk: Walk) -> bool:
    """Whether the very same packet, without payload, went on through the firewall at the same time.

    A client that is gone answers each segment with the same RST: which copy came out as which, nobody can tell.
    """
    if walk.has_payload:
        return False
    return any(
        other.steps[0].flow == walk.steps[0].flow
        and firewall in other.nodes[1:-1]
        and other.first_ns - _SAME_TIME_NS <= walk.first_ns <= other.last_ns + _SAME_TIME_NS
        for other in run.walks.walks
        if not other.has_payload
    )


def _last_seen_since(run: Run, lost: Sequence[Walk], since_ns: int) -> int:
    """Return how many packets of walks that ended were last seen since then: the capture may have ended before them.

    Kernels go on saying goodbye for programs that are gone: a last acknowledgement is under way at any time.
    """
    return int((run.packets.time_ns[_last_rows(run, lost)] >= since_ns).sum())


def _rewritten(run: Run, firewall: str, lost: Sequence[Walk]) -> int:
    """Return how many packets of walks that ended are IP fragments whose very payload was seen to leave *firewall*.

    A capture is given a packet's bytes when it reads them. By then the firewall, which puts fragments together and
    takes them apart again, may have written its own headers into the pieces: with translated addresses, or as if they
    were the first. Such a frame belongs to nothing that left, but what it carries does.
    """
    packets = run.packets
    rows = _last_rows(run, lost)
    rows = rows[rows < len(packets.blocks.start)]
    pieces = [row for row in rows.tolist() if _is_fragment(_ip(run, row))]
    if not pieces:
        return 0
    leaving = np.flatnonzero(own_rows(run, firewall)[1])
    found = 0
    for row in pieces:
        after_ns = packets.time_ns[leaving] - packets.time_ns[row]
        near = (after_ns >= 0) & (after_ns <= _FORWARDED_WITHIN_NS) & (packets.ip_id[leaving] == packets.ip_id[row])
        found += any(_ip_payload(run, row) == _ip_payload(run, other) for other in leaving[near].tolist())
    return found


def _is_fragment(packet: bytes) -> bool:
    return int.from_bytes(packet[6:8], "big") & _FRAGMENT_MASK != 0


def _ip(run: Run, row: int) -> bytes:
    """Return the IP packet in a captured frame."""
    blocks = run.packets.blocks
    start = int(blocks.start[row])
    return blocks.buffer[start + _ETHERNET_BYTES : start + int(blocks.captured[row])].tobytes()


def _ip_payload(run: Run, row: int) -> bytes:
    packet = _ip(run, row)
    return packet[(packet[0] & 0xF) * 4 : int.from_bytes(packet[2:4], "big")]


def _last_rows(run: Run, lost: Sequence[Walk]) -> Ints:
    """Return the row in which each packet of walks that ended was last seen, of those with ports."""
    walks = run.walks
    if not lost:
        return np.zeros(0, np.int64)
    ended = np.isin(walks.walk, [walk.number for walk in lost if _has_ports(walk.steps[-1])])
    return np.asarray(walks.rows[(np.append(walks.starts[1:], len(walks.rows)) - 1)[ended]], np.int64)


def _has_ports(step: Step) -> bool:
    """Whether it is no later fragment: connection tracking puts a packet together before it is dropped, as one."""
    return bool(step.flow.source_port or step.flow.destination_port)


def _differences(name: str, account: dict[str, Any]) -> list[str]:
    found = []
    every, late = account["logged_by_rule"], account["logged_after_counting"]
    for rule in sorted({*every, *account["counted"]}):
        least = account["logged_before_counting"].get(rule, 0)
        if not least <= account["counted"].get(rule, 0) <= every.get(rule, 0) - late.get(rule, 0):
            besides = f", of which {late} came later" if late else ""
            found.append(f"{name}: rules counted {account['counted']}, the log has {every}{besides}")
            break
    explained = account["logged"] + account["reverse_path_filter"]
    besides = account["lost_without_a_rule"]
    unsure = account["vanished_twins"] + account["vanished_at_the_end"] + account["vanished_rewritten"]
    unsure += sum(besides.values())
    if not account["vanished"] - unsure <= explained <= account["vanished"]:
        what = f"{account['logged']} by rules and {account['reverse_path_filter']} by its reverse-path filter"
        what += "".join(f", the kernel lost {count} as {name}" for name, count in besides.items())
        found.append(f"{name}: {account['vanished']} packets came and did not leave, it dropped {what}")
    # Connection tracking counts an ICMP error that belongs to no flow as an error, not as invalid.
    invalid = account["logged_invalid"]
    if account["conntrack_invalid"] < invalid:
        found.append(f"{name}: {invalid} packets dropped as INVALID, conntrack counted {account['conntrack_invalid']}")
    return found


def _doubt(run: Run, firewall: str) -> str:
    """Return why the captures around *firewall* cannot be trusted to count, or nothing."""
    for link in run.plan.links:
        if firewall in (link.a.node, link.b.node) and link.name in run.incomplete:
            return f" (capture of link {link.name} {run.incomplete[link.name]})"
    if firewall in run.drop_log_gaps:
        return f" (log of drops of {firewall} {run.drop_log_gaps[firewall]})"
    return ""
