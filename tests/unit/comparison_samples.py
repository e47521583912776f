"""Runs as files, each figure of them chosen: as much as `testbed compare` reads, and valid as a real run is."""

import json
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean, pstdev
from typing import Any

LINKS = ("alice-core", "er", "ms-edge1")
PACKETS = 750
Document = dict[str, Any]


def stretch(
    name: str, delays_ms: list[float], *, lost: int = 0, together: float = 1, reordered: int = 0, what: str = "link"
) -> Document:
    """Return a stretch as quality.json has it."""
    ordered, count = sorted(delays_ms), len(delays_ms)
    changes = [later - earlier for earlier, later in pairwise(delays_ms)]
    sizes = [abs(change) for change in changes]
    told = {
        "min": ordered[0],
        "mean": fmean(ordered),
        "max": ordered[-1],
        "median": ordered[count // 2],
        **{f"p{part}": ordered[part * count // 100] for part in (90, 95, 99)},
    }
    return {
        "what": what,
        "name": name,
        "links": [name],
        "from": name,
        "to": "next",
        "problem": None,
        "packets_entered": count + lost,
        "packets_left": count,
        "lost": lost,
        "loss_ratio": lost / (count + lost),
        "loss_runs": {"count": round(lost / together), "longest": round(together), "weighted_mean": together}
        if lost
        else None,
        "one_way_delay_ms": told,
        "ipdv_ms": {"min": min(changes), "max": max(changes), "std": pstdev(changes)},
        "mean_delay_change_ms": fmean(sizes),
        "mean_delay_change_15s_ms": fmean(sizes),
        "interarrival_jitter_ms": {"last": fmean(sizes), "mean": fmean(sizes), "max": 1.4 * fmean(sizes)},
        "reordered": reordered,
        "reordered_ratio": reordered / count,
        "burst_loss_200ms": {"ratio": 0.0, "lost": 0, "packets": 10, "from_ns": 0, "windows": 700},
        "loss_15s": {"ratio": 0.0, "lost": lost, "packets": count + lost, "from_ns": 0, "windows": 1},
    }


def leg(**changed: Any) -> Document:
    seen = {"forward": ["alice-core", "er"], "return": ["er", "alice-core"]}
    parts = {"flow": "media", "from": "alice", "to": "edge", "verdict": "PASS", "disposition": "DELIVERED"}
    return {**parts, "observed": seen, "predicted": {"agrees": True, "alternatives": 1}, **changed}


def target(outcome: str, observed: float, figure: str = "one_way_delay_ms", limit: float = 50) -> Document:
    return {
        "target": "ours",
        "path": "end to end",
        "from": "alice",
        "to": "edge",
        "stream": {"ssrc": 1, "from": "alice", "to": "edge"},
        "figure": figure,
        "limit": limit,
        "observed": observed,
        "packets": PACKETS,
        "outcome": outcome,
        "reason": "",
    }


def check(name: str, observed: Any = None, verdict: str = "PASS") -> Document:
    return {"check": name, "expected": None, "observed": observed, "verdict": verdict, "reason": "because"}


def principle(outcome: str) -> Document:
    return {"principle": "P1", "rule": "A rule.", "outcome": outcome, "reason": "seen"}


def timings(**changed: float | None) -> Document:
    known: dict[str, float | None] = {
        "registration_ms": 80,
        "post_dial_delay_ms": 100,
        "setup_ms": 300,
        "bye_ms": 60,
        "turn_allocate_ms": 50,
        "ice_first_valid_pair_ms": 90,
        "ice_selected_pair_ms": 90,
    }
    return {"party": "alice", **known, **changed}


def media(seed: int, extra_ms: dict[str, float], jitter_ms: dict[str, float]) -> list[tuple[str, list[float]]]:
    """Return the delays of each link, and of the whole way under an empty name."""
    random, whole, found = Random(seed), [0.0] * PACKETS, []
    for name in LINKS:
        deviation_ms = jitter_ms.get(name, 0)
        base_ms = 5 + extra_ms.get(name, 0) + 4 * deviation_ms
        delays = [base_ms + abs(random.gauss(0, 0.3)) + random.gauss(0, deviation_ms) for _ in whole]
        whole = [sum(both) for both in zip(whole, delays, strict=True)]
        found.append((name, delays))
    return [*found, ("", whole)]


def write(
    directory: Path,
    *,
    seed: int = 1,
    extra_ms: dict[str, float] | None = None,
    jitter_ms: dict[str, float] | None = None,
    lost: dict[str, int] | None = None,
    together: float = 1,
    reordered: dict[str, int] | None = None,
    legs: tuple[Document, ...] = (),
    verdict: str = "PASS",
    timing: bool = True,
    complete: bool = True,
    topology: Document | None = None,
    checks: tuple[Document, ...] = (),
    principles: tuple[Document, ...] = (),
    targets: tuple[Document, ...] = (),
    waited: Document | None = None,
    stream: Document | None = None,
    whole: Document | None = None,
    links: tuple[str, ...] = LINKS,
    held_up_ms: float = 20,
) -> Path:
    """Write a run of one scenario, a/b; *stream* and *whole* replace keys of its one stream, and of it end to end."""
    parts = [
        stretch(
            name or "end to end",
            delays,
            lost=(lost or {}).get(name, 0),
            together=together,
            reordered=(reordered or {}).get(name, 0),
        )
        for name, delays in media(seed, extra_ms or {}, jitter_ms or {})
    ]
    end_to_end = {**parts.pop(), "links": list(LINKS), "from": "alice", "to": "edge", "r": 93.2, "mos": 4.4}
    quality = {
        "format": 1,
        "scenario": "a/b",
        "trusted": {"timing": timing, "complete": complete, "reasons": []},
        "streams": [
            {
                "ssrc": 1,
                "from": "alice",
                "to": "edge",
                "payload_type": 0,
                "media": "audio",
                "clock_rate_hz": 8000,
                "packets": PACKETS,
                "first_ns": 0,
                "last_ns": 1,
                "sequence_gaps": 0,
                "duplicates": 0,
                "ways": [],
                "lost_where": [],
                "end_to_end": {**end_to_end, "mouth_to_ear_ms": 80.0, **(whole or {})},
                "stretches": parts,
                **(stream or {}),
            }
        ],
        "links": {name: {} for name in links},
        "timings": [waited or timings()],
        "rtt_told_by_agents": None,
        "e_model": {
            "r_default": 93.2,
            "equipment_impairment": 0.0,
            "loss_robustness": 25.1,
            "burst_ratio": 1.0,
            "dejitter_buffer_ms": 40.0,
        },
        "targets": list(targets),
        "outcomes": {},
        "assessment": [],
    }
    lag = {"loop_lag_ns": {"p50": 200_000, "p99": 1_000_000, "max": held_up_ms * 1e6}}
    judged = {
        "scenario": "a/b",
        "verdict": verdict,
        "reason": "why",
        "legs": list(legs or (leg(),)),
        "checks": list(checks),
        "principles": list(principles),
        "health": {
            "wire": {"lateness_ns": {"p99": 200_000 if timing else 10_500_000}},
            "agents": {"alice": lag, "fe": deepcopy(lag), "edge": deepcopy(lag)},
        },
    }
    place = directory / "a-b"
    place.mkdir(parents=True)
    entry = {"name": "a/b", "scenario": "a/b", "directory": "a-b", "verdict": verdict}
    documents: dict[Path, Any] = {
        directory / "run.json": {"format": 1, "run": "r", "scenarios": [entry]},
        place / "manifest.json": {"scenario": "a/b", "in_force": {}, "topology": topology or {}, "seed": 1},
        place / "verdict.json": judged,
        place / "quality.json": quality,
    }
    for path, document in documents.items():
        path.write_text(json.dumps(document), encoding="utf-8")
    return directory
