"""PID 1's duty to processes whose parents ended before them: to reap them when they end."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 2.0
"Between two looks. A zombie seen by both is nobody's: whoever started a process of its own here reaps it at once."


def reap_orphans() -> None:
    """From now on, reap every child of this process that nobody else does."""
    loop = asyncio.get_running_loop()
    seen: set[int] = set()
    waiting: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal seen, waiting
        found = _zombies()
        for pid in found & seen:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        seen, waiting = found - seen, None
        if found:
            look_later()

    def look_later() -> None:
        # One look at a time: between it and the next the loop has asked the kernel who ended, and told the parent. Two
        # looks in one turn of a busy loop may be seconds apart, and both before that.
        nonlocal waiting
        if waiting is None:
            waiting = loop.call_later(_PATIENCE_S, look)

    loop.add_signal_handler(signal.SIGCHLD, look_later)


def _zombies() -> set[int]:
    own = os.getpid()
    zombies = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state == "Z" and int(parent) == own:
                zombies.add(int(path.parent.name))
    return zombies
