"""The metrics, on columns of times: one way delay, its variation, loss, windows, reordering, jitter.

What cannot be told from so few packets is None, and `missing` of the result says why. Times are ns, results ms.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Bools, Column, Ints

Floats = NDArray[np.float64]
Figures = dict[str, Any]

BURST_WINDOW_NS: Final = 200_000_000
LOSS_WINDOW_NS: Final = 15_000_000_000
_PERCENTILES: Final = ((50, "median"), (90, "p90"), (95, "p95"), (99, "p99"))
_BLOCK: Final = 64
"Packets whose jitter is worked out at once."


@dataclass(frozen=True)
class Passage:
    """Packets of one stream between two capture points, in the order in which they passed the first."""

    entered_ns: Ints
    left_ns: Ints
    "-1 for a packet that was not seen at the second point."
    lost: Bools
    "Neither seen at the second point nor at the receiver by another way."
    sequence: Ints
    "RTP sequence number, unwrapped."

    @cached_property
    def left(self) -> Bools:
        """Which packets passed both points."""
        return self.left_ns >= 0

    @cached_property
    def delay_ms(self) -> Floats:
        """The one-way delay of each packet that passed both points, in order of entry."""
        return self.delay_ns / 1e6

    @cached_property
    def delay_neighbours(self) -> tuple[Floats, Floats]:
        """The delays below and above each percentile: those of PDV are the same, less the smallest."""
        return neighbours(self.delay_ms)

    @cached_property
    def span(self) -> tuple[int, int]:
        """From when until when media entered: the last packet fills its own spacing, so 10 of 20 ms last 200 ms."""
        if not len(self.entered_ns):
            return 0, 0
        spacing_ns = int(np.median(np.diff(self.entered_ns))) if len(self.entered_ns) > 1 else 0
        return int(self.entered_ns[0]), int(self.entered_ns[-1]) + spacing_ns

    @property
    def delay_ns(self) -> Ints:
        """Return the same, in ns."""
        return self.of_left(self.left_ns - self.entered_ns)

    def of_left(self, values: Ints) -> Ints:
        """Return those of *values* that are of packets that passed both points."""
        return values if self.left.all() else values[self.left]


def passage_figures(passage: Passage) -> Figures:
    """Return every figure of *passage*."""
    entered, lost = len(passage.entered_ns), int(passage.lost.sum())
    missing: dict[str, str] = {}
    reordered, left = int(_reordered(passage).sum()), int(passage.left.sum())
    return {
        "packets_entered": entered,
        "packets_left": left,
        "lost": lost,
        "loss_ratio": _ratio(lost, entered, "loss_ratio", missing),
        "loss_runs": _loss_runs(passage.lost),
        "one_way_delay_ms": _delays(passage, missing),
        **_variation(passage, missing),
        "reordered": reordered,
        "reordered_ratio": _ratio(reordered, left, "reordered_ratio", missing),
        "burst_loss_200ms": _window(passage, BURST_WINDOW_NS, "burst_loss_200ms", missing),
        "loss_15s": _window(passage, LOSS_WINDOW_NS, "loss_15s", missing),
        "missing": missing,
    }


def _ratio(part: int, whole: int, name: str, missing: dict[str, str]) -> float | None:
    if not whole:
        missing[name] = "no packet passed"
        return None
    return part / whole


def _loss_runs(lost: Bools) -> dict[str, float] | None:
    """Return how losses hang together: runs of packets that were sent one after the other and all lost."""
    edges = np.diff(np.concatenate(([0], lost.astype(np.int8), [0])))
    lengths = np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)
    if not len(lengths):
        return None
    weighted_mean = float((lengths**2).sum() / lengths.sum())
    return {"count": len(lengths), "longest": int(lengths.max()), "weighted_mean": weighted_mean}


def _delays(passage: Passage, missing: dict[str, str]) -> dict[str, float | None] | None:
    if not len(delay_ms := passage.delay_ms):
        missing["one_way_delay_ms"] = "no packet passed"
        return None
    return {
        "min": float(delay_ms.min()),
        "mean": float(delay_ms.mean()),
        "max": float(delay_ms.max()),
        **percentiles(len(delay_ms), passage.delay_neighbours, "one_way_delay_ms", missing),
    }


def neighbours(values: Floats) -> tuple[Floats, Floats]:
    """Return the values below and above each percentile, in order of size."""
    below = np.floor(_places(len(values))).astype(np.int64)
    above = np.minimum(below + 1, len(values) - 1)
    ordered = np.partition(values, np.concatenate((below, above)))
    return ordered[below], ordered[above]


def _places(count: int) -> Floats:
    return np.array([percent for percent, _ in _PERCENTILES]) / 100 * (count - 1)


def percentiles(
    count: int, around: tuple[Floats, Floats], name: str, missing: dict[str, str]
) -> dict[str, float | None]:
    """Return median, p90, p95 and p99 of *count* values, given those *around* each, to the last bit as numpy has them.

    None for one that would rest on no packet beyond it.
    """
    (below, above), part = around, _places(count) % 1
    between = above - below
    values = np.where(part < 0.5, below + between * part, above - between * (1 - part)).tolist()
    found: dict[str, float | None] = {}
    for (percent, word), value in zip(_PERCENTILES, values, strict=True):
        needed = 1 if percent == 50 else round(100 / (100 - percent))
        if count < needed:
            missing[f"{name}.{word}"] = f"{count} packets, {needed} needed"
        found[word] = value if count >= needed else None
    return found


def _variation(passage: Passage, missing: dict[str, str]) -> Figures:
    """Return PDV (RFC 5481 section 4.2: delay less the smallest) and IPDV (RFC 3393: delay less the one before's)."""
    delay_ms, (change_ms, at_ns) = passage.delay_ms, delay_changes_ms(passage)
    worst, reason = _worst_change(passage, change_ms, at_ns)
    names = ("pdv_ms", "ipdv_ms", "mean_delay_change_ms")
    if len(delay_ms) < 2 or not len(change_ms):
        missing |= dict.fromkeys((*names, "mean_delay_change_15s_ms"), "fewer than two successive packets passed")
        return {**dict.fromkeys(names), "mean_delay_change_15s_ms": None}
    if worst is None:
        missing["mean_delay_change_15s_ms"] = reason
    (below, above), least = passage.delay_neighbours, delay_ms.min()
    return {
        "pdv_ms": percentiles(len(delay_ms), (below - least, above - least), "pdv_ms", missing),
        "ipdv_ms": {"min": float(change_ms.min()), "max": float(change_ms.max()), "std": float(change_ms.std())},
        "mean_delay_change_ms": float(np.abs(change_ms).mean()),
        "mean_delay_change_15s_ms": worst,
    }


def delay_changes_ms(passage: Passage) -> tuple[Floats, Ints]:
    """Return the change of delay between packets with successive sequence numbers, and when the later one entered."""
    sequence, entered = passage.of_left(passage.sequence), passage.of_left(passage.entered_ns)
    delay_ms = passage.delay_ms
    step = np.diff(sequence)
    if (step < 0).any():
        order = np.argsort(sequence, kind="stable")
        step, delay_ms, entered = np.diff(sequence[order]), delay_ms[order], entered[order]
    successive = step == 1
    if successive.all():
        return np.diff(delay_ms), entered[1:]
    return np.diff(delay_ms)[successive], entered[1:][successive]


def _reordered(passage: Passage) -> Bools:
    """Return, in order of arrival, which packets came after one that was sent later (RFC 4737 section 3.3)."""
    left_ns = passage.of_left(passage.left_ns)
    if _is_in_order(left_ns):
        return np.zeros(len(left_ns), np.bool_)
    sent = np.flatnonzero(passage.left)[np.argsort(left_ns, kind="stable")]
    return np.asarray(sent < np.maximum.accumulate(sent), np.bool_)


def _is_in_order(values: Ints) -> bool:
    return bool((values[1:] >= values[:-1]).all())


def _window(passage: Passage, width_ns: int, name: str, missing: dict[str, str]) -> Figures | None:
    """Return the worst window: most lost in proportion to what entered."""
    entered_ns, (begin_ns, end_ns) = passage.entered_ns, passage.span
    begun = int(np.searchsorted(entered_ns, end_ns - width_ns, "right"))
    if not begun:
        missing[name] = _too_short(passage, width_ns)
        return None
    worst = Window(0.0, begin_ns, 0, int(np.searchsorted(entered_ns, begin_ns + width_ns)))
    if passage.lost.any():
        worst = worst_window(entered_ns, passage.lost, width_ns, passage.span) or worst
    return {
        "ratio": worst.mean,
        "lost": int(passage.lost[worst.first : worst.behind].sum()),
        "packets": worst.behind - worst.first,
        "from_ns": worst.begin_ns,
        "windows": begun,
    }


def _too_short(passage: Passage, width_ns: int) -> str:
    begin_ns, end_ns = passage.span
    return f"media lasted {(end_ns - begin_ns) / 1e9:.4g} s, a window is {width_ns / 1e9:g} s"


def _worst_change(passage: Passage, change_ms: Floats, at_ns: Ints) -> tuple[float | None, str]:
    """Return the greatest mean of any 15 s of the delay changes *change_ms* at *at_ns*."""
    if not _is_in_order(at_ns):
        order = np.argsort(at_ns, kind="stable")
        at_ns, change_ms = at_ns[order], change_ms[order]
    worst = worst_window(at_ns, np.abs(change_ms), LOSS_WINDOW_NS, passage.span)
    return (None, _too_short(passage, LOSS_WINDOW_NS)) if worst is None else (worst.mean, "")


@dataclass(frozen=True, slots=True)
class Window:
    """Part of a stream: from *begin_ns*, included, for a given time."""

    mean: float
    "Of the values in it."
    begin_ns: int
    first: int
    behind: int
    "Its values are those from `first` up to `behind`."


def worst_window(at_ns: Ints, values: Floats | Bools | Ints, width_ns: int, span: tuple[int, int]) -> Window | None:
    """Return the window of *width_ns* within *span* whose *values*, told at *at_ns* (in order), have the greatest mean.

    A window is half open and may begin at any moment. What it holds changes only where a value falls out at its
    beginning or comes in at its end, so those that begin at a value and those that end at one, or with the span, stand
    for all. None where no whole window holds a value.
    """
    begin_ns, end_ns = span
    if end_ns - begin_ns < width_ns:
        return None
    total = np.concatenate(([0], np.cumsum(values)))
    begun_ns = at_ns[: int(np.searchsorted(at_ns, end_ns - width_ns, "right"))]
    ended_ns = np.append(at_ns[int(np.searchsorted(at_ns, begin_ns + width_ns)) :], end_ns)
    windows = [
        _worst_of(total, each_ns, _before(at_ns, each_ns), _before(at_ns, each_ns + width_ns))
        for each_ns in (begun_ns, ended_ns - width_ns)
    ]
    return max((each for each in windows if each is not None), key=lambda each: each.mean, default=None)


def _worst_of(total: Floats | Ints, begin_ns: Ints, first: Ints, behind: Ints) -> Window | None:
    held = behind - first
    if not held.all():  # in a pause nothing is
        begin_ns, first, behind, held = (each[held > 0] for each in (begin_ns, first, behind, held))
    if not len(held):
        return None
    mean = (total[behind] - total[first]) / held
    at = int(np.argmax(mean))
    return Window(float(mean[at]), int(begin_ns[at]), int(first[at]), int(behind[at]))


def _before(at_ns: Ints, wanted_ns: Ints) -> Ints:
    """Return how many of *at_ns* are before each of *wanted_ns*, both in order.

    Where packets are evenly spaced it is one more each time, so it is sought only where that guess is wrong.
    """
    if not len(wanted_ns):
        return np.zeros(0, np.int64)
    first = int(np.searchsorted(at_ns, wanted_ns[0]))
    places = np.arange(first, first + len(wanted_ns))
    right = at_ns[first:][: len(wanted_ns)] >= wanted_ns[: len(at_ns) - first]
    right[1:] &= at_ns[first:][: len(right) - 1] < wanted_ns[1 : len(right)]
    if len(right) < len(places) or not right.all():
        wrong = np.append(np.flatnonzero(~right), np.arange(len(right), len(places)))
        places[wrong] = np.searchsorted(at_ns, wanted_ns[wrong])
    return places


def interarrival_jitter_ms(arrived_ns: Ints, rtp_timestamp: Ints, clock_rate_hz: int) -> Floats:
    """Return J after each packet, in order of arrival (RFC 3550 section 6.4.1 and A.8); the first has none.

    *rtp_timestamp* is unwrapped. J starts at 0 and moves by a sixteenth of |D| less J.
    """
    if not _is_in_order(arrived_ns):
        order = np.argsort(arrived_ns, kind="stable")
        arrived_ns, rtp_timestamp = arrived_ns[order], rtp_timestamp[order]
    transit_ms = (arrived_ns - arrived_ns[:1]) / 1e6 - rtp_timestamp * (1000 / clock_rate_hz)
    return _smooth(np.abs(np.diff(transit_ms)))


def _smooth(change: Floats) -> Floats:
    """Return j[i] = j[i-1] + (change[i] - j[i-1]) / 16, block by block: within one it is a matrix product."""
    blocks = -(-len(change) // _BLOCK)
    padded = np.zeros(blocks * _BLOCK)
    padded[: len(change)] = change
    decay = (15 / 16) ** np.arange(_BLOCK + 1)
    distance = np.arange(_BLOCK)[None, :] - np.arange(_BLOCK)[:, None]
    weight = np.where(distance >= 0, decay[np.maximum(distance, 0)] / 16, 0.0)
    inside = padded.reshape(blocks, _BLOCK) @ weight
    carried = np.zeros(blocks)
    carry = 0.0
    for block, own in enumerate(inside[:, -1].tolist()):
        carried[block] = carry
        carry = own + carry * float(decay[_BLOCK])
    return np.asarray((inside + carried[:, None] * decay[1:]).reshape(-1)[: len(change)], np.float64)


def unwrap(values: Column, bits: int) -> Ints:
    """Return counter *values* of so many bits, in order of time, as numbers that do not wrap (the first as it is)."""
    wide = values.astype(np.int64)
    if not len(wide):
        return wide
    half = 1 << (bits - 1)
    step = ((np.diff(wide) + half) & ((1 << bits) - 1)) - half
    return np.asarray(np.concatenate((wide[:1], wide[0] + np.cumsum(step))), np.int64)
