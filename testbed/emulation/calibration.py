"""Calibration: does a link do what its shape says? Configured against achieved, with a tolerance that has a reason.

Here are the trials and how they are judged (pure), and `calibrate`, which runs them in a small world of its own:
two namespaces, joined by one shaped link a trial (`calibration_process`).
"""

import itertools
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Final, Literal

from testbed.emulation import tools
from testbed.errors import RigError
from testbed.topology import LinkShape

_MS: Final = 1_000_000
_LATENESS_MS: Final = 1.0
"How far a median may be off: the wire sleeps and is woken, 0.2 ms on an idle machine; a busy one takes more."
_SIGMAS: Final = 4.5
"Statistical tolerance: a right link fails one trial in 150,000."
_FALSE_ALARM: Final = 2 * NormalDist().cdf(-_SIGMAS)
"The same as a probability, for what is not normal."
_CONFIDENCE_SIGMAS: Final = NormalDist().inv_cdf(0.975)
"Of the error bars: 95 %."
_IQR_PER_JITTER: Final = {"normal": 1.349, "uniform": 1.0, "pareto": 0.649}
"Interquartile range of each distribution with jitter 1: unlike the standard deviation it forgives a stolen time slice."
_IQR_ERROR: Final = {"normal": 1.166, "uniform": 1.0, "pareto": 1.78}
"Relative standard error of that range, times the root of the number of probes (from the density at the quartiles)."
EXPEDITED_TOS: Final = 46 << 2


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the calibration's table."""

    what: str
    configured: float
    achieved: float | None
    "None where too little arrived to tell."
    tolerance: float
    unit: str
    ok: bool
    low: float | None = None
    "Where the 95 % confidence interval of `achieved` begins; None for what is counted or timed once, no estimate."
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A probe that arrived."""

    sequence: int
    sent_ns: int
    received_ns: int
    tos: int

    @property
    def delay_ms(self) -> float:
        """One-way delay."""
        return (self.received_ns - self.sent_ns) / _MS


Judge = Callable[["Trial", Sequence[Arrival]], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A shape, the probes sent over it, and how they are judged. Probes go forward, or back if `is_return`."""

    what: str
    shape: LinkShape
    judge: Judge
    probes: int
    spacing_ns: int
    "From one probe of a link to the next."
    packet_bytes: int = 200
    "Size of a probe's IP packet."
    links: int = 1
    "Equal links, each with a chance of its own, that share the probes: more of them in the same time."
    is_return: bool = False
    marked_every: int = 1
    "Of the probes each so manieth is marked EF, from the first on; the others have DSCP 0."
    phase: Literal[1, 2] = 2
    "Trials that measure time come first, apart from those that measure shares with many packets."


Interval = tuple[float, float]


def _row(
    what: str, configured: float, achieved: float | None, tolerance: float, unit: str, interval: Interval | None = None
) -> Row:
    ok = achieved is not None and abs(achieved - configured) <= tolerance
    return Row(what, configured, achieved, tolerance, unit, ok, *(interval or ()))


def _share_tolerance(share: float, count: int) -> float:
    return _SIGMAS * math.sqrt(share * (1 - share) / count)


def share_interval(happened: int, count: int) -> Interval:
    """Return the 95 % confidence interval of a share (Wilson 1927: good near 0 too)."""
    share, squared = happened / count, _CONFIDENCE_SIGMAS**2 / count
    centre = (share + squared / 2) / (1 + squared)
    half = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    return max(0.0, centre - half), min(1.0, centre + half)


def median_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % confidence interval of the median, whatever the distribution: from the order of the values."""
    half = _CONFIDENCE_SIGMAS * math.sqrt(len(values)) / 2
    ordered, middle = sorted(values), (len(values) - 1) / 2
    return ordered[max(0, math.floor(middle - half))], ordered[min(len(values) - 1, math.ceil(middle + half))]


def _around(value: float, standard_error: float) -> Interval:
    return value - _CONFIDENCE_SIGMAS * standard_error, value + _CONFIDENCE_SIGMAS * standard_error


def judge_delay(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the median one-way delay."""
    delays_ms = [x.delay_ms for x in arrivals]
    achieved = statistics.median(delays_ms) if delays_ms else None
    interval = median_interval(delays_ms) if delays_ms else None
    yield _row(trial.what, trial.shape.delay / _MS, achieved, _LATENESS_MS, "ms", interval)


def jitter_share_below(distribution: str, deviation: float) -> float:
    """Return the share of packets whose jitter is at most *deviation* times the configured one.

    What a link is to draw from: netem's arithmetic and iproute2's tables, which the wire follows.
    """
    match distribution:
        case "uniform":
            return min(1.0, max(0.0, (deviation + 1) / 2))
        case "normal":
            return 1.0 if deviation >= 4 else NormalDist().cdf(deviation) if deviation >= -4 else 0.0
        case "pareto":  # shape 3, less its mean of 3/2, times 4/3
            return 1.0 if deviation >= 4 else 1 - max(1.0, deviation * 3 / 4 + 1.5) ** -3
    raise ValueError(f"there is no distribution {distribution!r}")


