"""A stock server program in a node (dnsmasq, nginx ...): its files written, started, waited for, followed, ended.

Job: `{"command": [program, argument, ...], "package": Debian package, "files": {name: text or {"base64"}}?, "ready":
[{"address", "port"}]}`. The files are written into a directory of the program's own, which is its working directory and
stands for `{directory}` in arguments and files; a name may have folders (`www/index.html`). It is ready when it takes
TCP connections at every address and port of `ready`.

nginx and its like must stay in the foreground and write their log to standard output or error; its end is a failure.
"""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from agents.child import ChildProgram, serve_until_told
from agents.pace import LoopLag
from agents.process import Say

READY_LIMIT_S: Final = 15.0
_LOOK_AGAIN_S: Final = 0.01
_DIRECTORY: Final = "{directory}"


@dataclass(frozen=True, slots=True)
class Settings:
    """The job."""

    program: str
    arguments: tuple[str, ...]
    package: str
    files: Mapping[str, str | bytes]
    "Text, in which the directory is filled in, or bytes."
    ready: tuple[tuple[str, int], ...]

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> Self:
        """Read the job; raise ValueError where a key is missing or wrong."""
        try:
            program, *arguments = (str(part) for part in job["command"])
            settings = cls(
                program=program,
                arguments=tuple(arguments),
                package=str(job["package"]),
                files={str(name): _content(given) for name, given in job.get("files", {}).items()},
                ready=tuple((str(end["address"]), int(end["port"])) for end in job["ready"]),
            )
        except KeyError as missing:
            raise ValueError(f"a stock program's job needs the key {missing}") from None
        for name in settings.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"files: {name!r} is not inside the program's directory")
        if not settings.ready:
            raise ValueError("ready: names no address, so nobody could tell when the program serves")
        return settings


def _content(given: str | Mapping[str, str]) -> str | bytes:
    """Return a file's content from a job: text, or `{"base64": ...}`."""
    return given if isinstance(given, str) else base64.b64decode(given["base64"], validate=True)


class StockProgram:
    """One stock program with its directory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = tempfile.TemporaryDirectory(prefix=f"{settings.program}-")
        self.child = ChildProgram(settings.program, settings.package)
        self.home = Path(self._directory.name)
        "Its working directory, until it is stopped."

    async def start(self, *, limit_s: float = READY_LIMIT_S) -> None:
        """Write the files and start it; return when it takes connections. Raises ChildFailure."""
        home, settings = self.home, self._settings
        for name, content in settings.files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.replace(_DIRECTORY, str(home)).encode())
        await self.child.start(
            [part.replace(_DIRECTORY, str(home)) for part in settings.arguments],
            directory=home,
            serves=_all_connect(settings.ready),
            what="connections to " + ", ".join(f"{address}:{port}" for address, port in settings.ready),
            limit_s=limit_s,
        )

    async def stop(self) -> None:
        """End it and remove its files."""
        await self.child.stop()
        self._directory.cleanup()


async def _all_connect(ends: tuple[tuple[str, int], ...]) -> None:
    await asyncio.gather(*(_connects(*end) for end in ends))


async def _connects(address: str, port: int) -> None:
    """Return once a connection is taken; the caller sets the limit."""
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except ConnectionRefusedError:
            await asyncio.sleep(_LOOK_AGAIN_S)  # nothing announces that a program of someone else's listens
        else:
            writer.close()
            return


async def main(job: Mapping[str, Any], commands: AsyncIterator[dict[str, Any]], say: Say) -> None:
    """Serve until told to stop. Raises ChildFailure (the program died), ValueError for a wrong job."""
    program = StockProgram(Settings.from_job(job))
    try:
        await program.start()
        lag = LoopLag()
        say({"type": "ready"})
        await serve_until_told(program.child, stop_command(commands))
    finally:
        await program.stop()
    say({"type": "result", "loop_lag_ns": lag.stop()})


async def stop_command(commands: AsyncIterator[dict[str, Any]]) -> None:
    """Return when told to stop, or when the conductor is gone."""
    async for command in commands:
        if command.get("do") == "stop":
            return
