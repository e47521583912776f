"""The examples of docs/scenarios.md are right, and its error lines are what the reader says."""

import re
from pathlib import Path

import pytest

from testbed.errors import SpecError
from testbed.plan import make_plan
from testbed.spec.change import parse_change
from testbed.spec.reader import check_controls, read_spec

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```toml\n# (\S+\.toml)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    for name, text in EXAMPLES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "scenarios/own/branch-call.toml"


def test_the_example_can_be_planned_and_its_paths_are_delivered(scenario: Path) -> None:
    check_controls(scenario)
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
