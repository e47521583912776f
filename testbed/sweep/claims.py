"""What makes a sweep's file an experiment: its plot, and the sentence with the numbers that it is to state."""

import math
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from testbed.spec.faults import suggest
from testbed.sweep.columns import WORDS, Column, Value, kind_of

Relation = Literal["<", "<=", ">", ">=", "=="]
LEAST_REPEATS: Final = 2
"That a claim needs: what came out once may be chance."
_FORM: Final = '{ left = "tcp", is = ">", right = "udp", by = 50 }'


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Plot(_Part):
    """Columns of the table as a plot: a point a row, and a line or a tick through the medians."""

    x: str
    "Column; numbers, quantities like 20ms, or names in the order of the file."
    y: str
    series: str | None = None
    "Column that tells lines apart."
    x_title: str
    y_title: str
    none: str | None = None
    "What a row without a number for *y* means: such rows are crosses at the top, or left out without these words."

    def faults(self, columns: Mapping[str, Column]) -> Iterator[str]:
        """Yield what the table, of these columns, cannot give."""
        for key, column in (("x", self.x), ("y", self.y), ("series", self.series)):
            if column is not None:
                yield from _column_faults(f"plot.{key}", column, columns, needs_numbers=key == "y")


class Number(_Part):
    """One number of the sentence: what some rows of a repeat have in a column, summed up; of all repeats the median."""

    column: str
    of: Literal["median", "mean", "sum", "least", "greatest"] = "median"
    where: dict[str, Value] = {}
    "Columns and what rows must have there; empty: all rows."

    def faults(self, key: str, columns: Mapping[str, Column]) -> Iterator[str]:
        """Yield what the table, of these columns, cannot give."""
        yield from _column_faults(f"{key}.column", self.column, columns, needs_numbers=True)
        for name, wanted in self.where.items():
            yield from _column_faults(f"{key}.where", name, columns)
            if name in columns:
                yield from _value_faults(f"{key}.where.{name}", wanted, columns[name])


def _column_faults(key: str, name: str, columns: Mapping[str, Column], *, needs_numbers: bool = False) -> Iterator[str]:
    if name not in columns:
        yield f"{key}: no column {name!r}; {suggest(name, columns, what='there are')}"
    elif needs_numbers and not columns[name].gives_numbers:
        numbers = (each for each, column in columns.items() if column.gives_numbers)
        yield f"{key}: no numbers are in column {name!r}; {suggest(name, numbers, what='they are in')}"


def _value_faults(key: str, wanted: Value, column: Column) -> Iterator[str]:
    if WORDS[kind_of([wanted])] != WORDS[column.kind]:
        yield f"{key}: must be {WORDS[column.kind]}, as all that stands there, not {wanted!r}"
    elif column.values is not None and wanted not in column.values:
        yield f"{key}: {wanted!r} never stands there; {suggest(str(wanted), map(str, column.values), what='there are')}"


def _side(value: object) -> object:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not isinstance(value, str) and not is_number:
        raise ValueError(f"must be the name of a value, or a number, not {value!r}")
    return value


class Comparison(_Part):
    """One relation that makes a claim true, in every repeat: of a number of the table to another, or to a plain one."""

    left: str
    relation: Relation = Field(alias="is")
    right: Annotated[str | float, BeforeValidator(_side)]
    by: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Least difference that counts, in the column's unit. Between two numbers of the table it must be said: chance
    alone makes one of them the greater."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_table(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"must be a table like {_FORM}, not {value!r}")
        return value

    @model_validator(mode="after")
    def _has_a_margin(self) -> Self:
        if isinstance(self.right, str) and (self.by is None or self.relation not in ("<", ">")):
            raise ValueError(f"two values are compared by < or > and with a margin, `by`, like {_FORM}")
        if not isinstance(self.right, str) and self.by is not None:
            raise ValueError("by: only between two values; with a plain number put the margin into that")
        return self

    def __str__(self) -> str:
        margin = "" if self.by is None else f" by {self.by:g}"
        return f"{self.left} {self.relation} {self.right}{margin}"

    def holds(self, left: Sequence[float], right: Sequence[float]) -> bool:
        """Return whether it is true of each repeat's number *left* and each repeat's *right*."""
        least, most = min(left) - max(right), max(left) - min(right)
        by = self.by or 0.0
        return {
            "<": most <= -by if by else most < 0,
            "<=": most <= 0,
            ">": least >= by if by else least > 0,
            ">=": least >= 0,
            "==": least == most == 0,
        }[self.relation]


class Result(_Part):
    """The sentence that states what came out."""

    sentence: str = Field(min_length=1)
    "With each number in braces, formatted as Python does: {udp:.0f}."
    values: dict[str, Number]
    holds: tuple[Comparison, ...]
    "What makes the claim true: one at the least."

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if not self.holds:
            raise ValueError(f"holds: say what makes the claim true, like {_FORM}")
        try:
            named = {name for _, name, _, _ in Formatter().parse(self.sentence) if name is not None}
            self.sentence.format(**dict.fromkeys(named, 0.0))
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"sentence: cannot be filled in: {error}") from None
        compared = {side for each in self.holds for side in (each.left, each.right) if isinstance(side, str)}
        if unknown := sorted((named | compared) - set(self.values)):
            there = ", ".join(self.values)
            raise ValueError(f"names {unknown[0]!r}, which is not among its values; there are: {there}")
        return self

    def faults(self, columns: Mapping[str, Column]) -> Iterator[str]:
        """Yield what the table, of these columns, cannot give."""
        for name, number in self.values.items():
            yield from number.faults(f"result.values.{name}", columns)
