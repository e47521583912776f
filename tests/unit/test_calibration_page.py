"""The calibration's tables and page: what was missed is seen to be missed."""

import json
import os
from pathlib import Path

import pytest

from testbed.emulation import calibration_run, links
from testbed.emulation.calibration import Row
from testbed.emulation.calibration_run import (
    Calibration,
    calibrate_all,
    calibration_lines,
    implementations,
    offset,
    write_calibration,
)

RIGHT = Row("delay, <forward>", 20.0, 20.1, 1.0, "ms", True, 20.0, 20.25)
WRONG = Row("loss", 0.05, 0.5, 0.02, "", False)
SILENT = Row("rate", 1.0, None, 0.03, "Mbit/s", False)


def test_tables_and_page_mark_what_was_missed(tmp_path: Path) -> None:
    done = [Calibration("wire", (RIGHT, WRONG, SILENT)), Calibration("netem", (RIGHT,))]
    lines = calibration_lines(done)
    assert lines[0] == "wire: NOT as configured" and lines[4] == "netem: as configured"
    assert lines[2] == "  MISS loss: configured 0.05 ± 0.02, achieved 0.5"
    assert lines[1] == "  ok   delay, <forward>: configured 20 ± 1, achieved 20.1 (20 to 20.25) ms"
    page = write_calibration(done, tmp_path / "results").read_text()
    assert page.count("missed") == 2 and "nothing arrived" in page and "&lt;forward&gt;" in page
    assert page.count('class="error"') == 2 and "M100.0 6v8m0-4H112.5m0-4v8" in page and "(20 to 20.25)" in page
    document = json.loads((tmp_path / "results" / "calibration.json").read_text())
    assert [one["right"] for one in document["implementations"]] == [False, True]
    assert document["implementations"][1]["rows"][0]["high"] == 20.25


@pytest.mark.parametrize(
    ("achieved", "tolerance", "away"), [(20.5, 1.0, 0.5), (30.0, 1.0, 2.0), (20.0, 0.0, 0.0), (21.0, 0.0, 2.0)]
)
def test_the_dot_stands_where_the_value_is_in_its_tolerance(achieved: float, tolerance: float, away: float) -> None:
    assert offset({"configured": 20.0, "achieved": achieved, "tolerance": tolerance}) == away
    assert offset({"configured": 20.0, "achieved": None, "tolerance": tolerance}) is None


def test_a_miss_is_measured_again_and_twice_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []
    first = [RIGHT, WRONG, SILENT]
    second = [RIGHT, Row("loss", 0.05, 0.05, 0.02, "", True), SILENT]

    def calibrate(backend: str) -> list[Row]:
        seen.append((backend, os.environ.get(links.WIRE_CORE)))
        return second if len(seen) == 2 else first

    monkeypatch.delenv(links.WIRE_CORE, raising=False)
    monkeypatch.setattr(calibration_run, "implementations", lambda: [("wire, in Python", "wire", "python")])
    monkeypatch.setattr(calibration_run, "calibrate", calibrate)
    begun: list[str] = []
    (one,) = calibrate_all(begun.append)
    assert [row.ok for row in one.rows] == [True, True, False] and not one.is_right
    assert begun == ["wire, in Python", "wire, in Python, again"]
    assert seen == [("wire", "python")] * 2 and links.WIRE_CORE not in os.environ


def test_the_python_wire_is_always_there() -> None:
    assert ("wire, in Python", "wire", "python") in implementations()