def distribution_distance(trial: Trial, delays_ms: Sequence[float]) -> float:
    """Return how far the delays' shares are from the configured distribution's, at most (Kolmogorov and Smirnov).

    All may be late alike, by as much as a median may: of such shifts the one that fits best counts.
    """
    ordered, jitter_ms, delay_ms = sorted(delays_ms), trial.shape.jitter / _MS, trial.shape.delay / _MS
    count, early, late = len(ordered), 0.0, _LATENESS_MS
    above = below = 1.0
    for _ in range(12):  # a larger shift makes one of the two larger and the other smaller: halve the way to both equal
        shift = (early + late) / 2
        deviations = ((x - delay_ms - shift) / jitter_ms for x in ordered)
        expected = [jitter_share_below(trial.shape.jitter_distribution, x) for x in deviations]
        above = max((n + 1) / count - share for n, share in enumerate(expected))
        below = max(share - n / count for n, share in enumerate(expected))
        early, late = (early, shift) if above > below else (shift, late)
    return max(above, below)


def distance_tolerance(count: int, false_alarm: float = _FALSE_ALARM) -> float:
    """Return what the distance of *count* right delays exceeds at most with this probability (Massart 1990)."""
    return math.sqrt(math.log(2 / false_alarm) / (2 * count))


def judge_jitter(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the spread, by the interquartile range, and the distribution; look that no probe overtook another."""
    distribution, jitter_ms = trial.shape.jitter_distribution, trial.shape.jitter / _MS
    delays_ms = [x.delay_ms for x in arrivals]
    achieved = distance = interval = None
    if len(arrivals) >= 20:
        low, _, high = statistics.quantiles(delays_ms, n=4)
        achieved = (high - low) / _IQR_PER_JITTER[distribution]
        interval = _around(achieved, achieved * _IQR_ERROR[distribution] / math.sqrt(len(arrivals)))
        distance = distribution_distance(trial, delays_ms)
    error = _IQR_ERROR[distribution] / math.sqrt(trial.probes)
    tolerance = jitter_ms * _SIGMAS * error + 0.1 * _LATENESS_MS
    yield _row(f"{trial.what}: spread", jitter_ms, achieved, tolerance, "ms", interval)
    most = distance_tolerance(max(1, len(arrivals)))
    yield _row(f"{trial.what}: distance from it", 0, distance, most, "of 1")
    order = [x.sequence for x in sorted(arrivals, key=lambda x: x.received_ns)]
    by_link = ([x for x in order if x % trial.links == link] for link in range(trial.links))
    overtakings = sum(b < a for on_link in by_link for a, b in itertools.pairwise(on_link))
    yield _row(f"{trial.what}: overtakings", 0, overtakings, 0, "")


def judge_loss(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that never arrived."""
    yield _share_row(trial, trial.shape.loss, trial.probes - len({x.sequence for x in arrivals}))


def _share_row(trial: Trial, share: float, happened: int) -> Row:
    tolerance, interval = _share_tolerance(share, trial.probes), share_interval(happened, trial.probes)
    return _row(trial.what, share, happened / trial.probes, tolerance, "", interval)


def judge_burst_loss(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the mean length of the bursts and the share lost, which the chain's stationary distribution gives."""
    assert trial.shape.burst_loss is not None
    model = trial.shape.burst_loss
    arrived = {x.sequence for x in arrivals}
    starts = [n for n in range(trial.probes) if n not in arrived and (n == 0 or n - 1 in arrived)]
    lost, found = trial.probes - len(arrived), len(starts)
    length, bursts = 1 / model.leave, trial.probes * model.enter * model.leave / (model.enter + model.leave)
    deviation = math.sqrt(1 - model.leave) / model.leave
    achieved = interval = None
    if found:
        achieved = lost / found
        interval = _around(achieved, math.sqrt(achieved * max(0.0, achieved - 1) / found))
    tolerance = _SIGMAS * deviation / math.sqrt(bursts)
    yield _row(f"{trial.what}: mean burst", length, achieved, tolerance, "packets", interval)
    share, error = model.enter / (model.enter + model.leave), length * math.sqrt(2 * bursts) / trial.probes
    interval = _around(lost / trial.probes, (achieved or 0) * math.sqrt(2 * found) / trial.probes)
    yield _row(f"{trial.what}: share", share, lost / trial.probes, _SIGMAS * error, "", interval)


def judge_reorder(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that skipped the delay."""
    yield _share_row(trial, trial.shape.reorder, sum(x.delay_ms < trial.shape.delay / _MS / 2 for x in arrivals))


def judge_duplicate(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that arrived twice."""
    yield _share_row(trial, trial.shape.duplicate, len(arrivals) - len({x.sequence for x in arrivals}))


def judge_rate(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the rate at which probes, all sent at once, arrive."""
    assert trial.shape.rate is not None
    achieved = None
    if len(arrivals) > 1:
        times = [x.received_ns for x in arrivals]
        achieved = (len(times) - 1) * trial.packet_bytes * 8e9 / (max(times) - min(times)) / 1e6
    configured = trial.shape.rate / 1e6
    yield _row(trial.what, configured, achieved, 0.03 * configured, "Mbit/s")


def judge_queue(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare how many of a burst found room; a few leave while the burst is still coming."""
    assert trial.shape.rate is not None
    burst_ns = max((x.sent_ns for x in arrivals), default=0) - min((x.sent_ns for x in arrivals), default=0)
    left_meanwhile = burst_ns * trial.shape.rate / (trial.packet_bytes * 8e9)
    yield _row(trial.what, trial.shape.queue_packets, len(arrivals), 3 + left_meanwhile, "packets")


def judge_dscp(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the DSCP of probes that were sent with EF (46)."""
    configured = 0 if trial.shape.dscp == "bleach" else EXPEDITED_TOS >> 2
    seen = {x.tos >> 2 for x in arrivals}
    yield _row(trial.what, configured, seen.pop() if len(seen) == 1 else None, 0, "DSCP")


def judge_classes(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare when the last EF probe is through with when it would be if only EF probes had been sent."""
    assert trial.shape.rate is not None
    packet_ns = trial.packet_bytes * 8e9 / trial.shape.rate
    marked = sorted((x for x in arrivals if x.tos == EXPEDITED_TOS), key=lambda x: x.sequence)
    begin_ns = min((x.sent_ns for x in arrivals), default=0)
    through_ns = float(begin_ns)
    for probe in marked:
        through_ns = max(through_ns, probe.sent_ns) + packet_ns
    achieved = (max(x.received_ns for x in marked) - begin_ns) / _MS if marked else None
    alone_ms, packet_ms = (through_ns - begin_ns) / _MS, packet_ns / _MS
    # One that is being sent goes on, and what is promised to the others goes in between.
    yield _row(trial.what, alone_ms, achieved, 0.03 * alone_ms + 4 * packet_ms, "ms")


def _shape(**written: object) -> LinkShape:
    return LinkShape.model_validate(written)


def _jitter_trial(distribution: str) -> Trial:
    """So many probes tell a uniform distribution from a normal one; 20 ms are much beside what a busy rig is late."""
    shape = _shape(delay="100ms", jitter="20ms", jitter_distribution=distribution)
    return Trial(f"jitter, {distribution}", shape, judge_jitter, 1200, 100 * _MS, links=32, phase=1)


def trials() -> tuple[Trial, ...]:
    """Return all trials. Jitter's probes are 5 times the jitter apart, so that keeping their order hardly matters."""
    bursts = _shape(burst_loss={"enter": "3%", "leave": "25%"})
    narrow = _shape(rate="1Mbit", queue_packets=40)
    classes = _shape(rate="1Mbit", classes=[{"dscp": [EXPEDITED_TOS >> 2]}])
    return (
        Trial("delay, forward", _shape(delay="20ms"), judge_delay, probes=150, spacing_ns=20 * _MS, phase=1),
        Trial("delay, return", _shape(delay="5ms"), judge_delay, 150, 20 * _MS, is_return=True, phase=1),
        _jitter_trial("normal"),
        _jitter_trial("uniform"),
        _jitter_trial("pareto"),
        Trial("loss", _shape(loss="5%"), judge_loss, probes=1500, spacing_ns=_MS),
        Trial("burst loss", bursts, judge_burst_loss, probes=3000, spacing_ns=_MS // 2),
        Trial("reorder", _shape(delay="20ms", reorder="10%"), judge_reorder, probes=700, spacing_ns=2 * _MS),
        Trial("duplicate", _shape(duplicate="10%"), judge_duplicate, probes=700, spacing_ns=2 * _MS),
        Trial("rate", _shape(rate="1Mbit"), judge_rate, probes=200, spacing_ns=0, packet_bytes=500),
        Trial("queue limit", narrow, judge_queue, probes=150, spacing_ns=0, packet_bytes=500),
        Trial("EF goes first", classes, judge_classes, probes=200, spacing_ns=0, packet_bytes=500, marked_every=2),
        Trial("DSCP bleached", _shape(dscp="bleach"), judge_dscp, probes=20, spacing_ns=10 * _MS),
        Trial("DSCP preserved", _shape(delay="1ms"), judge_dscp, probes=20, spacing_ns=10 * _MS),
    )


def calibrate(backend: Literal["netem", "wire"], *, timeout_s: float = 60) -> list[Row]:
    """Run all trials in a fresh world (some 10 s) and return the rows; raise RigError, MissingTool."""
    command = tools.sealed(sys.executable, "-m", "testbed.emulation.calibration_process", backend)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise RigError(f"the calibration of {backend} took over {timeout_s} s") from error
    if done.returncode:
        last = (done.stderr.strip() or "it did not say why").splitlines()[-1]
        raise RigError(f"the calibration of {backend} failed: {last}")
    return [Row(**row) for row in json.loads(done.stdout)]


def rows_as_json(rows: Sequence[Row]) -> str:
    """Return the rows as the calibration's process writes them."""
    return json.dumps([asdict(x) for x in rows])
