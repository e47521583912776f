"""Negative controls: judged by verdict and reason, and told so in exit status, run.json, JUnit, terminal and page."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_samples import BROKEN, NOT_ANNOUNCED, P2P_INTERNAL, Sample, write_run
from rich.console import Console
from spec_samples import write_samples

from testbed import cli, run
from testbed.outcome import FailOn, RunOutcome, ScenarioOutcome
from testbed.report.junit import junit_xml
from testbed.report.record import RunFile
from testbed.scenario import Change, Control, Verdict
from testbed.verdict.controls import control_fault

CUT = Control(set={"links.ann-lan.up": False}, why="cut", verdict="FAIL", reason="never sent$")
OTHER_VERDICT = replace(NOT_ANNOUNCED, verdict="PASS", reason="all as it should be")
OTHER_REASON = replace(NOT_ANNOUNCED, reason="timeout")


@pytest.mark.parametrize(
    ("verdict", "reason", "fault"),
    [
        ("FAIL", "media: never sent", ""),
        ("PASS", "media: never sent", "must be FAIL, but was PASS: media: never sent"),
        ("INCONCLUSIVE", "never sent", "must be FAIL, but was INCONCLUSIVE: never sent"),
        ("FAIL", "never sent it", "was FAIL as it must, but its reason does not match 'never sent$': never sent it"),
    ],
)
def test_a_control_must_have_its_verdict_and_its_reason(verdict: Verdict, reason: str, fault: str) -> None:
    assert control_fault(CUT, verdict, reason) == fault


def outcome(verdict: Verdict, reason: str = "never sent", control: Control | None = CUT) -> ScenarioOutcome:
    return ScenarioOutcome(
        name="own/call@cut",
        scenario="own/call",
        row="X-1",
        verdict=verdict,
        reason=reason,
        directory="own-call@cut",
        duration_s=1,
        media_s=1,
        targets={"met": 0, "missed": 1, "unknown": 0},
        broken=("P1",),
        control=control,
    )


@pytest.mark.parametrize(
    ("one", "code"),
    [
        (outcome("FAIL"), 0),
        (outcome("FAIL", control=None), 1),
        (outcome("PASS"), 1),
        (outcome("INCONCLUSIVE"), 1),
        (outcome("FAIL", "timeout"), 1),
        (outcome("ERROR"), 4),
    ],
)
def test_the_exit_status_is_1_if_a_control_is_not_as_its_file_says(
    tmp_path: Path, one: ScenarioOutcome, code: int
) -> None:
    assert RunOutcome(tmp_path, scenarios=[one]).exit_code == code
    assert RunOutcome(tmp_path, scenarios=[one], fail_on=frozenset(FailOn)).exit_code == code


def test_run_json_says_what_must_come_out_and_whether_it_did() -> None:
    told = [one.as_json() for one in (outcome("FAIL"), outcome("PASS"), outcome("PASS", control=None))]
    entries = RunFile.model_validate({"format": 1, "run": "r", "scenarios": told}).scenarios
    found = [(each.control.verdict, each.control.reason, each.control.as_stated) for each in entries if each.control]
    assert found == [("FAIL", "never sent$", True), ("FAIL", "never sent$", False)]


def test_a_scenarios_controls_are_read_with_the_changes_asked_for(tmp_path: Path) -> None:
    path = write_samples(tmp_path)
    delayed = Change(set={"links.ben-lan.shape.delay": "7ms"})
    (item,) = run.read_controls([path], [delayed])
    assert item.name == "own/call@cable-cut"
    assert item.control == item.spec.scenario.controls["cable-cut"]
    links = item.spec.topology.links
    assert (links["ann-lan"].up, links["ben-lan"].shape.delay) == (False, 7_000_000)


def test_a_run_of_controls_where_there_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_samples(tmp_path)
    path.write_text(path.read_text().partition("[controls.")[0])
    monkeypatch.setattr("sys.argv", ["testbed", "run", str(path), "--controls"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "nothing chosen has a negative control" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        (NOT_ANNOUNCED, []),
        (OTHER_VERDICT, [("failure", "control")]),
        (OTHER_REASON, [("failure", "control")]),
        (replace(BROKEN, name="online/conference-external@cut"), [("error", "error")]),
    ],
)
def test_in_junit_a_control_is_a_case_that_passes_if_it_is_as_its_file_says(
    tmp_path: Path, sample: Sample, found: list[tuple[str, str]]
) -> None:
    suite = ElementTree.fromstring(junit_xml(write_run(tmp_path / "run", [sample])))[0]
    assert [(child.tag, child.get("type")) for case in suite.iter("testcase") for child in case] == found
    assert [suite.get("failures"), suite.get("errors")] == [
        str(sum(tag == wrong for tag, _ in found)) for wrong in ("failure", "error")
    ]


def printed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    screen = Console(width=100, record=True, file=StringIO())
    monkeypatch.setattr(cli, "out", screen)
    cli._print_outcome(RunOutcome(directory))
    return screen.export_text()


def test_the_terminal_tells_controls_apart_from_scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, controls = printed(write_run(tmp_path / "run", [P2P_INTERNAL, NOT_ANNOUNCED]), monkeypatch).split(
        "Negative"
    )
    assert NOT_ANNOUNCED.name.partition("@")[2] not in matrix
    assert "FAIL" not in matrix
    assert [line.split("│")[-2].strip() for line in controls.splitlines() if " FAIL " in line] == ["yes"]


def test_the_terminal_tells_how_a_control_is_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(write_run(tmp_path / "run", [OTHER_VERDICT]), monkeypatch)
    assert f"control {OTHER_VERDICT.name}: must be FAIL, but was PASS: all as it should be" in " ".join(text.split())


def test_a_run_that_is_judged_again_keeps_its_controls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_run(tmp_path / "run", [NOT_ANNOUNCED, P2P_INTERNAL])
    for sample in (NOT_ANNOUNCED, P2P_INTERNAL):
        verdict = json.loads((directory / sample.directory / "verdict.json").read_text())
        told = {**verdict, "targets": None}
        (directory / sample.directory / "verdict.json").write_text(json.dumps(told))
    monkeypatch.setattr(run, "write_judgement", lambda place, targets: json.loads((place / "verdict.json").read_text()))
    again = run.rejudge(directory)
    assert [one.control is not None for one in again.scenarios] == [True, False]
    assert again.exit_code == 0
    assert [one["control"] for one in json.loads((directory / "run.json").read_text())["scenarios"]] == [
        {"verdict": "FAIL", "reason": "crossed .*internet", "as_stated": True},
        None,
    ]
