"""The examples of docs/scenarios.md are right, and its error lines are what the reader says."""

import re
import shlex
from pathlib import Path

import pytest
from docs_example import COMMANDS, TEXT, write_example

from testbed import cli
from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.spec.change import parse_change
from testbed.spec.reader import read_spec


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    return write_example(tmp_path)


def end_of(command: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command of the page where its files are, and return its exit status."""
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def test_the_page_gives_a_command_for_each_step() -> None:
    assert [command.split()[1] for command in COMMANDS] == ["check", "explain", "run"]  # run: tests/scenarios


@pytest.mark.parametrize("command", COMMANDS[:2])
def test_the_commands_that_start_nothing_end_well(
    command: str, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert end_of(command, tmp_path, monkeypatch) == 0


def test_a_fault_in_a_control_of_the_example_would_be_told(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(scenario.read_text(encoding="utf-8").replace("links.fe-servers.", "links.fe-server."))
    assert end_of(COMMANDS[0], tmp_path, monkeypatch) == 2
    told = capsys.readouterr().err
    assert "branch-call.toml: controls.blind: change: links.fe-server.captured: there is no 'fe-server'" in told


def test_the_paths_of_the_example_are_delivered(scenario: Path) -> None:
    plan = make_plan(read_spec(scenario), duration_ns=1, seed=1)
    assert [(path.forward_end, path.return_end) for path in plan.predicted] == [("DELIVERED", "DELIVERED")] * 2


def test_the_example_change_can_be_made(scenario: Path, tmp_path: Path) -> None:
    topology = read_spec(scenario, (parse_change(str(tmp_path / "cut.toml")),)).topology
    assert list(topology.firewalls["gate"].rules) == ["sip", "open"]
    assert topology.links["lan-gate"].shape.delay == 80_000_000
    assert topology.nodes["gate"].sysctl == {"net.ipv4.conf.all.rp_filter": "1"}


@pytest.mark.parametrize("expression", re.findall(r"--change '([^']+)'", TEXT))
def test_the_expressions_of_the_command_line_can_be_made(scenario: Path, expression: str) -> None:
    assert read_spec(scenario, (parse_change(expression),)).changes


def test_a_control_of_the_example_is_predicted_to_fail(scenario: Path) -> None:
    spec = read_spec(scenario, (parse_change("-firewalls.gate.rules.sip"),))
    assert make_plan(spec, duration_ns=1, seed=1).predicted[0].forward_end == "DENIED_BY_RULE:gate:default"


@pytest.mark.parametrize(
    ("old", "new"),
    [('kind = "switch"', 'kind = "swich"'), ('ends = ["ann", "lan"]', 'ends = ["ann", "lan"]\nshap = 1')],
)
def test_the_error_lines_are_what_the_reader_says(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "topologies/branch.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_spec(scenario)
    first = str(caught.value).splitlines()[0]
    assert any(first.startswith(line.removesuffix(", ...")) for line in TEXT.splitlines() if line.startswith("topol"))


def test_the_error_line_of_a_change_is_what_it_says(scenario: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(scenario, (parse_change("links.lan-gat.up=false"),))
    assert any(str(caught.value).startswith(line.removesuffix(", ...")) for line in TEXT.splitlines() if line)
