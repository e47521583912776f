"""Missed targets of a run, for those who do not open every scenario: lines for the terminal, a table for the page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.report.figures import FIGURES, MARKS, TargetCell, target_cell
from testbed.report.record import Document, RunRecord

_TOLD: Final = 3
"Missed targets of a scenario that are told one by one; a change of a link can miss dozens."


@dataclass(frozen=True, slots=True)
class FigureCell:
    """One figure over all of a scenario's streams."""

    outcome: str
    mark: str
    worst: TargetCell | None
    "The missed one that is furthest over its limit; None where none is missed."
    missed: int
    judged: int


@dataclass(frozen=True, slots=True)
class ScenarioTargets:
    """A scenario that missed a target."""

    scenario: str
    verdict: str
    cells: tuple[FigureCell | None, ...]
    "One a figure; None where no target speaks of it."


@dataclass(frozen=True, slots=True)
class TargetsView:
    """Targets of all scenarios."""

    columns: tuple[str, ...]
    rows: tuple[ScenarioTargets, ...]
    "Of those that missed one."
    outcomes: dict[str, int]
    "How many were met, missed and unknown, over all scenarios."


def targets_view(record: RunRecord) -> TargetsView | None:
    """Return the table of the page; None where nothing was judged."""
    judged = [(one, one.quality["targets"]) for one in record.scenarios if one.quality and one.quality["targets"]]
    if not judged:
        return None
    return TargetsView(
        columns=tuple(title for title, _ in FIGURES.values()),
        rows=tuple(
            ScenarioTargets(
                one.name,
                one.entry.verdict,
                tuple(_cell([row for row in rows if row["figure"] == figure]) for figure in FIGURES),
            )
            for one, rows in judged
            if missed(rows)
        ),
        outcomes=dict(Counter(row["outcome"] for _, rows in judged for row in rows)),
    )


def missed(rows: Iterable[Document]) -> list[Document]:
    """Return the missed ones of quality.json's `targets`, furthest over their limit first."""
    return sorted(
        (row for row in rows if row["outcome"] == "missed"),
        key=lambda row: row["observed"] / row["limit"],
        reverse=True,
    )


def missed_words(row: Document) -> str:
    """Return a missed target in words: stream, figure, what was observed, the limit, and whose it is."""
    cell, (figure, _) = target_cell(row), FIGURES[row["figure"]]
    ends = f"{row['stream']['from']} -> {row['stream']['to'] or 'nowhere'}"
    part = f"{row['from']} -> {row['to']}"
    return f"{ends}: {figure}: {cell.observed}, not below {cell.limit} ({row['target']}; {part})".replace(
        "\N{NO-BREAK SPACE}", " "
    )


def missed_lines(scenarios: Sequence[tuple[str, Document | None]], *, one_by_one: bool) -> list[str]:
    """Return lines that say which of *scenarios* (name and quality.json) missed targets, or each target missed."""
    found = {name: rows for name, quality in scenarios if quality and (rows := missed(quality["targets"]))}
    if not one_by_one:
        told = ", ".join(f"{name} {len(rows)}" for name, rows in found.items())
        return [f"Targets missed (the report says which): {told}"] if told else []
    lines = []
    for name, rows in found.items():
        lines += [f"Target missed: {name}: {missed_words(row)}" for row in rows[:_TOLD]]
        if len(rows) > _TOLD:
            lines.append(f"Target missed: {name}: {len(rows) - _TOLD} more, in its quality.json")
    return lines


def _cell(rows: list[Document]) -> FigureCell | None:
    if not rows:
        return None
    worst = missed(rows)
    outcomes = {row["outcome"] for row in rows}
    outcome = next(word for word in ("missed", "met", "unknown") if word in outcomes)
    return FigureCell(outcome, MARKS[outcome], target_cell(worst[0]) if worst else None, len(worst), len(rows))
