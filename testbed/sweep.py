"""Sweeps: one scenario over a grid of changes, each cell several times, into one table. It continues where it stopped.

A cell is a run of its own, in a process of its own; `cell.json` in its folder says that it is done, and what came out.
The table is made anew of all cells that are done, so that it is whole whenever one looks.
"""

import hashlib
import itertools
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed import catalogue, files, run
from testbed.errors import SpecError
from testbed.spec.faults import path_source
from testbed.spec.toml import read_document
from testbed.units import Duration

CHANGE: Final = "change"
"A grid's key whose values are whole --change arguments (a condition, a scenario, '' for none), not values of a key."
Value = str | int | float | bool
Json = dict[str, Any]


class Sweep(BaseModel):
    """A sweep's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    duration: Duration = 10_000_000_000
    "How long media flows in each call."
    repeats: int = Field(default=1, ge=1, le=1000)
    seed: int = 1
    "Of the first repeat; each further one has the next."
    changes: tuple[str, ...] = ()
    "Made in every cell."
    grid: dict[str, tuple[Value, ...]] = Field(min_length=1)
    "Dotted key, or `change`, to the values that it takes."


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid, once."""

    scenario: str
    point: tuple[tuple[str, Value], ...]
    changes: tuple[str, ...]
    duration_ns: int
    seed: int

    @property
    def folder(self) -> str:
        """Return the name of its folder, which changes with anything that would change what comes out."""
        told = json.dumps([self.scenario, self.changes, self.duration_ns, self.seed])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's file. Raises SpecError."""
    try:
        return Sweep.model_validate(read_document(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise SpecError(path_source(path), ".".join(str(part) for part in first["loc"]), first["msg"]) from None


def cells(sweep: Sweep) -> Iterator[Cell]:
    """Yield every cell, each once before any a second time: a sweep that is stopped has seen much of the grid."""
    for repeat in range(sweep.repeats):
        for values in itertools.product(*sweep.grid.values()):
            point = tuple(zip(sweep.grid, values, strict=True))
            made = [str(value) if key == CHANGE else f"{key}={_toml(value)}" for key, value in point]
            changes = (*sweep.changes, *(change for change in made if change))
            yield Cell(sweep.scenario, point, changes, sweep.duration, sweep.seed + repeat)


def _toml(value: Value) -> str:
    return json.dumps(value)


def run_sweep(sweep: Sweep, folder: Path, *, jobs: int, told: Callable[[str], None]) -> Path:
    """Run the cells that are not done, *jobs* at a time, and return the table (CSV beside parquet).

    Every cell is read before any runs. Raises SpecError, UsageError; a cell whose rig broke is tried again next time.
    """
    planned = list(cells(sweep))
    for changes in dict.fromkeys(cell.changes for cell in planned):
        run.read_items([catalogue.find_scenario(sweep.scenario)], catalogue.parse_changes(changes))
    waiting = [cell for cell in planned if not (folder / cell.folder / "cell.json").exists()]
    told(f"{len(planned)} cells, {len(planned) - len(waiting)} of them done before")
    if waiting:
        # A process a cell: one that dies takes no other with it, and each has signals of its own.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
            running = {pool.submit(run_cell, cell, folder): cell for cell in waiting}
            for number, done in enumerate(as_completed(running), 1):
                point = ", ".join(f"{key} {value}" for key, value in running[done].point)
                told(f"{number}/{len(waiting)} {point}, seed {running[done].seed}: {done.result()}")
    return write_table(planned, folder)


def run_cell(cell: Cell, folder: Path) -> str:
    """Run one cell and leave its cell.json; return its verdict."""
    place = folder / cell.folder
    items = run.read_items([catalogue.find_scenario(cell.scenario)], catalogue.parse_changes(cell.changes))
    options = run.Options(results=place, duration_ns=cell.duration_ns, seed=cell.seed, command=("sweep",))
    outcome = run.run_items(items, options, lambda scenario, event: None)
    if outcome.interrupted or not outcome.scenarios:
        return "interrupted"
    (one,) = outcome.scenarios
    if one.verdict == "ERROR":
        return f"ERROR: {one.reason}"
    files.write_json(place / "cell.json", {"format": 1, "rows": cell_rows(cell, outcome.directory / one.directory)})
    return one.verdict


def cell_rows(cell: Cell, place: Path) -> list[Json]:
    """Return the table's rows of one cell: one a media stream, or a single one where there was no media."""
    verdict = json.loads((place / "verdict.json").read_text(encoding="utf-8"))
    quality = json.loads((place / "quality.json").read_text(encoding="utf-8"))
    common = {
        **dict(cell.point),
        "seed": cell.seed,
        "scenario": cell.scenario,
        "run": str(place),
        "verdict": verdict["verdict"],
        "timing_trusted": quality["trusted"]["timing"],
    }
    return [{**common, **_figures(stream)} for stream in quality["streams"]] or [{**common, **_figures({})}]


def _figures(stream: Json) -> Json:
    whole = stream.get("end_to_end") or {}
    delay, jitter = whole.get("one_way_delay_ms") or {}, whole.get("interarrival_jitter_ms") or {}
    return {
        "sender": stream.get("from"),
        "receiver": stream.get("to"),
        "packets": whole.get("packets_entered"),
        "lost": whole.get("lost"),
        "loss_ratio": whole.get("loss_ratio"),
        "one_way_delay_ms_median": delay.get("median"),
        "one_way_delay_ms_p90": delay.get("p90"),
        "mean_delay_change_ms": whole.get("mean_delay_change_ms"),
        "interarrival_jitter_ms_mean": jitter.get("mean"),
        "r": whole.get("r"),
        "mos": whole.get("mos"),
    }


def write_table(planned: Sequence[Cell], folder: Path) -> Path:
    """Write sweep.parquet and sweep.csv of all cells that are done; return the CSV. Raises OSError."""
    done = (folder / cell.folder / "cell.json" for cell in planned)
    rows = [row for path in done if path.exists() for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    table = pa.Table.from_pylist(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("sweep.parquet", pq.write_table), ("sweep.csv", pa_csv.write_csv)):
        beside = folder / f".{name}.partial"
        write(table, beside)
        beside.replace(folder / name)
    return folder / "sweep.csv"
