"""A run's directory that is not whole, or not one: each fault is one line, and the exit status is 2."""

import json
from pathlib import Path

import pytest
from comparison_samples import write
from typer.testing import CliRunner

from testbed import cli
from testbed.errors import TestbedError
from testbed.verdict import write_judgement

RUN, SCENARIO = "run.json", "a-b/manifest.json"


def said(*arguments: str | Path) -> str:
    """Return the one line that a command says of its arguments, once it is known to end with status 2."""
    outcome = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(outcome.exception, TestbedError), outcome
    assert outcome.exception.exit_code == 2
    (line,) = str(outcome.exception).splitlines()
    return line


@pytest.mark.parametrize("command", ["compare", "analyse", "export", "report"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{}", "run.json: format: Field required"),
        ("[]", "run.json: must be one JSON object, not list"),
        ('{"format": 1', "run.json: not JSON"),
        ('{"format": 2, "run": "r", "scenarios": []}', "run.json: format: is 2; this version reads format 1"),
        ('{"format": 1, "run": "r", "scenarios": [{}]}', "run.json: scenarios.0.scenario: Field required"),
    ],
)
def test_a_run_json_that_is_none_is_told_by_every_command(
    tmp_path: Path, command: str, content: str, fault: str
) -> None:
    run = write(tmp_path / "a")
    (run / RUN).write_text(content)
    more: dict[str, list[str | Path]] = {"compare": [run], "export": ["--to", tmp_path / "out"]}
    assert fault in said(command, run, *more.get(command, []))


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("quality.json", '{"format": 2}', "quality.json: format: Input should be 1; `testbed analyse"),
        ("quality.json", '{"format": 1}', "quality.json: scenario: Field required; `testbed analyse"),
        ("verdict.json", "{}", "verdict.json: scenario: Field required; `testbed analyse"),
        ("manifest.json", "{}", "manifest.json: scenario: Field required; only a new run writes it"),
        ("manifest.json", None, "manifest.json: cannot be read: No such file or directory; only a new run writes it"),
        ("verdict.json", None, "a-b` writes it anew"),
    ],
)
def test_a_scenarios_broken_file_is_told_with_what_mends_it(
    tmp_path: Path, file: str, content: str | None, fault: str
) -> None:
    run = write(tmp_path / "a")
    if content is None:
        (run / "a-b" / file).unlink()
    else:
        (run / "a-b" / file).write_text(content)
    assert fault in said("compare", run, run)


@pytest.mark.parametrize("of", ["run", "scenario"])
def test_an_empty_manifest_cannot_be_exported(tmp_path: Path, of: str) -> None:
    run = write(tmp_path / "a")
    (run / SCENARIO).write_text("{}")
    assert "manifest.json: " in said("export", run if of == "run" else run / "a-b", "--to", tmp_path / "out")


def test_a_run_and_a_scenario_are_not_compared(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    for pair in ((run, run / "a-b"), (run / "a-b", run)):
        assert f"{run} is a whole run and {run / 'a-b'} one scenario of a run" in said("compare", *pair)


def test_a_damaged_table_is_told_with_what_mends_it(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    (run / "a-b" / "links.parquet").write_bytes(b"PAR1 and no more")
    line = said("export", run, "--to", tmp_path / "out", "--table", "links")
    assert "links.parquet: not a parquet file: " in line and f"`testbed analyse {run / 'a-b'}` writes it anew" in line


def test_a_page_or_folder_that_cannot_be_is_told_before_any_work(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    nowhere = tmp_path / "nodir" / "x.html"
    assert said("compare", run, run, "--page", nowhere).startswith(f"--page: {nowhere}: there is no folder")
    assert "is a folder" in said("compare", run, run, "--page", tmp_path)
    (tmp_path / "file").touch()
    assert said("export", run, "--to", tmp_path / "file", "--table", "legs").startswith("--to: ")


def test_a_run_without_its_captures_is_judged_an_error_and_not_exported(tmp_path: Path) -> None:
    run = write(tmp_path / "a")
    assert write_judgement(run / "a-b")["verdict"] == "ERROR"
    assert "manifest.json: format must be 1" in said("export", run, "--to", tmp_path / "out", "--table", "packets")
    assert json.loads((run / "a-b" / "verdict.json").read_text())["verdict"] == "ERROR"
