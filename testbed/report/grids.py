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
"No media got through, and the captures prove it."
UNKNOWN: Final = "unknown"
_STYLES: Final = {
    "direct": "green",
    "one relay": "yellow",
    "two relays": "dark_orange",
    NO_ROUTE: "red",
    UNKNOWN: "default",
}
RUNGS: Final = "relay-transport"
"The check that tells them."
_RUNGS: Final = {"udp": "UDP", "tcp": "TCP 443", "tls": "TLS 443"}
_FIRST_RUNG: Final = "udp"


@dataclass(frozen=True, slots=True)
class GridCell:
    """One scenario in its table's grid."""

    scenario: str
    route: str
    'As observed: one of `ROUTES`, several joined by " or ", `NO_ROUTE`, or `UNKNOWN` where nothing tells.'
    verdict: Verdict

    @property
    def slug(self) -> str:
        """The route as one word, for colours."""
        return self.route.replace(" ", "-") if self.route in (*ROUTES, NO_ROUTE, UNKNOWN) else "several"


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
    "Rungs tried before it and how long; where none held, the last one too, and when the client said so."
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
    return " or ".join(named) or (NO_ROUTE if _has_no_media(record) else UNKNOWN)


def _has_no_media(record: ScenarioRecord) -> bool:
    """Whether it is proven that media did not get through: a leg of it is a FAIL, which rests on whole captures."""
    return any(leg.flow == "media" and leg.verdict == "FAIL" for leg in record.legs)


def ladder_of(record: RunRecord) -> tuple[LadderRow, ...]:
    """Return a row for each party whose rung a scenario of the run asks for."""
    found = [
        (scenario, party, told)
        for scenario in record.scenarios
        if not _is_control(scenario)
        for party, told in _observed(scenario, RUNGS).items()
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
            rung=" and ".join(_RUNGS[rung] for rung in told["used"]) or _no_rung(scenario),
            given_up=_given_up(told),
            relay_ms=told.get("relay_ms"),
            setup_ms=told.get("setup_ms"),
            rtt_ms=told.get("rtt_ms"),
            added_ms=_beyond(told.get("rtt_ms"), first.get((_table(scenario), party))),
            verdict=scenario.entry.verdict,
        )
        for scenario, party, told in found
    )


def _given_up(told: Mapping[str, Any]) -> str:
    before = [f"{_RUNGS[name]} after {ms:.0f} ms" for name, ms in told["given_up_ms"].items()]
    last = [_RUNGS[one["transport"]] for one in told["tried"][-1:] if not told["used"]]
    told_ms = told.get("unreachable_ms")
    whole = [f"all after {told_ms:.0f} ms"] if last and told_ms else []
    return ", ".join(before + last + whole)


def _no_rung(record: ScenarioRecord) -> str:
    checks = record.verdict.checks if record.verdict else ()
    return UNKNOWN if any((one.check, one.verdict) == (RUNGS, "INCONCLUSIVE") for one in checks) else NO_ROUTE


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
