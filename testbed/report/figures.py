"""quality.json as the page shows it: a row per judged part of a path, a table per stream, the timings."""

from dataclasses import dataclass
from typing import Any, Final

from testbed.report.record import Document

FIGURES: Final = {
    "one_way_delay_ms": ("One-way delay, p90", "ms"),
    "round_trip_ms": ("Round trip", "ms"),
    "burst_loss_200ms_percent": ("Loss, worst 200 ms", "%"),
    "loss_15s_percent": ("Loss, worst 15 s", "%"),
    "delay_change_15s_ms": ("Delay change, worst 15 s", "ms"),
    "reordered_percent": ("Reordered", "%"),
}
MARKS: Final = {"met": "✓", "missed": "✕", "unknown": "?"}
TIMINGS: Final = {
    "registration_ms": "Registration",
    "post_dial_delay_ms": "Post-dial delay",
    "setup_ms": "Setup",
    "bye_ms": "BYE",
    "turn_allocate_ms": "TURN allocation",
    "ice_first_valid_pair_ms": "ICE, first valid pair",
    "ice_selected_pair_ms": "ICE, selected pair",
}

_ASSESSED: Final = ("From", "To", "Media")
"Columns of the assessment that come first: which stream it is."


@dataclass(frozen=True, slots=True)
class TargetCell:
    """One figure of a part of a path, against its limit."""

    observed: str
    limit: str
    outcome: str
    mark: str
    reason: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """All figures of one part of one stream's path."""

    target: str
    way: str
    stream: str
    cells: tuple[TargetCell | None, ...]
    "In the order of FIGURES; None where the target has no such limit."


@dataclass(frozen=True, slots=True)
class StretchRow:
    """Figures of a part of a stream's path, as words."""

    what: str
    name: str
    problem: str | None
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream and its parts."""

    title: str
    note: str | None
    losses: tuple[str, ...]
    quality: str
    rows: tuple[StretchRow, ...]
    unmeasured: int
    "Links on which there is nothing to measure."


@dataclass(frozen=True, slots=True)
class QualityView:
    """The figures of a scenario."""

    untrusted: tuple[str, ...]
    "Why they are not to be believed; empty where they are."
    columns: tuple[str, ...]
    targets: tuple[TargetRow, ...]
    limits: tuple[dict[str, Any], ...]
    "Of each target: name, path, figure and limit, once."
    streams: tuple[StreamView, ...]
    timing_names: tuple[str, ...]
    timings: tuple[tuple[str, tuple[str, ...]], ...]
    round_trips: tuple[tuple[str, str, str], ...]
    "Agent, its peer, and the round trip that it says, in ms."
    assessment: tuple[dict[str, str], ...]
    "Each stream in the columns of Microsoft's Network Assessment Tool."


STRETCH_COLUMNS: Final = (
    "Packets",
    "Lost",
    "Delay median / p95, ms",
    "PDV p95, ms",
    "Interarrival jitter, ms",
    "Mean delay change, ms",
    "Reordered",
    "Worst 200 ms",
)


def quality_view(quality: Document | None) -> QualityView | None:
    """Arrange quality.json; None where there is none."""
    if not quality or "streams" not in quality:
        return None
    trusted = quality["trusted"]
    return QualityView(
        untrusted=() if trusted["timing"] and trusted["complete"] else tuple(trusted["reasons"]),
        columns=tuple(title for title, _ in FIGURES.values()),
        targets=_target_rows(quality["targets"]),
        limits=_limits(quality["targets"]),
        streams=tuple(_stream(stream) for stream in quality["streams"]),
        timing_names=tuple(TIMINGS.values()),
        timings=tuple((told["party"], tuple(_ms(told.get(name)) for name in TIMINGS)) for told in quality["timings"]),
        round_trips=tuple(
            (told["agent"] or "not told", told["peer"] or "not told", _ms(told["rtt_ms"]))
            for told in quality["rtt_told_by_agents"] or ()
        ),
        assessment=tuple(
            {name: _plain(row[name]) for name in (*_ASSESSED, *(name for name in row if name not in _ASSESSED))}
            for row in quality["assessment"]
        ),
    )


def _plain(value: str | float | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "not measured" if value is None else str(value)


def _limits(judged: list[Document]) -> tuple[dict[str, Any], ...]:
    told = dict.fromkeys((one["target"], one["path"], one["figure"], one["limit"]) for one in judged)
    return tuple({"name": name, "path": path, "figure": figure, "limit": limit} for name, path, figure, limit in told)


def _target_rows(judged: list[Document]) -> tuple[TargetRow, ...]:
    rows: dict[tuple[Any, ...], dict[str, TargetCell]] = {}
    for one in judged:
        key = one["target"], one["from"], one["to"], one["stream"]["from"], one["stream"]["to"], one["stream"]["ssrc"]
        rows.setdefault(key, {})[one["figure"]] = target_cell(one)
    return tuple(
        TargetRow(
            key[0],
            f"{key[1]} → {key[2]}",
            f"{key[3]} → {key[4] or 'nowhere'}",
            tuple(cells.get(name) for name in FIGURES),
        )
        for key, cells in rows.items()
    )


def target_cell(judged: Document) -> TargetCell:
    """Arrange one of quality.json's `targets`."""
    unit, outcome = FIGURES[judged["figure"]][1], judged["outcome"]
    observed = "not measured" if judged["observed"] is None else f"{judged['observed']:.3g}\N{NO-BREAK SPACE}{unit}"
    limit = f"{judged['limit']:g}\N{NO-BREAK SPACE}{unit}"
    return TargetCell(observed, limit, outcome, MARKS[outcome], judged["reason"])


