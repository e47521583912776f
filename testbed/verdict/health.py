"""Whether the rig itself did well enough for its numbers to be believed.

Where packets went does not depend on how late they were, so a degraded run keeps its path verdicts; what depends on
time (a tone that was not heard, quality figures) is then not certain.
"""

from typing import Any, Final

from testbed.analysis.run import Run

WIRE_LATENESS_P99_LIMIT_NS: Final = 3_000_000
"""From here on figures may be off by more than the 1 ms that calibration allows: a mean delay change was, by 0.8 to
1.6 ms, at a p99 of about 5 ms (`python -m benchmarks.health_limits`); lateness spread evenly up to 3 ms adds 1 ms."""
WIRE_LATENESS_MAX_LIMIT_NS: Final = 200_000_000
"Microsoft's burst-loss window: a stall this long looks like an outage of the network."
LOOP_LAG_P99_LIMIT_NS: Final = 100_000_000
"""Five voice packets, as many as an agent catches up (agents.pace): beyond it packets were never sent
(`python -m benchmarks.calls`), and deadlines are missed that the network met."""


def judge_health(run: Run) -> dict[str, Any]:
    """Return `health` of verdict.json: whether the run is degraded, why, and the figures."""
    health = run.emulation.get("health") or {}
    reasons = late_reasons_of(health)
    reasons += [f"capture of link {name} {why}" for name, why in sorted(run.incomplete.items())]
    reasons += [f"log of drops of {name} {why}" for name, why in sorted(run.drop_log_gaps.items())]
    return {"degraded": bool(reasons), "reasons": reasons, "timing_degraded": is_late(run), **health}


def is_late(run: Run) -> bool:
    """Return whether the rig was too slow for anything that depends on time."""
    return bool(late_reasons(run))


def late_reasons(run: Run) -> list[str]:
    """Return why the rig was too slow for what depends on time; nothing where it was not."""
    return late_reasons_of(run.emulation.get("health") or {})


def late_reasons_of(health: dict[str, Any]) -> list[str]:
    """Return the same for `health` as it stands in emulation.json."""
    return _wire_reasons(health.get("wire")) + _agent_reasons(health.get("agents") or {})


def _wire_reasons(wire: dict[str, Any] | None) -> list[str]:
    if wire is None:
        return []
    lateness = wire["lateness_ns"]
    limits = (("p99", WIRE_LATENESS_P99_LIMIT_NS), ("max", WIRE_LATENESS_MAX_LIMIT_NS))
    return [
        f"wire lateness {name} is {lateness[name] / 1e6:.1f} ms, over {limit / 1e6:g} ms"
        for name, limit in limits
        if lateness.get(name) is not None and lateness[name] > limit
    ]


def _agent_reasons(agents: dict[str, Any]) -> list[str]:
    found = []
    for name, told in sorted(agents.items()):
        lag = (told.get("loop_lag_ns") or {}).get("p99")
        if lag is not None and lag > LOOP_LAG_P99_LIMIT_NS:
            limit_ms = LOOP_LAG_P99_LIMIT_NS / 1e6
            found.append(f"event loop of {name} lags {lag / 1e6:.1f} ms at p99, over {limit_ms:g} ms")
    return found
