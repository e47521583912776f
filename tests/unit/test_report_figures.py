"""Figures on the page: targets with their marks, loss in words, and nothing believed of a late rig."""

import json
from pathlib import Path
from typing import Any

from analysis_samples import MEDIA_ER, Wire, make_scenario
from quality_samples import MS, SHAPED, send, shaped_plan

from testbed.report import write_report
from testbed.report.figures import QualityView, quality_view
from testbed.verdict import write_judgement


def scenario(directory: Path, **emulation: Any) -> Path:
    """Write a run of one scenario in which 7 packets die on ExpressRoute and 2 before."""
    place = directory / "test-one"
    wire = Wire(shaped_plan(*SHAPED))
    lost = {n: "er" for n in range(100, 107)} | {20: "alice-core", 70: "alice-core"}
    send(wire, range(300), lambda link, n: 10 * MS if link == "er" else 0, lost_on=lost.get)
    wire.write(place, make_scenario(MEDIA_ER), **emulation)
    verdict = write_judgement(place)
    entry = {key: verdict[key] for key in ("scenario", "row", "verdict", "reason")} | {"directory": place.name}
    (directory / "run.json").write_text(json.dumps({"format": 1, "run": "r", "scenarios": [entry]}))
    return place


def view(place: Path) -> QualityView:
    found = quality_view(json.loads((place / "quality.json").read_text()))
    assert found is not None
    return found


def test_losses_are_told_by_link(tmp_path: Path) -> None:
    stream = view(scenario(tmp_path)).streams[0]
    assert stream.losses == ("7 of 9 lost packets died on er", "2 of 9 lost packets died on alice-core")
    assert stream.quality.startswith("MOS ")


def test_a_missed_target_shows_limit_and_reason(tmp_path: Path) -> None:
    cell = view(scenario(tmp_path)).targets[0].cells[2]
    assert cell is not None
    assert (cell.outcome, cell.limit) == ("missed", "10\N{NO-BREAK SPACE}%")
    assert cell.reason.startswith("7 of 10 packets")


def test_the_page_strikes_out_what_a_late_rig_measured(tmp_path: Path) -> None:
    late = {"wire": {"lateness_ns": {"p50": 1, "p99": 20_000_000, "max": 30_000_000}}, "agents": {}}
    for folder, health, struck in (("good", {}, False), ("late", late, True)):
        (tmp_path / folder).mkdir()
        scenario(tmp_path / folder, health=health)
        page = write_report(tmp_path / folder).read_text()
        assert ('class="figures untrusted"' in page) is struck
        assert "7 of 9 lost packets died on er" in page
        assert ("Not to be trusted" in page) is struck


def test_no_figures_no_section() -> None:
    assert quality_view(None) is None
    assert quality_view({"links": {}}) is None
