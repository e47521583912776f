"""The calibration's judges: a right link passes, and each kind of wrong link is caught."""

from collections.abc import Iterable
from random import Random

import pytest

from testbed.emulation.calibration import (
    Arrival,
    Row,
    Trial,
    distance_tolerance,
    distribution_distance,
    jitter_share_below,
    median_interval,
    trials,
)
from testbed.emulation.wire import jitter_ns

MS = 1_000_000
PLANNED = {x.what: x for x in trials()}
DISTRIBUTIONS = ["normal", "uniform", "pareto"]


def arrivals(delays_ms: Iterable[tuple[int, float]], *, spacing_ns: float, tos: int = 184) -> list[Arrival]:
    return [Arrival(n, round(n * spacing_ns), round(n * spacing_ns + ms * MS), tos) for n, ms in delays_ms]


def rows(trial: Trial, delays_ms: Iterable[tuple[int, float]], tos: int = 184) -> list[Row]:
    return list(trial.judge(trial, arrivals(delays_ms, spacing_ns=trial.spacing_ns / trial.links, tos=tos)))


def verdicts(what: str, delays_ms: Iterable[tuple[int, float]], tos: int = 184) -> list[bool]:
    return [x.ok for x in rows(PLANNED[what], delays_ms, tos)]


@pytest.mark.parametrize(("delay_ms", "ok"), [(20.0, True), (20.9, True), (21.5, False), (0.1, False)])
def test_delay_is_judged_by_its_median(delay_ms: float, ok: bool) -> None:
    assert verdicts("delay, forward", [(n, delay_ms if n % 10 else 80.0) for n in range(150)]) == [ok]


def drawn(distribution: str, seed: int, *, asked: str = "normal", late_ms: float = 0.0) -> list[tuple[int, float]]:
    """Return delays as the wire draws them where it is told *distribution*, in a trial that asked for another."""
    trial, random = PLANNED[f"jitter, {asked}"], Random(seed)
    shape = trial.shape.model_copy(update={"jitter_distribution": distribution})
    late = (late_ms * random.random() for _ in range(trial.probes))
    return [(n, 100 + jitter_ns(shape, random) / MS + next(late)) for n in range(trial.probes)]


def distances(delays: list[tuple[int, float]], asked: str) -> Row:
    return rows(PLANNED[f"jitter, {asked}"], delays)[1]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_right_distribution_passes_on_a_rig_that_is_somewhat_late(distribution: str) -> None:
    for seed in range(20):
        delays = drawn(distribution, seed, asked=distribution, late_ms=2)
        spread, distance, _ = rows(PLANNED[f"jitter, {distribution}"], delays)
        assert spread.ok and distance.ok


@pytest.mark.parametrize(("asked", "is_"), [(a, b) for a in DISTRIBUTIONS for b in DISTRIBUTIONS if a != b])
def test_every_other_distribution_is_refused(asked: str, is_: str) -> None:
    assert not any(distances(drawn(is_, seed, asked=asked), asked).ok for seed in range(20))


def test_a_distribution_with_the_right_spread_and_another_form_is_refused() -> None:
    for seed in range(20):
        random = Random(seed)
        flat = [(n, 100 + 20 * 1.349 * random.uniform(-1, 1)) for n in range(1200)]
        spread, distance, _ = rows(PLANNED["jitter, normal"], flat)
        assert spread.ok and not distance.ok
        two = [(n, 100 + 20 * 0.6745 * random.choice((-1, 1))) for n in range(1200)]
        assert not distances(two, "normal").ok


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_no_more_right_links_are_refused_than_is_said(distribution: str) -> None:
    """At 1 in 20, where it can be counted: of 100 links 5 are expected, and 14 would be one chance in 10,000."""
    trial = PLANNED[f"jitter, {distribution}"]
    most = distance_tolerance(trial.probes, false_alarm=0.05)
    found = [
        distribution_distance(trial, [ms for _, ms in drawn(distribution, seed, asked=distribution)])
        for seed in range(100)
    ]
    assert sum(distance > most for distance in found) < 14
    assert distance_tolerance(trial.probes) == pytest.approx(distance_tolerance(trial.probes, 1 / 147_000), rel=0.01)


def test_a_distribution_that_is_late_by_more_than_a_median_may_be_is_refused() -> None:
    delays = drawn("pareto", 1, asked="pareto")
    assert distances([(n, ms + 0.9) for n, ms in delays], "pareto").ok
    assert not distances([(n, ms + 3) for n, ms in delays], "pareto").ok


def test_an_unknown_distribution_is_no_number() -> None:
    with pytest.raises(ValueError, match="there is no distribution 'cauchy'"):
        jitter_share_below("cauchy", 0)


@pytest.mark.parametrize(("spread_ms", "ok"), [(20.0, True), (0.0, False), (30.0, False)])
def test_jitter_is_judged_by_its_spread(spread_ms: float, ok: bool) -> None:
    random = Random(1)
    spread, distance, _ = verdicts("jitter, normal", [(n, 100 + random.gauss(0, spread_ms)) for n in range(1200)])
    assert (spread, distance) == (ok, ok)


def test_jitter_that_reorders_on_a_link_is_wrong() -> None:
    late = [(n, 100 + (150 if n % 50 == 0 else 0)) for n in range(1200)]
    assert rows(PLANNED["jitter, uniform"], late)[2] == Row("jitter, uniform: overtakings", 0, 24, 0, "", False)


