"""Feed lines to `ip -batch` or `tc -batch` in a network namespace, in one process."""

import asyncio
import shutil
from collections.abc import Sequence

from testbed.errors import MissingTool, RigError

_SEARCH_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"Where an ordinary user's PATH does not look."


def program_path(program: str, package: str) -> str:
    """Return where *program* is; raise MissingTool if it is nowhere."""
    found = shutil.which(program) or shutil.which(program, path=_SEARCH_PATH)
    if found is None:
        raise MissingTool(f"{program} is missing", f"apt-get install {package}")
    return found


async def output_of(what: str, command: Sequence[str], *, lines: Sequence[str] = (), fds: Sequence[int] = ()) -> str:
    """Run *command* with *lines* on its standard input; return what it writes, or raise RigError."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=tuple(fds),
    )
    written, complaint = await process.communicate("".join(f"{x}\n" for x in lines).encode())
    if process.returncode:
        raise RigError(f"{what}: {' '.join(complaint.decode(errors='replace').split())}")
    return written.decode()


def in_network(netns_fd: int | None, command: Sequence[str]) -> list[str]:
    """Return the command that runs *command* in the network namespace *netns_fd*, which must be passed on to it."""
    if netns_fd is None:
        return list(command)
    return [program_path("nsenter", "util-linux"), f"--net=/proc/self/fd/{netns_fd}", *command]


async def run_batch(program: str, lines: Sequence[str], *, netns_fd: int | None = None) -> None:
    """Have `ip` or `tc` (*program*) carry out *lines*, in namespace *netns_fd* if given; raise RigError."""
    command = in_network(netns_fd, [program_path(program, "iproute2"), "-batch", "-"])
    await output_of(program, command, lines=lines, fds=() if netns_fd is None else (netns_fd,))
