"""What only several scenarios together show: which route two NAT kinds leave, and what each rung of a ladder costs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from testbed.report.record import RunRecord, ScenarioRecord
from testbed.report.slug import Slug
from testbed.scenario import Verdict

ROUTES: Final = ("direct", "one relay", "two relays")
"By how many relays the packets of the media passed."
NO_ROUTE: Final = "none"
_STYLES: Final = {"direct": "green", "one relay": "yellow", "two relays": "dark_orange", NO_ROUTE: "red"}
_RUNGS: Final = {"udp": "UDP", "tcp": "TCP 443", "tls": "TLS 443"}
_FIRST_RUNG: Final = "udp"


@dataclass(frozen=True, slots=True)
class GridCell:
    """One scenario in its table's grid."""

    scenario: str
    route: str
    'As observed: one of `ROUTES`, several joined by " or ", or `NO_ROUTE`.'
    verdict: Verdict

    @property
    def slug(self) -> str:
        """The route as one word, for colours."""
        return self.route.replace(" ", "-") if self.route in (*ROUTES, NO_ROUTE) else "several"


@dataclass(frozen=True, slots=True)
class Grid:
    """Scenarios by row (who calls) and column (who is called)."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], GridCell]


@dataclass(frozen=True, slots=True)
class LadderRow:
    """What a party's way to its relay cost."""

    scenario: str
    party: str
    rung: str
    given_up: str
    relay_ms: float | None
    setup_ms: float | None
    rtt_ms: float | None
    added_ms: float | None
    "Round trip beyond that of the same party on the first rung, in the same run; None where that was not run."
    verdict: Verdict


def grid_of(record: RunRecord) -> Grid | None:
    """Return the grid of a run's scenarios; None where none has a place in one. A control is no cell."""
    cells = {
        scenario.scenario.grid: GridCell(scenario.name, _route(scenario), scenario.entry.verdict)
        for scenario in record.scenarios
        if scenario.scenario is not None and scenario.scenario.grid is not None and not _is_control(scenario)
    }
    if not cells:
        return None
    words = tuple(dict.fromkeys(word for pair in cells for word in pair))
    rows, columns = (tuple(word for word in words if word in {pair[at] for pair in cells}) for at in (0, 1))
    return Grid(rows, columns, cells)


def _route(record: ScenarioRecord) -> str:
    counts = sorted({count for told in _observed(record, "relays").values() for count in told})
    named = [ROUTES[count] if count < len(ROUTES) else f"{count} relays" for count in counts]
    return " or ".join(named) or NO_ROUTE


def ladder_of(record: RunRecord) -> tuple[LadderRow, ...]:
    """Return a row for each party whose rung a scenario of the run asks for."""
    found = [
        (scenario, party, told)
        for scenario in record.scenarios
        if not _is_control(scenario)
        for party, told in _observed(scenario, "relay-transport").items()
    ]
    first = {
        (_table(scenario), party): told.get("rtt_ms")
        for scenario, party, told in found
        if told["used"] == [_FIRST_RUNG]
    }
    return tuple(
        LadderRow(
            scenario=scenario.name,
            party=party,
            rung=" and ".join(_RUNGS.get(rung, rung) for rung in told["used"]) or NO_ROUTE,
            given_up=", ".join(
                f"{_RUNGS.get(name, name)} after {ms:.0f} ms" for name, ms in told["given_up_ms"].items()
            ),
            relay_ms=told.get("relay_ms"),
            setup_ms=told.get("setup_ms"),
            rtt_ms=told.get("rtt_ms"),
            added_ms=_beyond(told.get("rtt_ms"), first.get((_table(scenario), party))),
            verdict=scenario.entry.verdict,
        )
        for scenario, party, told in found
    )


def _is_control(record: ScenarioRecord) -> bool:
    return "@" in record.name


def _table(record: ScenarioRecord) -> str:
    return record.scenario.table if record.scenario else ""


def _beyond(rtt_ms: float | None, first_ms: float | None) -> float | None:
    return None if rtt_ms is None or first_ms is None else rtt_ms - first_ms


def _observed(record: ScenarioRecord, name: str) -> dict[str, Any]:
    checks = record.verdict.checks if record.verdict else ()
    return next((one.observed for one in checks if one.check == name and isinstance(one.observed, dict)), {})


def grid_table(grid: Grid) -> Table:
    """Lay the grid out for a terminal."""
    table = Table(title="NAT kinds: the route of the media (rows call columns)", title_justify="left", pad_edge=False)
    for heading in ("", *grid.columns):
        table.add_column(Slug(heading))
    for row in grid.rows:
        cells = (grid.cells.get((row, column)) for column in grid.columns)
        table.add_row(Slug(row), *map(_cell_text, cells))
    return table


def _cell_text(cell: GridCell | None) -> Text:
    if cell is None:
        return Text("")
    mark = "" if cell.verdict == "PASS" else f" ({cell.verdict})"
    return Text(cell.route + mark, style=_STYLES.get(cell.route, "yellow"))


def ladder_table(rows: Iterable[LadderRow]) -> Table:
    """Lay out what each rung costs for a terminal."""
    table = Table(title="The way to the relay, and what it cost (ms)", title_justify="left", pad_edge=False)
    for heading in ("Scenario", "Party", "Media\nby", "Given up\nbefore"):
        table.add_column(heading)
    for heading in ("Relay\nafter", "Set-up", "Round\ntrip", "Beyond\nUDP"):
        table.add_column(heading, justify="right")
    for row in rows:
        figures = (row.relay_ms, row.setup_ms, row.rtt_ms, row.added_ms)
        told = ("" if ms is None else f"{ms:.0f}" for ms in figures)
        table.add_row(Slug(row.scenario), Text(row.party), row.rung, row.given_up or "nothing", *told)
    return table
