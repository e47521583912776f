"""Figures of media, end to end and link by link: what differs by more than its spread."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from testbed.comparison.model import Figure
from testbed.comparison.sides import Document
from testbed.comparison.spread import (
    CHANCE_LIMIT,
    RIG_MS,
    SENDER_MS,
    WAY_MS,
    DelayChanges,
    Delays,
    chance_of_losses,
    chance_of_runs,
    mos_needs,
)

Place = tuple[Literal["end to end", "link"], str, str, str]
_LEAST_PACKETS: Final = 20
"p90 and a median of fewer say nothing."


@dataclass(frozen=True, slots=True)
class Limits:
    """How far the figures of these two runs may be compared."""

    late_ms: float
    "How far medians may be off; above 0 the rig was too slow, and nothing else that depends on time is compared."
    losses: bool
    "Whether the captures were whole, so that what is missing in them was lost."


@dataclass(frozen=True, slots=True)
class Pair:
    """What both runs measured at one place, all streams of it together."""

    place: Place
    before: list[Document]
    after: list[Document]

    def counts(self, some: str, of: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return two counts, each before and after."""
        sums = [
            [sum(part.get(name) or 0 for part in parts) for parts in (self.before, self.after)] for name in (some, of)
        ]
        return (sums[0][0], sums[0][1]), (sums[1][0], sums[1][1])

    @property
    def lost_together(self) -> float:
        """In a run of how many packets a lost one lay, on average."""
        parts = [*self.before, *self.after]
        lost = sum(part.get("lost") or 0 for part in parts)
        runs = ((part.get("loss_runs") or {}).get("weighted_mean", 1.0) * (part.get("lost") or 0) for part in parts)
        return sum(runs) / lost if lost else 1.0

    @property
    def died(self) -> bool:
        """Whether nothing arrived in one of both runs: a stream that is dead from its first packet on is no outage."""
        lost, packets = self.counts("lost", "packets_entered")
        return (lost[0] == packets[0]) != (lost[1] == packets[1]) and min(packets) >= _LEAST_PACKETS

    @property
    def took_other_ways(self) -> bool:
        """Whether packets went from end to end over other links."""
        ways = [{tuple(part["links"]) for part in parts} for parts in (self.before, self.after)]
        return self.place[0] == "end to end" and ways[0] != ways[1]

    @property
    def words(self) -> str:
        """Return the place in words."""
        what, name, sender, receiver = self.place
        return (
            f"{what} {name}, {sender} -> {receiver}" if what == "link" else f"{what}, {sender} -> {receiver} ({name})"
        )


def pairs(before: Document, after: Document) -> Iterator[Pair]:
    """Yield the places that both runs measured, what calls felt of it all first."""
    one, other = _places(before), _places(after)
    for place in sorted((place for place in one if place in other), key=lambda place: place[0]):
        yield Pair(place, one[place], other[place])


def _places(quality: Document) -> dict[Place, list[Document]]:
    found: dict[Place, list[Document]] = defaultdict(list)
    for stream in quality["streams"]:
        if (whole := stream["end_to_end"]) is not None and stream["to"] is not None:
            found["end to end", stream["media"] or "media", stream["from"], stream["to"]].append(whole)
        for part in stream["stretches"]:
            if part["what"] == "link" and part["problem"] is None:
                found["link", part["name"], part["from"], part["to"]].append(part)
    return found


def media_figures(pair: Pair, limits: Limits, loss_robustness: float) -> Iterator[Figure]:
    """Yield what is compared at one place."""
    if limits.losses:
        yield from _shares(pair)
    yield from _delay_figures(pair, limits.late_ms)
    if not limits.late_ms:
        yield from _jitter_figures(pair)
        if limits.losses and pair.place[0] == "end to end":
            yield from _mos(pair, loss_robustness)


def _shares(pair: Pair) -> Iterator[Figure]:
    """Yield losses, whether they come in runs, and reordering: counts of packets, each against chance."""
    together = pair.lost_together
    lost, packets = pair.counts("lost", "packets_entered")
    if all(packets):
        chance = 0.0 if pair.died else chance_of_runs(lost, packets, together)
        yield _share(pair, "lost", lost, packets, chance)
    # Whether a loss follows another is a draw of its own for each loss (the Gilbert model): what makes a window worse.
    begun = [
        sum((part.get("loss_runs") or {}).get("count", 0) for part in parts) for parts in (pair.before, pair.after)
    ]
    if all(lost):
        in_a_row = round(lost[0] - begun[0]), round(lost[1] - begun[1])
        yield _share(pair, "lost right after another", in_a_row, lost, chance_of_losses(in_a_row, lost))
    reordered, left = pair.counts("reordered", "packets_left")
    if all(left):
        yield _share(pair, "reordered", reordered, left, chance_of_losses(reordered, left))
    windows = [[part["loss_15s"] for part in parts if part.get("loss_15s")] for parts in (pair.before, pair.after)]
    if pair.place[0] == "end to end" and all(windows):
        some, of = (tuple(sum(window[key] for window in side) for side in windows) for key in ("lost", "packets"))
        chance = chance_of_runs((some[0], some[1]), (of[0], of[1]), together)
        yield _share(pair, "lost in the worst 15 s", (some[0], some[1]), (of[0], of[1]), chance)


