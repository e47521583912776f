"""What a running scenario looks like from outside: the events of its world, gathered into one line."""

import time
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table
from rich.text import Text

STAGES: Final = {
    "build": "building the network",
    "readback": "reading back what the kernel has",
    "capture": "capturing every link",
    "routing": "waiting for BGP",
    "services": "starting the servers",
    "register": "registering",
    "message": "sending instant messages",
    "call": "placing calls",
    "media": "in the call",
    "hangup": "hanging up",
    "evidence": "collecting evidence",
}
VERDICT_STYLE: Final = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "ERROR": "bold magenta"}


@dataclass(slots=True)
class ScenarioProgress:
    """Where one scenario stands."""

    stage: str = ""
    text: str = ""
    registered: list[str] = field(default_factory=list)
    in_call: list[str] = field(default_factory=list)
    media_until_ns: int | None = None
    verdict: str = ""
    "Of a negative control, what it counts as."
    words: str = ""
    "How it ended."

    def take(self, event: dict[str, Any], *, now_ns: int, duration_ns: int) -> None:
        """Take in one event of the scenario's world."""
        match event:
            case {"type": "progress", "stage": str(stage)}:
                self.stage, self.text = stage, str(event.get("text", ""))
            case {"type": "verdict", "counts_as": str(verdict), "words": str(words)}:
                self.verdict, self.words = verdict, words
            case {"type": "agent", "event": "registered", "agent": str(agent)} if agent not in self.registered:
                self.registered.append(agent)
            case {"type": "agent", "event": "media", "agent": str(agent)} if agent not in self.in_call:
                self.in_call.append(agent)
                self.media_until_ns = now_ns + duration_ns
            case {"type": "agent", "event": "terminated", "agent": str(agent)} if agent in self.in_call:
                self.in_call.remove(agent)

    def line(self, now_ns: int) -> str:
        """Say in one line what is going on."""
        if self.words:
            return self.words
        if self.in_call and self.media_until_ns is not None:
            left_s = max(0, self.media_until_ns - now_ns) / 1e9
            return f"in the call: {', '.join(self.in_call)}; {left_s:.0f} s left"
        parts = [STAGES.get(self.stage, self.stage), self.text]
        if self.stage == "register" and self.registered:
            parts = [f"registered: {', '.join(self.registered)}"]
        return ": ".join(part for part in parts if part) or "waiting"


class Board:
    """The progress of all scenarios of a run."""

    def __init__(self, scenarios: list[str], duration_ns: int) -> None:
        self._progress = {scenario: ScenarioProgress() for scenario in scenarios}
        self._duration_ns = duration_ns

    def take(self, scenario: str, event: dict[str, Any]) -> str | None:
        """Take in an event; return the line to print where lines stand one below the other, if it is new."""
        progress = self._progress[scenario]
        now_ns = time.monotonic_ns()
        before = progress.line(0)
        progress.take(event, now_ns=now_ns, duration_ns=self._duration_ns)
        after = progress.line(0)
        return None if before == after else f"{scenario}: {progress.line(now_ns)}"

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now_ns = time.monotonic_ns()
        for scenario, progress in self._progress.items():
            style = VERDICT_STYLE.get(progress.verdict, "" if progress.stage else "dim")
            table.add_row(
                Text(scenario, style="bold" if progress.stage else "dim"), Text(progress.line(now_ns), style=style)
            )
        return table
