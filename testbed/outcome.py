"""How a run ended: each scenario's verdict, and the exit status that follows."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from testbed.scenario import Control, Verdict
from testbed.verdict.controls import control_fault

EXIT_CODES: Final[dict[str, int]] = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3, "ERROR": 4}
_WORST_FIRST: Final = ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")


class FailOn(StrEnum):
    """What may count as a FAIL in the exit status besides a verdict."""

    TARGETS = "targets"
    PRINCIPLES = "principles"


@dataclass(slots=True, kw_only=True)
class ScenarioOutcome:
    """How one scenario ended, as it stands in run.json."""

    name: str
    scenario: str
    row: str
    verdict: Verdict
    reason: str
    directory: str
    duration_s: float
    media_s: float
    targets: dict[str, int] | None = None
    "How many targets were met, missed and unknown; None where nothing could be measured."
    broken: tuple[str, ...] = ()
    "The article's principles that the packets break."
    control: Control | None = None
    "The negative control that this is: what must have come out."

    @property
    def control_fault(self) -> str:
        """How a control came out otherwise than its file says; empty if it did not, or this is none."""
        return control_fault(self.control, self.verdict, self.reason) if self.control else ""

    @property
    def counts_as(self) -> Verdict:
        """What it adds to the exit status: a control is a PASS if it came out as its file says, else a FAIL."""
        if self.control is None or self.verdict == "ERROR":
            return self.verdict
        return "FAIL" if self.control_fault else "PASS"

    def counts_as_fail(self, fail_on: frozenset[FailOn]) -> bool:
        """Whether *fail_on* makes it a FAIL whatever its verdict; a control is meant to be amiss."""
        missed = FailOn.TARGETS in fail_on and bool((self.targets or {}).get("missed"))
        broken = FailOn.PRINCIPLES in fail_on and bool(self.broken)
        return self.control is None and (missed or broken)

    def words(self) -> str:
        """Return one line that says how it ended."""
        if self.control is not None:
            return self.control_fault or f"{self.verdict}, as its file says: {self.reason}"
        return "PASS" if self.verdict == "PASS" else f"{self.verdict}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return its entry in run.json."""
        return {
            "name": self.name,
            "scenario": self.scenario,
            "row": self.row,
            "verdict": self.verdict,
            "reason": self.reason,
            "directory": self.directory,
            "duration_s": round(self.duration_s, 3),
            "media_s": round(self.media_s, 3),
            "overhead_s": round(self.duration_s - self.media_s, 3),
            "targets": self.targets,
            "control": self._control_as_json(),
        }

    def _control_as_json(self) -> dict[str, Any] | None:
        if self.control is None:
            return None
        expected = {"verdict": self.control.verdict, "reason": self.control.reason}
        return {**expected, "as_stated": not self.control_fault}


@dataclass(slots=True)
class RunOutcome:
    """A run, ended or interrupted."""

    directory: Path
    interrupted: bool = False
    took_s: float = 0.0
    fail_on: frozenset[FailOn] = frozenset()
    scenarios: list[ScenarioOutcome] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """4 if the rig broke or the run was interrupted, else 1 on a FAIL, else 3 on an INCONCLUSIVE, else 0.

        With `fail_on` a missed target or a broken principle counts as a FAIL; what is unknown never does.
        """
        verdicts = {outcome.counts_as for outcome in self.scenarios} | ({"ERROR"} if self.interrupted else set())
        if any(outcome.counts_as_fail(self.fail_on) for outcome in self.scenarios):
            verdicts.add("FAIL")
        return next((EXIT_CODES[verdict] for verdict in _WORST_FIRST if verdict in verdicts), 0)
