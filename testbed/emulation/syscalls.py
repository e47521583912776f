"""The few Linux system calls that Python 3.11 lacks, by ctypes: setns, unshare, timerfd, timer slack."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000
_CLONE_FILES: Final = 0x400
_PR_SET_TIMERSLACK: Final = 29
_CLOCK_REALTIME: Final = 0
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_CLOEXEC: Final = os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1

_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def enter_network(netns_fd: int) -> None:
    """Move this thread into the network namespace *netns_fd* is open on (setns(2)); raise OSError."""
    _checked(_libc.setns(netns_fd, CLONE_NEWNET), "setns")


def leave_for_new_network() -> None:
    """Move this thread into a fresh, empty network namespace (unshare(2)); raise OSError."""
    _checked(_libc.unshare(CLONE_NEWNET), "unshare")


def leave_shared_files() -> None:
    """Give this thread a table of file descriptors of its own, a copy of the process's (unshare(2)); raise OSError."""
    _checked(_libc.unshare(_CLONE_FILES), "unshare")


@contextmanager
def inside_network(netns_fd: int) -> Iterator[None]:
    """Be in the network namespace *netns_fd* for a while; sockets opened there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter_network(netns_fd)
        try:
            yield
        finally:
            enter_network(here)
    finally:
        os.close(here)


def new_network() -> int:
    """Make an empty network namespace and return a file descriptor on it, the only thing that keeps it alive."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        leave_for_new_network()
        try:
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            enter_network(here)
    finally:
        os.close(here)


def set_timer_slack(slack_ns: int) -> None:
    """Say how late the kernel may wake this thread to save power; the default is 50 µs."""
    _checked(_libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(slack_ns), 0, 0, 0), "prctl")


class Timer:
    """A timerfd on the wall clock, the clock of the kernel's packet timestamps; readable once it is due."""

    def __init__(self) -> None:
        self._fd = _checked(_libc.timerfd_create(_CLOCK_REALTIME, _TFD_NONBLOCK | _TFD_CLOEXEC), "timerfd_create")
        self._setting = _Itimerspec()
        self._at = ctypes.byref(self._setting)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._fd

    def set(self, due_ns: int) -> None:
        """Go off at *due_ns* since the epoch (at once if that is past), instead of any time set before."""
        value = self._setting.value
        value.seconds, value.nanoseconds = divmod(due_ns, 1_000_000_000)
        _checked(_libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._at, None), "timerfd_settime")

    def clear(self) -> None:
        """Take the news that it went off, so that it can go off again."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew since

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def network_of(pid: int) -> int:
    """Open the network namespace of process *pid*; the caller closes the descriptor."""
    return os.open(Path("/proc") / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
