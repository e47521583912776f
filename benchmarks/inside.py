"""Benchmarks that need a world of their own: run again inside of one, with what they print passed on from there.

Inside, `prefer` asks for what a scenario's world asks of its conductor: that the wire precede ordinary processes.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from testbed.emulation import precedence, tools

_PREFER: Final = "urgent "
_PREFER_LIMIT_S: Final = 0.5


def run_inside(module: str, *arguments: str, on_line: Callable[[str], object] = print) -> int:
    """Run `python -m module inside ARGUMENTS` in fresh namespaces; return its exit status. *on_line* gets its lines."""
    command = tools.sealed(sys.executable, "-m", module, "inside", *arguments)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1) as world:
        assert world.stdout is not None
        for line in world.stdout:
            if line.startswith(_PREFER):
                precedence.give(json.loads(line.removeprefix(_PREFER)), launcher=world.pid)
            else:
                on_line(line.rstrip("\n"))
                sys.stdout.flush()
    return world.returncode


def prefer(pid: int) -> None:
    """Ask, from inside, that process *pid* precede ordinary ones, and give it a moment to come about."""
    print(f"{_PREFER}{pid}", flush=True)
    deadline = time.monotonic() + _PREFER_LIMIT_S  # who runs this may have no right to: then it is measured so
    while os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO and time.monotonic() < deadline:
        time.sleep(0.01)
