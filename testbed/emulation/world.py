"""A sealed world, seen by the conductor: started, followed line by line, ended.

User, network, PID, mount, IPC and UTS namespaces are new. The stage is PID 1 in it: when it ends, for whatever reason,
the kernel removes every process, interface and temporary file of the world; when the conductor ends, the stage does.
"""

import asyncio
import contextlib
import functools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal, Self

from testbed.emulation import precedence, tools
from testbed.emulation.commands import read_last_line
from testbed.emulation.tools import check_namespaces
from testbed.errors import RigError
from testbed.plan.model import Plan

__all__ = ["WaitingStage", "World", "check_namespaces", "stage_command", "world_environment"]

LOG_FILE: Final = "world.log"
_NEEDED: Final = ("unshare", "nsenter", "iptables-restore", "iptables-save", "conntrack", "bird", "turnserver")
_ROOT: Final = Path(__file__).parents[2]
_LONGEST_LINE_BYTES: Final = 1 << 24
_STOP_LIMIT_S: Final = 1.7
_KILL_LIMIT_S: Final = 5.0

OnEvent = Callable[[dict[str, Any]], None]


def stage_command(*arguments: str) -> list[str]:
    """Return the command that starts a world."""
    stage = sys.executable, "-P", "-m", "testbed.emulation.stage", *arguments
    return tools.sealed(*stage, more=("--ipc", "--uts"))


def world_environment() -> dict[str, str]:
    """Return the environment of a world: this project found first, and the folders of an administrator's programs."""
    kept = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TEMP", "TMP")}
    if sys.version_info < (3, 12):  # Mininet imports distutils, for which setuptools would load all of itself
        kept["SETUPTOOLS_USE_DISTUTILS"] = "stdlib"
    return {**kept, "PATH": tools.search_path(), "PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8"}


@functools.cache
def _check_namespaces_once() -> None:
    check_namespaces()


def order_line(plan: Plan, directory: Path | None, backend: str, **more: Any) -> bytes:
    """Return the first line that the stage is told; without a *directory* the world's files end with it."""
    to = None if directory is None else str(directory.resolve())
    order = {"plan": plan.model_dump(mode="json"), "directory": to, "backend": backend, **more}
    return json.dumps(order).encode() + b"\n"


class WaitingStage:
    """A world's first process, which waits for its order: what it imports by then nobody has to wait for."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self.process = process
        self.directory = directory

    @classmethod
    async def start(cls, directory: Path) -> Self:
        """Start one for a world that leaves its files in *directory*, which exists.

        Raises MissingTool if this machine cannot have worlds.
        """
        tools.check_tools(_NEEDED)
        await asyncio.to_thread(_check_namespaces_once)
        with (directory / LOG_FILE).open("wb") as errors:
            # A session of its own, so that Ctrl-C on the terminal reaches the conductor only.
            process = await asyncio.create_subprocess_exec(
                *stage_command(), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=world_environment(), start_new_session=True, limit=_LONGEST_LINE_BYTES,
            )  # fmt: skip
        return cls(process, directory)

    async def dismiss(self) -> None:
        """End it without an order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await _wait_or_kill(self.process)


async def _wait_or_kill(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(_KILL_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class World:
    """A world at work. Make it with `World.start`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, on_event: OnEvent) -> None:
        self._process = process
        self._log = log
        self._on_event = on_event
        self._error: str | None = None
        self._is_done = False
        self._following = asyncio.create_task(self._follow())

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        plan: Plan,
        *,
        directory: Path,
        backend: Literal["auto", "wire", "netem"] = "auto",
        on_event: OnEvent,
        stage: WaitingStage | None = None,
    ) -> "AsyncIterator[World]":
        """Start a world that plays *plan* and leaves its files in *directory*, which exists.

        *on_event* is called with each line it says (docs/seams.md, "World"). Nothing of the world is left after this.
        *stage* was started for this directory before; if it has died since, or there is none, a new one is started.
        Raises MissingTool if this machine cannot have worlds.
        """
        if stage is None or stage.process.returncode is not None:
            stage = await WaitingStage.start(directory)
        world = cls(stage.process, directory / LOG_FILE, on_event)
        try:
            world._write(order_line(plan, directory, backend))
            yield world
        finally:
            await world._end()

    async def finished(self) -> None:
        """Wait until the scenario is over and its files are written; raise RigError with what broke the world."""
        await asyncio.shield(self._following)
        if self._error is not None:
            raise RigError(self._error)
        if not self._is_done:
            status = await self._process.wait()
            raise RigError(f"the world ended with status {status} before it was done: {read_last_line(self._log)}")

    async def stop(self) -> None:
        """Have it save what evidence there is and end; after this `finished` returns or raises soon."""
        self._write(b'{"do": "stop"}\n')
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_LIMIT_S):
                await self._process.wait()
        await self._end()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.is_closing():
            self._process.stdin.write(line)

    async def _follow(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            event = json.loads(line)
            match event:
                case {"type": "error", "text": str(text)}:
                    self._error = self._error or text
                case {"type": "done"}:
                    self._is_done = True
                case {"type": "urgent", "pid": int(pid)}:
                    precedence.give(pid, launcher=self._process.pid)
                    continue
            self._on_event(event)

    async def _end(self) -> None:
        """Let go of the lifeline and wait until the kernel has removed the world."""
        assert self._process.stdin is not None
        if self._process.returncode is None:
            if not self._is_done and self._error is None:
                self._write(b'{"do": "stop"}\n')
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_LIMIT_S):
                        await self._process.wait()
            self._process.stdin.close()
            await _wait_or_kill(self._process)
        with contextlib.suppress(asyncio.CancelledError):
            await self._following
