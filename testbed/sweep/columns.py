"""The columns of a sweep's table: what there are, and what a run's files give for them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from testbed.units import parse_duration_ns, parse_ratio

Kind = Literal["text", "truth", "count", "number"]
Row = Mapping[str, Any]
Json = dict[str, Any]
TYPES: Final[dict[Kind, tuple[type, ...]]] = {
    "text": (str,), "truth": (bool,), "count": (int,), "number": (float, int),
}  # fmt: skip
WORDS: Final[dict[Kind, str]] = {
    "text": "text", "truth": "true or false", "count": "a number", "number": "a number",
}  # fmt: skip
LABELS: Final[dict[str, Kind]] = {"seed": "count", "scenario": "text", "run": "text"}
"Given to rows when the table is made, beside what the sweep varies."
FIGURES: Final[dict[str, Kind]] = {
    "verdict": "text",
    "reason": "text",
    "timing_trusted": "truth",
    "capture_complete": "truth",
    "signed_in": "number",
    "failure": "text",
    "registration_ms": "number",
    "called": "truth",
    "setup_ms": "number",
    "stalls": "count",
    "played_s": "number",
    "sender": "text",
    "receiver": "text",
    "packets": "count",
    "lost": "count",
    "loss_ratio": "number",
    "loss_percent": "number",
    "one_way_delay_ms_median": "number",
    "one_way_delay_ms_p90": "number",
    "one_way_delay_ms_p99": "number",
    "mean_delay_change_ms": "number",
    "interarrival_jitter_ms_mean": "number",
    "r": "number",
    "mos": "number",
}
"What a run gives, each also null."


def _plain(value: object) -> object:
    if not isinstance(value, str | bool | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("must be text, a number, or true or false")
    return value


Value = Annotated[str | bool | int | float, BeforeValidator(_plain)]
"What a sweep's file may vary, and look for in a column."


@dataclass(frozen=True, slots=True)
class Column:
    """What stands in a column of the table."""

    kind: Kind
    values: tuple[Value, ...] | None = None
    "Nothing else than these, where the sweep's file names them."

    @property
    def gives_numbers(self) -> bool:
        """Return whether any of it can be a number: `number_of` takes quantities, too."""
        named = self.values is not None and any(number_of(value) is not None for value in self.values)
        return self.kind != "text" or named


def kind_of(values: Sequence[Value]) -> Kind:
    """Return the kind that all *values* have. Raises ValueError where they have several."""
    for kind, types in TYPES.items():
        if all(type(value) in types for value in values):
            return kind
    raise ValueError("values of several kinds: a column has all text, all numbers, or all true and false")


def number_of(value: object) -> float | None:
    """Return what stands in the table as a number: quantities in ms or %, truth as 1 or 0; None where it is none."""
    if isinstance(value, bool | int | float):
        return None if isinstance(value, float) and math.isnan(value) else float(value)
    for parse, scale in ((parse_duration_ns, 1e-6), (parse_ratio, 100.0)):
        try:
            return parse(value) * scale
        except ValueError:
            continue
    return None


def are_figures(row: Row) -> bool:
    """Return whether *row* has every column of FIGURES, and in each what it may have."""
    return row.keys() == FIGURES.keys() and all(
        row[name] is None or type(row[name]) in TYPES[kind] for name, kind in FIGURES.items()
    )


def read_figures(place: Path) -> list[Json]:
    """Return what the run of one scenario gives: a row a media stream, or a single one where there was no media.

    *place* is the scenario's directory. Raises OSError.
    """
    verdict = json.loads((place / "verdict.json").read_text(encoding="utf-8"))
    quality = json.loads((place / "quality.json").read_text(encoding="utf-8"))
    common = {
        "verdict": verdict["verdict"],
        "reason": verdict["reason"],
        "timing_trusted": quality["trusted"]["timing"],
        "capture_complete": quality["trusted"]["complete"],
        **_of_parties(verdict, quality),
    }
    return [{**common, **_of_stream(stream)} for stream in quality["streams"] or [{}]]


def _of_parties(verdict: Json, quality: Json) -> Json:
    """Return how far the parties came: what holds for a cell as a whole."""
    seen = {check["check"]: check["observed"] for check in verdict.get("checks", [])}
    told = list((seen.get("signed-in") or {}).values())
    players = [player for each in (seen.get("playing") or {}).values() for player in each]
    times: dict[str, list[float]] = {
        name: [each[name] for each in quality.get("timings", []) if each.get(name) is not None]
        for name in ("registration_ms", "setup_ms")
    }
    return {
        "signed_in": sum(each == "ready" for each in told) / len(told) if told else None,
        "failure": next((each for each in told if each not in (None, "ready")), None),
        "registration_ms": max(times["registration_ms"], default=None),
        "called": bool(times["setup_ms"]),
        "setup_ms": max(times["setup_ms"], default=None),
        "stalls": sum(player.get("stalls") or 0 for player in players) if players else None,
        "played_s": min((player.get("played_s") or 0.0 for player in players), default=None),
    }


def _of_stream(stream: Json) -> Json:
    whole = stream.get("end_to_end") or {}
    delay, jitter = whole.get("one_way_delay_ms") or {}, whole.get("interarrival_jitter_ms") or {}
    return {
        "sender": stream.get("from"),
        "receiver": stream.get("to"),
        "packets": whole.get("packets_entered"),
        "lost": whole.get("lost"),
        "loss_ratio": whole.get("loss_ratio"),
        "loss_percent": None if whole.get("loss_ratio") is None else whole["loss_ratio"] * 100,
        "one_way_delay_ms_median": delay.get("median"),
        "one_way_delay_ms_p90": delay.get("p90"),
        "one_way_delay_ms_p99": delay.get("p99"),
        "mean_delay_change_ms": whole.get("mean_delay_change_ms"),
        "interarrival_jitter_ms_mean": jitter.get("mean"),
        "r": whole.get("r"),
        "mos": whole.get("mos"),
    }
