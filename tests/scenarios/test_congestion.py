"""Traffic of others on the circuit: the call goes on, its way is as before, and its figures tell the load."""

from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue, run

from .conftest import run_all

pytestmark = pytest.mark.emulation


def test_a_call_over_a_full_circuit_keeps_its_way_and_waits_in_its_queue(tmp_path: Path) -> None:
    path = catalogue.find_scenario("online/conference-internal")
    items = run.read_items([path], catalogue.parse_changes(["conditions/circuit-congested"]))
    ((_, judged),) = run_all(items, tmp_path).items()
    assert {leg["verdict"] for leg in judged.verdict["legs"]} == {"PASS"}
    checks = {check["check"]: check for check in judged.verdict["checks"]}
    traffic: dict[str, Any] = checks["traffic"]["observed"]
    assert checks["traffic"]["verdict"] == checks["prediction"]["verdict"] == "PASS", checks["traffic"]["reason"]
    assert {seen["dropped"]["msee1-er-pe1"] > 0 for seen in traffic.values()} == {True}
    assert {each["outcome"] for each in judged.verdict["principles"]} <= {"holds", "does not apply"}
