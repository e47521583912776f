"""The delays of all scenarios side by side: a row a stream, as the page's chart and its table have them."""

from dataclasses import dataclass
from typing import Final

from testbed.report.record import RunRecord, ScenarioRecord

_FIGURES: Final = ("min", "p25", "median", "p75", "p95", "max")


@dataclass(frozen=True, slots=True)
class Spread:
    """One-way delay of one stream from end to end, in ms."""

    scenario: str
    stream: str
    min: float
    p25: float
    median: float
    p75: float
    p95: float
    max: float
    trusted: bool

    def as_point(self) -> dict[str, str | float]:
        """Return it as the chart takes it."""
        doubt = "" if self.trusted else " (not trusted)"
        return {"stream": f"{self.scenario}: {self.stream}{doubt}", **{name: getattr(self, name) for name in _FIGURES}}


def spreads(record: RunRecord) -> tuple[Spread, ...]:
    """Return the spread of every stream that was measured, in the order of the run."""
    return tuple(spread for scenario in record.scenarios for spread in _of(scenario))


def _of(scenario: ScenarioRecord) -> list[Spread]:
    told = (scenario.timeline or {}).get("series") or []
    trusted = (scenario.quality or {}).get("trusted") or {}
    believed = bool(trusted.get("timing")) and bool(trusted.get("complete"))
    return [
        Spread(
            scenario=scenario.name,
            stream=f"{one['from']} → {one['to']}",
            trusted=believed,
            **dict(zip(_FIGURES, one["box"], strict=True)),
        )
        for one in told
        if one["box"] is not None
    ]
