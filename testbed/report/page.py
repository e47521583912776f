"""The report page: one self-contained file, written from a results directory."""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed import files
from testbed.report.charts import CHART_TITLES, box_chart, charts, packed_library
from testbed.report.figures import STRETCH_COLUMNS
from testbed.report.grids import grid_of, ladder_of
from testbed.report.principles import principle_rules
from testbed.report.record import RunRecord, read_record
from testbed.report.spread import spreads
from testbed.report.summary import summary_rows
from testbed.report.targets import targets_view
from testbed.report.view import scenario_view
from testbed.report.words import facts, measured, moment, plain

VERDICTS: Final = ("PASS", "FAIL", "INCONCLUSIVE", "ERROR")
MARKS: Final = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "ERROR": "!"}
"A sign for each verdict, so that none is told by colour alone."
SEGMENT_WORDS: Final = {
    "customer": "customer",
    "internet": "Internet",
    "expressroute": "ExpressRoute",
    "microsoft": "Microsoft",
    "pstn": "PSTN",
}


def write_report(run_directory: Path) -> Path:
    """Write `report.html` into a results directory and return its path; raise TestbedError if it cannot be read."""
    path = run_directory / "report.html"
    files.write_text(path, report_page(read_record(run_directory)))
    return path


def report_page(record: RunRecord) -> str:
    """Return the page as HTML. The same directory gives the same page."""
    environment = Environment(
        loader=PackageLoader("testbed.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["measured"] = measured
    environment.filters["segment"] = lambda kind: SEGMENT_WORDS.get(kind, kind)
    environment.filters["plain"] = plain
    environment.filters["moment"] = moment
    return environment.get_template("report.html.j2").render(_context(record))


def _context(record: RunRecord) -> dict[str, Any]:
    rows = summary_rows(record)
    views = [scenario_view(scenario, row) for scenario, row in zip(record.scenarios, rows, strict=True)]
    counts = Counter(row.verdict for row in rows)
    judged = Counter(one.entry.verdict for one in record.scenarios if one.control is None)
    controls = [not one.control_fault for one in record.scenarios if one.control is not None]
    command = record.file.command
    return {
        "run": record.file,
        "command": " ".join(command) if isinstance(command, list) else command,
        "environment": facts(record.file.environment),
        "scenarios": views,
        "verdicts": [(verdict, counts[verdict]) for verdict in VERDICTS if counts[verdict]],
        "tally": [(verdict, judged[verdict]) for verdict in VERDICTS if judged[verdict]],
        "controls": controls,
        "marks": MARKS,
        **_charts(record),
        "principle_rules": principle_rules(record),
        "targets": targets_view(record),
        "grid": grid_of(record),
        "ladder": ladder_of(record),
        "identities": {view.record.name: view.identity for view in views},
        "stretch_columns": STRETCH_COLUMNS,
    }


def _charts(record: RunRecord) -> dict[str, Any]:
    """Return what charts need; no library in a page that has nothing to chart."""
    told = spreads(record)
    has_charts = any((scenario.timeline or {}).get("series") for scenario in record.scenarios)
    return {
        "spreads": told,
        "spread_points": [one.as_point() for one in told],
        "chart_titles": CHART_TITLES,
        "chart_specs": {**charts(), "boxes": box_chart()} if has_charts else None,
        "chart_library": packed_library() if has_charts else "",
    }
