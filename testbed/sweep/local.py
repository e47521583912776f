"""The cells of a sweep on this machine: a process each, so many at a time."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from testbed.sweep.cell import Job, run_cell


def run_here(waiting: Sequence[Job], folder: Path, jobs: int) -> Iterator[tuple[Job, str]]:
    """Run *waiting*, *jobs* at a time; yield each and its verdict when it is done. Raises what a cell raises.

    When the caller goes (Ctrl-C), those under way end and no other begins.
    """
    pool = ThreadPoolExecutor(jobs)
    running = {pool.submit(_in_a_process, job, folder): job for job in waiting}
    try:
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _in_a_process(job: Job, folder: Path) -> str:
    """Run one cell in a process of its own: it has signals of its own, and when it dies it takes no other with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(run_cell, job, folder).result()
        except BrokenProcessPool:
            return "ERROR: its process was killed"
