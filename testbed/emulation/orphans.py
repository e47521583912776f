"""PID 1's duty to processes whose parents ended before them: to reap them when they end."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 2.0
"A zombie this old is nobody's: whoever started a process of its own here reaps it at once."


def reap_orphans() -> None:
    """From now on, reap every child of this process that nobody else does."""
    loop = asyncio.get_running_loop()
    seen: set[int] = set()

    def look() -> None:
        found = _zombies()
        for pid in found & seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        fresh = found - seen
        seen.clear()
        seen.update(fresh)
        if fresh:
            loop.call_later(_PATIENCE_S, look)

    loop.add_signal_handler(signal.SIGCHLD, lambda: loop.call_later(_PATIENCE_S, look) and None)


def _zombies() -> set[int]:
    own = os.getpid()
    zombies = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == own:
                zombies.add(int(path.parent.name))
    return zombies
