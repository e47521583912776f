"""Two real runs of the same are "no difference"; 20 ms more on one link are that link, and what the call felt of it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed import catalogue, cli, run
from testbed.comparison import compare_runs

pytestmark = pytest.mark.emulation
LINK = "er-pe1-msee1"
"Next to another of the circuit that is shaped too: each is told from the other."
MORE_MS = 20.0
TOLERANCE_MS = 2.0
"What the rig may move a median by, twice calibration's."
DELAYS = {"one": "5ms", "same": "5ms", "slower": "25ms"}


def play(results: Path) -> dict[str, Path]:
    """Make three runs side by side, which share whatever else the machine does; return their directories."""
    items = []
    for name, delay in DELAYS.items():
        changes = catalogue.parse_changes([f'links.{LINK}.shape.delay="{delay}"'])
        (item,) = run.read_items([catalogue.find_scenario("online/conference-internal")], changes)
        items.append(run.Item(name, item.spec, item.changes))
    options = run.Options(results=results, duration_ns=4_000_000_000, jobs=3)
    outcome = run.run_items(items, options, lambda scenario, event: None)
    assert [one.verdict for one in outcome.scenarios] == ["PASS"] * 3
    return {one.name: outcome.directory / one.directory for one in outcome.scenarios}


def is_late(place: Path) -> bool:
    return '"timing_degraded": true' in (place / "verdict.json").read_text()


def compared(before: Path, after: Path) -> tuple[int, str]:
    """Return exit status and output of `testbed compare --baseline`, as in CI."""
    told = CliRunner().invoke(cli.app, ["compare", str(before), str(after), "--baseline"])
    return told.exit_code, told.output


def test_a_run_is_like_itself_and_a_slower_link_is_found(tmp_path: Path) -> None:
    places = play(tmp_path)
    if any(map(is_late, places.values())):  # another job took the machine; then delays that small are not told
        places = play(tmp_path / "again")
    (same,) = compare_runs(places["one"], places["same"]).scenarios
    assert not same.is_different, (same.told, same.different_figures)
    assert {figure.name for figure in same.figures if figure.what == "link"} >= {LINK}
    status, told = compared(places["one"], places["same"])
    assert status == 0 and told.startswith("no difference\n")

    (slower,) = compare_runs(places["one"], places["slower"]).scenarios
    assert not slower.told
    different = [figure for figure in slower.different_figures if figure.what in ("end to end", "link")]
    assert {(x.what, x.name, x.figure) for x in different} == {
        ("link", LINK, "median delay"),
        ("end to end", "audio", "median delay"),
    }
    assert len(different) == 6  # both directions: the link, and what alice and bob felt
    assert all(abs(x.after - x.before - MORE_MS) < TOLERANCE_MS for x in different)
    assert [(x.what, x.before, x.after) for x in slower.configured if x.what.startswith("topology.")] != []
    status, told = compared(places["one"], places["slower"])
    assert status == 1 and f"link {LINK}, er-pe1 -> msee1" in told and "ce-er" not in told
