"""The article's first table, on real packets: every row as the catalogue says, every control red."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from testbed import run
from testbed.scenario import Control
from testbed.spec.reader import read_spec
from testbed.verdict import judge

from .conftest import Judged, online, online_controls

pytestmark = pytest.mark.emulation
SLUGS = [read_spec(path).scenario.id for path in online()]
CONTROLS = online_controls()


def test_the_table_has_its_eight_rows() -> None:
    assert [read_spec(path).scenario.row for path in online()] == [f"ON-{n}" for n in range(1, 9)]


@pytest.mark.parametrize("slug", SLUGS)
def test_row_is_as_the_article_says(slug: str, table: Mapping[str, Judged]) -> None:
    verdict = table[slug].verdict
    assert verdict["verdict"] == "PASS", verdict["reason"]


@pytest.mark.parametrize("slug", SLUGS)
def test_every_leg_is_proven_in_both_directions(slug: str, table: Mapping[str, Judged]) -> None:
    verdict = table[slug].verdict
    expected = [(leg["flow"], leg["from"], leg["to"]) for leg in verdict_legs_of(slug)]
    assert [(leg["flow"], leg["from"], leg["to"]) for leg in verdict["legs"]] == expected
    for leg in verdict["legs"]:
        links = leg["observed"]["links"]
        assert links, leg
        assert all(link["packets_forward"] and link["packets_return"] and link["first_frame"] for link in links), leg
        assert set(leg["observed"]["segments"]) == set(leg["expected"]["crosses"])


def verdict_legs_of(slug: str) -> list[dict[str, object]]:
    spec = next(spec for path in online() if (spec := read_spec(path)).scenario.id == slug)
    return [leg.model_dump(by_alias=True) for leg in spec.scenario.legs]


@pytest.mark.parametrize("slug", SLUGS)
def test_path_verdicts_rest_on_captures_alone(slug: str, table: Mapping[str, Judged], tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(table[slug].directory, copy)
    (copy / "events.jsonl").unlink()
    (copy / "verdict.json").unlink()
    again = judge(copy)
    assert again["legs"] == table[slug].verdict["legs"]


@pytest.mark.parametrize("slug", SLUGS)
def test_prediction_agrees_with_observation(slug: str, table: Mapping[str, Judged]) -> None:
    for leg in table[slug].verdict["legs"]:
        assert leg["predicted"]["agrees"], leg


def check_of(judged: Judged, name: str) -> dict[str, Any]:
    return next(check for check in judged.verdict["checks"] if check["check"] == name)


def test_p2p_internal_goes_from_host_to_host(table: Mapping[str, Judged]) -> None:
    assert check_of(table["online/p2p-internal"], "selected-pair")["verdict"] == "PASS"
    relays = check_of(table["online/p2p-internal"], "relays")["observed"]
    assert relays == {"alice -> bob": [0], "bob -> alice": [0]}


def test_p2p_external_says_which_edge_relayed_and_how_often(table: Mapping[str, Judged]) -> None:
    relays = check_of(table["online/p2p-external"], "relays")
    assert set(relays["observed"]) == {"alice -> carol", "carol -> alice"}
    assert all(counts in ([1], [2]) for counts in relays["observed"].values())
    assert re.search(r"on-edge[12]", " ".join(relays["evidence"]))


def test_p2p_external_says_the_selected_pair_at_both_ends(table: Mapping[str, Judged]) -> None:
    pair = check_of(table["online/p2p-external"], "selected-pair")
    assert {"alice", "carol"} <= set(pair["observed"]), pair


@pytest.mark.parametrize(("item", "control"), CONTROLS, ids=[item.name for item, _ in CONTROLS])
def test_control_turns_it_red_for_the_right_reason(
    item: run.Item, control: Control, controls: Mapping[str, Judged]
) -> None:
    verdict = controls[item.name].verdict
    assert verdict["verdict"] == control.verdict, verdict["reason"]
    assert re.search(control.reason, verdict["reason"]), verdict["reason"]


@pytest.mark.parametrize("slug", SLUGS)
def test_row_has_two_red_controls_and_an_inconclusive_one(slug: str) -> None:
    verdicts = [control.verdict for item, control in CONTROLS if item.spec.scenario.id == slug]
    assert verdicts.count("FAIL") >= 2
    assert verdicts.count("INCONCLUSIVE") >= 1
