"""What a results directory says, read into values: `run.json` and, per scenario, manifest, verdict and drops.

Only the files are trusted. What a file does not say stays None here, so that a page can write "not measured".
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from testbed.errors import TestbedError, UsageError
from testbed.plan.model import Plan
from testbed.report.file_part import FilePart
from testbed.report.quality_file import QualityFile
from testbed.report.reading import read_document, read_json, read_model, read_text, validated
from testbed.scenario import Control, Scenario, Verdict
from testbed.topology import Segment
from testbed.verdict.controls import control_fault

Document = dict[str, Any]


class LinkSeen(FilePart):
    """Packets of one leg on one link."""

    link: str
    segment: str | None = None
    kind: str | None = None
    "Of its segment."
    packets_forward: int | None = None
    packets_return: int | None = None
    first_frame: int | None = None

    @property
    def packets(self) -> int:
        """Packets in both directions; a direction that was not counted adds none."""
        return (self.packets_forward or 0) + (self.packets_return or 0)


class Dies(FilePart):
    """How a leg must fail, where it must."""

    disposition: str
    at: str | None = None
    rule: str | None = None
    forward: tuple[str, ...] = ()
    return_: tuple[str, ...] = Field(default=(), alias="return")

    @property
    def kinds(self) -> frozenset[str]:
        """Return the kinds of segment that its packets cross before they die."""
        return frozenset((*self.forward, *self.return_))


class Expected(FilePart):
    """Kinds of segment that a leg must and must never cross."""

    crosses: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    "Links that its packets must cross."
    dscp: int | None = None
    dies: Dies | None = None


class Observed(FilePart):
    """Where a leg's packets were captured."""

    segments: tuple[str, ...] = ()
    links: tuple[LinkSeen, ...] = ()
    forward: tuple[str, ...] = ()
    "Links of the way that most packets took, in order, from the leg's start."
    return_: tuple[str, ...] = Field(default=(), alias="return")
    "... and from its end."


class LegJudged(FilePart):
    """One leg of `verdict.json` (design section 9)."""

    flow: str
    media: str | None = None
    "The kind of media, of a leg that is about one."
    from_: str = Field(alias="from")
    to: str
    after: str | None = None
    "The change during the call that it was judged after."
    expected: Expected = Expected()
    observed: Observed = Observed.model_validate({})
    disposition: str | None = None
    verdict: Verdict
    reason: str | None = None
    evidence: tuple[str, ...] = ()
    predicted: Document | None = None

    @property
    def what(self) -> str:
        """Return what a reader calls its packets: the kind of media, else the flow."""
        return self.media or self.flow


class CheckJudged(FilePart):
    """Another judgement of `verdict.json`: relays, selected pair, who heard whom."""

    check: str
    expected: Any = None
    observed: Any = None
    verdict: Verdict
    reason: str | None = None
    evidence: tuple[str, ...] = ()


class PrincipleJudged(FilePart):
    """What became of one of the article's principles."""

    principle: str
    rule: str
    outcome: str
    reason: str
    evidence: tuple[str, ...] = ()


class RuleDrops(FilePart):
    """Packets that one rule of one firewall dropped."""

    firewall: str
    rule: str
    packets: int
    first: str | None = None
    "The first of them, described."
    frame: int | None = None
    "Its frame in dropped.pcapng."


class VerdictFile(FilePart):
    """`verdict.json`; what each key means: results/README.md."""

    format: Literal[1] = 1
    scenario: str
    row: str | None = None
    verdict: Verdict
    reason: str | None = None
    legs: tuple[LegJudged, ...] = ()
    checks: tuple[CheckJudged, ...] = ()
    principles: tuple[PrincipleJudged, ...] = ()
    article: Document | None = None
    health: Document | None = None
    dropped: tuple[RuleDrops, ...] | None = None
    targets: dict[str, int] | None = None
    "How many targets were met, missed and unknown."


class ControlEntry(FilePart):
    """What a negative control must come to, and whether it did."""

    verdict: Verdict
    reason: str
    "Regular expression that the verdict's reason must match."
    as_stated: bool


class ScenarioEntry(FilePart):
    """A scenario's line in `run.json`."""

    name: str | None = None
    "Unique in the run: the scenario's id, and after @ the control that was run."
    scenario: str
    row: str | None = None
    verdict: Verdict
    reason: str | None = None
    directory: str
    duration_s: float | None = None
    overhead_s: float | None = None
    media_s: float | None = None
    control: ControlEntry | None = None
    "None where it is no negative control."


