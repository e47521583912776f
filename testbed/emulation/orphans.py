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
    since_s: dict[int, float] = {}
    "Zombies and when they were first seen."

    def look() -> None:
        now_s, found = loop.time(), _zombies()
        for pid in since_s.keys() - found:
            del since_s[pid]
        # By their age and not by being seen twice: many ends at once bring many looks, one right after another.
        for pid in found:
            if now_s - since_s.setdefault(pid, now_s) >= _PATIENCE_S:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
        if found - {pid for pid, at_s in since_s.items() if at_s < now_s}:
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
