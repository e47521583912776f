"""The article's first table: what its rows show beyond what holds for every row (test_catalogue.py)."""

import re

import pytest

from testbed import catalogue
from testbed.spec.reader import read_spec

from .conftest import Runs

pytestmark = pytest.mark.emulation


def test_the_table_has_its_eight_rows() -> None:
    paths = catalogue.choose([], everything=False, table="online")
    assert [read_spec(path).scenario.row for path in paths] == [f"ON-{n}" for n in range(1, 9)]


def test_p2p_internal_goes_from_host_to_host(rows: Runs) -> None:
    checks = {check["check"]: check for check in rows["online/p2p-internal"].verdict["checks"]}
    assert checks["selected-pair"]["verdict"] == "PASS"
    assert set().union(*checks["relays"]["observed"].values()) == {0}


def test_p2p_external_says_which_edge_relayed_and_how_often(rows: Runs) -> None:
    checks = {check["check"]: check for check in rows["online/p2p-external"].verdict["checks"]}
    assert set().union(*checks["relays"]["observed"].values()) <= {1, 2}
    assert re.search(r"relays on the way", " ".join(checks["relays"]["evidence"]))
