"""Traffic of others on the circuit: the call goes on, its way is as before, and its figures tell the load."""

import json
from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue, run

from .conftest import Judged, run_all

pytestmark = pytest.mark.emulation


def played(condition: str, results: Path) -> Judged:
    path = catalogue.find_scenario("online/conference-internal")
    items = run.read_items([path], catalogue.parse_changes([f"conditions/{condition}"]))
    ((_, judged),) = run_all(items, results).items()
    return judged


def from_alice(judged: Judged) -> dict[str, Any]:
    quality = json.loads((judged.directory / "quality.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(stream["end_to_end"] for stream in quality["streams"] if stream["from"] == "alice")
    return found


def test_a_call_over_a_full_circuit_keeps_its_way_and_waits_in_its_queue_unless_voice_goes_first(
    tmp_path: Path,
) -> None:
    full, with_qos = played("circuit-congested", tmp_path), played("circuit-congested-qos", tmp_path)
    for judged in (full, with_qos):
        _assert_sound(judged)
    # A queue of 100 packets is some 80 ms; before voice goes only the packet that is under way, 1 ms.
    assert from_alice(full)["one_way_delay_ms"]["median"] > 40 + from_alice(with_qos)["one_way_delay_ms"]["median"]
    assert from_alice(with_qos)["lost"] <= from_alice(full)["lost"]
    counted = _class_drops(with_qos)
    assert {counts["46"] for counts in counted} == {0}
    assert sum(counts["rest"] for counts in counted) > 0


def _class_drops(judged: Judged) -> list[dict[str, int]]:
    emulation = json.loads((judged.directory / "emulation.json").read_text(encoding="utf-8"))
    return [counts["class_drops"] for counts in emulation["links"]["er-pe1-msee1"].values()]


def _assert_sound(judged: Judged) -> None:
    assert {leg["verdict"] for leg in judged.verdict["legs"]} == {"PASS"}
    checks = {check["check"]: check for check in judged.verdict["checks"]}
    traffic: dict[str, Any] = checks["traffic"]["observed"]
    assert checks["traffic"]["verdict"] == checks["prediction"]["verdict"] == "PASS", checks["traffic"]["reason"]
    # In a few seconds TCP, which leaves its slow start when delay grows, may not fill the queue in both directions.
    assert any(seen["dropped"].get("er-pe1-msee1", 0) > 0 for seen in traffic.values())
    assert {each["outcome"] for each in judged.verdict["principles"]} <= {"holds", "does not apply"}
