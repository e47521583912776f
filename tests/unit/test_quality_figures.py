"""Every metric against numbers worked out by hand, or published."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.quality.emodel import (
    LOSS_ROBUSTNESS_PLAIN,
    delay_impairment,
    loss_impairment,
    mean_opinion_score,
    rating,
)
from testbed.analysis.quality.figures import (
    Passage,
    interarrival_jitter_ms,
    passage_figures,
    unwrap,
)

MS = 1_000_000


def passage(delays_ms: Sequence[float | None], *, spacing_ms: float = 20) -> Passage:
    """Return packets sent every *spacing_ms*, each with its delay; None is lost."""
    entered = np.arange(len(delays_ms), dtype=np.int64) * round(spacing_ms * MS) + 10**18
    late = np.array([0 if d is None else round(d * MS) for d in delays_ms], np.int64)
    lost = np.array([d is None for d in delays_ms], np.bool_)
    return Passage(entered, np.where(lost, -1, entered + late), lost, np.arange(len(delays_ms), dtype=np.int64))


@pytest.mark.parametrize(("r", "mos"), [(90, 4.339), (80, 4.024), (70, 3.597), (60, 3.100), (50, 2.575), (93.2, 4.41)])
def test_mos_of_a_rating(r: float, mos: float) -> None:
    assert mean_opinion_score(r) == pytest.approx(mos, abs=0.0006 if r != 93.2 else 0.005)


def test_mos_stays_on_its_scale() -> None:
    assert mean_opinion_score(0) == mean_opinion_score(-5) == mean_opinion_score(3) == 1
    assert mean_opinion_score(100) == 4.5


@pytest.mark.parametrize(
    ("ms", "impairment"), [(50, 0), (100, 0), (150, 0.164), (200, 3.044), (250, 8.917), (300, 14.761), (400, 24.070)]
)
def test_delay_impairment(ms: float, impairment: float) -> None:
    assert delay_impairment(ms) == pytest.approx(impairment, abs=0.0006)


@pytest.mark.parametrize(("percent", "plc", "plain"), [(1, 3.640, 17.925), (3, 10.142, 39.041), (5, 15.781, 51.075)])
def test_loss_impairment(percent: float, plc: float, plain: float) -> None:
    assert loss_impairment(percent) == pytest.approx(plc, abs=0.0006)
    assert loss_impairment(percent, LOSS_ROBUSTNESS_PLAIN) == pytest.approx(plain, abs=0.0006)


@pytest.mark.parametrize(
    ("ms", "loss", "r", "mos"),
    [(50, 0.01, 89.56, 4.33), (30, 0.001, 92.82, 4.40), (150, 0.05, 77.26, 3.92), (250, 0.03, 74.14, 3.79)],
)
def test_worked_ratings(ms: float, loss: float, r: float, mos: float) -> None:
    assert rating(ms, loss) == pytest.approx(r, abs=0.006)
    assert mean_opinion_score(rating(ms, loss)) == pytest.approx(mos, abs=0.006)


def jitter(arrivals_ms: list[float]) -> list[float]:
    arrived = np.array([round(ms * MS) for ms in arrivals_ms], np.int64)
    return [float(j) for j in interarrival_jitter_ms(arrived, np.arange(len(arrived), dtype=np.int64) * 160, 8000)]


def test_one_late_packet_moves_jitter_by_a_sixteenth() -> None:
    # Transit rises by 16 ms and falls again: J = 16/16 = 1, then 1 + (16 - 1)/16 = 1.9375, then a sixteenth less.
    assert jitter([0, 36, 40, 60]) == pytest.approx([1, 1.9375, 1.9375 * 15 / 16])


def test_no_jitter_where_nothing_varies() -> None:
    assert max(jitter([20 * n + 5 for n in range(300)])) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.floats(0, 50), min_size=2, max_size=300))
def test_jitter_block_by_block_is_that_packet_by_packet(lateness: list[float]) -> None:
    arrivals = np.sort(np.array([round((20 * n + late) * MS) for n, late in enumerate(lateness)], np.int64))
    expected, j = [], 0.0
    for n in range(1, len(arrivals)):
        d = abs((arrivals[n] - arrivals[n - 1]) / MS - 20)
        j += (d - j) / 16
        expected.append(j)
    found = interarrival_jitter_ms(arrivals, np.arange(len(arrivals), dtype=np.int64) * 160, 8000)
    assert found == pytest.approx(expected, abs=1e-6)


def test_counters_are_unwrapped_also_where_packets_overtake_at_the_wrap() -> None:
    assert unwrap(np.array([65534, 0, 65535, 1]), 16).tolist() == [65534, 65536, 65535, 65537]


def test_a_step_of_delay() -> None:
    figures = passage_figures(passage([10.0] * 50 + [30.0] * 50))
    assert figures["one_way_delay_ms"]["min"] == 10
    assert figures["one_way_delay_ms"]["median"] == 20  # between the 50th and the 51st
    assert figures["one_way_delay_ms"]["p95"] == 30
    assert figures["pdv_ms"]["p99"] == 20
    assert figures["ipdv_ms"]["max"] == 20
    assert figures["mean_delay_change_ms"] == pytest.approx(20 / 99)


def test_one_lost_packet_in_a_window_of_ten_is_ten_percent() -> None:
    worst = passage_figures(passage([5.0] * 30 + [None] + [5.0] * 30))["burst_loss_200ms"]
    assert (worst["lost"], worst["packets"], worst["ratio"]) == (1, 10, 0.1)
    assert worst["windows"] == 52  # 61 packets, 10 a window


def test_exactly_ten_packets_are_one_window_and_nine_are_none() -> None:
    worst = passage_figures(passage([1.0] * 10))["burst_loss_200ms"]
    assert (worst["windows"], worst["packets"]) == (1, 10)
    figures = passage_figures(passage([1.0] * 9))
    assert figures["burst_loss_200ms"] is None
    assert figures["missing"]["burst_loss_200ms"] == "media lasted 0.18 s, a window is 0.2 s"


@pytest.mark.parametrize(
    ("spacing_us", "packets"),
    [(20_000, 10), (19_999, 10), (19_900, 10), (20_010, 9)],  # one that begins just behind a packet holds fewest
)
def test_one_lost_packet_counts_among_the_fewest_that_any_200_ms_hold(spacing_us: int, packets: int) -> None:
    worst = passage_figures(passage([5.0] * 100 + [None] + [5.0] * 100, spacing_ms=spacing_us / 1000))
    assert worst["burst_loss_200ms"]["packets"] == packets
    assert worst["burst_loss_200ms"]["ratio"] == 1 / packets


def test_exactly_fifteen_seconds_have_a_loss_and_a_delay_change() -> None:
    figures = passage_figures(passage([5.0, 6.0] * 375))
    assert (figures["loss_15s"]["packets"], figures["mean_delay_change_15s_ms"]) == (750, 1.0)
    shorter = passage_figures(passage([5.0] * 749))
    assert shorter["loss_15s"] is shorter["mean_delay_change_15s_ms"] is None
    assert shorter["missing"]["mean_delay_change_15s_ms"] == "media lasted 14.98 s, a window is 15 s"


def test_a_burst_is_found_wherever_it_falls() -> None:
    lost: list[float | None] = [1.0] * 1000
    lost[512:515] = [None] * 3
    figures = passage_figures(passage(lost))
    assert figures["burst_loss_200ms"]["ratio"] == 0.3
    assert (figures["loss_15s"]["lost"], figures["loss_15s"]["packets"]) == (3, 750)
    assert figures["loss_ratio"] == 0.003


def test_a_burst_of_three_percent_of_fifteen_seconds() -> None:
    lost: list[float | None] = [1.0] * 1500
    lost[100:122] = [None] * 22  # 22 of 750 are 2.93 %, of the whole half that
    worst = passage_figures(passage(lost))["loss_15s"]
    assert worst["ratio"] == pytest.approx(22 / 750)


def test_every_500th_packet_overtaken() -> None:
    delays: list[float | None] = [30.0 if n % 500 == 250 else 5.0 for n in range(5000)]
    figures = passage_figures(passage(delays))
    assert figures["reordered"] == 10
    assert figures["reordered_ratio"] == 10 / 5000


def test_a_packet_that_overtakes_leaves_the_overtaken_ones_reordered() -> None:
    # RFC 4737: those that come after a later one are reordered, not the one that came early.
    delays: list[float | None] = [50.0, 50.0, 50.0, 1.0, 50.0]
    assert passage_figures(passage(delays))["reordered"] == 2


def test_delay_changes_are_between_successive_packets_only() -> None:
    figures = passage_figures(passage([10.0, 11.0, None, 90.0, 91.0]))
    assert figures["mean_delay_change_ms"] == pytest.approx(1.0)


def test_too_few_packets_say_so() -> None:
    figures = passage_figures(passage([1.0] * 12))
    assert figures["one_way_delay_ms"]["p90"] == 1
    assert figures["one_way_delay_ms"]["p95"] is None
    assert figures["missing"]["one_way_delay_ms.p95"] == "12 packets, 20 needed"
    assert figures["loss_15s"] is None
    assert figures["missing"]["loss_15s"] == "media lasted 0.24 s, a window is 15 s"


def test_nothing_received_is_not_a_delay_of_nothing() -> None:
    figures = passage_figures(passage([None] * 20))
    assert figures["one_way_delay_ms"] is None
    assert figures["reordered_ratio"] is None
    assert figures["loss_ratio"] == 1


@pytest.mark.parametrize(
    ("lost", "runs"),
    [
        ((), None),
        ((3,), {"count": 1, "longest": 1, "weighted_mean": 1.0}),
        ((0, 1, 2, 10, 29), {"count": 3, "longest": 3, "weighted_mean": 11 / 5}),
    ],
)
def test_losses_one_after_the_other_are_a_run(lost: Sequence[int], runs: dict[str, float] | None) -> None:
    assert passage_figures(passage([None if n in lost else 5.0 for n in range(30)]))["loss_runs"] == runs
