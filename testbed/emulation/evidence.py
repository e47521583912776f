"""What a world leaves behind besides its captures: events.jsonl as it happens, the rest at its end."""

import asyncio
import contextlib
import json
import os
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final, TextIO

from testbed.emulation import tools

FORMAT: Final = 1
_PROGRAMS: Final = {"bird": "bird", "iptables": "iptables", "conntrack": "conntrack", "coturn": "turnserver"}
_LIBRARIES: Final = ("mininet", "pyroute2", "aiortc", "aioice", "scapy", "sipmessage")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)+\S*")
_VERSION: Final = re.compile(r"^Version: (\S+)", re.MULTILINE)


class Journal:
    """The world's voice: JSON lines to the conductor, all but progress also into events.jsonl."""

    def __init__(self, conductor_fd: int, directory: Path) -> None:
        self.phases: dict[str, int] = {}
        "Stage to how long it took, in ns."
        self.on_fault: Callable[[str], None] = self.error
        "Called with the reason, in one line, when events.jsonl cannot be written; the conductor goes on being told."
        self._conductor_fd = conductor_fd
        self._events: TextIO = (directory / "events.jsonl").open("w", encoding="utf-8", buffering=1)
        self._is_whole = True
        self._stage = ""
        self._since_ns = 0

    def progress(self, stage: str, text: str = "") -> None:
        """Say that *stage* begins, or what happens in it."""
        now_ns = time.time_ns()
        if stage != self._stage:
            self.close_phase(now_ns)
            self._stage, self._since_ns = stage, now_ns
        self._write({"type": "progress", "stage": stage, "text": text, "t_ns": now_ns})

    def urgent(self, pid: int) -> None:
        """Ask the conductor that process *pid* precede others; it is this machine's favour, and no event."""
        self._write({"type": "urgent", "pid": pid})

    def close_phase(self, now_ns: int) -> None:
        """Note how long the stage under way took."""
        if self._stage:
            self.phases[self._stage] = self.phases.get(self._stage, 0) + now_ns - self._since_ns
            self._since_ns = now_ns

    def agent(self, name: str, line: dict[str, Any]) -> None:
        """Pass on what an agent wrote."""
        own = {key: value for key, value in line.items() if key != "type"}
        self._record({"type": "agent", "agent": name, "line": line.get("type"), **own})

    def change(self, change: dict[str, Any]) -> None:
        """Say what was changed in the running world; its time is when it began."""
        self._record({"type": "change", **change, "t_ns": change["began_ns"]})

    def notice(self, text: str) -> None:
        """Say that something is not as it should be, though the run goes on."""
        self._record({"type": "notice", "text": text, "t_ns": time.time_ns()})

    def error(self, text: str) -> None:
        """Say what broke the rig."""
        self._record({"type": "error", "text": " ".join(text.split()), "t_ns": time.time_ns()})

    def done(self) -> None:
        """Say that all is written."""
        self._record({"type": "done", "t_ns": time.time_ns()})

    def close(self) -> None:
        """Close events.jsonl; nothing can be said after this."""
        with contextlib.suppress(OSError):  # said when it was to be written
            self._events.close()

    def _record(self, line: dict[str, Any]) -> None:
        self._write(line)
        if self._is_whole:
            try:
                self._events.write(json.dumps(line) + "\n")
            except OSError as error:
                self._is_whole = False
                self.on_fault(f"{self._events.name}: {error.strerror}")

    def _write(self, line: dict[str, Any]) -> None:
        data = memoryview(json.dumps(line).encode() + b"\n")
        while data:
            data = data[os.write(self._conductor_fd, data) :]


async def read_versions() -> dict[str, str]:
    """Return the version of every program and library that a run's result may depend on."""
    found = await asyncio.gather(*(_program_version(x) for x in _PROGRAMS.values()))
    libraries = {x: _library_version(x) for x in _LIBRARIES}
    return {"python": platform.python_version(), **dict(zip(_PROGRAMS, found, strict=True)), **libraries}


async def _program_version(program: str) -> str:
    process = await asyncio.create_subprocess_exec(
        tools.find_tool(program), "--version", stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    match = _NUMBER.search(said.decode(errors="replace"))
    return match[0] if match else "unknown"


def _library_version(name: str) -> str:
    """Return the version that a package's metadata has; importlib.metadata.version parses it as a mail, for 20 ms."""
    try:
        match = _VERSION.search(distribution(name).read_text("METADATA") or "")
    except PackageNotFoundError:
        return "missing"
    return match[1] if match else "unknown"


def read_cpu_pressure() -> dict[str, float] | None:
    """Return how much of the last ten seconds some task waited for a processor; None where the kernel has no PSI."""
    path = Path("/proc/pressure/cpu")
    try:
        match = re.search(r"some avg10=([\d.]+)", path.read_text())
    except OSError:
        return None
    return {"some_avg10_percent": float(match[1])} if match else None
