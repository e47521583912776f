"""A sweep's file, and the cells of its grid."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed.spec.faults import Sources, path_source, raise_faults, schema_faults, validate
from testbed.spec.toml import read_document
from testbed.sweep.claims import LEAST_REPEATS, Plot, Result
from testbed.sweep.columns import FIGURES, LABELS, Column, Value, kind_of
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
        if taken := [name for name in (*self.grid, *self.cases) if name in LABELS or name in FIGURES]:
            raise ValueError(f"{taken[0]!r} is a column that every sweep's table has; choose another name")
        for key, values in self.grid.items():
            try:
                kind_of(values)
            except ValueError as error:
                raise ValueError(f"grid: {key!r}: {error}") from None
            if len(set(values)) < len(values):
                raise ValueError(f"grid: {key!r}: a value stands there twice")
        return self

    @model_validator(mode="after")
    def _table_gives_what_is_asked(self) -> Self:
        """See to it before anything runs."""
        if self.result is not None and self.repeats < LEAST_REPEATS:
            wanted = f"a claim needs {LEAST_REPEATS} or more, since what came out once may be chance"
            raise ValueError(f"repeats: {wanted}, not {self.repeats}")
        for part in (self.plot, self.result):
            if part is not None and (fault := next(part.faults(self.columns), None)):
                raise ValueError(fault)
        return self

    @property
    def columns(self) -> dict[str, Column]:
        """Return every column of the table, in its order."""
        cases = {name: Column("text", tuple(named)) for name, named in self.cases.items()}
        grid = {key: Column(kind_of(values), values) for key, values in self.grid.items()}
        return cases | grid | {name: Column(kind) for name, kind in (LABELS | FIGURES).items()}


@dataclass(frozen=True, slots=True)
class Cell:
    """One point of the grid, once."""

    scenario: str
    point: tuple[tuple[str, Value], ...]
    changes: tuple[str, ...]
    duration_ns: int
    seed: int

    @property
    def name(self) -> str:
        """Return it in words."""
        return ", ".join((*(f"{key} {value}" for key, value in self.point), f"seed {self.seed}"))


def read_sweep(path: Path) -> Sweep:
    """Read a sweep's file. Raises SpecError."""
    document = read_document(path)
    try:
        return validate(Sweep, document)
    except ValidationError as error:
        raise_faults(schema_faults(error, Sweep), Sources(path_source(path)))
        raise


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
