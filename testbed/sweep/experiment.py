"""What a sweep's table shows: a plot, and one sentence whose numbers are computed from the table, never written down.

A sweep's file may say `[plot]` and `[result]` (results/README.md, section Sweeps). `holds` there compares numbers:
where a comparison is false in any repeat the sentence says that the claim does not hold. Runs whose figures cannot be
trusted are in the table, and in neither of both.
"""

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.outcome import EXIT_CODES
from testbed.report.charts import SCHEMA
from testbed.sweep import Sweep, Swept
from testbed.sweep.claims import LEAST_REPEATS, Comparison, Number, Plot, Result
from testbed.sweep.columns import Row, number_of

_SUMMARIES: Final[dict[str, Callable[[Sequence[float]], float]]] = {
    "median": statistics.median, "mean": statistics.fmean, "sum": math.fsum, "least": min, "greatest": max,
}  # fmt: skip
_COLOURS: Final = ("#2563a8", "#c2571a", "#3a7d44", "#7a4ea3", "#8a6d1b", "#5b6470")
_DASHES: Final = ([1, 0], [7, 4], [2, 3], [9, 3, 2, 3], [12, 4], [4, 2])
"So that lines that lie on each other are all seen."
_INK: Final = "#333a42"
PLOT_FILE: Final = "plot.svg"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of an experiment."""

    sentence: str
    holds: bool | None
    "None where there are too few repeats to tell."
    repeats: Mapping[str, Sequence[float]]
    "Each value of the sentence, in every repeat that gives it."
    against: tuple[str, ...] = ()
    "The comparisons that are false, with the numbers."

    @property
    def values(self) -> dict[str, float | None]:
        """Return the numbers of the sentence: the medians of the repeats; None where no repeat gives one."""
        return {name: statistics.median(numbers) if numbers else None for name, numbers in self.repeats.items()}


def is_trusted(row: Row) -> bool:
    """Return whether a row's times and losses are the network's, and not the rig's."""
    return bool(row["timing_trusted"] and row["capture_complete"])


def conclude(result: Result, rows: Sequence[Row]) -> Outcome:
    """Fill in the sentence from *rows*, which are trusted."""
    repeats = {name: _in_each_repeat(number, rows) for name, number in result.values.items()}
    if few := [f"{name} has {len(numbers)}" for name, numbers in repeats.items() if len(numbers) < LEAST_REPEATS]:
        sentence = f"Cannot tell: a claim needs {LEAST_REPEATS} repeats that can be trusted, and {', '.join(few)}."
        return Outcome(sentence, None, repeats)
    against = tuple(_told(each, repeats) for each in result.holds if not _is_true(each, repeats))
    outcome = Outcome("", not against, repeats, against)
    sentence = result.sentence.format(**outcome.values)
    return replace(outcome, sentence=f"The claim does not hold here: {sentence}" if against else sentence)


def _in_each_repeat(number: Number, rows: Sequence[Row]) -> list[float]:
    """Return the number in each repeat that has it, in the order of seeds."""
    found: dict[int, list[float]] = {}
    for row in rows:
        is_asked = all(row[column] == wanted for column, wanted in number.where.items())
        if is_asked and (value := number_of(row[number.column])) is not None:
            found.setdefault(row["seed"], []).append(value)
    return [_SUMMARIES[number.of](found[seed]) for seed in sorted(found)]


def _sides(compared: Comparison, repeats: Mapping[str, Sequence[float]]) -> tuple[Sequence[float], Sequence[float]]:
    right = compared.right
    return repeats[compared.left], repeats[right] if isinstance(right, str) else [right]


def _is_true(compared: Comparison, repeats: Mapping[str, Sequence[float]]) -> bool:
    return compared.holds(*_sides(compared, repeats))


def _told(compared: Comparison, repeats: Mapping[str, Sequence[float]]) -> str:
    left, right = (", ".join(f"{number:.3g}" for number in side) for side in _sides(compared, repeats))
    return f"{compared} is not true in every repeat: {left} against {right}"


