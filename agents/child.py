"""A stock program as an agent's child: started in the agent's network namespace, its log followed, its end noticed."""

import asyncio
import contextlib
import shutil
from collections import deque
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, Final

_ADMIN_FOLDERS: Final = "/usr/sbin:/sbin"
"Where Debian keeps servers; an ordinary user's PATH lacks them."
_LINES_KEPT: Final = 5


class ChildFailure(Exception):
    """A program cannot serve; the message is one line."""


class ChildProgram:
    """One program at work, and the last lines it wrote."""

    def __init__(self, program: str, package: str) -> None:
        """*package* is the Debian package that brings *program*, for the message where it is missing."""
        self.program, self._package = program, package
        self._process: asyncio.subprocess.Process | None = None
        self._log: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=_LINES_KEPT)

    async def start(
        self, arguments: Sequence[str], *, directory: Path, serves: Awaitable[None], what: str, limit_s: float
    ) -> None:
        """Start it in *directory*; return once *serves* has returned: *what* is then true.

        Raises ChildFailure if it is not installed, dies before, or takes over *limit_s*.
        """
        path = shutil.which(self.program) or shutil.which(self.program, path=_ADMIN_FOLDERS)
        serving = asyncio.ensure_future(serves)
        try:
            if path is None:
                raise ChildFailure(f"{self.program} is not installed (Debian package {self._package})")
            self._process = await asyncio.create_subprocess_exec(
                path, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT, cwd=directory,
            )  # fmt: skip
            self._log = asyncio.create_task(self._follow_log(self._process))
            await self._wait_for(serving, what, limit_s)
        finally:
            serving.cancel()

    async def _wait_for(self, serving: "asyncio.Future[None]", what: str, limit_s: float) -> None:
        died = asyncio.create_task(self.died())
        ends: set[asyncio.Future[Any]] = {died, serving}
        try:
            await asyncio.wait(ends, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if died.done():
                raise ChildFailure(died.result())
            if not serving.done():
                raise ChildFailure(f"{self.program}: not within {limit_s:g} s: {what}: {self.last_words}")
            serving.result()
        finally:
            died.cancel()

    @property
    def last_words(self) -> str:
        """What it wrote last, in one line."""
        return " | ".join(self._last_lines) or "it wrote nothing"

    async def died(self) -> str:
        """Wait until the program ends, which it should not; return what to say about it."""
        assert self._process is not None and self._log is not None
        await self._process.wait()
        await self._log
        return f"{self.program} ended with status {self._process.returncode}: {self.last_words}"

    async def stop(self) -> None:
        """End the program, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        if self._log is not None:
            await self._log

    async def _follow_log(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._last_lines.append(line.decode(errors="replace").strip())


async def serve_until_told(child: ChildProgram, stopped: Awaitable[None]) -> None:
    """Return when *stopped* does; raise ChildFailure if the program ends before."""
    stopping = asyncio.ensure_future(stopped)
    died = asyncio.create_task(child.died())
    ends: set[asyncio.Future[Any]] = {stopping, died}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise ChildFailure(died.result())
        stopping.result()
    finally:
        for task in (stopping, died):
            task.cancel()
