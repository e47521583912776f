"""Judges a run's figures by targets: below the limit is met, anything else missed; what was not told is unknown."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from testbed.targets import Target

Document = dict[str, Any]
Outcome = Literal["met", "missed", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What of the figures may be believed."""

    late: Sequence[str]
    "Why nothing that depends on time may be; empty where it may."
    incomplete: Mapping[str, str]
    "Links whose capture may have missed packets, and why."


@dataclass(frozen=True, slots=True)
class _Observed:
    value: float | None
    packets: int | None
    note: str
    "What the value rests on, or why there is none."


def judge_targets(targets: Sequence[Target], streams: Sequence[Document], trust: Trust) -> list[Document]:
    """Return a row per target, part of a stream's path, and figure."""
    rows = []
    for target in targets:
        for stream in streams:
            for part in _parts(stream, target.path):
                returning = _returning(part, target.path, streams)
                rows += [
                    _judge(target, stream, part, figure, limit, FIGURES[figure](part, returning), trust)
                    for figure, limit in target.limits.model_dump(exclude_none=True).items()
                ]
    return rows


def count_outcomes(rows: Sequence[Document]) -> dict[Outcome, int]:
    """Return how many of *rows* had each outcome."""
    outcomes: tuple[Outcome, ...] = ("met", "missed", "unknown")
    return {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in outcomes}


def _parts(stream: Document, path: str) -> Iterator[Document]:
    if path == "end to end":
        if stream["end_to_end"] is not None:
            yield stream["end_to_end"]
        return
    yield from (part for part in stream["stretches"] if part["what"] in ("path", "segment") and part["name"] == path)


def _returning(part: Document, path: str, streams: Sequence[Document]) -> Document | None:
    """Return the same links' figures in the other direction."""
    back = part["links"][::-1]
    return next((other for stream in streams for other in _parts(stream, path) if other["links"] == back), None)


def _judge(
    target: Target, stream: Document, part: Document, figure: str, limit: float, observed: _Observed, trust: Trust
) -> Document:
    outcome, reason = _outcome(figure, limit, observed, part, trust)
    return {
        "target": target.name,
        "path": target.path,
        "from": part["from"],
        "to": part["to"],
        "stream": {"ssrc": stream["ssrc"], "from": stream["from"], "to": stream["to"]},
        "figure": figure,
        "limit": limit,
        "observed": observed.value,
        "packets": observed.packets,
        "outcome": outcome,
        "reason": reason,
    }


def _outcome(figure: str, limit: float, observed: _Observed, part: Document, trust: Trust) -> tuple[Outcome, str]:
    if observed.value is None:
        return "unknown", observed.note
    if trust.late:
        return "unknown", f"the rig was too slow: {trust.late[0]}"
    if gaps := [f"capture of {link} {trust.incomplete[link]}" for link in part["links"] if link in trust.incomplete]:
        return "unknown", gaps[0]
    if observed.value >= limit:
        return "missed", observed.note
    # None of n reordered says less than one in n: that has to be below the limit too.
    if figure == "reordered_percent" and not observed.value and observed.packets and 100 / observed.packets >= limit:
        return "unknown", f"none of {observed.packets} packets; below {limit:g} % takes more than {100 / limit:,.0f}"
    return "met", observed.note


def _missing(part: Document, name: str) -> str:
    return str(part.get("problem") or (part.get("missing") or {}).get(name) or "not measured")


def _one_way(part: Document, returning: Document | None) -> _Observed:
    delay = (part.get("one_way_delay_ms") or {}).get("p90")
    packets = part.get("packets_left")
    if delay is None:
        missing = part.get("missing") or {}
        name = "one_way_delay_ms.p90" if "one_way_delay_ms.p90" in missing else "one_way_delay_ms"
        return _Observed(None, packets, _missing(part, name))
    return _Observed(delay, packets, f"p90 of {packets} packets")


def _round_trip(part: Document, returning: Document | None) -> _Observed:
    if returning is None:
        return _Observed(None, None, "no stream came back by the same links")
    there, back = _one_way(part, None), _one_way(returning, None)
    packets = min(there.packets or 0, back.packets or 0)
    if there.value is None or back.value is None:
        return _Observed(None, packets, there.note if there.value is None else back.note)
    return _Observed(there.value + back.value, packets, "p90 there and p90 back, added")


def _window(name: str) -> Callable[[Document, Document | None], _Observed]:
    def observe(part: Document, returning: Document | None) -> _Observed:
        worst = part.get(name)
        if worst is None:
            return _Observed(None, part.get("packets_entered"), _missing(part, name))
        note = f"{worst['lost']} of {worst['packets']} packets, the worst of {worst['windows']} windows"
        return _Observed(100 * worst["ratio"], worst["packets"], note)

    return observe


def _delay_change(part: Document, returning: Document | None) -> _Observed:
    name, packets = "mean_delay_change_15s_ms", part.get("packets_left")
    value = part.get(name)
    return _Observed(value, packets, _missing(part, name) if value is None else "the worst 15 s")


def _reordered(part: Document, returning: Document | None) -> _Observed:
    ratio, packets = part.get("reordered_ratio"), part.get("packets_left")
    if ratio is None:
        return _Observed(None, packets, _missing(part, "reordered_ratio"))
    return _Observed(100 * ratio, packets, f"{part['reordered']} of {packets} packets")


FIGURES: Final[Mapping[str, Callable[[Document, Document | None], _Observed]]] = {
    "one_way_delay_ms": _one_way,
    "round_trip_ms": _round_trip,
    "burst_loss_200ms_percent": _window("burst_loss_200ms"),
    "loss_15s_percent": _window("loss_15s"),
    "delay_change_15s_ms": _delay_change,
    "reordered_percent": _reordered,
}
