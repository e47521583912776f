"""The prompt in a running world: commands reach the nodes, a mistake is told, leaving it ends the world."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0
PROMPT = "testbed> "
SHELL = """
import sys
from testbed.emulation.shell import run_shell
from tests.emulation.small_world import small_plan
sys.exit(run_shell(small_plan()))
"""


class Terminal:
    """A terminal with a person's patience."""

    def __init__(self, temporary: Path) -> None:
        self._fd, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHELL],
            stdin=theirs, stdout=theirs, stderr=theirs,
            cwd=ROOT, env={**os.environ, "TMPDIR": str(temporary)}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def until(self, text: str) -> str:
        """Return what is shown up to *text*."""
        shown = ""
        deadline = time.monotonic() + LIMIT_S
        while text not in shown:
            assert time.monotonic() < deadline, shown
            shown += os.read(self._fd, 4096).decode(errors="replace")
        return shown

    def type(self, line: str) -> str:
        """Type a line and return the answer."""
        os.write(self._fd, f"{line}\n".encode())
        return self.until(PROMPT)

    def close(self) -> None:
        """Hang up."""
        os.close(self._fd)
        self.process.wait(LIMIT_S)


def test_the_prompt_runs_commands_in_nodes_until_it_is_left(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.until(PROMPT)
        assert "default via 10.0.1.2 dev r1" in terminal.type("alice ip route")
        assert "10.0.4.0/24 via 10.0.2.2 dev r2 proto bird" in terminal.type("r1 ip route")
        assert "unknown command 'carol ip route'" in terminal.type("carol ip route")
        assert "what shall bob do?" in terminal.type("bob")
        os.write(terminal._fd, b"exit\n")
        assert terminal.process.wait(LIMIT_S) == 0
    finally:
        terminal.process.kill()
        terminal.close()


def test_a_shell_that_is_killed_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    try:
        terminal.until(PROMPT)
        world = psutil.Process(terminal.process.pid).children(recursive=True)
        assert world
    finally:
        terminal.process.kill()
        terminal.close()
    assert not psutil.wait_procs(world, LIMIT_S)[1]
    assert not list(tmp_path.iterdir())
