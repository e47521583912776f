"""The matrix: what the article's cells say and what was observed, per party and scenario."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from testbed.report.record import LegJudged, RunRecord, ScenarioRecord, read_record
from testbed.report.slug import Slug
from testbed.scenario import Verdict

FLOWS: Final = ("signaling", "media")
CELL_WORDS: Final = {"expressroute": "ER", "internet": "Internet", "local": "local"}
"The article's cells, as the matrix writes them."
NOTHING_SEEN: Final = "nothing seen"
_VERDICT_STYLES: Final[dict[Verdict, str]] = {
    "PASS": "green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "yellow",
    "ERROR": "bold magenta",
}


@dataclass(frozen=True, slots=True)
class PathCell:
    """How one flow of one party went."""

    flow: str
    party: str
    article: str | None
    "The article's cell in the words of `CELL_WORDS`; None where its table has none."
    observed: str | None
    """From the packets: "ER", "Internet", "local", several joined by " + ", or "nothing seen".
    None if no leg of it was judged."""

    @property
    def agrees(self) -> bool | None:
        """Whether the observed path is (one of) the article's; None where one of them is missing."""
        if self.article is None or self.observed is None:
            return None
        return self.observed in self.article.split(" or ")


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One scenario in the matrix."""

    row: str
    scenario: str
    title: str
    cells: tuple[PathCell, ...]
    "Per party, signaling before media."
    verdict: Verdict
    reason: str
    broken: tuple[str, ...] = ()
    "The article's principles that its packets break."

    @property
    def parties(self) -> tuple[str, ...]:
        """Parties that have a cell, in the scenario's order."""
        return tuple(dict.fromkeys(cell.party for cell in self.cells))

    def cell(self, flow: str, party: str) -> PathCell | None:
        """Return the cell of one flow of one party."""
        return next((cell for cell in self.cells if (cell.flow, cell.party) == (flow, party)), None)


def summary_rows(run: RunRecord | Path) -> list[SummaryRow]:
    """Return the matrix of a run, in its order; raise TestbedError if the directory cannot be read."""
    record = read_record(run) if isinstance(run, Path) else run
    return [_summary_row(scenario) for scenario in record.scenarios]


def summary_table(rows: Sequence[SummaryRow]) -> Table:
    """Return the matrix for the terminal: observed path and the article's cell, marked where they differ."""
    table = Table(
        title="Call flows: observed path (the article's cell)",
        title_justify="left",
        header_style="bold",
        pad_edge=False,
    )
    table.add_column("Row", no_wrap=True)
    table.add_column("Scenario", max_width=34)
    for flow in FLOWS:
        table.add_column(flow.capitalize())
    table.add_column("Verdict", no_wrap=True)
    for row in rows:
        table.add_row(
            row.row,
            Slug(row.scenario),
            *(_flow_text(row, flow) for flow in FLOWS),
            Text(row.verdict, style=_VERDICT_STYLES[row.verdict]),
        )
    return table


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

    A link's kind is the plan's; without a plan, the verdict's own list of segments is taken.
    """
    if record.plan is None:
        return leg.observed.segments
    kind_of = {link.name: link.segment_kind for link in record.plan.links}
    kinds = (kind_of.get(seen.link, seen.segment) for seen in leg.observed.links if seen.packets)
    return tuple(dict.fromkeys(kind for kind in kinds if kind))


def path_word(kinds: Iterable[str]) -> str:
    """Say, in the article's words, which way packets went that crossed these kinds of segment."""
    crossed = set(kinds)
    if not crossed:
        return NOTHING_SEEN
    wide = [word for kind, word in CELL_WORDS.items() if kind in crossed]
    if wide:
        return " + ".join(wide)
    return "local" if crossed == {"customer"} else " + ".join(sorted(crossed))


def _summary_row(record: ScenarioRecord) -> SummaryRow:
    scenario = record.scenario
    return SummaryRow(
        row=record.entry.row or (scenario.row if scenario else ""),
        scenario=record.name,
        title=scenario.title if scenario else "",
        cells=tuple(cell for party in _parties(record) for flow in FLOWS if (cell := _path_cell(record, flow, party))),
        verdict=record.entry.verdict,
        reason=record.entry.reason or "",
        broken=tuple(
            one.principle for one in (record.verdict.principles if record.verdict else ()) if one.outcome == "broken"
        ),
    )


def _parties(record: ScenarioRecord) -> list[str]:
    if record.scenario:
        return list(record.scenario.parties)
    return list(dict.fromkeys(leg.from_ for leg in record.legs))


def _path_cell(record: ScenarioRecord, flow: str, party: str) -> PathCell | None:
    legs = [leg for leg in record.legs if leg.flow == flow and party in (leg.from_, leg.to)]
    article = _article_word(record, flow, party)
    if not legs and article is None:
        return None
    observed = path_word(kind for leg in legs for kind in segment_kinds(record, leg)) if legs else None
    return PathCell(flow, party, article, observed)


def _article_word(record: ScenarioRecord, flow: str, party: str) -> str | None:
    if record.scenario is None:
        return None
    article = record.scenario.article
    cell = (article.signaling if flow == "signaling" else article.media).get(party)
    return " or ".join(CELL_WORDS.get(word, word) for word in cell.split(" or ")) if cell else None


def _flow_text(row: SummaryRow, flow: str) -> Text:
    text = Text()
    for party in row.parties:
        cell = row.cell(flow, party)
        if cell is None:
            continue
        text.append(f"{chr(10) if text else ''}{party}: ")
        text.append(cell.observed or "not measured", style="" if cell.agrees is not False else "bold red")
        if cell.article is not None:
            mark = "≠ " if cell.agrees is False else ""
            text.append(f" ({mark}{cell.article})", style="red" if mark else "dim")
    return text
