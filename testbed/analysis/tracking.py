"""What connection tracking knew of a packet when it was dropped: `conntrack -E`, on the captures' clock."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, Literal

from testbed.analysis.drops import Drop
from testbed.analysis.run import Json

State = Literal["INVALID", "NEW"]
Tuple5 = tuple[int, int, int, int, int]
"Protocol, source, source port, destination, destination port."
_EVENT: Final = re.compile(r"\[(?P<what>NEW|UPDATE|DESTROY)\]\s+\w+\s+(?P<protocol>\d+)\s+(?P<rest>.*)")
_ENDS: Final = re.compile(r"src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)")
_WORD: Final = re.compile(r"\b([A-Z][A-Z_]+[0-9]?)\b")


@dataclass(frozen=True, slots=True)
class Entry:
    """A connection as the last event before some time left it."""

    original: Tuple5
    answer: Tuple5
    state: str
    "As the event says it: SYN_SENT UNREPLIED."


def entry_at(firewall: Json, packet: Tuple5, time_ns: int) -> Entry | None:
    """Return the entry that *packet* belonged to at *time_ns*, or None; *firewall* is its part of firewalls.json."""
    known: Entry | None = None
    for event in firewall.get("conntrack_events") or ():
        match = _EVENT.match(event["text"])
        if match is None or event["t_ns"] > time_ns:
            continue
        entry = _entry(int(match["protocol"]), match["rest"])
        if entry is not None and packet in (entry.original, entry.answer):
            known = None if match["what"] == "DESTROY" else entry
    return known


def _entry(protocol: int, text: str) -> Entry | None:
    ends = _ENDS.findall(text)
    if len(ends) != 2:
        return None
    original, answer = (_tuple5(protocol, each) for each in ends)
    return Entry(original, answer, " ".join(_WORD.findall(text)) or "known")


def _tuple5(protocol: int, ends: tuple[str, str, str, str]) -> Tuple5:
    return protocol, int(IPv4Address(ends[0])), int(ends[2]), int(IPv4Address(ends[1])), int(ends[3])


def state_of(drop: Drop, entry: Entry | None) -> State | None:
    """Return what connection tracking made of a dropped packet; None where an entry let it be more than NEW.

    The rule `invalid` matches nothing but INVALID. Any other rule is reached by NEW only: what has no entry, and is
    not INVALID, is NEW.
    """
    if drop.rule == "invalid":
        return "INVALID"
    return "NEW" if entry is None else None


def counted_drops(firewall: Json) -> dict[str, int]:
    """Return how many packets the dropping rules of a firewall counted, by rule."""
    return _totals((row["rule"], row["packets"]) for row in firewall.get("rules") or () if " -j DROP" in row["text"])


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return {name: count for name, count in totals.items() if count}
