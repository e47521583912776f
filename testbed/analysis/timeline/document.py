"""The timeline as a document: packets with their headers and links, drops, route changes; offsets in ns from its start.

Links and pairs of addresses are told once and then by number: a packet is seen on a dozen links.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from testbed.analysis.demux import Ints
from testbed.analysis.drops import Drop
from testbed.analysis.packets import Kind
from testbed.analysis.run import Run
from testbed.analysis.sightings import hops_of
from testbed.analysis.timeline.choice import LANES, Crossings, choose, thin
from testbed.analysis.timeline.headers import bgp_title, ends, layers, title

__all__ = ["LANES", "Story", "tell"]

Document = dict[str, Any]
_ROUTES: Final = 60


class _Table:
    """Strings, each told once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, words: str) -> int:
        """Return the number of *words*."""
        return self.numbers.setdefault(words, len(self.numbers))


@dataclass(frozen=True, slots=True)
class Story:
    """A timeline, and where in it each packet stands."""

    document: Document
    place: dict[int, int]
    "Number of a packet, as `Walks.starts` counts, to its place in `packets`."


def tell(run: Run, wanted: Sequence[Ints] = ()) -> Story:
    """Return the timeline of *run*; *wanted* are packets (as `Walks.starts` counts) that must be in it."""
    crossings = Crossings(run)
    chosen = choose(crossings, wanted)
    start_ns = int(run.packets.time_ns.min()) if len(run.packets) else 0
    links, pairs = _Table(), _Table()
    numbers: list[int] = chosen.packets.tolist()
    place = {number: at for at, number in enumerate(numbers)}
    told = [_packet(crossings, number, start_ns, links, pairs) for number in numbers]
    shown = {lane: sum(one["lane"] == lane for one in told) for lane in LANES}
    document = {
        "start_ns": start_ns,
        "end_ns": int(run.packets.time_ns.max()) if len(run.packets) else 0,
        "packets": told,
        "lanes": {lane: {"packets": chosen.there[lane], "shown": shown[lane]} for lane in LANES},
        "drops": [
            _drop(run, drop, None if packet is None else place[packet], start_ns) for drop, packet in chosen.drops
        ],
        "dropped": len(run.drops),
        "routes": _routes(run, start_ns),
    }
    return Story(document | {"links": list(links.numbers), "ends": list(pairs.numbers)}, place)


def _packet(crossings: Crossings, number: int, start_ns: int, links: _Table, pairs: _Table) -> Document:
    run, rows = crossings.run, crossings.rows(number)
    packets, walk = run.packets, run.walks.walks[int(run.walks.walk[number])]
    first_ns = int(packets.time_ns[rows[0]])
    return {
        "t": first_ns - start_ns,
        "lane": crossings.lane(number),
        "kind": Kind(int(packets.kind[rows[0]])).name,
        "title": title(packets, rows[0]),
        "from": walk.nodes[0],
        "to": walk.nodes[-1],
        "layers": layers(packets, rows[0]),
        "way": [
            [
                links.number(packets.interfaces[int(packets.link[row])].name),
                int(packets.forward[row]),
                int(packets.time_ns[row]) - first_ns,
                int(packets.frame[row]),
                pairs.number(ends(packets, row)),
                int(packets.ttl[row]),
                int(packets.dscp[row]),
            ]
            for row in rows
        ],
    }


def _drop(run: Run, drop: Drop, packet: int | None, start_ns: int) -> Document:
    row = drop.frame - 1
    return {
        "t": drop.time_ns - start_ns,
        "firewall": drop.firewall,
        "rule": drop.rule,
        "title": title(run.dropped, row),
        "ends": ends(run.dropped, row),
        "frame": drop.frame,
        "layers": layers(run.dropped, row),
        "packet": packet,
    }


def _routes(run: Run, start_ns: int) -> list[Document]:
    """Return BGP's updates as captured: every withdrawal, and announcements up to a number."""
    packets = run.packets
    hop, usable = hops_of(packets, run.network) if len(packets) else (np.zeros(0, np.int64), np.zeros(0, np.bool_))
    rows = np.flatnonzero(usable & (packets.kind == Kind.BGP) & (packets.payload_length > 0))
    told = [(row, words) for row in rows.tolist() if (words := bgp_title(packets.payload(row))) is not None]
    kept = set(thin(np.arange(len(told)), _ROUTES).tolist())
    return [
        {
            "t": int(packets.time_ns[row]) - start_ns,
            "title": words,
            "from": run.network.directions[int(hop[row])].source,
            "to": run.network.directions[int(hop[row])].target,
            "link": packets.interfaces[int(packets.link[row])].name,
            "frame": int(packets.frame[row]),
        }
        for at, (row, words) in enumerate(told)
        if at in kept or "withdraws" in words
    ]
