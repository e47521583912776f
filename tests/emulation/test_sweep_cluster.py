"""A sweep on Dask workers: worlds of their own, files that come back, and cells that outlive their worker."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from testbed.errors import UsageError
from testbed.sweep import cluster, plan_jobs, read_sweep, run_sweep

pytestmark = pytest.mark.emulation
FILE = """
scenario = "online/p2p-internal"
duration = "1s"
[grid]
"links.alice-lan-a.shape.delay" = ["1ms", "30ms"]
"""
START_LIMIT_S = 60
"On a machine with other work: a worker imports for two seconds."


def wait_until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not fact():
        assert time.monotonic() < deadline, f"not within {START_LIMIT_S} s: {what}"
        time.sleep(0.02)


@contextmanager
def dask(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start one of Dask's programs on loopback; end it."""
    common = ["--host", "127.0.0.1", "--scheduler-file", str(directory / "scheduler.json")]
    command = [sys.executable, "-m", "dask", *arguments, *common]
    environment = {**os.environ, "TMPDIR": str(directory)}
    with (
        (directory / "dask.log").open("ab") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def scheduler(directory: Path) -> Iterator[str]:
    """Start a scheduler; yield its address."""
    told = directory / "scheduler.json"
    with dask(directory, "scheduler", "--port", "0", "--dashboard-address", "127.0.0.1:0"):
        wait_until(lambda: told.exists() and told.read_text().endswith("}"), "the scheduler's address")
        yield json.loads(told.read_text())["address"]


def worker(directory: Path, name: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Start a worker that runs one cell at a time."""
    place = str(directory / name)
    options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", place]
    return dask(directory, "worker", *options)


def worlds(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes of a worker's worlds."""
    everyone = psutil.Process(process.pid).children(recursive=True)
    return [x for x in everyone if "testbed.emulation.stage" in " ".join(x.cmdline())]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_workers_have_worlds_of_their_own_and_a_dead_ones_cell_is_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, folder, told = tmp_path / "grid.toml", tmp_path / "out", list[str]()
    file.write_text(FILE)
    sweep = read_sweep(file)
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(tmp_path))
        with monkeypatch.context() as patch, pytest.raises(UsageError, match="it has no worker; `dask worker tcp://"):
            patch.setattr(cluster, "FIRST_WORKER_LIMIT_S", 0.5)
            run_sweep(sweep, folder, scheduler=address, told=told.append)
        first, second = (stack.enter_context(worker(tmp_path, name)) for name in ("first", "second"))
        log = tmp_path / "dask.log"
        wait_until(lambda: log.read_text().count("Registered to:") == 2, "both workers at the scheduler")
        pool = stack.enter_context(ThreadPoolExecutor(1))
        running = pool.submit(run_sweep, sweep, folder, scheduler=address, told=told.append)
        wait_until(lambda: running.done() or bool(worlds(first) and worlds(second)), "a world of each worker")
        assert not running.done(), running.result()
        orphans = worlds(second)
        second.send_signal(signal.SIGKILL)
        table = running.result(timeout=120).table
        assert all(map(is_gone, orphans))

        def leftovers() -> list[Path]:
            return list((tmp_path / "second").glob("*/*/testbed-cell-*"))

        assert leftovers()  # what is killed cleans nothing up, but Dask does when the next worker starts there
        stack.enter_context(worker(tmp_path, "second"))
        wait_until(lambda: not leftovers(), "the killed worker's files removed")
        assert told[1:2] == ["2 cells, 0 of them done before"]
        assert sorted(line.split("delay ")[1] for line in told[2:]) == ["1ms, seed 1: PASS", "30ms, seed 1: PASS"]
    for job in plan_jobs(sweep):
        (capture,) = (folder / job.folder).glob("*/online-p2p-internal/capture.pcapng")
        assert capture.stat().st_size > 10_000
    with table.open(newline="") as written:
        rows = list(csv.DictReader(written))
    delays = {row["links.alice-lan-a.shape.delay"]: float(row["one_way_delay_ms_median"]) for row in rows}
    assert 25 < delays["30ms"] - delays["1ms"] < 45
    # No scheduler is there any more: what is done needs none.
    assert run_sweep(sweep, folder, scheduler=address, told=told.append).table == table
    assert told[-1] == "2 cells, 2 of them done before"
