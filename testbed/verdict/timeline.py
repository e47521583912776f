"""timeline.json: what happened when, and of each leg where its packets ended and the first of them, for a replay."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from testbed import files
from testbed.analysis.demux import Ints
from testbed.analysis.legs import LegTraffic, Part
from testbed.analysis.quality.series import series
from testbed.analysis.run import Run
from testbed.analysis.timeline import tell
from testbed.analysis.timeline.choice import Crossings
from testbed.verdict.causes import attempts_at, drops_of
from testbed.verdict.legs import leg_traffic

FORMAT: Final = 1
TIMELINE_FILE: Final = "timeline.json"
_REPLAYED: Final = 24
"Packets of a leg that are replayed: the first of them, both ways."
Document = dict[str, Any]


def write_timeline(run: Run) -> None:
    """Write timeline.json into the run's directory. Raises OSError."""
    text = json.dumps(timeline(run), separators=(",", ":"), ensure_ascii=False)
    files.write_text(run.directory / TIMELINE_FILE, text + "\n")


def remove_timeline(directory: Path) -> None:
    """Take away the timeline of an earlier judgement."""
    (directory / TIMELINE_FILE).unlink(missing_ok=True)


def timeline(run: Run) -> Document:
    """Return the content of timeline.json."""
    legs = [_traffic(run, leg) for leg in run.scenario.legs]
    crossings = Crossings(run)
    replayed = [_first_packets(crossings, traffic) for traffic, _ in legs]
    story = tell(run, replayed)
    return {
        "format": FORMAT,
        "scenario": run.scenario.id,
        **story.document,
        "legs": [
            {
                "flow": leg.flow,
                "media": leg.media,
                "from": leg.from_,
                "to": leg.to,
                "attempt": is_attempt,
                "forward": _way(run, traffic.forward),
                "return": _way(run, traffic.back),
                "packets": [story.place[number] for number in numbers.tolist()],
            }
            for leg, (traffic, is_attempt), numbers in zip(run.scenario.legs, legs, replayed, strict=True)
        ],
        "series": series(run),
    }


def _traffic(run: Run, leg: Any) -> tuple[LegTraffic, bool]:
    """Return the leg's packets; of media that never flowed, what was tried before it."""
    traffic = leg_traffic(run, leg)
    if traffic.parts or leg.flow != "media":
        return traffic, False
    return attempts_at(run, leg), True


def _first_packets(crossings: Crossings, traffic: LegTraffic) -> Ints:
    numbers = sorted({part.walk.number for part in traffic.parts})
    mine = np.flatnonzero(np.isin(crossings.run.walks.walk, numbers))
    return mine[np.argsort(crossings.time_ns[mine], kind="stable")][:_REPLAYED]


def _way(run: Run, parts: Sequence[Part]) -> Document | None:
    """Return the links that most packets took and where they ended; None where none was sent.

    Where nothing that says anything arrived (a SYN got through, all that followed was dropped), the way of what died.
    """
    lost = [part for part in parts if not part.arrived and drops_of(run, part)]
    is_told = any(part.arrived and part.walk.has_payload for part in parts)
    chosen = parts if is_told or not lost else lost
    main = max(chosen, key=lambda part: (part.arrived, part.walk.packets, len(part.steps)), default=None)
    if main is None:
        return None
    return {"links": list(main.links), "arrived": main.arrived, "end": None if main.arrived else _end(run, main, parts)}


def _end(run: Run, main: Part, parts: Iterable[Part]) -> Document:
    """Return where packets ended that did not arrive, and which rule dropped them where one did."""
    node = main.nodes[-1]
    drops = {drop.frame: drop for part in parts for drop in drops_of(run, part) if drop.firewall == node}
    first = drops[min(drops)] if drops else None
    return {
        "node": node,
        "rule": first.rule if first else None,
        "packets": len(drops) if first else main.walk.packets,
        "frame": first.frame if first else main.steps[-1].first_frame,
        "dropped": first is not None,
    }