def _share(pair: Pair, name: str, some: tuple[int, int], of: tuple[int, int], chance: float) -> Figure:
    shares = [100 * part / whole for part, whole in zip(some, of, strict=True)]
    return Figure(*pair.place, name, "%", shares[0], shares[1], None, chance, chance < CHANCE_LIMIT)


def _measured(pair: Pair, name: str, unit: str, values: tuple[float, float], needed: float) -> Figure:
    return Figure(*pair.place, name, unit, *values, needed, None, abs(values[1] - values[0]) > needed)


def _delay_figures(pair: Pair, late_ms: float) -> Iterator[Figure]:
    one, other = delays(pair.before), delays(pair.after)
    if one is None or other is None:
        return
    needed = max(late_ms, one.median_needs_ms(other))
    yield _measured(pair, "median delay", "ms", (one.median_ms, other.median_ms), needed)
    if not late_ms:
        above = one.above_ms, other.above_ms
        least_ms = RIG_MS if pair.place[0] == "link" else WAY_MS
        yield _measured(pair, "p90 less median", "ms", above, one.spread_needs_ms(other, least_ms))


def delays(parts: list[Document]) -> Delays | None:
    """Return the delays of streams as one; None where there are too few packets."""
    known = [
        Delays(part["packets_left"], told["median"], told["p90"] - told["median"])
        for part in parts
        if (told := part.get("one_way_delay_ms")) and told["p90"] is not None
    ]
    whole = Delays.of(known) if known else None
    return whole if whole is not None and whole.packets >= _LEAST_PACKETS else None


def _jitter_figures(pair: Pair) -> Iterator[Figure]:
    """Yield mean delay change, which a stretch alone makes; end to end its worst 15 s, and RFC 3550's jitter.

    The latter grows along the way: link by link it would tell one cause again on every link behind.
    """
    figures = [("mean delay change", "mean_delay_change_ms", RIG_MS)]
    if pair.place[0] == "end to end":
        figures.append(("mean delay change in the worst 15 s", "mean_delay_change_15s_ms", RIG_MS))
        figures.append(("interarrival jitter", "interarrival_jitter_ms", SENDER_MS))
    for name, key, least_ms in figures:
        one, other = delay_changes(pair.before, key), delay_changes(pair.after, key)
        if one is not None and other is not None:
            yield _measured(pair, name, "ms", (one.mean_ms, other.mean_ms), one.needs_ms(other, least_ms))


def delay_changes(parts: list[Document], key: str) -> DelayChanges | None:
    """Return a figure made of delay changes, of streams as one; None where there are too few packets."""
    known = []
    for part in parts:
        value, size_ms, ipdv = part.get(key), part.get("mean_delay_change_ms"), part.get("ipdv_ms")
        if value is None or size_ms is None or ipdv is None:
            continue
        packets = part["packets_left"]
        if isinstance(value, dict):
            known.append(DelayChanges.smoothed(packets, value["mean"], value["max"]))
            continue
        if key.endswith("_15s_ms") and (worst := part.get("loss_15s")):
            packets = max(1, min(packets, worst["packets"] - worst["lost"]))
        known.append(DelayChanges.measured(packets, value, (size_ms, ipdv["std"])))
    whole = DelayChanges.of(known) if known else None
    return whole if whole is not None and whole.packets >= _LEAST_PACKETS else None


def _mos(pair: Pair, loss_robustness: float) -> Iterator[Figure]:
    rated = [[part["mos"] for part in parts if part.get("mos") is not None] for parts in (pair.before, pair.after)]
    lost, packets = pair.counts("lost", "packets_entered")
    if all(rated) and all(packets):
        one, other = (sum(some) / len(some) for some in rated)
        yield _measured(pair, "MOS", "", (one, other), mos_needs(lost, packets, pair.lost_together, loss_robustness))


def outages(pair: Pair) -> Iterator[str]:
    """Yield a note where losses differ much, but only as one outage or a few may."""
    (lost, packets), together = pair.counts("lost", "packets_entered"), pair.lost_together
    if not all(packets) or pair.died or chance_of_losses(lost, packets) >= CHANCE_LIMIT:
        return
    if chance_of_runs(lost, packets, together) >= CHANCE_LIMIT:
        yield (
            f"{pair.words}: {lost[0]} packets lost before and {lost[1]} after, some {together:.0f} one after the "
            "other: a few outages, which two runs do not tell from chance"
        )
