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
from typing import Final, Literal

from testbed.emulation import tools
from testbed.errors import RigError
from testbed.topology import LinkShape

_MS: Final = 1_000_000
_LATENESS_MS: Final = 1.0
"How far a median may be off: the wire sleeps and is woken, 0.2 ms on an idle machine; a busy one takes more."
_SIGMAS: Final = 4.5
"Statistical tolerance: a right link fails one trial in 150,000."
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
    packet_bytes: int = 200
    "Size of a probe's IP packet."
    is_return: bool = False
    marked_every: int = 1
    "Of the probes each so manieth is marked EF, from the first on; the others have DSCP 0."
    phase: Literal[1, 2] = 2
    "Trials that measure time come first, apart from those that measure shares with many packets."


def _row(what: str, configured: float, achieved: float | None, tolerance: float, unit: str) -> Row:
    ok = achieved is not None and abs(achieved - configured) <= tolerance
    return Row(what, configured, achieved, tolerance, unit, ok)


def _share_tolerance(share: float, count: int) -> float:
    return _SIGMAS * math.sqrt(share * (1 - share) / count)


def judge_delay(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the median one-way delay."""
    achieved = statistics.median(x.delay_ms for x in arrivals) if arrivals else None
    yield _row(trial.what, trial.shape.delay / _MS, achieved, _LATENESS_MS, "ms")


def judge_jitter(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the spread, by the interquartile range, and look that no probe overtook another."""
    jitter_ms, achieved = trial.shape.jitter / _MS, None
    if len(arrivals) >= 20:
        low, _, high = statistics.quantiles((x.delay_ms for x in arrivals), n=4)
        achieved = (high - low) / _IQR_PER_JITTER[trial.shape.jitter_distribution]
    error = _IQR_ERROR[trial.shape.jitter_distribution] / math.sqrt(trial.probes)
    tolerance = jitter_ms * _SIGMAS * error + 0.1 * _LATENESS_MS
    yield _row(trial.what, jitter_ms, achieved, tolerance, "ms")
    order = [x.sequence for x in sorted(arrivals, key=lambda x: x.received_ns)]
    yield _row(f"{trial.what}: overtakings", 0, sum(b < a for a, b in itertools.pairwise(order)), 0, "")


def judge_loss(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that never arrived."""
    achieved = 1 - len({x.sequence for x in arrivals}) / trial.probes
    yield _row(trial.what, trial.shape.loss, achieved, _share_tolerance(trial.shape.loss, trial.probes), "")


def judge_burst_loss(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the mean length of the bursts and the share lost, which the chain's stationary distribution gives."""
    assert trial.shape.burst_loss is not None
    model = trial.shape.burst_loss
    arrived = {x.sequence for x in arrivals}
    starts = [n for n in range(trial.probes) if n not in arrived and (n == 0 or n - 1 in arrived)]
    lost = trial.probes - len(arrived)
    length, bursts = 1 / model.leave, trial.probes * model.enter * model.leave / (model.enter + model.leave)
    deviation = math.sqrt(1 - model.leave) / model.leave
    achieved = lost / len(starts) if starts else None
    yield _row(f"{trial.what}: mean burst", length, achieved, _SIGMAS * deviation / math.sqrt(bursts), "packets")
    share = model.enter / (model.enter + model.leave)
    tolerance = _SIGMAS * length * math.sqrt(2 * bursts) / trial.probes
    yield _row(f"{trial.what}: share", share, lost / trial.probes, tolerance, "")


def judge_reorder(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that skipped the delay."""
    ahead = sum(x.delay_ms < trial.shape.delay / _MS / 2 for x in arrivals)
    share = trial.shape.reorder
    yield _row(trial.what, share, ahead / trial.probes, _share_tolerance(share, trial.probes), "")


def judge_duplicate(trial: Trial, arrivals: Sequence[Arrival]) -> Iterator[Row]:
    """Compare the share of probes that arrived twice."""
    twice = len(arrivals) - len({x.sequence for x in arrivals})
    share = trial.shape.duplicate
    yield _row(trial.what, share, twice / trial.probes, _share_tolerance(share, trial.probes), "")


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
    shape = _shape(delay="30ms", jitter="2ms", jitter_distribution=distribution)
    return Trial(f"jitter, {distribution}", shape, judge_jitter, probes=300, spacing_ns=10 * _MS, phase=1)


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
    """Run all trials in a fresh world (some 8 s) and return the rows; raise RigError or MissingTool if it cannot be."""
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
