"""A world on a terminal, for programs that are not ours: scripts started in its nodes, by `testbed shell`."""

import contextlib
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import catalogue
from testbed.plan import make_plan
from testbed.plan.model import Job, Plan
from testbed.spec.reader import read_spec

PROMPT = "testbed> "
LIMIT_S = 90.0


class World:
    """The world of a scenario with its servers running, and a folder that its nodes see."""

    def __init__(self, scenario: str, folder: Path) -> None:
        self.folder = folder
        self.plan: Plan = make_plan(read_spec(catalogue.find_scenario(scenario)), duration_ns=1, seed=1)
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testbed", "shell", scenario],
            stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def job(self, name: str) -> Job:
        """Return the plan's job of a party or server."""
        return next(job for job in self.plan.jobs if job.name == name)

    def run(self, node: str, script: str) -> str:
        """Run a shell *script* in *node*, in our folder; return what it prints."""
        path = self.folder / f"{node}-script"
        path.write_text(f"cd {self.folder}\n{script}\n")
        os.write(self._terminal, f"{node} sh {path}\n".encode())
        return self.wait(PROMPT)

    def wait(self, text: str) -> str:
        """Return what the terminal shows up to *text*."""
        shown, deadline = "", time.monotonic() + LIMIT_S
        while text not in shown:
            assert time.monotonic() < deadline, shown
            assert self._process.poll() is None, shown
            shown += os.read(self._terminal, 4096).decode(errors="replace")
        return shown

    def end(self) -> None:
        """Hang up: the world ends with its terminal."""
        self._process.terminate()
        os.close(self._terminal)
        self._process.wait(LIMIT_S)


@contextlib.contextmanager
def world_of(scenario: str, folder: Path) -> Iterator[World]:
    """Run the world of *scenario* until the block is left."""
    world = World(scenario, folder)
    try:
        world.wait(PROMPT)
        yield world
    finally:
        world.end()


def file_says(path: Path, text: str) -> str:
    """Wait until the file holds *text*; return the whole of it."""
    deadline = time.monotonic() + LIMIT_S
    while text not in (said := path.read_text(errors="replace") if path.exists() else ""):
        assert time.monotonic() < deadline, said[-3000:]
        time.sleep(0.05)  # between two looks at a file that another program writes
    return said
