"""The catalogue and its negative controls are each run once for all the tests here."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue, run

DURATION_NS = 4_000_000_000


@dataclass(frozen=True)
class Judged:
    """One scenario's or control's verdict, and where its files are."""

    directory: Path
    verdict: dict[str, Any]


def catalogue_paths() -> list[Path]:
    """Return the scenario files of the article's tables, figures and rules."""
    return [entry.path for entry in catalogue.list_scenarios() if entry.table != "asymmetric"]


class Runs:
    """Verdicts by name, of scenarios and controls that are run, a group at a time, when first asked for."""

    def __init__(self, groups: Mapping[str, list[run.Item]], results: Path) -> None:
        self._group_of = {item.name: group for group in groups.values() for item in group}
        self._results = results
        self._judged: dict[str, Judged] = {}

    def __getitem__(self, name: str) -> Judged:
        if name not in self._judged:
            self._judged |= run_all(self._group_of[name], self._results)
        return self._judged[name]


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
def rows(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every scenario's verdict; a table is run whole."""
    groups: defaultdict[str, list[run.Item]] = defaultdict(list)
    for item in run.read_items(catalogue_paths()):
        groups[item.spec.scenario.table].append(item)
    return Runs(groups, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def controls(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every control's verdict; a scenario's controls are run together."""
    groups: defaultdict[str, list[run.Item]] = defaultdict(list)
    for item, _ in run.read_controls(catalogue_paths()):
        groups[item.spec.scenario.id].append(item)
    return Runs(groups, tmp_path_factory.mktemp("controls"))
