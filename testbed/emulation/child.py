"""Start a Python program of this package, tell it its job, hear of it by JSON lines, and end it.

Its job is the first line on its standard input, which stays open: end of file there means stop. On its standard output
it writes `{"type": "ready"}`, at the end `{"type": "result", ...}`, and of trouble `{"type": "error", "what": line}`.
How it ended is known from the pipe, not from wait(2), so that PID 1 of a world may reap whom it likes.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from testbed.errors import RigError

_LINE_LIMIT: Final = 1 << 24
"Bytes in one line; a result with counters of hundreds of links is long."


class Child:
    """One program at work. Make it with `Child.start`."""

    def __init__(self, what: str, process: asyncio.subprocess.Process) -> None:
        self.what = what
        "Name for messages: the wire, the capture."
        self.pid: int = process.pid
        self.errors: list[str] = []
        "What it complained of so far, one line each."
        self._process = process
        self._ready = asyncio.Event()
        self._result: dict[str, Any] | None = None
        self._ended = asyncio.create_task(self._follow())

    @classmethod
    async def start(
        cls, what: str, module: str, job: dict[str, Any] | None = None, *, fds: Sequence[int] = ()
    ) -> "Child":
        """Run `python -m module` with *fds* open in it under the same numbers; hand it *job*, now or by `give`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=tuple(fds),
            limit=_LINE_LIMIT,
        )
        child = cls(what, process)
        if job is not None:
            await child.give(job)
        return child

    async def give(self, job: dict[str, Any]) -> None:
        """Hand it its job."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):  # it died at once: `ready` says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            await self._process.stdin.drain()

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            match message["type"]:
                case "ready":
                    self._ready.set()
                case "error":
                    self.errors.append(message["what"])
                case "result":
                    self._result = message

    @property
    def last_words(self) -> str:
        """Why it is gone, in one line, as far as it said."""
        return f"{self.what} (process {self.pid}) died: {self.errors[-1] if self.errors else 'it did not say why'}"

    async def ready(self, *, timeout_s: float = 20) -> None:
        """Wait until it works; raise RigError with its own words if it dies before, or after *timeout_s*."""
        readiness = asyncio.create_task(self._ready.wait())
        done, _ = await asyncio.wait({readiness, self._ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if readiness in done:
            return
        readiness.cancel()
        if self._ended in done:
            raise RigError(self.last_words)
        raise RigError(f"{self.what} (process {self.pid}) is not ready after {timeout_s} s")

    async def ended(self) -> None:
        """Wait until it has closed its standard output, as it does by dying: a fault unless `stop` was called."""
        await asyncio.shield(self._ended)

    async def stop(self, *, timeout_s: float = 10) -> dict[str, Any]:
        """Have it flush and end, and return its result; raise RigError if it had died or takes over *timeout_s*."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        done, _ = await asyncio.wait({self._ended}, timeout=timeout_s)
        if not done:
            self.kill()
            raise RigError(f"{self.what} (process {self.pid}) did not end within {timeout_s} s and was killed")
        self._ended.result()
        if self._result is None:
            raise RigError(self.last_words)
        await self._process.wait()
        return self._result

    def kill(self) -> None:
        """End it at once; it writes nothing more."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
