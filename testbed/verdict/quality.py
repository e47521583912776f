"""quality.json and its tables: the figures of a run, whether they may be trusted, and the targets' table."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.analysis.quality import measure
from testbed.analysis.run import Run
from testbed.targets import Target, parse_targets, read_targets
from testbed.verdict.health import judge_health, late_reasons
from testbed.verdict.tables import write_tables
from testbed.verdict.targets import Trust, count_outcomes, judge_targets

FORMAT: Final = 1
QUALITY_FILES: Final = ("quality.json", "media_streams.parquet", "links.parquet")
Document = dict[str, Any]


def write_quality(run: Run, own: Sequence[Target] | None = None) -> Document:
    """Measure *run*, write quality.json and the tables into its directory, and return the document."""
    document = quality(run, own)
    write_tables(run.directory, document)
    files.write_json(run.directory / "quality.json", document)
    return document


def quality(run: Run, own: Sequence[Target] | None = None) -> Document:
    """Return the content of quality.json, judged by Microsoft's targets and *own*; where None, the manifest's own."""
    health, late = judge_health(run), late_reasons(run)
    figures = measure(run)
    if own is None and (given := run.manifest.get("targets")):
        own = parse_targets(given, run.directory / "manifest.json")
    judged = judge_targets(
        (*read_targets(), *(own or ())), figures["streams"], Trust(late=late, incomplete=run.incomplete)
    )
    return {
        "format": FORMAT,
        "scenario": run.scenario.id,
        "trusted": {"timing": not late, "complete": not run.incomplete, "reasons": health["reasons"]},
        **figures,
        "targets": judged,
        "outcomes": count_outcomes(judged),
        "assessment": [_assessment(stream, figures["streams"]) for stream in figures["streams"]],
    }


def _assessment(stream: Document, streams: list[Document]) -> Document:
    """Return a stream in the columns of Microsoft's Network Assessment Tool; ratios from 0 to 1."""
    figures = stream["end_to_end"] or {}
    ends = stream["to"], stream["from"], stream["media"]
    back = [other for other in streams if (other["from"], other["to"], other["media"]) == ends]
    delays = [((one["end_to_end"] or {}).get("one_way_delay_ms") or {}).get("mean") for one in (stream, *back[:1])]
    return {
        "CallStartTime": datetime.fromtimestamp(stream["first_ns"] / 1e9, UTC).isoformat(timespec="milliseconds"),
        "PacketLossRate": figures.get("loss_ratio"),
        "RoundTripLatencyInMs": sum(delays) if len(delays) == 2 and None not in delays else None,
        "PacketsSent": figures.get("packets_entered", stream["packets"]),
        "PacketsReceived": figures.get("packets_left"),
        "AverageJitterInMs": figures.get("mean_delay_change_ms"),
        "PacketReorderRatio": figures.get("reordered_ratio"),
        "From": stream["from"],
        "To": stream["to"],
        "Media": stream["media"],
    }


def remove_quality(directory: Path) -> None:
    """Take away the figures of an earlier judgement: they would stand beside a run that cannot be read."""
    for name in QUALITY_FILES:
        (directory / name).unlink(missing_ok=True)
