"""One cell: a run of its own, and the file that says that it is done."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed import files, run
from testbed.sweep.columns import are_figures, read_figures
from testbed.sweep.model import Cell

CELL_FILE: Final = "cell.json"
"In a cell's folder: it is done, and this is what came out."


@dataclass(frozen=True, slots=True)
class Job:
    """A cell, and what it runs: scenario and topology with its changes, read by whoever gave the sweep."""

    cell: Cell
    item: run.Item
    folder: str
    "Name of its folder: its identity. Cells in which nothing differs that could change the result share one run."


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


class Done(BaseModel):
    """What is left of a cell that is done. Its labels are not: they are what the sweep's file calls it by now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[2] = 2
    run: str
    "The scenario's directory, from the cell's folder."
    rows: tuple[dict[str, Any], ...] = Field(min_length=1)
    "The table's, as `columns.read_figures` gives them."

    @model_validator(mode="after")
    def _has_all_columns(self) -> Self:
        if not all(map(are_figures, self.rows)):
            raise ValueError("rows: not the columns that a run gives")
        return self


def read_done(place: Path) -> Done | None:
    """Return what the cell in folder *place* left; None where it is not done or its file is damaged. Raises OSError."""
    try:
        return Done.model_validate_json((place / CELL_FILE).read_bytes(), strict=True)
    except (FileNotFoundError, ValidationError):
        return None


def play(job: Job, results: Path) -> Played:
    """Run a cell's scenario; its run goes into *results*. Raises SpecError for what cannot be planned, OSError."""
    options = run.Options(results=results, duration_ns=job.cell.duration_ns, seed=job.cell.seed, command=("sweep",))
    outcome = run.run_items([job.item], options, lambda scenario, event: None)
    if outcome.interrupted or not outcome.scenarios:
        return Played("interrupted", "", outcome.directory)
    (one,) = outcome.scenarios
    return Played(one.verdict, one.reason, outcome.directory, one.directory)


def conclude(played: Played, place: Path) -> str:
    """Say in the cell's folder that it is done, unless its rig broke: then it is tried again. Return its verdict."""
    if played.verdict == "ERROR":
        return f"ERROR: {played.reason}"
    if played.verdict != "interrupted":
        scenario = played.run / played.scenario
        done = Done(run=scenario.relative_to(place).as_posix(), rows=tuple(read_figures(scenario)))
        files.write_json(place / CELL_FILE, done.model_dump(mode="json"))
    return played.verdict


def run_cell(job: Job, folder: Path) -> str:
    """Run one cell of the sweep in *folder* on this machine, and return its verdict."""
    place = folder / job.folder
    return conclude(play(job, place), place)
