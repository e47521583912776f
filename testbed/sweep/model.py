"""A sweep's file, and the cells of its grid."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.errors import SpecError
from testbed.spec.faults import path_source
from testbed.spec.toml import read_document
from testbed.units import Duration

CHANGE: Final = "change"
"A grid's key whose values are whole --change arguments (a condition, a scenario, '' for none), not values of a key."
Value = str | int | float | bool


class Sweep(BaseModel):
    """A sweep's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str
    duration: Duration = 10_000_000_000
    "How long media flows in each call."
    repeats: int = Field(default=1, ge=1, le=1000)
    seed: int = 1
    "Of the first repeat; each further one has the next."
    changes: tuple[str, ...] = ()
    "Made in every cell."
    grid: dict[str, tuple[Value, ...]] = Field(min_length=1)
    "Dotted key, or `change`, to the values that it takes."


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
        raise SpecError(path_source(path), ".".join(str(part) for part in first["loc"]), first["msg"]) from None


def cells(sweep: Sweep) -> Iterator[Cell]:
    """Yield every cell, each once before any a second time: a sweep that is stopped has seen much of the grid."""
    for repeat in range(sweep.repeats):
        for values in itertools.product(*sweep.grid.values()):
            point = tuple(zip(sweep.grid, values, strict=True))
            made = [str(value) if key == CHANGE else f"{key}={_toml(value)}" for key, value in point]
            changes = (*sweep.changes, *(change for change in made if change))
            yield Cell(sweep.scenario, point, changes, sweep.duration, sweep.seed + repeat)


def _toml(value: Value) -> str:
    return json.dumps(value)
