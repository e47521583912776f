"""Figures over time, for drawing: each stream's delay, jitter and loss, and the spread of delay on each segment.

Worked out from all packets; only the points that are kept are thinned, so that the least and the greatest stay.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from testbed.analysis.demux import Ints
from testbed.analysis.quality.clock import clock_rates
from testbed.analysis.quality.extents import extents
from testbed.analysis.quality.figures import Floats, Passage, delay_changes_ms, interarrival_jitter_ms
from testbed.analysis.quality.streams import NOT_SEEN, Stream, Stretch, find_streams, whole
from testbed.analysis.run import Run

Document = dict[str, Any]
TARGET_PATH: Final = "client to Microsoft edge"
"What Microsoft's targets speak of; a stream that has no such part is shown end to end."
_POINTS: Final = 240
_WINDOW_NS: Final = 200_000_000
_MOST_WINDOWS: Final = 150
_SHARES: Final = np.array([0, 1, 2, 5, *range(10, 95, 5), 95, 97, 98, 99, 100], np.float64)
"Percentiles of a distribution that are kept."
_BOX: Final = (0, 25, 50, 75, 95, 100)


def series(run: Run) -> list[Document]:
    """Return the figures over time of every stream whose way captures show, to its end or to where it died."""
    rates = clock_rates(run.packets)
    streams = find_streams(run.packets, run.walks, run.network)
    return [_series(stream, rates.get(stream.payload_type)) for stream in streams if stream.ways]


def _series(stream: Stream, clock_rate_hz: int | None) -> Document:
    way = stream.ways[0]
    named = [(what, name, part) for what, name, part in extents(stream.ways[:1]) if part.problem is None]
    whole_way = whole(way)
    shown = next((part for what, name, part in named if (what, name) == ("path", TARGET_PATH)), whole_way)
    start_ns = int(stream.first_ns[0])
    document: Document = {
        "ssrc": stream.ssrc,
        "from": stream.sender,
        "to": stream.receiver,
        "start_ns": start_ns,
        "path": TARGET_PATH if shown is not whole_way else "end to end",
        "delay": [],
        "delay_change": [],
        "jitter": _jitter(stream, shown, clock_rate_hz, start_ns),
        "loss": [],
        "window_ms": None,
        "segments": {},
        "box": None,
    }
    if (passage := _passage(stream, shown)) is not None:
        document["delay"] = _points(passage.entered_ns[passage.left] - start_ns, passage.delay_ms)
        document["delay_change"] = _changes(passage, start_ns)
        document["loss"] = _losses(passage, start_ns)
        document["window_ms"] = _windows(passage.entered_ns).width_ns / 1e6 if len(passage.entered_ns) else None
    for what, name, part in named:
        each = _passage(stream, part) if what == "segment" else None
        if each is not None and len(each.delay_ms):
            document["segments"].setdefault(name, _distribution(each.delay_ms))
    end_to_end = _passage(stream, whole_way)
    if end_to_end is not None and len(end_to_end.delay_ms):
        document["box"] = [round(value, 4) for value in np.percentile(end_to_end.delay_ms, _BOX).tolist()]
    return document


def _passage(stream: Stream, part: Stretch) -> Passage | None:
    if part.problem is not None or part.entry is None:
        return None
    return stream.passage(part.entry, part.exit)


def _points(at_ns: Ints, values: Floats) -> list[list[float]]:
    """Return pairs of seconds and value; of more than are drawn, the least and the greatest of each stretch of time."""
    if len(values) > _POINTS:
        chunks = np.array_split(np.arange(len(values)), _POINTS // 2)
        kept = np.unique([int(c[f(values[c])]) for c in chunks for f in (np.argmin, np.argmax)])
        at_ns, values = at_ns[kept], values[kept]
    return [[round(t / 1e9, 4), round(v, 4)] for t, v in zip(at_ns.tolist(), values.tolist(), strict=True)]


def _jitter(stream: Stream, part: Stretch, clock_rate_hz: int | None, start_ns: int) -> list[list[float]]:
    if clock_rate_hz is None or part.exit is None:
        return []
    at_ns = stream.time_ns[:, stream.column[part.exit]]
    seen = at_ns != NOT_SEEN
    jitter = interarrival_jitter_ms(at_ns[seen], stream.rtp_timestamp[seen], clock_rate_hz)
    return _points(np.sort(at_ns[seen])[1:] - start_ns, jitter)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows of one length, from the first packet's entry to the last one's."""

    begin_ns: int
    width_ns: int
    count: int

    def number(self, at_ns: Ints) -> Ints:
        """Return in which window each moment lies."""
        return (at_ns - self.begin_ns) // self.width_ns

    def middle_s(self, number: int, start_ns: int) -> float:
        """Return the middle of a window, in seconds since *start_ns*."""
        return round((self.begin_ns - start_ns + (number + 0.5) * self.width_ns) / 1e9, 4)


def _windows(entered_ns: Ints) -> _Windows:
    begin_ns = int(entered_ns[0])
    lasted_ns = int(entered_ns[-1]) - begin_ns + 1
    width_ns = _WINDOW_NS * -(-lasted_ns // (_WINDOW_NS * _MOST_WINDOWS))
    return _Windows(begin_ns, width_ns, -(-lasted_ns // width_ns))


def _losses(passage: Passage, start_ns: int) -> list[list[float]]:
    """Return, per window, its middle, the share lost in percent, and how many packets that is a share of."""
    if not len(passage.entered_ns):
        return []
    windows = _windows(passage.entered_ns)
    number = windows.number(passage.entered_ns)
    entered = np.bincount(number, minlength=windows.count).tolist()
    lost = np.bincount(number, passage.lost, minlength=windows.count).tolist()
    return [
        [windows.middle_s(at, start_ns), round(100 * lost[at] / packets, 3), packets]
        for at, packets in enumerate(entered)
        if packets
    ]


def _changes(passage: Passage, start_ns: int) -> list[list[float]]:
    """Return, per window, the mean of |delay - delay of the packet before|: what Microsoft calls jitter."""
    change_ms, at_ns = delay_changes_ms(passage)
    if not len(change_ms):
        return []
    windows = _windows(passage.entered_ns)
    number = windows.number(at_ns)
    total = np.bincount(number, np.abs(change_ms), minlength=windows.count).tolist()
    found = np.bincount(number, minlength=windows.count).tolist()
    return [[windows.middle_s(at, start_ns), round(total[at] / count, 4)] for at, count in enumerate(found) if count]


def _distribution(delay_ms: Floats) -> Document:
    values = np.percentile(delay_ms, _SHARES)
    points = [[round(v, 4), round(float(s) / 100, 4)] for v, s in zip(values.tolist(), _SHARES, strict=True)]
    return {"packets": len(delay_ms), "points": points}
