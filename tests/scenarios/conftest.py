"""The catalogue and its negative controls are each run once for all the tests here."""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testbed import catalogue, run

DURATION_NS = 4_000_000_000
JOBS = 4
"Media is mostly waiting: two cores carry four scenarios at once within their health limits."


@dataclass(frozen=True)
class Judged:
    """One scenario's or control's verdict, and where its files are."""

    directory: Path
    verdict: dict[str, Any]
    control_fault: str
    "How a control came out otherwise than its file says."


def catalogue_paths() -> list[Path]:
    """Return the scenario files of the article's tables, figures and rules."""
    return [entry.path for entry in catalogue.list_scenarios() if entry.table != "asymmetric"]


class Runs:
    """Verdicts by name, of scenarios and controls that are run, a table at a time, when first asked for."""

    def __init__(self, items: Iterable[run.Item], wanted: Set[str], results: Path) -> None:
        """*wanted* names the items that tests of this session are sure to ask for: only they are run together."""
        self._items = {item.name: item for item in items}
        self._wanted = wanted
        self._results = results
        self._judged: dict[str, Judged] = {}

    def __getitem__(self, name: str) -> Judged:
        if name not in self._judged:
            self._judged |= run_all(self._together_with(self._items[name]), self._results)
        return self._judged[name]

    def _together_with(self, one: run.Item) -> list[run.Item]:
        table = one.spec.scenario.table
        others = (item for name, item in self._items.items() if name in self._wanted and name != one.name)
        return [one, *(x for x in others if x.spec.scenario.table == table and x.name not in self._judged)]


def run_all(items: list[run.Item], results: Path, jobs: int = JOBS) -> Mapping[str, Judged]:
    """Run *items* and return their verdicts by name, read back from the files that a user would read."""
    options = run.Options(results=results, duration_ns=DURATION_NS, jobs=jobs)
    outcome = run.run_items(items, options, lambda name, event: None)
    judged = {}
    for one in outcome.scenarios:
        directory = outcome.directory / one.directory
        verdict = json.loads((directory / "verdict.json").read_text(encoding="utf-8"))
        judged[one.name] = Judged(directory, verdict, one.control_fault)
    return judged


def asked_for(session: pytest.Session, fixture: str, parameter: str) -> set[str]:
    """Return the values of *parameter* in the session's tests that use *fixture*; of an item, its name."""
    asking = [x for x in session.items if isinstance(x, pytest.Function) and fixture in x.fixturenames]
    parameters = [x.callspec.params for x in asking if hasattr(x, "callspec")]
    values = [found[parameter] for found in parameters if parameter in found]
    return {value.name if isinstance(value, run.Item) else str(value) for value in values}


@pytest.fixture(scope="session")
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every scenario's verdict."""
    wanted = asked_for(request.session, "rows", "slug")
    return Runs(run.read_items(catalogue_paths()), wanted, tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="session")
def controls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Every control's verdict."""
    wanted = asked_for(request.session, "controls", "item")
    return Runs(run.read_controls(catalogue_paths()), wanted, tmp_path_factory.mktemp("controls"))
