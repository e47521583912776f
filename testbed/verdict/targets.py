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
                returning = _returning(stream, part, target.path, streams)
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


def _returning(stream: Document, part: Document, path: str, streams: Sequence[Document]) -> Document | None:
    """Return the way back: that of the same media between the same ends, by the same links where there is one.

    Where routes are asymmetric that is the part which ends where *part* begins, or begins where it ends. Other media by
    the same links are taken where none of the same came back.
    """

    def fitness(other: Document, back: Document) -> tuple[bool, ...]:
        is_media, is_back = other["media"] == stream["media"], back["links"] == part["links"][::-1]
        is_answer = is_media and (other["from"], other["to"]) == (stream["to"], stream["from"])
        meets = back["to"] == part["from"] or back["from"] == part["to"]
        return is_answer and is_back, is_answer and meets, is_media and is_back, is_back

    found = [(fitness(other, back), back) for other in streams if other is not stream for back in _parts(other, path)]
    best, back = max(found, key=lambda each: each[0], default=((False,), None))
    return back if any(best) else None


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
        return "unknown", f"the rig was not to be trusted: {trust.late[0]}"
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
        return _Observed(None, None, "no stream came back by the same links or to the same end")
    there, back = _one_way(part, None), _one_way(returning, None)
    packets = min(there.packets or 0, back.packets or 0)
    if there.value is None or back.value is None:
        return _Observed(None, packets, there.note if there.value is None else back.note)
    by = "" if returning["links"] == part["links"][::-1] else " by other links"
    return _Observed(there.value + back.value, packets, f"p90 there and p90 back{by}, added")


def _window(name: str) -> Callable[[Document, Document | None], _Observed]:
    def observe(part: Document, returning: Document | None) -> _Observed:
        worst, packets = part.get(name), part.get("packets_entered")
        if worst is None and packets and part["lost"] == packets:  # so it is in a window of whatever length
            return _Observed(100.0, packets, f"all {packets} packets were lost")
        if worst is None:
            return _Observed(None, packets, _missing(part, name))
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
