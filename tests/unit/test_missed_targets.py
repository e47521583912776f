"""Missed targets are told by name where a run is judged: on the terminal, in junit.xml and on the page."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from analysis_samples import BY_ER, MEDIA_ER, Wire, make_scenario
from quality_samples import MS, SHAPED, send, shaped_plan
from typer.testing import CliRunner, Result

from testbed.cli import app
from testbed.report.targets import missed_lines
from testbed.verdict import write_judgement

OWN = """
[[targets]]
name = "our SLA"
path = "expressroute"
limits.one_way_delay_ms = 9
"""


def run_of(directory: Path, lost: tuple[int, ...] = ()) -> Path:
    """Return the directory of a run of one scenario; packets *lost* of what alice sent died on ExpressRoute."""
    wire, place = Wire(shaped_plan(*SHAPED)), directory / "one"
    delay = {"alice-core": MS, "er": 10 * MS}
    send(wire, range(100), lambda link, n: delay.get(link, 0), lost_on=lambda n: "er" if n in lost else None)
    send(wire, range(100), lambda link, n: delay.get(link, 0), way=BY_ER[::-1], ssrc=0xED6E)
    wire.write(place, make_scenario(MEDIA_ER))
    verdict = write_judgement(place)
    entry = {key: verdict[key] for key in ("scenario", "row", "verdict", "reason")} | {"directory": "one"}
    run = {"format": 1, "run": "r", "interrupted": False, "started": "2026-11-22T21:15:00+00:00", "scenarios": [entry]}
    (directory / "run.json").write_text(json.dumps(run))
    return directory


def analyse(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["analyse", str(directory), *options])


def failures(directory: Path) -> list[dict[str, str]]:
    return [one.attrib for one in ElementTree.parse(directory / "junit.xml").iter("failure")]


def test_what_is_missed_is_named_with_stream_observed_and_limit(tmp_path: Path) -> None:
    directory = run_of(tmp_path, lost=(50,))
    quiet, asked = analyse(directory), analyse(directory, "--fail-on", "targets")
    assert "Targets missed (the report says which): test/one 2" in quiet.output
    assert (
        "Target missed: test/one: alice -> edge1: Loss, worst 200 ms: 10 %, not below 1 %"
        " (Microsoft, customer edge to Microsoft edge; fw-er -> ms)\n"
    ) in asked.output
    assert "not below 10 % (Microsoft, client to Microsoft edge; alice -> ms)\n" in asked.output


@pytest.mark.parametrize(("lost", "code"), [((), 0), ((50,), 1), (tuple(range(100)), 1)])
def test_a_missed_target_fails_only_where_that_was_asked(tmp_path: Path, lost: tuple[int, ...], code: int) -> None:
    directory = run_of(tmp_path, lost)
    verdict_only = analyse(directory).exit_code
    before = [one["type"] for one in failures(directory)]
    asked = analyse(directory, "--fail-on", "targets")
    assert (verdict_only, asked.exit_code) == (int(len(lost) == 100), code)
    assert ("Target missed" in asked.output) == bool(code)
    assert before == ["fail"] * verdict_only


def test_junit_says_which_targets_a_pass_missed_where_that_was_asked(tmp_path: Path) -> None:
    directory = run_of(tmp_path, lost=(50,))
    analyse(directory)
    assert failures(directory) == []
    analyse(directory, "--fail-on", "targets")
    assert failures(directory) == [{"message": "PASS, but with missed targets (2)", "type": "targets"}]
    suite = ElementTree.parse(directory / "junit.xml").find("testsuite")
    failure = next(suite.iter("failure")) if suite is not None else None
    assert suite is not None and failure is not None
    assert suite.get("failures") == "1"
    assert "alice -> edge1: Loss, worst 200 ms: 10 %, not below 10 %" in (failure.text or "")


def test_the_page_shows_who_missed_what(tmp_path: Path) -> None:
    directory = run_of(tmp_path, lost=(50,))
    analyse(directory)
    page = (directory / "report.html").read_text()
    section = page[page.index('<h2 id="targets">') :].partition("</section>")[0]
    assert " met, 2 missed, " in " ".join(section.split())
    assert section.count("2 of 4 missed") == 1 and "below 1\N{NO-BREAK SPACE}%" in section
    analyse(run_of(tmp_path / "clean"))
    clean = (tmp_path / "clean" / "report.html").read_text()
    assert "0 missed" in clean and "of 4 missed" not in clean


def test_a_run_is_judged_by_another_file_and_keeps_its_own(tmp_path: Path) -> None:
    place, own = run_of(tmp_path) / "one", tmp_path / "own.toml"
    own.write_text(OWN)
    manifest = (place / "manifest.json").read_bytes()
    result = analyse(place, "--targets", str(own), "--fail-on", "targets")
    assert result.exit_code == 1
    assert "2 missed" in result.output
    assert "One-way delay, p90: 10 ms, not below 9 ms (our SLA; fw-er -> ms)\n" in result.output
    assert (place / "manifest.json").read_bytes() == manifest
    assert "0 missed" in analyse(place).output


def test_no_more_than_three_of_a_scenario_are_told_one_by_one() -> None:
    def row(number: int) -> Any:
        ends = {"from": "a", "to": "b"}
        told = {"target": "t", "figure": "round_trip_ms", "limit": 10, "outcome": "missed", "reason": ""}
        return {**ends, **told, "stream": {"ssrc": 1, **ends}, "observed": 10 + number}

    lines = missed_lines([("s", {"targets": [row(number) for number in range(5)]}), ("none", None)], one_by_one=True)
    assert [line.partition(": Round trip: ")[2].partition(",")[0] for line in lines[:3]] == ["14 ms", "13 ms", "12 ms"]
    assert lines[3:] == ["Target missed: s: 2 more, in its quality.json"]
