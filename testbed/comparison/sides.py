"""The two results directories that are compared, read scenario by scenario: `before` and `after` are the two sides."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.errors import UsageError
from testbed.report.quality_file import QualityFile
from testbed.report.reading import read_document
from testbed.report.record import ManifestFile, VerdictFile, read_run_file

Document = dict[str, Any]
WHEN: Final = ("before", "after")


@dataclass(frozen=True)
class Side:
    """One scenario of one run, as its files tell it."""

    verdict: Document
    manifest: Document
    "Empty where the rig broke before it was written."
    quality: Document | None
    "None where nothing was measured."

    @property
    def timing(self) -> bool:
        """Whether the rig was fast enough for times to count."""
        return self.quality is not None and bool(self.quality["trusted"]["timing"])

    @property
    def complete(self) -> bool:
        """Whether every capture was whole."""
        return self.quality is not None and bool(self.quality["trusted"]["complete"])

    @property
    def late_ms(self) -> float:
        """How late the wire sent a frame at p99: no median delay is off by more."""
        wire = (self.verdict.get("health") or {}).get("wire") or {}
        return float((wire.get("lateness_ns") or {}).get("p99") or 0) / 1e6

    @property
    def held_up_ms(self) -> tuple[float, ...]:
        """The longest that each agent's event loop was held up, the worst first; empty where it was not told."""
        agents = ((self.verdict.get("health") or {}).get("agents") or {}).values()
        told = [(agent.get("loop_lag_ns") or {}).get("max") for agent in agents]
        return tuple(sorted((lag_ns / 1e6 for lag_ns in told if lag_ns is not None), reverse=True))

    @property
    def lost_on_purpose(self) -> float:
        """The share of packets that the links which legs crossed are told to lose, there and back."""
        links = (self.manifest.get("topology") or {}).get("links") or {}
        crossed = {
            seen["link"] for leg in self.verdict.get("legs") or () for seen in leg["observed"].get("links") or ()
        }
        shapes = [
            (links[name].get(f"shape_{way}") or links[name].get("shape") or {})
            for name in sorted(crossed & links.keys())
            for way in ("forward", "return")
        ]
        return 1.0 - _kept(_lost_of(shape) for shape in shapes)


def _kept(lost: Iterator[float]) -> float:
    kept = 1.0
    for share in lost:
        kept *= 1.0 - share
    return kept


def _lost_of(shape: Document) -> float:
    """Return the share of packets that a shape loses, as a manifest has it: `3%`, and the chain's long-run share."""
    burst = shape.get("burst_loss")
    alone = _ratio(shape.get("loss") or 0.0)
    if burst is None:
        return alone
    enter, leave, loss = (_ratio(burst[key]) for key in ("enter", "leave", "loss"))
    return min(1.0, alone + (loss * enter / (enter + leave) if enter else 0.0))


def _ratio(value: str | float) -> float:
    if isinstance(value, str) and (told := re.fullmatch(r"([\d.e-]+)\s*%", value)):
        return float(told[1]) / 100
    return float(value)


def read_sides(before: Path, after: Path) -> tuple[dict[str, Side], dict[str, Side]]:
    """Return the scenarios of both directories by name. Raise UsageError for what is not two runs or two scenarios."""
    alone = [_is_scenario(place) for place in (before, after)]
    if all(alone):
        one, other = (_side(place) for place in (before, after))
        return {one.manifest["scenario"]: one}, {one.manifest["scenario"]: other}
    if any(alone):
        whole, part = (after, before) if alone[0] else (before, after)
        raise UsageError(f"{whole} is a whole run and {part} one scenario of a run: give two of a kind")
    one_run, other_run = (
        {
            entry.name or entry.scenario: _side(place / entry.directory, entry.model_dump())
            for entry in read_run_file(place).scenarios
        }
        for place in (before, after)
    )
    return one_run, other_run


def _is_scenario(directory: Path) -> bool:
    if (directory / "manifest.json").exists():
        return True
    if not (directory / "run.json").exists():
        raise UsageError(f"{directory}: not a results directory: it has neither run.json nor manifest.json")
    return False


def _side(place: Path, entry: Document | None = None) -> Side:
    """Read a scenario's directory; of one whose rig broke early there may be no more than its *entry* in run.json."""
    broke = entry is not None and entry["verdict"] == "ERROR"
    verdict, manifest, quality = (place / name for name in ("verdict.json", "manifest.json", "quality.json"))
    return Side(
        verdict=entry if broke and entry and not verdict.exists() else read_document(verdict, VerdictFile),
        manifest={} if broke and not manifest.exists() else read_document(manifest, ManifestFile),
        quality=read_document(quality, QualityFile) if quality.exists() else None,
    )
