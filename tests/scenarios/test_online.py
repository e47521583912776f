"""The article's first table: what its rows show beyond what holds for every row (test_catalogue.py)."""

import re
from typing import Any

import pytest

from testbed import catalogue
from testbed.spec.reader import read_spec

from .conftest import Judged, Runs

pytestmark = pytest.mark.emulation


def test_the_table_has_its_eight_rows() -> None:
    paths = catalogue.choose([], everything=False, table="online")
    assert [read_spec(path).scenario.row for path in paths] == [f"ON-{n}" for n in range(1, 9)]


def check_of(judged: Judged, name: str) -> dict[str, Any]:
    return next(check for check in judged.verdict["checks"] if check["check"] == name)


def test_p2p_internal_goes_from_host_to_host(rows: Runs) -> None:
    assert check_of(rows["online/p2p-internal"], "selected-pair")["verdict"] == "PASS"
    relays = check_of(rows["online/p2p-internal"], "relays")["observed"]
    assert relays == {"alice -> bob": [0], "bob -> alice": [0]}


def test_p2p_external_says_which_edge_relayed_and_how_often(rows: Runs) -> None:
    relays = check_of(rows["online/p2p-external"], "relays")
    assert set(relays["observed"]) == {"alice -> carol", "carol -> alice"}
    assert all(counts == [1] for counts in relays["observed"].values())
    assert re.search(r"on-edge[12]", " ".join(relays["evidence"]))


def test_p2p_external_says_the_selected_pair_at_both_ends(rows: Runs) -> None:
    pair = check_of(rows["online/p2p-external"], "selected-pair")
    assert {"alice", "carol"} <= set(pair["observed"]), pair
