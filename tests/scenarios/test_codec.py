"""Calls in Opus: heard as G.711 is, over a relay and where signaling cannot be read, and rated by no E-model."""

import json
from pathlib import Path

import pytest

from testbed import catalogue, run

from .conftest import run_all

pytestmark = pytest.mark.emulation
SLUGS = ("online/p2p-external", "online/p2p-internal-tls")


def test_calls_in_opus_are_heard_and_measured(tmp_path: Path) -> None:
    paths = [catalogue.find_scenario(slug) for slug in SLUGS]
    items = run.read_items(paths, catalogue.parse_changes(["calls.0.codec=opus"]))
    for judged in run_all(items, tmp_path).values():
        assert judged.verdict["verdict"] == "PASS", judged.verdict["reasons"]
        (heard,) = [check["observed"] for check in judged.verdict["checks"] if check["check"] == "audio"]
        levels = [level for others in heard.values() for level in others.values()]
        assert len(levels) == 2 and all(abs(level - -23) < 1 for level in levels)
        streams = json.loads((judged.directory / "quality.json").read_text(encoding="utf-8"))["streams"]
        assert {(stream["media"], stream["payload_type"]) for stream in streams} == {("audio", 96)}
        for stream in streams:
            assert stream["end_to_end"]["r"] is None and "E-model" in stream["end_to_end"]["missing"]["r"]
            assert stream["clock_rate_hz"] == (None if "tls" in judged.verdict["scenario"] else 48000)
