"""Hold two results directories against each other, by their verdict.json, quality.json and manifest.json."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

from testbed.comparison.figures import Limits, Pair, delays, media_figures, outages, pairs
from testbed.comparison.model import Changed, Comparison, ScenarioComparison
from testbed.comparison.sides import WHEN, Side, read_sides
from testbed.comparison.targets import target_changes
from testbed.comparison.timings import silence_figures, timing_changes, timing_figures, timing_needs
from testbed.comparison.told import (
    CHOICE,
    check_changes,
    configured_changes,
    leg_changes,
    link_changes,
    principle_changes,
    relay_changes,
    stream_changes,
    verdict_changes,
)

_CONFIGURED: Final = ("in_force", "topology", "targets", "seed")


def compare_runs(before: Path, after: Path) -> Comparison:
    """Compare two runs' directories, or two scenarios'. Raise UsageError for a directory that is neither."""
    one, other = read_sides(before, after)
    return Comparison(
        before=str(before),
        after=str(after),
        scenarios=tuple(_compare(name, one[name], other[name]) for name in one if name in other),
        only_before=tuple(name for name in one if name not in other),
        only_after=tuple(name for name in other if name not in one),
    )


def _compare(name: str, one: Side, other: Side) -> ScenarioComparison:
    found = ScenarioComparison(name)
    if broken := [when for when, side in zip(WHEN, (one, other), strict=True) if side.verdict["verdict"] == "ERROR"]:
        found.told += verdict_changes(one, other)
        found.not_compared.append(f"nothing else is compared: the rig broke in the run {' and '.join(broken)}")
        return found
    _sort(found, chain(verdict_changes(one, other), leg_changes(one, other), check_changes(one, other)))
    chosen = any(note.endswith(CHOICE) for note in found.notes)
    _sort(found, () if chosen else relay_changes(one, other))
    configured = ({key: side.manifest.get(key) for key in _CONFIGURED} for side in (one, other))
    found.configured += configured_changes("", *configured)
    if one.quality is None or other.quality is None:
        found.not_compared.append("figures are not compared: one of the two has none")
        _sort(found, principle_changes(one, other))
        return found
    limits = _limits(found, one, other)
    ways = " ".join(f"{change.before} {change.after}" for change in found.told if change.kind == "leg")
    _sort(found, stream_changes(one, other))
    _sort(found, target_changes(one.quality, other.quality, limits))
    _sort(found, principle_changes(one, other))
    _sort(found, () if chosen else link_changes(one, other, ways))
    _compare_figures(found, one, other, limits)
    return found


def _sort(found: ScenarioComparison, changes: Iterable[Changed | str]) -> None:
    for change in changes:
        if isinstance(change, Changed):
            found.told.append(change)
        else:
            found.notes.append(change)


def _limits(found: ScenarioComparison, one: Side, other: Side) -> Limits:
    """Return what may be compared, and note what may not."""
    late_ms = 0.0
    if slow := [when for when, side in zip(WHEN, (one, other), strict=True) if not side.timing]:
        late_ms = max(1.0, one.late_ms, other.late_ms)
        found.not_compared.append(
            f"the rig was too slow in the run {' and '.join(slow)}: median delays count from {late_ms:.3g} ms on; "
            "spreads, jitter, MOS, timings and targets of delay are not compared"
        )
    gaps = [when for when, side in zip(WHEN, (one, other), strict=True) if not side.complete]
    if gaps:
        found.not_compared.append(
            "losses, reordering, MOS and targets of them are not compared: the capture is incomplete in the run "
            + " and ".join(gaps)
        )
    return Limits(late_ms, losses=not gaps)


def _compare_figures(found: ScenarioComparison, one: Side, other: Side, limits: Limits) -> None:
    assert one.quality is not None and other.quality is not None
    robustness = one.quality["e_model"]["loss_robustness"]
    compared = list(pairs(one.quality, other.quality))
    if any(note.endswith(CHOICE) for note in found.notes) and (elsewhere := [p for p in compared if p.took_other_ways]):
        found.not_compared.append(
            f"{', '.join(pair.words for pair in elsewhere)}: not compared, as ICE chose other ways"
        )
        compared = [pair for pair in compared if not pair.took_other_ways]
    figures = [figure for pair in compared for figure in media_figures(pair, limits, robustness)]
    if limits.losses:
        found.notes += chain.from_iterable(outages(pair) for pair in compared)
    waits = list(silence_figures(one.verdict, other.verdict))
    if not limits.late_ms:
        whole = [pair for pair in compared if pair.place[0] == "end to end"]
        spreads = [told for pair in whole for parts in (pair.before, pair.after) if (told := delays(parts)) is not None]
        needed = timing_needs(one, other, spreads, max((_share_lost(pair) for pair in whole), default=0.0))
        if needed is None:
            found.not_compared.append(
                "timings are not compared: lost packets, or an unknown load, make them what they are"
            )
        else:
            waits += timing_figures(one.quality, other.quality, needed)
            found.told += timing_changes(one.quality, other.quality)
    found.figures += [figure for figure in figures if figure.what == "end to end"]
    found.figures += waits
    found.figures += [figure for figure in figures if figure.what == "link"]


def _share_lost(pair: Pair) -> float:
    """Return the greater share of packets lost, an outage counted once."""
    lost, packets = pair.counts("lost", "packets_entered")
    return max(some / pair.lost_together / of if of else 0.0 for some, of in zip(lost, packets, strict=True))
