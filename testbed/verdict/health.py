"""Whether the rig itself did well enough for its numbers to be believed.

Where packets went does not depend on how late they were, so a degraded run keeps its path verdicts; what depends on
time (a tone that was not heard, quality figures) is then not certain. A packet that the rig itself lost is one that
never came: no figure that counts packets can be believed either.
"""

from collections.abc import Iterator
from typing import Any, Final

from testbed.analysis.run import Run
from testbed.plan.model import LinkPlan
from testbed.topology import LinkShape

WIRE_LATENESS_P99_LIMIT_NS: Final = 3_000_000
"""From here on figures may be off by more than the 1 ms that calibration allows: a mean delay change was, by 0.8 to
1.6 ms, at a p99 of about 5 ms (`python -m benchmarks.health_limits`); lateness spread evenly up to 3 ms adds 1 ms."""
WIRE_LATENESS_MAX_LIMIT_NS: Final = 200_000_000
"Microsoft's burst-loss window: a stall this long looks like an outage of the network."
LOOP_LAG_P99_LIMIT_NS: Final = 100_000_000
"""Five voice packets, as many as an agent catches up (agents.pace): beyond it packets were never sent
(`python -m benchmarks.calls`), and deadlines are missed that the network met."""
NETEM_DELAY_LIMIT_NS: Final = 1_000_000
"""Netem does not tell how late it was, so what it did is held to what it was told: the mean delay of a link whose delay
is constant, to the tolerance of calibration. In 98 sound runs by the wire it was off by at most 0.7 ms."""
_CONSTANT_RATE_BPS: Final = 100_000_000
"At this rate 1 ms are eight full packets in front of one; at lower ones a queue may be the network's."
_LEAST_PACKETS: Final = 100


def judge_health(run: Run) -> dict[str, Any]:
    """Return `health` of verdict.json: whether the run is degraded, why, and the figures."""
    health = run.emulation.get("health") or {}
    late = late_reasons(run)
    reasons = late + [f"capture of link {name} {why}" for name, why in sorted(run.incomplete.items())]
    reasons += [f"log of drops of {name} {why}" for name, why in sorted(run.drop_log_gaps.items())]
    return {"degraded": bool(reasons), "reasons": reasons, "timing_degraded": bool(late), **health}


def is_late(run: Run) -> bool:
    """Return whether the rig was too slow for anything that depends on time."""
    return bool(late_reasons(run))


def late_reasons(run: Run) -> list[str]:
    """Return why the rig was too slow for what depends on time or on losses; nothing where it was not."""
    reasons = late_reasons_of(run.emulation.get("health") or {}, at_cuts=_send_failures_at_cuts(run))
    return reasons + (list(_netem_reasons(run)) if run.emulation.get("backend") == "netem" else [])


def late_reasons_of(health: dict[str, Any], *, at_cuts: int = 0) -> list[str]:
    """Return the same for `health` as it stands in emulation.json; *at_cuts* send failures are the network's own."""
    return _wire_reasons(health.get("wire"), at_cuts) + _agent_reasons(health.get("agents") or {})


def _send_failures_at_cuts(run: Run) -> int:
    """Return how many frames the wire could not send on links that are down in the plan, at first or later."""
    links = (*run.plan.links, *(link for phase in run.plan.phases for link in phase.links))
    counters = run.emulation.get("links") or {}
    ways = [way for name in {link.name for link in links if not link.up} for way in counters.get(name, {}).values()]
    if any("send_failures" not in way for way in ways):  # an older run, which does not tell them link by link
        return int(((run.emulation.get("health") or {}).get("wire") or {}).get("send_failures", 0))
    return sum(way["send_failures"] for way in ways)


def _wire_reasons(wire: dict[str, Any] | None, at_cuts: int) -> list[str]:
    if wire is None:
        return []
    lateness = wire["lateness_ns"]
    limits = (("p99", WIRE_LATENESS_P99_LIMIT_NS), ("max", WIRE_LATENESS_MAX_LIMIT_NS))
    reasons = [
        f"wire lateness {name} is {lateness[name] / 1e6:.1f} ms, over {limit / 1e6:g} ms"
        for name, limit in limits
        if lateness.get(name) is not None and lateness[name] > limit
    ]
    if drops := wire.get("receive_drops", 0):
        reasons.append(f"wire lost {drops} frames before it could take them")
    if (failures := wire.get("send_failures", 0) - at_cuts) > 0:
        reasons.append(f"wire could not send {failures} frames on links that were up")
    return reasons


def _netem_reasons(run: Run) -> Iterator[str]:
    """Yield the links of constant delay on which media was delayed otherwise."""
    changed = {link.name for phase in run.plan.phases for link in phase.links}
    constant_ns = {x.name: x.shape_forward.delay for x in run.plan.links if x.name not in changed and _is_constant(x)}
    if run.plan.traffic:  # of others: it may fill any queue
        return
    told = set()
    for name, ways in sorted(run.link_figures.items()):
        for figures in ways.values():
            links = tuple(sorted({name, *figures.get("together_with", ())}))
            mean_ns = figures["delay_mean_ns"]
            if mean_ns is None or figures["packets"] < _LEAST_PACKETS or not constant_ns.keys() >= set(links):
                continue
            configured_ns = sum(constant_ns[link] for link in links)
            if abs(mean_ns - configured_ns) > NETEM_DELAY_LIMIT_NS and links not in told:
                told.add(links)
                told_ms = f"{mean_ns / 1e6:.1f} ms on average, not {configured_ns / 1e6:g} ms"
                yield f"netem delayed packets on {' and '.join(links)} by {told_ms}"


def _is_constant(link: LinkPlan) -> bool:
    def is_plain(shape: LinkShape) -> bool:
        chances = shape.jitter or shape.loss or shape.burst_loss or shape.reorder or shape.duplicate or shape.classes
        return not chances and (shape.rate is None or shape.rate >= _CONSTANT_RATE_BPS)

    forward, back = link.shape_forward, link.shape_return
    return link.up and is_plain(forward) and is_plain(back) and forward.delay == back.delay


def _agent_reasons(agents: dict[str, Any]) -> list[str]:
    found = []
    for name, told in sorted(agents.items()):
        lag = (told.get("loop_lag_ns") or {}).get("p99")
        if lag is not None and lag > LOOP_LAG_P99_LIMIT_NS:
            limit_ms = LOOP_LAG_P99_LIMIT_NS / 1e6
            found.append(f"event loop of {name} lags {lag / 1e6:.1f} ms at p99, over {limit_ms:g} ms")
    return found
