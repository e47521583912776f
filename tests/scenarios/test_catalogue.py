"""The article's tables, figures and rules, and ours, on real packets: every row as it should be, every control red."""

import shutil
from pathlib import Path

import pytest

from testbed import run
from testbed.spec.reader import read_spec
from testbed.verdict import judge

from .conftest import Runs, catalogue_paths

pytestmark = pytest.mark.emulation
SPECS = {spec.scenario.id: spec for spec in map(read_spec, catalogue_paths())}
SLUGS = list(SPECS)
CONTROLS = run.read_controls(catalogue_paths())
BREACHES = {"general/proxy-steers-to-internet": {"ER+"}}
"Principles that a row breaks because that is what it is about."


@pytest.mark.parametrize("slug", SLUGS)
def test_row_is_as_the_article_says(slug: str, rows: Runs) -> None:
    verdict = rows[slug].verdict
    assert verdict["verdict"] == "PASS", verdict["reason"]


@pytest.mark.parametrize("slug", SLUGS)
def test_every_leg_is_proven_in_both_directions(slug: str, rows: Runs) -> None:
    verdict = rows[slug].verdict
    expected = [(leg.flow, leg.from_, leg.to) for leg in SPECS[slug].scenario.legs]
    assert [(leg["flow"], leg["from"], leg["to"]) for leg in verdict["legs"]] == expected
    for leg in verdict["legs"]:
        if leg["expected"].get("dies"):
            continue
        links = leg["observed"]["links"]
        assert links, leg
        assert all(link["packets_forward"] and link["packets_return"] and link["first_frame"] for link in links), leg
        assert set(leg["observed"]["segments"]) == set(leg["expected"]["crosses"])


@pytest.mark.parametrize("slug", SLUGS)
def test_path_verdicts_rest_on_captures_alone(slug: str, rows: Runs, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(rows[slug].directory, copy)
    (copy / "events.jsonl").unlink()
    (copy / "verdict.json").unlink()
    again = judge(copy)
    for one, other in zip(again["legs"], rows[slug].verdict["legs"], strict=True):
        # How a leg that must die died is told with what its party said of it.
        agents_word = {"reason", "evidence"} if one["expected"].get("dies") else set()
        assert {k: v for k, v in one.items() if k not in agents_word} == {
            k: v for k, v in other.items() if k not in agents_word
        }


@pytest.mark.parametrize("slug", SLUGS)
def test_prediction_agrees_with_observation(slug: str, rows: Runs) -> None:
    for leg in rows[slug].verdict["legs"]:
        assert leg["predicted"]["agrees"], leg


@pytest.mark.parametrize("slug", SLUGS)
def test_no_row_breaks_a_principle_unless_it_is_to(slug: str, rows: Runs) -> None:
    broken = {
        each["principle"]: each["reason"] for each in rows[slug].verdict["principles"] if each["outcome"] == "broken"
    }
    assert set(broken) == BREACHES.get(slug, set()), broken


@pytest.mark.parametrize("item", CONTROLS, ids=[item.name for item in CONTROLS])
def test_control_turns_it_red_for_the_right_reason(item: run.Item, controls: Runs) -> None:
    assert controls[item.name].control_fault == ""


@pytest.mark.parametrize("slug", SLUGS)
def test_row_has_two_red_controls_and_an_inconclusive_one(slug: str) -> None:
    verdicts = [control.verdict for control in SPECS[slug].scenario.controls.values()]
    assert verdicts.count("FAIL") >= 2
    assert verdicts.count("INCONCLUSIVE") >= 1


def test_a_conference_at_another_home_than_the_organisers_breaks_the_first_principle(controls: Runs) -> None:
    verdict = controls["hybrid/conference-onprem-organiser@hosted-online"].verdict
    broken = {each["principle"] for each in verdict["principles"] if each["outcome"] == "broken"}
    assert broken == {"P1"}
