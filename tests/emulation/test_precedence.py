"""Who is woken first: asked for by a process itself, and from outside of its world."""

import os
import subprocess
import sys

import pytest

from testbed.emulation import precedence

TAKE = "from testbed.emulation import precedence; print(precedence.take(), precedence.has())"


def is_granted_here() -> bool:
    """Return whether this user may have it, as the kernel told another process; it must tell itself the same."""
    done = subprocess.run([sys.executable, "-c", TAKE], capture_output=True, text=True, check=True)
    taken, had = done.stdout.split()
    assert taken == had
    return taken == "True"


@pytest.mark.emulation
def test_a_process_of_a_world_is_found_by_the_number_it_has_there() -> None:
    wanted = is_granted_here()
    world = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    program = "import os; print(os.getpid(), flush=True); input(); print(os.sched_getscheduler(0))"
    with subprocess.Popen(
        [*world, sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid_inside = int(process.stdout.readline())
        assert precedence.give(pid_inside + 1, launcher=process.pid) is False
        assert precedence.give(pid_inside, launcher=process.pid) is wanted
        said, _ = process.communicate("\n")
    policy = int(said)
    assert policy == (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK if wanted else os.SCHED_OTHER)


def test_a_world_that_is_gone_needs_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
        assert precedence.give(1, launcher=ended.pid) is False
    assert precedence.has() is False
