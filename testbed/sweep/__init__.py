"""Sweeps: one scenario over a grid of changes, each cell several times, into one table. It continues where it stopped.

`cell.json` in a cell's folder says that it is done, and what came out. The table is made anew of all cells that are
done, so that it is whole whenever one looks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed import catalogue, run
from testbed.sweep.cell import CELL_FILE, Job, read_done
from testbed.sweep.columns import Row
from testbed.sweep.identity import cell_identity, code_digest, spec_digest
from testbed.sweep.local import run_here
from testbed.sweep.model import Cell, Sweep, cells, read_sweep
from testbed.sweep.table import labelled_rows, write_table

__all__ = ["Cell", "Sweep", "Swept", "cells", "plan_jobs", "read_sweep", "run_sweep"]


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep, as far as its cells could be run."""

    table: Path
    "The CSV; parquet beside it."
    rows: Sequence[Row]
    missing: Sequence[str]
    "A line for each cell that the table lacks, because its rig broke or it was interrupted."


def plan_jobs(sweep: Sweep) -> list[Job]:
    """Read what every cell runs. Raises SpecError, UsageError."""
    planned, code = list(cells(sweep)), code_digest()
    items = {
        asked: run.read_items([catalogue.find_scenario(asked[0])], catalogue.parse_changes(asked[1]))[0]
        for asked in dict.fromkeys((cell.scenario, cell.changes) for cell in planned)
    }
    specs = {asked: spec_digest(item.spec) for asked, item in items.items()}
    return [
        Job(cell, items[asked], cell_identity(specs[asked], duration_ns=cell.duration_ns, seed=cell.seed, code=code))
        for cell, asked in ((cell, (cell.scenario, cell.changes)) for cell in planned)
    ]


def run_sweep(
    sweep: Sweep, folder: Path, *, jobs: int = 1, scheduler: str | None = None, told: Callable[[str], None]
) -> Swept:
    """Run the cells that are not done, and make the table of all that are.

    *jobs* run at a time on this machine; or *scheduler* is the address of a Dask scheduler, whose workers run them.
    Every cell is read before any runs. Raises SpecError, UsageError; a cell whose rig broke is tried again next time.
    """
    planned = plan_jobs(sweep)
    distinct = {job.folder: job for job in reversed(planned)}
    waiting = [job for job in reversed(distinct.values()) if read_done(folder / job.folder) is None]
    alike = f" ({len(planned) - len(distinct)} more are the same as another)" if len(distinct) < len(planned) else ""
    told(f"{len(distinct)} cells{alike}, {len(distinct) - len(waiting)} of them done before")
    for path in (folder / job.folder / CELL_FILE for job in waiting):
        if path.exists():
            told(f"{path} is damaged: its cell is run again")
    verdicts = {}
    for number, (job, verdict) in enumerate(_run(waiting, folder, jobs, scheduler), 1):
        verdicts[job.folder] = verdict
        told(f"{number}/{len(waiting)} {job.cell.name}: {verdict}")
    done = [(job, read_done(folder / job.folder)) for job in planned]
    rows = [row for job, one in done if one for row in labelled_rows(job.cell, one, folder / job.folder)]
    missing = [f"{job.cell.name}: {verdicts.get(job.folder, 'not run')}" for job, one in done if one is None]
    return Swept(write_table(rows, sweep.columns, folder), rows, missing)


def _run(waiting: list[Job], folder: Path, jobs: int, scheduler: str | None) -> Iterator[tuple[Job, str]]:
    if not waiting:
        return iter(())
    if scheduler is None:
        return run_here(waiting, folder, jobs)
    from testbed.sweep.cluster import run_there

    return run_there(waiting, folder, scheduler)
