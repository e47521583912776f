"""Programs run in a world: in a node or outside all nodes, their failure never overlooked."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from testbed.emulation import mounts, tools
from testbed.errors import RigError

_LOOK_AGAIN_S = 0.005


def in_node(node: str | None, program: str, *arguments: str) -> list[str]:
    """Return the command that runs *program* in the network namespace of *node* (or outside all, for None)."""
    command = [tools.find_tool(program), *arguments]
    return [tools.find_tool("nsenter"), f"--net={mounts.NETWORKS / node}", "--", *command] if node else command


async def run(node: str | None, program: str, *arguments: str, given: str | None = None) -> str:
    """Run a program to its end and return what it wrote; raise RigError with its own words if it fails.

    *given* is its standard input.
    """
    process = await asyncio.create_subprocess_exec(
        *in_node(node, program, *arguments),
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await process.communicate(None if given is None else given.encode())
    if process.returncode:
        where = f"{node}: " if node else ""
        said_last = last_line(complaint.decode())
        raise RigError(f"{where}{' '.join([program, *arguments])} failed ({_how(process.returncode)}): {said_last}")
    return said.decode()


def _how(returncode: int) -> str:
    """Say how a program ended whose exit status is *returncode*, of a signal its negative number."""
    return f"exit status {returncode}" if returncode > 0 else signal.Signals(-returncode).name


def last_line(text: str) -> str:
    """Return the last line of what a program said, or that it said nothing."""
    return next((x.strip() for x in reversed(text.splitlines()) if x.strip()), "it said nothing")


def read_last_line(path: Path) -> str:
    """Return the last line of a log file."""
    return last_line(path.read_text(errors="replace")) if path.exists() else "it said nothing"


def socket_of(pid: int, protocol: int) -> tuple[int, int] | None:
    """Return groups and unread bytes of a process's subscribed netlink socket of *protocol*; None without one."""
    try:
        rows = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
        inodes = {str(x.readlink()) for x in Path(f"/proc/{pid}/fd").iterdir()}
    except (FileNotFoundError, ProcessLookupError):
        return None
    for row in rows:
        fields = row.split()
        groups = int(fields[3], 16)
        if int(fields[1]) == protocol and groups and f"socket:[{fields[9]}]" in inodes:
            return groups, int(fields[4])
    return None


async def wait_until(fact: Callable[[], bool], *, limit_s: float) -> bool:
    """Wait for a fact that nobody announces; return whether it came true within *limit_s*."""
    deadline = asyncio.get_running_loop().time() + limit_s
    while not fact():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(_LOOK_AGAIN_S)  # another process's state in /proc: there is nothing to be woken by
    return True
