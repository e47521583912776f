"""Asymmetric routes on real packets: every case dies as it says, every remedy cures it, every control turns it red."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from testbed import catalogue, run
from testbed.spec.reader import read_scenario
from testbed.verdict import judge

from .conftest import Judged, run_all

pytestmark = pytest.mark.emulation
PATHS = catalogue.choose(table="asymmetric")
SCENARIOS = [read_scenario(path) for path in PATHS]
SLUGS = [scenario.id for scenario in SCENARIOS]
DYING = [scenario.id for scenario in SCENARIOS if any(leg.dies for leg in scenario.legs)]
CONTROLS = run.read_controls(PATHS)


@pytest.fixture(scope="module")
def asymmetric(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judged]:
    return run_all(run.read_items(PATHS), tmp_path_factory.mktemp("asymmetric"))


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judged]:
    return run_all(CONTROLS, tmp_path_factory.mktemp("red"))


@pytest.mark.parametrize("slug", SLUGS)
def test_case_or_remedy_is_reproduced(slug: str, asymmetric: Mapping[str, Judged]) -> None:
    verdict = asymmetric[slug].verdict
    assert verdict["verdict"] == "PASS", verdict["reason"]


@pytest.mark.parametrize("slug", SLUGS)
def test_prediction_agrees_wherever_packets_were_seen(slug: str, asymmetric: Mapping[str, Judged]) -> None:
    for leg in asymmetric[slug].verdict["legs"]:
        assert leg["predicted"]["agrees"] is (None if leg["disposition"] == "NEVER_SENT" else True), leg


@pytest.mark.parametrize("slug", DYING)
def test_kernel_and_captures_agree_on_every_drop(slug: str, asymmetric: Mapping[str, Judged]) -> None:
    checks = {check["check"]: check for check in asymmetric[slug].verdict["checks"]}
    assert checks["accounting"]["verdict"] == "PASS", checks["accounting"]
    assert checks["accounting"]["observed"], "nothing was dropped, so nothing was compared"


@pytest.mark.parametrize("slug", DYING)
def test_deaths_are_judged_the_same_from_files_without_the_agents_word(
    slug: str, asymmetric: Mapping[str, Judged], tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(asymmetric[slug].directory, copy)
    (copy / "events.jsonl").unlink()
    again = judge(copy)
    for one, other in zip(again["legs"], asymmetric[slug].verdict["legs"], strict=True):
        keys = ("verdict", "disposition", "observed", "predicted")
        assert {key: one[key] for key in keys} == {key: other[key] for key in keys}


@pytest.mark.parametrize("item", CONTROLS, ids=[item.name for item in CONTROLS])
def test_control_turns_it_red_for_the_right_reason(item: run.Item, red: Mapping[str, Judged]) -> None:
    assert red[item.name].control_fault == ""
