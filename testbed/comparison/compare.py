"""Hold two results directories against each other, by their verdict.json, quality.json and manifest.json."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from testbed.comparison.model import Changed, Comparison, Figure, ScenarioComparison
from testbed.comparison.spread import CHANCE_LIMIT, Delays, chance_of_losses, chance_of_runs
from testbed.errors import UsageError

Document = dict[str, Any]
Stretches = dict[tuple[str, str, str, str], list[Document]]
_CONFIGURED: Final = ("in_force", "topology", "seed")
_LEAST_PACKETS: Final = 20
"p90 and a median of fewer say nothing."


def compare_runs(before: Path, after: Path) -> Comparison:
    """Compare two runs' directories, or two scenarios'. Raise UsageError for a directory that is neither."""
    one, other = _scenarios(before), _scenarios(after)
    if "" in one or "" in other:  # a single scenario's directory: whatever it is called
        one, other = ({_document(place / "manifest.json")["scenario"]: place} for place in (before, after))
    both = [name for name in one if name in other]
    return Comparison(
        before=str(before),
        after=str(after),
        scenarios=tuple(_compare(name, one[name], other[name]) for name in both),
        only_before=tuple(name for name in one if name not in other),
        only_after=tuple(name for name in other if name not in one),
    )


def _scenarios(directory: Path) -> dict[str, Path]:
    """Return the directory of each scenario by its name in the run; of a single scenario's, by an empty one."""
    if (directory / "manifest.json").exists():
        return {"": directory}
    if not (directory / "run.json").exists():
        raise UsageError(f"{directory}: not a results directory: it has neither run.json nor manifest.json")
    entries = _document(directory / "run.json")["scenarios"]
    return {entry.get("name") or entry["scenario"]: directory / entry["directory"] for entry in entries}


def _document(path: Path) -> Document:
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; `testbed analyse` writes it anew") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    return document


def _compare(name: str, before: Path, after: Path) -> ScenarioComparison:
    found = ScenarioComparison(name)
    verdicts = _document(before / "verdict.json"), _document(after / "verdict.json")
    found.told += _verdict_changes(*verdicts)
    _compare_legs(found, *verdicts)
    manifests = [_document(place / "manifest.json") for place in (before, after)]
    found.configured += _differences("", *({key: one.get(key) for key in _CONFIGURED} for one in manifests))
    if not all((place / "quality.json").exists() for place in (before, after)):
        found.notes.append("figures are not compared: one of the two has none")
        return found
    qualities = _document(before / "quality.json"), _document(after / "quality.json")
    untrusted = [when for when, one in zip(("before", "after"), qualities, strict=True) if not one["trusted"]["timing"]]
    late_ms = max(_lateness_ms(one) for one in verdicts) if untrusted else 0.0
    if untrusted:
        slow = f"the rig was too slow in the run {' and '.join(untrusted)}"
        found.notes.append(f"{slow}: median delays count from {late_ms:.3g} ms on, and spreads are not compared")
    incomplete = [w for w, one in zip(("before", "after"), qualities, strict=True) if not one["trusted"]["complete"]]
    if incomplete:
        found.notes.append(f"losses are not compared: the capture is incomplete in the run {' and '.join(incomplete)}")
    stretches = _stretches(qualities[0]), _stretches(qualities[1])
    for key in (key for key in stretches[0] if key in stretches[1]):
        parts = stretches[0][key], stretches[1][key]
        found.figures += _delay_figures(key, *parts, late_ms)
        if not incomplete:
            found.figures += _loss_figures(key, *parts)
            found.notes += _outages(key, *parts)
    return found


def _lateness_ms(verdict: Document) -> float:
    """Return how late the wire sent a frame at p99: no median delay is off by more."""
    wire = (verdict.get("health") or {}).get("wire") or {}
    return float((wire.get("lateness_ns") or {}).get("p99") or 0) / 1e6


def _verdict_changes(before: Document, after: Document) -> Iterator[Changed]:
    if before["verdict"] != after["verdict"]:
        words = [f"{one['verdict']} ({one['reason']})" for one in (before, after)]
        yield Changed("verdict", *words)


def _compare_legs(found: ScenarioComparison, before: Document, after: Document) -> None:
    legs = [{(leg["flow"], leg["from"], leg["to"]): leg for leg in one.get("legs") or ()} for one in (before, after)]
    for key in (key for key in legs[0] if key in legs[1]):
        one, other = legs[0][key], legs[1][key]
        name = "{} {} -> {}".format(*key)
        for field in ("verdict", "disposition"):
            if one[field] != other[field]:
                found.told.append(Changed(f"{name}: {field}", str(one[field]), str(other[field])))
        ways = [(leg["observed"]["forward"], leg["observed"]["return"]) for leg in (one, other)]
        if ways[0] == ways[1]:
            continue
        if _may_differ(one) and _may_differ(other):
            found.notes.append(f"{name}: took another of the ways that are predicted for it; ICE chooses")
            continue
        for way, number in (("way there", 0), ("way back", 1)):
            if ways[0][number] != ways[1][number]:
                words = [" ".join(each[number]) or "nothing seen" for each in ways]
                found.told.append(Changed(f"{name}: {way}", *words))


