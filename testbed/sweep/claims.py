"""What makes a sweep's file an experiment: its plot, and the sentence with the numbers that it is to state."""

from string import Formatter
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Value = str | int | float | bool
Relation = Literal["<", "<=", ">", ">=", "=="]


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


class Number(_Part):
    """One number of the sentence: what some rows of the table have in a column, summed up."""

    column: str
    of: Literal["median", "mean", "sum", "least", "greatest"] = "median"
    where: dict[str, Value] = {}
    "Columns and what rows must have there; empty: all rows."


class Result(_Part):
    """The sentence that states what came out."""

    sentence: str = Field(min_length=1)
    "With each number in braces, formatted as Python does: {udp:.0f}."
    values: dict[str, Number] = Field(min_length=1)
    holds: tuple[tuple[str, Relation, str | float], ...] = ()
    "Comparisons of numbers that make the claim true; the right side may be a plain number."

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        try:
            named = {name for _, name, _, _ in Formatter().parse(self.sentence) if name is not None}
            self.sentence.format(**dict.fromkeys(named, 0.0))
        except (ValueError, KeyError, IndexError) as error:
            raise ValueError(f"sentence: cannot be filled in: {error}") from None
        compared = {each for left, _, right in self.holds for each in (left, right) if isinstance(each, str)}
        if unknown := sorted((named | compared) - set(self.values)):
            there = ", ".join(self.values)
            raise ValueError(f"names {unknown[0]!r}, which is not among its values; there are: {there}")
        return self