class RunFile(FilePart):
    """`run.json`."""

    format: int
    interrupted: bool = False
    run: str
    started: str | None = None
    ended: str | None = None
    command: str | list[str] | None = None
    environment: Document = Field(default_factory=dict)
    scenarios: tuple[ScenarioEntry, ...]


class ManifestFile(FilePart):
    """`manifest.json`, as far as every reader of a run needs it."""

    format: Literal[1] = 1
    scenario: str
    in_force: Document | None = None
    topology: Document | None = None
    targets: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRecord:
    """One scenario of a run: its line, and as much of its directory as exists."""

    entry: ScenarioEntry
    directory: Path
    verdict: VerdictFile | None
    "None if the rig broke before anything could be judged."
    plan: Plan | None
    scenario: Scenario | None
    "As in force: after all changes."
    segments: dict[str, Segment]
    "The topology's segments, by name; empty without a manifest."
    changes: tuple[Document, ...]
    emulation: Document | None
    quality: Document | None
    timeline: Document | None
    files: tuple[str, ...]
    "Names of the files that are there."

    @property
    def name(self) -> str:
        """What the run calls it: the scenario's id, and the control's name after @."""
        return self.entry.name or self.entry.scenario

    @property
    def control(self) -> Control | None:
        """The negative control that this is; None where it is none."""
        return self.scenario.controls.get(self.name.partition("@")[2]) if self.scenario else None

    @property
    def control_fault(self) -> str:
        """How a negative control came out otherwise than its file says; empty where it did not."""
        return control_fault(self.control, self.entry.verdict, self.entry.reason or "") if self.control else ""

    @property
    def legs(self) -> tuple[LegJudged, ...]:
        """Legs that were judged; none if nothing was."""
        return self.verdict.legs if self.verdict else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run: what `run.json` says, and every scenario."""

    directory: Path
    file: RunFile
    scenarios: tuple[ScenarioRecord, ...]


def read_record(run_directory: Path) -> RunRecord:
    """Read a results directory; raise TestbedError, in one line, for a file that is missing, broken or too new."""
    file = read_run_file(run_directory)
    return RunRecord(
        directory=run_directory,
        file=file,
        scenarios=tuple(_read_scenario(run_directory, entry) for entry in file.scenarios),
    )


def read_run_file(run_directory: Path) -> RunFile:
    """Return a run's `run.json`. Raise UsageError, in one line, for one that is missing, broken or too new."""
    file = read_model(run_directory / "run.json", RunFile)
    if file.format != 1:
        raise UsageError(f"{run_directory / 'run.json'}: format: is {file.format}; this version reads format 1")
    return file


def read_events(record: ScenarioRecord) -> Iterator[Document]:
    """Give what the agents said, in the order it was written; nothing where there is no `events.jsonl`.

    A last line cut off by a dying world is left out; a broken line before it raises TestbedError.
    """
    path = record.directory / "events.jsonl"
    if path.name not in record.files:
        return
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                return
            raise TestbedError(f"{path}: line {number}: not JSON: {error}") from None
        if isinstance(event, dict):
            yield event


def _read_scenario(run_directory: Path, entry: ScenarioEntry) -> ScenarioRecord:
    directory = run_directory / entry.directory
    files = tuple(sorted(path.name for path in directory.iterdir() if path.is_file())) if directory.is_dir() else ()
    manifest = read_json(directory / "manifest.json") if "manifest.json" in files else {}
    source = directory / "manifest.json"
    return ScenarioRecord(
        entry=entry,
        directory=directory,
        verdict=read_model(directory / "verdict.json", VerdictFile) if "verdict.json" in files else None,
        plan=validated(source, "plan", manifest["plan"], Plan) if manifest.get("plan") else None,
        scenario=validated(source, "in_force", manifest["in_force"], Scenario) if manifest.get("in_force") else None,
        segments={
            name: validated(source, f"topology.segments.{name}", segment, Segment)
            for name, segment in (manifest.get("topology") or {}).get("segments", {}).items()
        },
        changes=tuple(_as_change(change) for change in manifest.get("changes") or ()),
        emulation=manifest.get("emulation"),
        quality=read_document(directory / "quality.json", QualityFile) if "quality.json" in files else None,
        timeline=read_json(directory / "timeline.json") if "timeline.json" in files else None,
        files=files,
    )


def _as_change(change: object) -> Document:
    """Take a change as a table with `set` and `remove`, or as it was typed on the command line."""
    return change if isinstance(change, dict) else {"text": str(change)}


def read_quality(path: Path) -> Document:
    """Return the figures as the document that tables and charts are made of, once it is known to be sound."""
    return read_document(path, QualityFile)
