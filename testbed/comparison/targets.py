"""Targets that are met in one run and missed in the other: because the network changed, or by chance."""

from collections.abc import Iterator
from typing import Final

from testbed.comparison.figures import Limits, Pair, delay_changes, delays
from testbed.comparison.model import Changed
from testbed.comparison.sides import Document
from testbed.comparison.spread import CHANCE_LIMIT, RIG_MS, WAY_MS, chance_of_losses, chance_of_runs

Key = tuple[str, str, str, str, str]
_WORST: Final = ("missed", "met", "unknown")


def target_changes(one: Document, other: Document, limits: Limits) -> Iterator[Changed | str]:
    """Yield targets of which one run misses one and the other does not; as one note, those that chance explains.

    Several streams of the same ends are one: the worst of them.
    """
    before, after = _judged(one), _judged(other)
    by_chance = []
    for key in (key for key in before if key in after):
        rows = before[key], after[key]
        outcomes = [row["outcome"] for row in rows]
        if outcomes[0] == outcomes[1] or "missed" not in outcomes or None in (row["observed"] for row in rows):
            continue
        target, path, sender, receiver, figure = key
        name = f"target {target}, {sender} -> {receiver}: {figure}"
        if _is_beyond_chance(key, rows, Pair(("link", path, sender, receiver), *_parts(key, one, other)), limits):
            words = [f"{row['outcome']} ({row['observed']:.3g}, limit {row['limit']:g})" for row in rows]
            yield Changed("target", name, *words)
        elif "unknown" not in outcomes:
            by_chance.append(name)
    if by_chance:
        more = f" and {len(by_chance) - 1} more" if len(by_chance) > 1 else ""
        yield f"met in one run and missed in the other by no more than chance explains: {by_chance[0]}{more}"


def _judged(quality: Document) -> dict[Key, Document]:
    found: dict[Key, Document] = {}
    for row in sorted(quality["targets"], key=lambda row: _WORST.index(row["outcome"])):
        found.setdefault((row["target"], row["path"], row["from"], row["to"], row["figure"]), row)
    return found


def _parts(key: Key, *qualities: Document) -> Iterator[list[Document]]:
    """Yield, of each run, the stretches that the target was judged on."""
    _, path, sender, receiver, _ = key
    for quality in qualities:
        stretches = [
            part
            for stream in quality["streams"]
            for part in (stream["stretches"] if path != "end to end" else [stream["end_to_end"]])
            if part is not None
        ]
        yield [
            part
            for part in stretches
            if (part["from"], part["to"]) == (sender, receiver) and part.get("name", path) == path
        ]


def _is_beyond_chance(key: Key, rows: tuple[Document, Document], pair: Pair, limits: Limits) -> bool:
    """Return whether the figure differs by more than its spread; one that is equal and judged otherwise does."""
    figure, values = key[-1], [row["observed"] for row in rows]
    if values[0] == values[1]:
        return "unknown" not in (row["outcome"] for row in rows)
    if figure.endswith("_percent"):
        if not limits.losses:
            return False
        if figure == "reordered_percent":
            return chance_of_losses(*pair.counts("reordered", "packets_left")) < CHANCE_LIMIT
        return pair.died or chance_of_runs(*pair.counts("lost", "packets_entered"), pair.lost_together) < CHANCE_LIMIT
    if limits.late_ms:
        return False
    difference_ms = abs(values[1] - values[0])
    if figure == "delay_change_15s_ms":
        was, now = (delay_changes(parts, "mean_delay_change_15s_ms") for parts in (pair.before, pair.after))
        return was is not None and now is not None and difference_ms > was.needs_ms(now, RIG_MS)
    one, other = delays(pair.before), delays(pair.after)
    ways = 2 if figure == "round_trip_ms" else 1
    return one is not None and other is not None and difference_ms > ways * one.spread_needs_ms(other, WAY_MS)
