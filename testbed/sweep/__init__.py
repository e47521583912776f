"""Sweeps: one scenario over a grid of changes, each cell several times, into one table. It continues where it stopped.

`cell.json` in a cell's folder says that it is done, and what came out. The table is made anew of all cells that are
done, so that it is whole whenever one looks.
"""

from collections.abc import Callable
from pathlib import Path

from testbed import catalogue, run
from testbed.sweep.cell import Job
from testbed.sweep.local import run_here
from testbed.sweep.model import Cell, Sweep, cells, read_sweep
from testbed.sweep.table import CELL_FILE, write_table

__all__ = ["Cell", "Sweep", "cells", "read_sweep", "run_sweep"]


def run_sweep(
    sweep: Sweep, folder: Path, *, jobs: int = 1, scheduler: str | None = None, told: Callable[[str], None]
) -> Path:
    """Run the cells that are not done and return the table (CSV beside parquet).

    *jobs* run at a time on this machine; or *scheduler* is the address of a Dask scheduler, whose workers run them.
    Every cell is read before any runs. Raises SpecError, UsageError; a cell whose rig broke is tried again next time.
    """
    planned = list(cells(sweep))
    items = {
        asked: run.read_items([catalogue.find_scenario(asked[0])], catalogue.parse_changes(asked[1]))[0]
        for asked in dict.fromkeys((cell.scenario, cell.changes) for cell in planned)
    }
    jobs_to_do = (Job(cell, items[cell.scenario, cell.changes]) for cell in planned)
    waiting = [job for job in jobs_to_do if not (folder / job.cell.folder / CELL_FILE).exists()]
    told(f"{len(planned)} cells, {len(planned) - len(waiting)} of them done before")
    if waiting:
        if scheduler is None:
            done = run_here(waiting, folder, jobs)
        else:
            from testbed.sweep.cluster import run_there

            done = run_there(waiting, folder, scheduler)
        for number, (cell, verdict) in enumerate(done, 1):
            point = ", ".join(f"{key} {value}" for key, value in cell.point)
            told(f"{number}/{len(waiting)} {point}, seed {cell.seed}: {verdict}")
    return write_table(planned, folder)
