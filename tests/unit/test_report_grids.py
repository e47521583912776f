"""What several scenarios show together: the grid of NAT kinds and the cost of each rung of the ladder."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from testbed.report.grids import Grid, GridCell, grid_of, grid_table, ladder_of, ladder_table


def record(
    name: str,
    *,
    grid: tuple[str, str] | None = None,
    table: str = "nat",
    verdict: str = "PASS",
    legs: tuple[Any, ...] = (),
    **observed: Any,
) -> Any:
    """As much of a scenario's record as the grids read."""
    checks = tuple(
        SimpleNamespace(check=check.replace("_", "-"), observed=told, verdict=verdict)
        for check, told in observed.items()
    )
    return SimpleNamespace(
        name=name,
        entry=SimpleNamespace(verdict=verdict),
        scenario=SimpleNamespace(grid=grid, table=table),
        verdict=SimpleNamespace(checks=checks),
        legs=legs,
    )


def run(*scenarios: Any) -> Any:
    return SimpleNamespace(scenarios=scenarios)


def rung(used: list[str], rtt_ms: float | None, given_up: dict[str, float] | None = None) -> dict[str, Any]:
    tried = [{"transport": name, "first_frame": 1} for name in (*(given_up or {}), *(used or ["tls"]))]
    times = {"relay_ms": 42.4, "unreachable_ms": None if used else 4013.7, "setup_ms": None, "rtt_ms": rtt_ms}
    return {"used": used, "tried": tried, "given_up_ms": given_up or {}, **times}


@pytest.mark.parametrize(
    ("relays", "route", "slug"),
    [
        ({"a -> b": [0], "b -> a": [0]}, "direct", "direct"),
        ({"a -> b": [1]}, "one relay", "one-relay"),
        ({"a -> b": [2]}, "two relays", "two-relays"),
        ({"a -> b": [1], "b -> a": [2]}, "one relay or two relays", "several"),
        (None, "unknown", "unknown"),
    ],
)
def test_a_cell_is_the_route_that_packets_took(relays: Any, route: str, slug: str) -> None:
    grid = grid_of(run(record("nat/x-y", grid=("x", "y"), relays=relays)))
    assert grid is not None
    cell = grid.cells["x", "y"]
    assert (cell.route, cell.slug, cell.scenario) == (route, slug, "nat/x-y")


@pytest.mark.parametrize(
    ("flow", "verdict", "route"),
    [("media", "FAIL", "none"), ("media", "INCONCLUSIVE", "unknown"), ("signaling", "FAIL", "unknown")],
)
def test_that_there_is_no_route_must_be_proven(flow: str, verdict: str, route: str) -> None:
    legs = (SimpleNamespace(flow=flow, verdict=verdict),)
    grid = grid_of(run(record("nat/x-y", grid=("x", "y"), verdict=verdict, legs=legs, relays=None)))
    assert grid is not None
    assert grid.cells["x", "y"].route == route


def test_a_scenario_whose_rig_broke_has_an_unknown_route() -> None:
    broken = record("nat/x-y", grid=("x", "y"), verdict="ERROR")
    broken.verdict = None
    grid = grid_of(run(broken))
    assert grid is not None
    assert (grid.cells["x", "y"].route, grid.cells["x", "y"].slug) == ("unknown", "unknown")


def test_rows_and_columns_are_those_that_ran_and_controls_are_no_cells() -> None:
    direct = {"a -> b": [0]}
    grid = grid_of(
        run(
            record("nat/x-x", grid=("x", "x"), relays=direct),
            record("nat/x-y", grid=("x", "y"), relays=direct, verdict="FAIL"),
            record("nat/x-y@blind", grid=("x", "z"), relays=direct),
        )
    )
    assert grid is not None
    assert (grid.rows, grid.columns) == (("x",), ("x", "y"))
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(grid_table(grid))
    assert "direct (FAIL)" in console.export_text()


def narrow(table: Table) -> str:
    """Return what a terminal of 80 columns shows."""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_a_whole_grid_is_readable_at_80_columns() -> None:
    kinds = ("endpoint-independent", "address-dependent", "symmetric", "UDP blocked")
    cells = {(row, column): GridCell("nat/x", "two relays", "PASS") for row in kinds for column in kinds}
    text = narrow(grid_table(Grid(kinds, kinds, cells)))
    assert "…" not in text
    assert text.count("endpoint-") == text.count("independent") == 2


def test_a_ladders_names_and_figures_are_readable_at_80_columns() -> None:
    tried = {"grace": rung(["tcp"], 1075.5, {"udp": 1001.2})}
    names = ("nat/symmetric-blocked", "fallback/nothing-open")
    text = narrow(ladder_table(ladder_of(run(*(record(name, relay_transport=tried) for name in names)))))
    assert "…" not in text
    assert all(piece in text for piece in ("nat/", "symmetric-", "blocked", "fallback/", "nothing-open", "TCP 443"))


def test_without_a_place_in_a_grid_there_is_none() -> None:
    assert grid_of(run(record("online/x", relays={"a -> b": [0]}))) is None


def test_each_rung_is_held_against_udp_of_the_same_table() -> None:
    second = {"alice": rung(["tcp"], 75.5, {"udp": 1001.2})}
    rows = ladder_of(
        run(
            record("fallback/udp", table="fallback", relay_transport={"alice": rung(["udp"], 70.0)}),
            record("fallback/tcp-443", table="fallback", relay_transport=second),
            record("fallback/tcp-443@x", table="fallback", relay_transport={"alice": rung(["udp"], 1.0)}),
            record("nat/x", relay_transport={"grace": rung([], None)}),
        )
    )
    assert [row.added_ms for row in rows] == [0.0, 5.5, None]
    assert [row.rung for row in rows] == ["UDP", "TCP 443", "none"]
    assert [row.given_up for row in rows] == ["", "UDP after 1001 ms", "TLS 443, all after 4014 ms"]
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(ladder_table(rows))
    assert "UDP after 1001 ms" in console.export_text()


def test_nothing_open_stands_beside_the_rungs_and_what_nobody_could_see_is_unknown() -> None:
    shut = {"alice": rung([], None, {"udp": 1002.0})}
    rows = ladder_of(
        run(
            record("fallback/nothing-open", relay_transport=shut),
            record("fallback/nothing-open-blind", verdict="INCONCLUSIVE", relay_transport=shut),
        )
    )
    assert [(row.rung, row.given_up) for row in rows] == [
        ("none", "UDP after 1002 ms, TLS 443, all after 4014 ms"),
        ("unknown", "UDP after 1002 ms, TLS 443, all after 4014 ms"),
    ]
    assert "all after" in narrow(ladder_table(rows))