def chart(plot: Plot, rows: Sequence[Row], title: str) -> dict[str, Any]:
    """Return the plot as a Vega-Lite specification with its data."""
    names = list(dict.fromkeys(str(row.get(plot.x)) for row in rows))
    numbers = [number_of(row.get(plot.x)) for row in rows]
    is_scale = all(number is not None for number in numbers)
    points = [
        {
            "x": number if is_scale else str(row.get(plot.x)),
            "y": number_of(row.get(plot.y)),
            "series": str(row.get(plot.series or "", "")),
        }
        for row, number in zip(rows, numbers, strict=True)
    ]
    without = [point for point in points if point["y"] is None and plot.none]
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
        "title": {"text": title, "anchor": "start", "color": _INK, "offset": 12, **_legend_of_none(plot)},
        "width": 560,
        "height": 280,
        "background": "#ffffff",
        "data": {"values": [point for point in points if point["y"] is not None]},
        "config": {"view": {"stroke": None}, "axis": {"labelColor": _INK, "titleColor": _INK, "gridColor": "#e3e6ea"}},
        "encoding": {"x": x, "y": y, "color": colour},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "opacity": 0.65, "size": 45},
                "encoding": {"shape": {**colour, "scale": {"domain": series}}},
            },
            {
                "mark": median,
                "encoding": {
                    "y": {**y, "aggregate": "median"},
                    "strokeDash": {**colour, "scale": {"domain": series, "range": list(_DASHES)}},
                },
            },
            *(_crosses([x for x in without if x["series"] == one], place) for place, one in enumerate(series)),
        ],
    }


def _legend_of_none(plot: Plot) -> dict[str, Any]:
    return {"subtitle": f"\N{MULTIPLICATION SIGN} {plot.none}", "subtitleColor": _INK} if plot.none else {}


def _crosses(points: Sequence[Mapping[str, Any]], place: int) -> dict[str, Any]:
    """Return the layer of one series' rows without a number, in a line of their own at the top of the plot."""
    return {
        "data": {"values": list(points)},
        "mark": {"type": "text", "text": "\N{MULTIPLICATION SIGN}", "fontSize": 18, "fontWeight": "bold"},
        "encoding": {"y": {"value": 8 + 16 * place}},
    }


def write_plot(plot: Plot, rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw the plot into an SVG file."""
    import vl_convert  # 80 MB, for a sweep with a plot alone

    files.write_text(path, vl_convert.vegalite_to_svg(json.dumps(chart(plot, rows, title))))


def conclude_sweep(sweep: Sweep, swept: Swept, folder: Path) -> Outcome | None:
    """Write plot.svg and result.json of an experiment; return its outcome, None where it has none. Raises OSError.

    There is no plot where no trusted run has a point for it.
    """
    rows = [row for row in swept.rows if is_trusted(row)]
    if sweep.plot is not None:
        if any(number_of(row[sweep.plot.y]) is not None for row in rows):
            write_plot(sweep.plot, rows, sweep.title, folder / PLOT_FILE)
        else:
            (folder / PLOT_FILE).unlink(missing_ok=True)
    if sweep.result is None:
        return None
    outcome = conclude(sweep.result, rows)
    left, runs = left_out(swept)
    content = {
        "format": 2,
        "sentence": outcome.sentence,
        "holds": outcome.holds,
        "against": list(outcome.against),
        "values": outcome.values,
        "repeats": {name: list(numbers) for name, numbers in outcome.repeats.items()},
        "runs": {"done": runs, "left_out": left, "missing": len(swept.missing)},
    }
    files.write_json(folder / "result.json", content)
    return outcome


def left_out(swept: Swept) -> tuple[int, int]:
    """Return how many runs are used neither in the sentence nor in the plot, and how many the table has."""
    trusted = {row["run"]: is_trusted(row) for row in swept.rows}
    return sum(not each for each in trusted.values()), len(trusted)


def exit_code(swept: Swept, outcome: Outcome | None) -> int:
    """Return 4 if a cell is missing; else, of a claim, 1 where it does not hold and 3 where that cannot be told.

    Without a claim the cells' verdicts count as in `testbed run`. With one they do not: that calls fail may be what it
    says.
    """
    if swept.missing:
        return EXIT_CODES["ERROR"]
    if outcome is not None:
        return {True: 0, False: EXIT_CODES["FAIL"], None: EXIT_CODES["INCONCLUSIVE"]}[outcome.holds]
    verdicts = {row["verdict"] for row in swept.rows}
    return next((EXIT_CODES[worst] for worst in ("FAIL", "INCONCLUSIVE") if worst in verdicts), 0)


def summary_lines(swept: Swept, outcome: Outcome | None) -> list[str]:
    """Return what is to be told of a sweep: its sentence, and whatever speaks against taking it for the whole truth."""
    late, runs = left_out(swept)
    lines = [] if outcome is None else [outcome.sentence, *outcome.against]
    if late:
        why = "the machine was too busy, or a capture lost packets: their figures cannot be trusted"
        used = "are marked in the table" if outcome is None else "are in the table, and left out here"
        lines.append(f"{late} of {runs} runs {used} ({why})")
    if outcome is None:
        failed = {row["run"]: f"{row['verdict']}: {row['reason']} ({row['run']})" for row in swept.rows}
        lines += [line for line in failed.values() if not line.startswith("PASS")]
    return lines + [f"Missing, and tried again when the sweep is given again: {cell}" for cell in swept.missing]
