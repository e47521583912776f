"""One cell: a run of its own, and the file that says that it is done."""

from dataclasses import dataclass
from pathlib import Path

from testbed import files, run
from testbed.sweep.model import Cell
from testbed.sweep.table import CELL_FILE, cell_rows


@dataclass(frozen=True, slots=True)
class Job:
    """A cell, and what it runs: scenario and topology with its changes, read by whoever gave the sweep."""

    cell: Cell
    item: run.Item


@dataclass(frozen=True, slots=True)
class Played:
    """How a cell's run ended."""

    verdict: str
    "PASS, FAIL, INCONCLUSIVE, ERROR, or `interrupted`."
    reason: str
    run: Path
    "The run's directory."
    scenario: str = ""
    "The scenario's directory within it."


def play(job: Job, results: Path) -> Played:
    """Run a cell's scenario; its run goes into *results*. Raises SpecError for what cannot be planned, OSError."""
    options = run.Options(results=results, duration_ns=job.cell.duration_ns, seed=job.cell.seed, command=("sweep",))
    outcome = run.run_items([job.item], options, lambda scenario, event: None)
    if outcome.interrupted or not outcome.scenarios:
        return Played("interrupted", "", outcome.directory)
    (one,) = outcome.scenarios
    return Played(one.verdict, one.reason, outcome.directory, one.directory)


def conclude(cell: Cell, played: Played, folder: Path) -> str:
    """Say in the cell's folder that it is done, unless its rig broke: then it is tried again. Return its verdict."""
    if played.verdict == "ERROR":
        return f"ERROR: {played.reason}"
    if played.verdict != "interrupted":
        rows = cell_rows(cell, played.run / played.scenario)
        files.write_json(folder / cell.folder / CELL_FILE, {"format": 1, "rows": rows})
    return played.verdict


def run_cell(job: Job, folder: Path) -> str:
    """Run one cell of the sweep in *folder* on this machine, and return its verdict."""
    return conclude(job.cell, play(job, folder / job.cell.folder), folder)
