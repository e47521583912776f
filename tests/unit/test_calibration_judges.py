"""The calibration's judges: a right link passes, and each kind of wrong link is caught."""

from collections.abc import Iterable
from random import Random

import pytest

from testbed.emulation.calibration import Arrival, Row, Trial, trials

MS = 1_000_000
PLANNED = {x.what: x for x in trials()}


def arrivals(delays_ms: Iterable[tuple[int, float]], *, spacing_ns: int, tos: int = 184) -> list[Arrival]:
    return [Arrival(n, n * spacing_ns, n * spacing_ns + round(ms * MS), tos) for n, ms in delays_ms]


def rows(trial: Trial, delays_ms: Iterable[tuple[int, float]], tos: int = 184) -> list[Row]:
    return list(trial.judge(trial, arrivals(delays_ms, spacing_ns=trial.spacing_ns, tos=tos)))


def verdicts(what: str, delays_ms: Iterable[tuple[int, float]], tos: int = 184) -> list[bool]:
    return [x.ok for x in rows(PLANNED[what], delays_ms, tos)]


@pytest.mark.parametrize(("delay_ms", "ok"), [(20.0, True), (20.9, True), (21.5, False), (0.1, False)])
def test_delay_is_judged_by_its_median(delay_ms: float, ok: bool) -> None:
    assert verdicts("delay, forward", [(n, delay_ms if n % 10 else 80.0) for n in range(150)]) == [ok]


@pytest.mark.parametrize(("spread_ms", "ok"), [(2.0, True), (0.0, False), (4.0, False)])
def test_jitter_is_judged_by_its_spread(spread_ms: float, ok: bool) -> None:
    random = Random(1)
    spread, overtakings = verdicts("jitter, normal", [(n, 30 + random.gauss(0, spread_ms)) for n in range(300)])
    assert spread is ok
    assert overtakings or spread_ms == 4.0


def test_jitter_that_reorders_is_wrong() -> None:
    delays = [(n, 30 + (15 if n % 50 == 0 else 0)) for n in range(300)]
    assert rows(PLANNED["jitter, uniform"], delays)[1] == Row("jitter, uniform: overtakings", 0, 6, 0, "", False)


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
