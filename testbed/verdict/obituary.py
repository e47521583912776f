"""One sentence for a leg that died: which packet came where, what the firewall had not seen, which rule dropped it."""

from typing import TYPE_CHECKING, Final

from testbed.analysis.legs import Part
from testbed.analysis.packets import ACK, SYN, TCP, Kind
from testbed.analysis.paths import Step
from testbed.analysis.run import Run
from testbed.analysis.tracking import counted_drops, entry_at
from testbed.scenario import Leg

if TYPE_CHECKING:
    from testbed.verdict.deaths import DeathSeen

_TITLES: Final = {"expressroute": "ExpressRoute", "internet": "the Internet", "customer": "the customer's network"}


def sentence(run: Run, leg: Leg, seen: "DeathSeen") -> str:
    """Return it: packet, frame, link, firewall, what connection tracking knew, rule and count."""
    dying = max(seen.dying, key=lambda part: (part.walk.packets, len(part.steps)))
    last = dying.steps[-1]
    first_drop = seen.drops[0] if seen.drops else None
    parts = [
        f"{packet_name(run, last)} (frame {last.first_frame}, link {last.hop.link}) {_came(run, seen, dying.links)}"
    ]
    parts.append(_unseen(run, seen))
    if first_drop is not None:
        entry = f"entry {seen.entry.state}" if seen.entry else "no entry"
        parts.append(f"connection tracking: {seen.state or 'known'} ({entry})")
        count = len(seen.drops)
        packets = "packet" if count == 1 else "packets"
        parts.append(
            f"dropped by rule '{seen.rule}' ({count} {packets}, first in dropped.pcapng frame {first_drop.frame})"
        )
    elif seen.disposition == "REVERSE_PATH_FILTER":
        told = run.firewalls.get(seen.at, {})
        rules = counted_drops(told) or "none"
        parts.append(
            f"dropped by its reverse-path filter (IPReversePathFilter {told.get('reverse_path_filter_drops')});"
            f" packets dropped by its rules: {rules}"
        )
    else:
        parts.append(seen.text)
    return "; ".join(filter(None, parts))


def packet_name(run: Run, step: Step) -> str:
    """Return what the first packet of *step* is, in an engineer's words."""
    row = step.first_frame - 1
    if int(run.packets.protocol[row]) == TCP:
        flags = int(run.packets.tcp_flags[row])
        names = {SYN: "SYN", SYN | ACK: "SYN-ACK", ACK: "ACK"}
        return names.get(flags & (SYN | ACK | 7), "TCP segment")
    if step.flow.kind == Kind.SIP:
        first_line = run.packets.payload(row).split(b"\r\n", 1)[0].decode("utf-8", "replace")
        is_answer = first_line.startswith("SIP/2.0")
        return f"SIP answer {first_line[8:]!r}" if is_answer else f"SIP request {first_line.split(' ')[0]}"
    return f"{step.flow.kind.name} packet"


def _came(run: Run, seen: "DeathSeen", links: tuple[str, ...]) -> str:
    kinds = [run.network.links[name].segment_kind for name in links]
    outside = next((kind for kind in ("internet", "expressroute") if kind in kinds), "customer")
    return f"{'came back' if seen.is_return else 'went'} over {_TITLES[outside]} to {seen.at}"


def _unseen(run: Run, seen: "DeathSeen") -> str:
    """Return what the firewall never saw, and which firewalls saw it instead."""
    if not seen.passing:
        return ""
    other = max(seen.passing, key=lambda part: part.walk.packets)
    if seen.at in other.nodes:
        return f"{seen.at} had seen the other direction"
    name = packet_name(run, other.steps[0])
    by = [node for node in other.nodes if node in run.network.nodes and run.network.nodes[node].kind == "firewall"]
    way = f"it went through {_with_entries(run, seen, other, by)}, frame {other.steps[0].first_frame}" if by else ""
    return f"{seen.at} never saw the {name} ({way or 'it went another way'})"


def _with_entries(run: Run, seen: "DeathSeen", other: Part, firewalls: list[str]) -> str:
    """Name the firewalls that saw the other direction, each with what its connection tracking had at the last drop."""
    told = []
    for name in firewalls:
        flow = next(step.flow.tuple5 for step in other.steps if step.hop.target == name)
        entry = entry_at(run.firewalls.get(name, {}), flow, seen.drops[-1].time_ns) if seen.drops else None
        told.append(f"{name} (entry {entry.state})" if entry else name)
    return ", ".join(told)