def test_probes_of_different_links_overtake_nobody() -> None:
    uneven = [(n, 100 + (50 if n % 32 == 0 else 0)) for n in range(1200)]
    assert rows(PLANNED["jitter, uniform"], uneven)[2].ok


def test_error_bars_hold_what_is_true_as_often_as_they_say() -> None:
    """Of 200 intervals 190 are expected to, and 178 would be one chance in 10,000."""
    trial, held = PLANNED["loss"], 0
    for seed in range(200):
        random = Random(seed)
        (row,) = rows(trial, [(n, 0.1) for n in range(1500) if random.random() >= 0.05])
        assert row.low is not None and row.high is not None and row.achieved is not None
        assert row.low < row.achieved < row.high
        held += row.low <= 0.05 <= row.high
    assert held > 178
    spreads = [rows(PLANNED["jitter, normal"], drawn("normal", seed))[0] for seed in range(60)]
    assert sum((row.low or 0) <= 20 <= (row.high or 0) for row in spreads) > 48
    medians = [median_interval([Random(seed * 1000 + n).gauss() for n in range(150)]) for seed in range(200)]
    assert sum(low <= 0 <= high for low, high in medians) > 178


def test_the_error_bar_of_a_mean_burst_narrows_with_bursts() -> None:
    random, lost, is_bad = Random(3), set(), False
    for n in range(3000):
        is_bad = random.random() >= 0.25 if is_bad else random.random() < 0.03
        lost |= {n} if is_bad else set()
    burst, share = rows(PLANNED["burst loss"], [(n, 0.1) for n in range(3000) if n not in lost])
    for row in (burst, share):
        assert row.low is not None and row.high is not None and row.low < row.configured < row.high
        assert row.high - row.low < row.tolerance


@pytest.mark.parametrize(("lose_every", "ok"), [(20, True), (5, False), (1501, False)])
def test_loss_is_judged_by_the_share_that_is_missing(lose_every: int, ok: bool) -> None:
    assert verdicts("loss", [(n, 0.1) for n in range(1500) if (n + 1) % lose_every]) == [ok]


def test_random_loss_is_not_burst_loss_though_the_share_is_right() -> None:
    random = Random(2)
    burst, share = verdicts("burst loss", [(n, 0.1) for n in range(3000) if random.random() > 0.107])
    assert (burst, share) == (False, True)


def test_bursts_of_the_right_length_and_share_pass() -> None:
    assert verdicts("burst loss", [(n, 0.1) for n in range(3000) if n % 37 >= 4]) == [True, True]


@pytest.mark.parametrize(("every", "ok"), [(10, True), (3, False), (701, False)])
def test_reordering_is_judged_by_the_share_ahead_of_the_delay(every: int, ok: bool) -> None:
    assert verdicts("reorder", [(n, 0.2 if (n + 1) % every == 0 else 20.1) for n in range(700)]) == [ok]


@pytest.mark.parametrize(("every", "ok"), [(10, True), (2, False), (701, False)])
def test_duplicates_are_counted_once_each(every: int, ok: bool) -> None:
    assert verdicts("duplicate", [(n, 0.1) for n in range(700) for _ in range(1 + ((n + 1) % every == 0))]) == [ok]


@pytest.mark.parametrize(("rate_bps", "ok"), [(1_000_000, True), (1_100_000, False), (2_000_000, False)])
def test_rate_is_judged_by_when_probes_arrive(rate_bps: int, ok: bool) -> None:
    trial = PLANNED["rate"]
    come = [n * trial.packet_bytes * 8e9 / rate_bps for n in range(200)]
    seen = [Arrival(n, 0, round(at), 184) for n, at in enumerate(come)]
    assert [x.ok for x in trial.judge(trial, seen)] == [ok]


@pytest.mark.parametrize(("count", "ok"), [(40, True), (150, False), (10, False)])
def test_the_queue_limit_is_judged_by_how_many_of_a_burst_arrive(count: int, ok: bool) -> None:
    assert verdicts("queue limit", [(n, 1.0) for n in range(count)]) == [ok]


@pytest.mark.parametrize(
    ("what", "tos", "ok"),
    [
        ("DSCP bleached", 0, True),
        ("DSCP bleached", 184, False),
        ("DSCP preserved", 184, True),
        ("DSCP preserved", 0, False),
    ],
)
def test_dscp_is_judged_by_what_arrives(what: str, tos: int, ok: bool) -> None:
    assert verdicts(what, [(n, 1.0) for n in range(20)], tos) == [ok]


@pytest.mark.parametrize("what", sorted(PLANNED))
def test_a_link_that_carries_nothing_fails_every_trial(what: str) -> None:
    assert not any(x.ok for x in rows(PLANNED[what], []) if "overtakings" not in x.what)


@pytest.mark.parametrize(("order", "ok"), [("first", True), ("by turns", False), ("last", False)])
def test_marked_probes_are_to_be_through_as_if_they_were_alone(order: str, ok: bool) -> None:
    trial = PLANNED["EF goes first"]
    place = {
        "first": lambda n: n // 2 + n % 2 * 100,
        "by turns": lambda n: n,
        "last": lambda n: n // 2 + (1 - n % 2) * 100,
    }
    through = [Arrival(n, 0, (place[order](n) + 1) * 4 * MS, 0 if n % 2 else 184) for n in range(trial.probes)]
    assert [row.ok for row in trial.judge(trial, through)] == [ok]
