"""One agent's process: the job and the commands it reads, the lines it writes, and how it ends."""

import asyncio
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from agents.sip.marking import set_signaling_dscp
from agents.sockets import MarkingEventLoop

Message = dict[str, Any]
"One line of JSON, in either direction."
Commands = AsyncIterator[Message]
"What the conductor wants, after the job; it ends when the conductor closes the pipe."
Say = Callable[[Message], None]
"Writes one line; `t_ns` (time.time_ns(), the clock of the captures) is added."
Program = Callable[[Message, Commands, Say], Awaitable[None]]

_LONGEST_LINE_BYTES = 1 << 20


def program_named(name: str) -> Program:
    """Return `main` of the module agents.<name>; raise ValueError when there is no such program."""
    if not name.isidentifier():
        raise ValueError(f"no agent program {name!r}")
    try:
        module = importlib.import_module(f"agents.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"agents.{name}":
            raise
        raise ValueError(f"no agent program {name!r}") from None
    main: Program | None = getattr(module, "main", None)
    if main is None:
        raise ValueError(f"agents.{name} is no program: it has no main")
    return main


def line_writer(fd: int) -> Say:
    """Return the function that writes messages to *fd*, whole lines, in order."""

    def say(message: Message) -> None:
        line = memoryview((json.dumps({**message, "t_ns": time.time_ns()}) + "\n").encode())
        while line:
            line = line[os.write(fd, line) :]

    return say


async def open_lines(fd: int) -> asyncio.StreamReader:
    """Return a reader of the pipe *fd*, which it takes over."""
    reader = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
    pipe = os.fdopen(fd, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[Message]:
    """Yield one message a line until the pipe ends; raise ValueError for a line that is no JSON object."""
    async for line in reader:
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"a command must be a JSON object, not {line[:80]!r}")
        yield message


async def _run(program: Program, commands_fd: int, say: Say) -> None:
    lines = messages(await open_lines(commands_fd))
    job = await anext(lines, None)
    if job is None:
        raise ValueError("the command pipe ended before the job")
    set_signaling_dscp(int(job.get("signaling_dscp", 0)))
    await program(job, lines, say)


def run(program_name: str, commands_fd: int, lines_fd: int) -> int:
    """Run one agent to its end; return its exit status (1 after an exception, which becomes one `error` line)."""
    say = line_writer(lines_fd)
    try:
        with asyncio.Runner(loop_factory=MarkingEventLoop) as runner:
            runner.run(_run(program_named(program_name), commands_fd, say))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        say({"type": "error", "what": one_line(error)})
        return 1
    return 0


def one_line(error: BaseException) -> str:
    """Say what *error* is in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
