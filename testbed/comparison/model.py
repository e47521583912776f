"""A comparison as values: what `testbed compare` prints, and its JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that is told in words and differs: a verdict, a leg's way, how a leg ended."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both runs."""

    what: str
    "`link`, or `end to end`: what the calls felt of it all."
    name: str
    "The link's name (several, if they cannot be told apart), or the stream's ends."
    sender: str
    receiver: str
    figure: str
    unit: str
    before: float
    after: float
    needed: float | None
    "By how much they must differ to be called different; None for a share, which `chance` judges."
    chance: float | None
    "How likely so great a difference is if nothing changed; None for a figure that `needed` judges."
    is_different: bool


@dataclass(slots=True)
class ScenarioComparison:
    """One scenario in both runs."""

    scenario: str
    told: list[Changed] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    configured: list[Changed] = field(default_factory=list)
    "What the two were told to be: the cause of a difference, and none itself."
    notes: list[str] = field(default_factory=list)
    "What could not be compared, or differs by chance alone."

    @property
    def different_figures(self) -> list[Figure]:
        """Return the figures that differ."""
        return [figure for figure in self.figures if figure.is_different]

    @property
    def is_different(self) -> bool:
        """Return whether verdict, paths or figures differ."""
        return bool(self.told or self.different_figures)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs."""

    before: str
    after: str
    scenarios: tuple[ScenarioComparison, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def is_different(self) -> bool:
        """Return whether anything differs, a scenario that only one of them has included."""
        return bool(self.only_before or self.only_after) or any(one.is_different for one in self.scenarios)

    def as_json(self) -> dict[str, Any]:
        """Return the document that `--json` prints."""
        scenarios = [{**asdict(one), "is_different": one.is_different} for one in self.scenarios]
        return {"format": FORMAT, **asdict(self), "scenarios": scenarios, "is_different": self.is_different}
