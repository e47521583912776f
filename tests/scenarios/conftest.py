"""The catalogue and its negative controls are each run once for all the tests here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue, run
from testbed.scenario import Control

DURATION_NS = 4_000_000_000


@dataclass(frozen=True)
class Judged:
    """One scenario's or control's verdict, and where its files are."""

    directory: Path
    verdict: dict[str, Any]


def online() -> list[Path]:
    return catalogue.choose([], everything=False, table="online")


def online_controls() -> list[tuple[run.Item, Control]]:
    return run.read_controls(online())


def run_all(items: list[run.Item], results: Path, jobs: int = 2) -> Mapping[str, Judged]:
    """Run *items* and return their verdicts by name, read back from the files that a user would read."""
    options = run.Options(results=results, duration_ns=DURATION_NS, jobs=jobs)
    outcome = run.run_items(items, options, lambda name, event: None)
    judged = {}
    for one in outcome.scenarios:
        directory = outcome.directory / one.directory
        judged[one.name] = Judged(directory, json.loads((directory / "verdict.json").read_text(encoding="utf-8")))
    return judged


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judged]:
    return run_all(run.read_items(online()), tmp_path_factory.mktemp("online"))


@pytest.fixture(scope="session")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Judged]:
    return run_all([item for item, _ in online_controls()], tmp_path_factory.mktemp("controls"))