def _stream(stream: Document) -> StreamView:
    parts = [] if stream["end_to_end"] is None else [{"what": "end to end", "name": "", **stream["end_to_end"]}]
    parts += [part for part in stream["stretches"] if part["what"] != "path"]
    nothing = "not shaped"
    shown = [part for part in parts if not (part["what"] == "link" and (part["problem"] or "").startswith(nothing))]
    end_to_end = stream["end_to_end"] or {}
    lost = sum(place["packets"] for place in stream["lost_where"])
    dead = ": nothing arrived" if stream["end_to_end"] and not stream["ways"] else ""
    return StreamView(
        title=f"{stream['from']} → {stream['to'] or 'nowhere'}, SSRC {stream['ssrc']:#010x}{dead}",
        note=stream.get("note"),
        losses=tuple(
            f"{place['packets']} of {lost} lost packets died {_place(place)}" for place in stream["lost_where"]
        ),
        quality=_quality(end_to_end),
        rows=tuple(
            StretchRow(part["what"], part["name"], part["problem"], () if part["problem"] else _cells(part))
            for part in shown
        ),
        unmeasured=len(parts) - len(shown),
    )


def _place(place: Document) -> str:
    if place["firewall"]:
        return f"at {place['where']}"
    return f"on {place['where']}" if place["links"] else str(place["where"])


def _quality(end_to_end: Document) -> str:
    if end_to_end.get("mos") is None:
        return f"MOS: not measured ({(end_to_end.get('missing') or {}).get('r', 'nothing arrived')})"
    return f"MOS {end_to_end['mos']:.2f} (R {end_to_end['r']:.1f}), estimated by the E-model"


def _cells(part: Document) -> tuple[str, ...]:
    delay, burst = part["one_way_delay_ms"] or {}, part["burst_loss_200ms"]
    worst = f"{burst['lost']} of {burst['packets']}" if burst else "not measured"
    return (
        f"{part['packets_entered']:,}",
        f"{part['lost']:,}",
        f"{_ms(delay.get('median'))} / {_ms(delay.get('p95'))}",
        _ms((part["pdv_ms"] or {}).get("p95")),
        _ms((part["interarrival_jitter_ms"] or {}).get("mean")),
        _ms(part["mean_delay_change_ms"]),
        f"{part['reordered']:,}",
        worst,
    )


def _ms(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
