"""Ways of flows in a terminal's table: a small grid in one cell, whose columns are as wide in every row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from testbed.readings import PathCell
from testbed.report.slug import Slug

CAPTION: Final = "≠: read otherwise; X4: a contradiction of the article (docs/contradictions.md)"
_OTHERS_WIDTH: Final = 74
"What the other columns take at most; at 80 columns their ways fold."
_NAME_WIDTHS: Final = (20, 46)
_HEADINGS: Final = ("Party", "Flow", "Article")
_WIDEST: Final = (6, 9, 10)
"In characters; what is longer folds."

Line = tuple[PathCell, Text]


@dataclass(frozen=True, slots=True)
class PathsRow:
    """One scenario of the table."""

    row: str
    contradictions: Sequence[str]
    scenario: RenderableType
    lines: Sequence[Line]
    last: Text
    "Of the last column."


@dataclass(frozen=True, slots=True)
class PathsTable:
    """Scenarios with their row, the article's cells, the ways of their flows, and one more column."""

    rows: Sequence[PathsRow]
    ways: str
    "Heading of the ways."
    last: str
    "... and of the last column."
    title: str | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out: the wider the screen, the fewer names fold."""
        least, most = _NAME_WIDTHS
        head, cells = _paths([row.lines for row in self.rows], self.ways)
        table = Table(
            title=self.title,
            title_justify="left",
            header_style="bold",
            box=None,
            pad_edge=False,
            collapse_padding=True,
        )
        table.add_column("Row", no_wrap=True)
        table.add_column("Scenario", max_width=max(least, min(most, options.max_width - _OTHERS_WIDTH)))
        table.add_column(head)
        table.add_column(self.last, no_wrap=True)
        for row, cell in zip(self.rows, cells, strict=True):
            table.add_row("\n".join((row.row, *row.contradictions)), row.scenario, cell, row.last)
        yield table
        if any(row.contradictions for row in self.rows):
            yield Text(CAPTION, style="dim")


def _paths(rows: Sequence[Sequence[Line]], heading: str) -> tuple[Table, list[Table]]:
    """Return the heading of the ways' column, and its cell in each row."""
    columns = [_HEADINGS, *((cell.party, cell.flow, _article(cell)) for row in rows for cell, _ in row)]
    widths = [min(widest, max(len(texts[at]) for texts in columns)) for at, widest in enumerate(_WIDEST)]
    head = _grid(widths)
    head.add_row(*(Text(name, style="bold") for name in (*_HEADINGS, heading)))
    return head, [_cell(row, widths) for row in rows]


def _cell(lines: Iterable[Line], widths: Sequence[int]) -> Table:
    grid = _grid(widths)
    before = ""
    for cell, way in lines:
        grid.add_row(Slug("" if cell.party == before else cell.party), cell.flow, _article(cell), way)
        before = cell.party
    return grid


def _article(cell: PathCell) -> str:
    return f"{'≠ ' if cell.article_differs else ''}{cell.article or '-'}"


def _grid(widths: Sequence[int]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for width in widths:
        grid.add_column(width=width)
    grid.add_column()
    return grid