def _may_differ(leg: Document) -> bool:
    predicted = leg.get("predicted") or {}
    return predicted.get("agrees") is True and (predicted.get("alternatives") or 1) > 1


def _differences(key: str, before: Any, after: Any) -> Iterator[Changed]:
    """Yield the dotted keys at which two documents differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            yield from _differences(f"{key}.{name}" if key else name, before.get(name), after.get(name))
    elif before != after:
        yield Changed(key, _in_short(before), _in_short(after))


def _in_short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _stretches(quality: Document) -> Stretches:
    """Return what was measured link by link and end to end, all streams of the same ends together."""
    found: Stretches = defaultdict(list)
    for stream in quality["streams"]:
        if whole := stream["end_to_end"]:
            found["end to end", "end to end", stream["from"], stream["to"]].append(whole)
        for part in stream["stretches"]:
            if part["what"] == "link" and part["problem"] is None:
                found["link", part["name"], part["from"], part["to"]].append(part)
    return found


def _delays(parts: list[Document]) -> Delays | None:
    known = [
        Delays(part["packets_left"], told["median"], told["p90"] - told["median"])
        for part in parts
        if (told := part.get("one_way_delay_ms")) and told["p90"] is not None
    ]
    whole = Delays.of(known) if known else None
    return whole if whole is not None and whole.packets >= _LEAST_PACKETS else None


def _delay_figures(
    key: tuple[str, str, str, str], before: list[Document], after: list[Document], late_ms: float
) -> Iterator[Figure]:
    one, other = _delays(before), _delays(after)
    if one is None or other is None:
        return
    needed = max(late_ms, one.median_needs_ms(other))
    different = abs(other.median_ms - one.median_ms) > needed
    yield Figure(*key, "median delay", "ms", one.median_ms, other.median_ms, needed, None, different)
    if not late_ms:
        needed = one.spread_needs_ms(other)
        different = abs(other.above_ms - one.above_ms) > needed
        yield Figure(*key, "p90 less median", "ms", one.above_ms, other.above_ms, needed, None, different)


def _loss_figures(key: tuple[str, str, str, str], before: list[Document], after: list[Document]) -> Iterator[Figure]:
    lost, packets = _counts(before, after)
    if all(packets):
        chance = chance_of_runs(lost, packets, _lost_together([*before, *after]))
        shares = [100 * some / of for some, of in zip(lost, packets, strict=True)]
        died = _is_dead(lost, packets)
        yield Figure(
            *key, "lost", "%", shares[0], shares[1], None, 0.0 if died else chance, died or chance < CHANCE_LIMIT
        )


def _is_dead(lost: tuple[int, int], packets: tuple[int, int]) -> bool:
    """Whether nothing arrived in one of both runs: a stream that is dead from its first packet on is no outage."""
    return (lost[0] == packets[0]) != (lost[1] == packets[1]) and min(packets) >= _LEAST_PACKETS


def _counts(before: list[Document], after: list[Document]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return how many packets were lost, and how many there were, before and after."""
    lost, packets = (
        (sum(part.get(name) or 0 for part in before), sum(part.get(name) or 0 for part in after))
        for name in ("lost", "packets_entered")
    )
    return lost, packets


def _outages(key: tuple[str, str, str, str], before: list[Document], after: list[Document]) -> Iterator[str]:
    """Yield a note where losses differ much, but only as one outage or a few may."""
    (lost, packets), together = _counts(before, after), _lost_together([*before, *after])
    if not all(packets) or _is_dead(lost, packets) or chance_of_losses(lost, packets) >= CHANCE_LIMIT:
        return
    if chance_of_runs(lost, packets, together) >= CHANCE_LIMIT:
        what, name, sender, receiver = key
        where = f"link {name}" if what == "link" else what
        yield (
            f"{where}, {sender} -> {receiver}: {lost[0]} packets lost before and {lost[1]} after, some {together:.0f} "
            "one after the other: a few outages, which two runs do not tell from chance"
        )


def _lost_together(parts: list[Document]) -> float:
    """Return in a run of how many packets a lost one lay, on average."""
    lost = sum(part.get("lost") or 0 for part in parts)
    runs = ((part.get("loss_runs") or {}).get("weighted_mean", 1.0) * (part.get("lost") or 0) for part in parts)
    return sum(runs) / lost if lost else 1.0
