"""A sweep's file, and the cells of its grid."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed.errors import SpecError
from testbed.spec.faults import path_source
from testbed.spec.toml import read_document
from testbed.sweep.claims import Plot, Result, Value
from testbed.units import Duration

CHANGE: Final = "change"
"A grid's key whose values are whole --change arguments (a condition, a scenario, '' for none), not values of a key."


class Case(BaseModel):
    """One of several that a sweep compares, by a name that the table shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str | None = None
    "In place of the sweep's."
    changes: tuple[str, ...] = ()
    "--change arguments."


class Sweep(BaseModel):
    """A sweep's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = ""
    scenario: str
    duration: Duration = 10_000_000_000
    "How long media flows in each call."
    repeats: int = Field(default=1, ge=1, le=1000)
    seed: int = 1
    "Of the first repeat; each further one has the next."
    changes: tuple[str, ...] = ()
    "Made in every cell."
    grid: dict[str, tuple[Value, ...]] = {}
    "Dotted key, or `change`, to the values that it takes."
    cases: dict[str, dict[str, Case]] = {}
    "Column of the table to the cases that stand in it, by name; combined with each other and with the grid."
    plot: Plot | None = None
    result: Result | None = None

    @model_validator(mode="after")
    def _has_cells(self) -> Self:
        if not all((self.grid or self.cases, *self.grid.values(), *self.cases.values())):
            raise ValueError("grid and cases: name something that varies, and its values")
        if both := sorted(self.grid.keys() & self.cases.keys()):
            raise ValueError(f"{both[0]!r} stands in grid and in cases")
        return self


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid, once."""

    scenario: str
    point: tuple[tuple[str, Value], ...]
    changes: tuple[str, ...]
    duration_ns: int
    seed: int

    @property
    def folder(self) -> str:
        """Return the name of its folder, which changes with anything that would change what comes out."""
        told = json.dumps([self.scenario, self.changes, self.duration_ns, self.seed])
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's file. Raises SpecError."""
    try:
        return Sweep.model_validate(read_document(path))
    except ValidationError as error:
        first = error.errors()[0]
        where, problem = ".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, ")
        raise SpecError(path_source(path), where, problem) from None


def cells(sweep: Sweep) -> Iterator[Cell]:
    """Yield every cell, each once before any a second time: a sweep that is stopped has seen much of the grid."""
    cases = list(itertools.product(*(named.items() for named in sweep.cases.values())))
    grid = list(itertools.product(*sweep.grid.values()))
    for repeat, chosen, values in itertools.product(range(sweep.repeats), cases, grid):
        varied = tuple(zip(sweep.grid, values, strict=True))
        made = [str(value) if key == CHANGE else f"{key}={_toml(value)}" for key, value in varied]
        changes = (*sweep.changes, *(x for _, case in chosen for x in case.changes), *(x for x in made if x))
        scenario = next((case.scenario for _, case in reversed(chosen) if case.scenario), sweep.scenario)
        point = (*zip(sweep.cases, (name for name, _ in chosen), strict=True), *varied)
        yield Cell(scenario, point, changes, sweep.duration, sweep.seed + repeat)


def _toml(value: Value) -> str:
    return json.dumps(value)
