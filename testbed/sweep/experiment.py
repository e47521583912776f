"""What a sweep's table shows: a plot, and one sentence whose numbers are computed from the table, never written down.

A sweep's file may say `[plot]` and `[result]` (results/README.md, section Sweeps). The sentence may come with `holds`,
comparisons of its numbers: where one is false the sentence says that the claim does not hold.
"""

import json
import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.errors import UsageError
from testbed.report.charts import SCHEMA
from testbed.sweep.claims import Number, Plot, Result
from testbed.sweep.model import Sweep, cells
from testbed.sweep.table import done_rows
from testbed.units import parse_duration_ns, parse_ratio

Row = Mapping[str, Any]
_RELATIONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_SUMMARIES: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "median": statistics.median, "mean": statistics.fmean, "sum": math.fsum, "least": min, "greatest": max,
}  # fmt: skip
_COLOURS: Final = ("#2563a8", "#c2571a", "#3a7d44", "#7a4ea3", "#8a6d1b", "#5b6470")
_INK: Final = "#333a42"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of an experiment."""

    sentence: str
    holds: bool | None
    "None where a number is missing."
    values: Mapping[str, float | None]


def number_of(value: object) -> float | None:
    """Return a cell of the table as a number: quantities in ms or %, truth as 1 or 0; None where it is none."""
    if isinstance(value, bool | int | float):
        return None if isinstance(value, float) and math.isnan(value) else float(value)
    for parse, scale in ((parse_duration_ns, 1e-6), (parse_ratio, 100.0)):
        try:
            return parse(value) * scale
        except ValueError:
            continue
    return None


def conclude(result: Result, rows: Sequence[Row]) -> Outcome:
    """Fill in the sentence. Raises UsageError for a column that the table lacks."""
    values = {name: _summed_up(name, number, rows) for name, number in result.values.items()}
    missing = [name for name, value in values.items() if value is None]
    if missing:
        return Outcome(f"Cannot tell: no row of the table gives {', '.join(missing)}.", None, values)
    known = {name: value for name, value in values.items() if value is not None}
    holds = all(_RELATIONS[sign](known[left], _side(right, known)) for left, sign, right in result.holds)
    sentence = result.sentence.format(**known)
    return Outcome(sentence if holds else f"The claim does not hold here: {sentence}", holds, values)


def _side(side: str | float, known: Mapping[str, float]) -> float:
    return known[side] if isinstance(side, str) else side


def _summed_up(name: str, number: Number, rows: Sequence[Row]) -> float | None:
    columns = {column for row in rows for column in row}
    for column in (number.column, *number.where):
        if rows and column not in columns:
            raise UsageError(f"result.values.{name}: no column {column!r}; there are {', '.join(sorted(columns))}")
    chosen = [row for row in rows if all(row.get(column) == wanted for column, wanted in number.where.items())]
    numbers = [found for row in chosen if (found := number_of(row.get(number.column))) is not None]
    return _SUMMARIES[number.of](numbers) if numbers else None


def chart(plot: Plot, rows: Sequence[Row], title: str) -> dict[str, Any]:
    """Return the plot as a Vega-Lite specification with its data."""
    names = list(dict.fromkeys(str(row.get(plot.x)) for row in rows))
    numbers = [number_of(row.get(plot.x)) for row in rows]
    is_scale = all(number is not None for number in numbers)
    points = [
        {"x": number if is_scale else str(row.get(plot.x)), "y": value, "series": str(row.get(plot.series or "", ""))}
        for row, number in zip(rows, numbers, strict=True)
        if (value := number_of(row.get(plot.y))) is not None
    ]
    x: dict[str, Any] = {"field": "x", "title": plot.x_title, "type": "quantitative" if is_scale else "nominal"}
    if not is_scale:
        x |= {"sort": names, "axis": {"labelAngle": 0, "labelLimit": 220}}
    y: dict[str, Any] = {"field": "y", "type": "quantitative", "title": plot.y_title, "scale": {"zero": True}}
    series = list(dict.fromkeys(str(row.get(plot.series or "", "")) for row in rows))
    colour = {
        "field": "series",
        "type": "nominal",
        "sort": series,
        "scale": {"domain": series, "range": list(_COLOURS)},
        "legend": {"title": None, "orient": "bottom"} if plot.series else None,
    }
    median = {"type": "line", "strokeWidth": 2} if is_scale else {"type": "tick", "thickness": 3, "width": 46}
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "anchor": "start", "color": _INK},
        "width": 560,
        "height": 280,
        "background": "#ffffff",
        "data": {"values": points},
        "config": {"view": {"stroke": None}, "axis": {"labelColor": _INK, "titleColor": _INK, "gridColor": "#e3e6ea"}},
        "encoding": {"x": x, "y": y, "color": colour},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "opacity": 0.65, "size": 45},
                "encoding": {"shape": {**colour, "scale": {"domain": series}}},
            },
            {"mark": median, "encoding": {"y": {**y, "aggregate": "median"}}},
        ],
    }


def write_plot(plot: Plot, rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw the plot into an SVG file."""
    import vl_convert  # 80 MB, for a sweep with a plot alone

    files.write_text(path, vl_convert.vegalite_to_svg(json.dumps(chart(plot, rows, title))))


def conclude_sweep(sweep: Sweep, folder: Path) -> Outcome | None:
    """Write plot.svg and result.json of an experiment whose cells are done; return its outcome, None where it has none.

    Raises UsageError for a column that the table lacks, OSError.
    """
    rows = done_rows(list(cells(sweep)), folder)
    if sweep.plot is not None:
        write_plot(sweep.plot, rows, sweep.title, folder / "plot.svg")
    if sweep.result is None:
        return None
    outcome = conclude(sweep.result, rows)
    write_outcome(outcome, folder / "result.json")
    return outcome


def late_runs(sweep: Sweep, folder: Path) -> tuple[int, int]:
    """Return how many runs were on a machine too busy for their times to be trusted, and how many there are."""
    trusted = {row["run"]: row["timing_trusted"] for row in done_rows(list(cells(sweep)), folder)}
    return sum(not each for each in trusted.values()), len(trusted)


def write_outcome(outcome: Outcome, path: Path) -> None:
    """Write sentence and numbers as JSON."""
    content = {"format": 1, "sentence": outcome.sentence, "holds": outcome.holds, "values": dict(outcome.values)}
    files.write_json(path, content)
