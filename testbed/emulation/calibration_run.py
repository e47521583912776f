"""Calibrate every implementation of links that this machine has, and leave the tables as JSON and as a page."""

import asyncio
import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from testbed import files
from testbed.emulation import links, wire_core
from testbed.emulation.calibration import Row, calibrate

FORMAT: Final = 1
PAGE: Final = "calibration.html"
JSON: Final = "calibration.json"


@dataclass(frozen=True, slots=True)
class Calibration:
    """One implementation's table."""

    name: str
    rows: tuple[Row, ...]

    @property
    def is_right(self) -> bool:
        """Return whether everything is within its tolerance."""
        return all(row.ok for row in self.rows)


def implementations() -> list[tuple[str, Literal["netem", "wire"], str]]:
    """Return name, backend and the wire's core of every implementation of links that works here."""
    found: list[tuple[str, Literal["netem", "wire"], str]] = [("wire, in Python", "wire", "python")]
    if wire_core.load() is not None:
        found.insert(0, ("wire, compiled", "wire", "compiled"))
    if asyncio.run(links.choose_backend()) == "netem":
        found.insert(0, ("netem", "netem", "auto"))
    return found


def calibrate_all(begins: Callable[[str], None]) -> list[Calibration]:
    """Calibrate each, telling *begins* its name first. What misses once is measured again: a time slice that another
    job took moves a median once; a wrong link is wrong twice. Raises RigError, MissingTool.
    """
    done = []
    for name, backend, core in implementations():
        begins(name)
        with _core(core):
            rows = calibrate(backend)
            if not all(row.ok for row in rows):
                begins(f"{name}, again")
                second = {row.what: row for row in calibrate(backend)}
                rows = [row if row.ok else second[row.what] for row in rows]
        done.append(Calibration(name, tuple(rows)))
    return done


@contextlib.contextmanager
def _core(wanted: str) -> Iterator[None]:
    """Have the wire take this core for a while."""
    before = os.environ.get(links.WIRE_CORE)
    os.environ[links.WIRE_CORE] = wanted
    try:
        yield
    finally:
        del os.environ[links.WIRE_CORE]
        if before is not None:
            os.environ[links.WIRE_CORE] = before


def write_calibration(done: list[Calibration], folder: Path) -> Path:
    """Write calibration.json and the page into *folder*; return the page. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    document = as_json(done)
    files.write_json(folder / JSON, document)
    environment = Environment(
        loader=PackageLoader("testbed.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = folder / PAGE
    template = environment.get_template("calibration.html.j2")
    files.write_text(page, template.render(document=document, offset=offset))
    return page


def as_json(done: list[Calibration]) -> dict[str, Any]:
    """Return the document of calibration.json."""
    return {
        "format": FORMAT,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "implementations": [
            {"name": one.name, "right": one.is_right, "rows": [asdict(row) for row in one.rows]} for one in done
        ],
    }


def offset(row: dict[str, Any], which: str = "achieved") -> float | None:
    """Return how far the achieved value, or an end of its interval, is from the configured one, in tolerances.

    None where there is none. What is beyond two tolerances is drawn there.
    """
    if row[which] is None:
        return None
    away = float(row[which] - row["configured"])
    return max(-2.0, min(2.0, away / row["tolerance"])) if row["tolerance"] else (2.0 if away else 0.0)


def calibration_lines(done: list[Calibration]) -> list[str]:
    """Return the tables for a terminal."""
    lines = []
    for one in done:
        lines.append(f"{one.name}: {'as configured' if one.is_right else 'NOT as configured'}")
        for row in one.rows:
            achieved = "nothing" if row.achieved is None else f"{row.achieved:.4g}"
            mark = "ok  " if row.ok else "MISS"
            if row.low is not None:
                achieved += f" ({row.low:.4g} to {row.high:.4g})"
            told = f"configured {row.configured:g} ± {row.tolerance:.2g}, achieved {achieved} {row.unit}"
            lines.append(f"  {mark} {row.what}: {told}".rstrip())
    return lines
