"""Whatever dies, whenever: nothing of the world stays, and what is left behind is not taken for a result."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.emulation
SCENARIO = "online/p2p-external"
KILLS = 20
LATEST_KILL_S = 6.0


def temporary_of(results: Path) -> Path:
    return results.with_name(results.name + "-tmp")


@contextmanager
def running(results: Path) -> Iterator[subprocess.Popen[str]]:
    """A run under way, in a session of its own as it is in a terminal, with a folder of its own for temporary files."""
    temporary = temporary_of(results)
    temporary.mkdir()
    command = [sys.executable, "-m", "testbed", "run", SCENARIO, "--duration", "4s", "--results", str(results)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(fact: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # between the two
        return True


def kill_one(
    conductor: subprocess.Popen[str], chance: random.Random
) -> tuple[list[psutil.Process], psutil.Process | None, str]:
    """Kill one process of a run; return all there were below the conductor, which it was (None: all over), its name."""
    while world := descendants(conductor):
        victim = chance.choice([*world, psutil.Process(conductor.pid)])
        try:
            name = " ".join(victim.cmdline()[:4])
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue  # it has just ended by itself
        return world, victim, name
    return [], None, ""


@pytest.mark.parametrize("seed", range(KILLS))
def test_killing_any_process_leaves_nothing(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with running(tmp_path / "results") as conductor:
        assert wait_until(lambda: bool(descendants(conductor)), within_s=10)
        time.sleep(chance.uniform(0, LATEST_KILL_S))  # the moment is the test's parameter, not a wait for anything
        world, victim, name = kill_one(conductor, chance)
        if victim is None:
            return  # it was over by then: nothing of it is there, which is what is asked
        assert wait_until(lambda: all(is_gone(process) for process in world), within_s=5), f"left after {name} died"
        _, stderr = conductor.communicate(timeout=60)
    assert conductor.returncode in ({-signal.SIGKILL} if victim.pid == conductor.pid else {4, 0}), stderr
    if conductor.returncode == 4:
        (run,) = (tmp_path / "results").glob("2*/run.json")
        assert json.loads(run.read_text(encoding="utf-8"))["scenarios"][0]["verdict"] == "ERROR"
    assert not [path for path in (tmp_path / "results").rglob(".*")]
    assert not list(temporary_of(tmp_path / "results").iterdir())


def test_the_next_run_is_unaffected(tmp_path: Path) -> None:
    with running(tmp_path / "killed") as first:
        assert wait_until(lambda: len(descendants(first)) > 5, within_s=20)
        first.kill()
    with running(tmp_path / "next") as second:
        stdout, stderr = second.communicate(timeout=90)
    assert second.returncode == 0, stdout + stderr


def test_ctrl_c_ends_within_two_seconds_and_says_what_was_saved(tmp_path: Path) -> None:
    with running(tmp_path / "results") as conductor:
        assert wait_until(lambda: len(descendants(conductor)) > 20, within_s=20)
        began = time.monotonic()
        conductor.send_signal(signal.SIGINT)
        stdout, stderr = conductor.communicate(timeout=30)
        took_s = time.monotonic() - began
    assert conductor.returncode == 4, stderr
    assert "nterrupted" in stdout
    assert took_s < 10  # two seconds on a machine of its own; `make bench` says what it is
    (run,) = (tmp_path / "results").glob("2*/run.json")
    saved = json.loads(run.read_text(encoding="utf-8"))
    assert saved["interrupted"]
    assert saved["scenarios"][0]["verdict"] == "ERROR"
