"""Let a process be woken before all ordinary ones: what a busy machine adds to the times that the wire keeps.

A world has no right to that: its root is nobody outside of it. So the process asks for itself, which is granted within
RLIMIT_RTPRIO, and whoever started the world asks for it from outside, which is granted to root.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PRIORITY: Final = 1
"The least of the real-time ones is before all ordinary processes, and behind whatever else is urgent here."
_PROC: Final = Path("/proc")


def take() -> bool:
    """Have this thread precede ordinary ones (SCHED_FIFO), but not what it starts; return whether that was granted."""
    return _grant(0)


def give(pid_inside: int, *, launcher: int) -> bool:
    """Have a process of a world precede, known there as *pid_inside*; return whether it does, False if it has ended.

    *launcher* is the `unshare` that made the world's PID namespace.
    """
    try:
        world = _namespace(launcher, "pid_for_children")
    except OSError:
        return False
    return any(_grant(pid) for pid in _processes_of(world) if _innermost_pid(pid) == pid_inside)


def has() -> bool:
    """Return whether this thread precedes ordinary ones."""
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO


def _grant(pid: int) -> bool:
    try:
        os.sched_setscheduler(pid, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except (PermissionError, ProcessLookupError):
        return False
    return True


def _namespace(pid: int, kind: str) -> str:
    return os.fspath((_PROC / str(pid) / "ns" / kind).readlink())


def _processes_of(pid_namespace: str) -> Iterator[int]:
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if _namespace(int(folder.name), "pid") == pid_namespace:
                yield int(folder.name)


def _innermost_pid(pid: int) -> int | None:
    """Return the number that a process has in its own PID namespace; None where it has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith("NSpid:")), None)
