"""A comparison as values: what `testbed compare` prints, and its JSON (results/README.md describes every key)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any, Final, Literal

FORMAT: Final = 2
Kind = Literal["verdict", "leg", "check", "target", "principle", "stream", "link", "timing", "configured"]


@dataclass(frozen=True, slots=True)
class Changed:
    """Something that is told in words and differs: a verdict, a leg's way, how a leg ended."""

    kind: Kind
    what: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both runs."""

    what: Literal["end to end", "link", "party", "during"]
    "Where it holds: of a stream, of a link, of what a party waited for, of a change during the call."
    name: str
    "The kind of media, the link (several, if they cannot be told apart), the party, or `silence`."
    sender: str
    receiver: str
    "Both empty for a party."
    figure: str
    unit: str
    before: float
    after: float
    needed: float | None
    "By how much they must differ to be called different; None for a share, which `chance` judges."
    chance: float | None
    "How likely so great a difference is if nothing changed; None for a figure that `needed` judges."
    is_different: bool

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Return whose figure it is."""
        return self.what, self.name, self.sender, self.receiver


@dataclass(slots=True)
class ScenarioComparison:
    """One scenario in both runs."""

    scenario: str
    told: list[Changed] = field(default_factory=list)
    "The most important first."
    figures: list[Figure] = field(default_factory=list)
    "What calls felt end to end first, then what parties waited for, then links."
    configured: list[Changed] = field(default_factory=list)
    "What the two were told to be: the cause of a difference, and none itself."
    not_compared: list[str] = field(default_factory=list)
    "What could not be compared, and why."
    notes: list[str] = field(default_factory=list)
    "What differs, but by no more than chance or choice explains."

    @property
    def different_figures(self) -> list[Figure]:
        """Return the figures that differ."""
        return [figure for figure in self.figures if figure.is_different]

    @property
    def different_places(self) -> Iterator[list[Figure]]:
        """Yield the figures that differ, those of one stream, party or link together."""
        for _, figures in groupby(self.different_figures, key=lambda figure: figure.place):
            yield list(figures)

    @property
    def is_different(self) -> bool:
        """Return whether anything differs that is not configured to."""
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
