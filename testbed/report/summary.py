"""The matrix: the article's cell, how it is read, and which way packets went, per flow and party of a scenario."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.text import Text

from testbed.readings import PathCell, ReadLeg, expected_crossing, observed_crossing, path_cells, read_legs
from testbed.report.paths_grid import PathsRow, PathsTable
from testbed.report.record import LegJudged, RunRecord, ScenarioRecord, read_record
from testbed.report.slug import Slug
from testbed.scenario import Verdict

_VERDICT_STYLES: Final[dict[Verdict, str]] = {
    "PASS": "green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "yellow",
    "ERROR": "bold magenta",
}


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One scenario in the matrix."""

    row: str
    scenario: str
    title: str
    cells: tuple[PathCell, ...]
    "Party by party, signaling before media before other flows; several where a flow leads several ways."
    verdict: Verdict
    reason: str
    broken: tuple[str, ...] = ()
    "The article's principles that its packets break."
    contradictions: tuple[str, ...] = ()
    "Numbers of docs/contradictions.md."

    def cell(self, flow: str, party: str) -> PathCell | None:
        """Return the first cell of one flow of one party."""
        return next((cell for cell in self.cells if (cell.flow, cell.party) == (flow, party)), None)


def summary_rows(run: RunRecord | Path) -> list[SummaryRow]:
    """Return the matrix of a run, in its order; raise TestbedError if the directory cannot be read."""
    record = read_record(run) if isinstance(run, Path) else run
    return [_summary_row(scenario) for scenario in record.scenarios]


def summary_table(rows: Sequence[SummaryRow]) -> PathsTable:
    """Return the matrix for the terminal: the article's cell and the observed way; the reading where they differ."""
    told = [
        PathsRow(
            row.row,
            row.contradictions,
            Slug(row.scenario),
            [(cell, _observed_text(cell)) for cell in row.cells],
            Text(row.verdict, style=_VERDICT_STYLES[row.verdict]),
        )
        for row in rows
    ]
    return PathsTable(told, "Observed", "Verdict", "Call flows: the article's cell, and the way that packets took")


def _observed_text(cell: PathCell) -> Text:
    text = Text(cell.observed or "not measured", style="bold red" if cell.agrees is False else "")
    return text.append(f" (≠ {cell.reading})", style="red") if cell.agrees is False else text


def reason_lines(rows: Sequence[SummaryRow]) -> list[Text]:
    """Return a line for each scenario that did not pass: what became of it, and why."""
    return [
        Text.assemble((row.verdict, _VERDICT_STYLES[row.verdict]), f" {row.scenario}: {row.reason}")
        for row in rows
        if row.verdict != "PASS"
    ]


def broken_principles(rows: Sequence[SummaryRow]) -> str:
    """Return the line that names what was broken where; empty if nothing was.

    Where a row reproduces a failure that is as it should be; where it does not, its legs expect something odd.
    """
    told = [f"{row.scenario} {' '.join(row.broken)}" for row in rows if row.broken]
    return f"The article's principles, broken (evidence in the report): {'; '.join(told)}" if told else ""


def segment_kinds(record: ScenarioRecord, leg: LegJudged) -> tuple[str, ...]:
    """Return the kinds of segment whose links carried packets of *leg*, in the order of its links.

    A link's kind is the plan's; without a plan, the verdict's own list of segments is taken. Of a leg that must die,
    the packets are meant that died.
    """
    if record.plan is None:
        return leg.observed.segments
    kind_of = {link.name: link.segment_kind for link in record.plan.links}
    died = (*leg.observed.forward, *leg.observed.return_) if leg.expected.dies else ()
    kinds = (kind_of.get(name) for name in died or (seen.link for seen in leg.observed.links if seen.packets))
    return tuple(dict.fromkeys(kind for kind in kinds if kind))


def _summary_row(record: ScenarioRecord) -> SummaryRow:
    scenario = record.scenario
    return SummaryRow(
        row=record.entry.row or (scenario.row if scenario else ""),
        scenario=record.name,
        title=scenario.title if scenario else "",
        cells=tuple(_path_cells(record)),
        verdict=record.entry.verdict,
        reason=record.entry.reason or "",
        broken=tuple(
            one.principle for one in (record.verdict.principles if record.verdict else ()) if one.outcome == "broken"
        ),
        contradictions=scenario.contradictions if scenario else (),
    )


def _path_cells(record: ScenarioRecord) -> list[PathCell]:
    if record.scenario is None:
        return []
    legs = [_read_leg(record, leg) for leg in record.legs]
    return path_cells(legs or read_legs(record.scenario), record.scenario)


def _read_leg(record: ScenarioRecord, leg: LegJudged) -> ReadLeg:
    kinds = segment_kinds(record, leg)
    dies = leg.expected.dies
    return ReadLeg(
        leg.flow,
        leg.from_,
        leg.to,
        expected_crossing(leg.expected.crosses, dies.kinds if dies else None),
        None if leg.verdict == "INCONCLUSIVE" and not kinds else observed_crossing(kinds, leg.disposition),
        leg.after or "",
    )
