"""The wire's core: when packets are due, which are lost, and how late frames left."""

import errno
import statistics
from collections.abc import Sequence
from random import Random

import pytest

from testbed.emulation import wire_process
from testbed.emulation.wire import (
    LatenessHistogram,
    LinkDirection,
    bleach_dscp,
    is_shaped_frame,
    jitter_ns,
)
from testbed.topology import LinkShape

MS = 1_000_000


def direction(seed: int = 1, **written: object) -> LinkDirection:
    return LinkDirection(LinkShape.model_validate(written), Random(seed))


def outcome(link: LinkDirection, count: int, spacing_ns: int = 10 * MS) -> list[tuple[int, ...]]:
    """Admit *count* packets, letting each leave when it is due."""
    due: list[int] = []
    outcomes = []
    for n in range(count):
        now = n * spacing_ns
        for gone in [x for x in due if x <= now]:
            due.remove(gone)
            link.leave()
        outcomes.append(link.admit(now, 200))
        due += outcomes[-1]
    return outcomes


def lost_runs(outcomes: Sequence[tuple[int, ...]]) -> list[int]:
    text = "".join("." if x else "x" for x in outcomes)
    return [len(run) for run in text.split(".") if run]


def test_a_packet_is_due_after_the_delay() -> None:
    assert direction(delay="20ms").admit(1_000, 200) == (20 * MS + 1_000,)


def test_without_a_shape_a_packet_is_due_at_once() -> None:
    assert direction().admit(1_000, 200) == (1_000,)


def test_the_rate_counts_ip_bytes_and_packets_queue_behind_each_other() -> None:
    link = direction(rate="1Mbit", delay="5ms")
    assert link.admit(0, 1250) == (15 * MS,)  # 10,000 bits take 10 ms
    assert link.admit(0, 1250) == (25 * MS,)
    assert link.admit(100 * MS, 1250) == (115 * MS,)  # an idle link saves nothing up


def test_a_full_queue_drops_at_the_tail_and_room_comes_back_when_packets_leave() -> None:
    link = direction(rate="1Mbit", queue_packets=2)
    assert [bool(link.admit(0, 1250)) for _ in range(3)] == [True, True, False]
    assert link.queue_drops == 1
    link.leave()
    assert link.admit(10 * MS, 1250) == (30 * MS,)


def test_what_waits_for_the_delay_is_in_the_queue_too() -> None:
    link = direction(delay="1s", queue_packets=1)
    assert link.admit(0, 100) and not link.admit(1, 100)


def test_the_same_seed_loses_the_same_packets_and_another_seed_others() -> None:
    first, again, other = (outcome(direction(seed, loss="20%"), 200) for seed in (1, 1, 2))
    assert first == again != other


def test_loss_has_the_configured_share() -> None:
    link = direction(loss="10%")
    outcome(link, 20_000)
    assert link.lost == pytest.approx(2_000, abs=4.5 * (20_000 * 0.1 * 0.9) ** 0.5)


@pytest.mark.parametrize(("loss", "arrive"), [("0%", 100), ("100%", 0)])
def test_no_loss_loses_nothing_and_full_loss_everything(loss: str, arrive: int) -> None:
    assert sum(map(len, outcome(direction(loss=loss), 100))) == arrive


def test_burst_loss_has_the_mean_burst_that_leaving_the_bad_state_gives() -> None:
    runs = lost_runs(outcome(direction(burst_loss={"enter": "2%", "leave": "25%"}), 40_000))
    assert statistics.mean(runs) == pytest.approx(4.0, rel=0.15)


def test_random_loss_of_the_same_share_comes_in_short_runs() -> None:
    assert statistics.mean(lost_runs(outcome(direction(loss="7.4%"), 40_000))) < 1.2


def test_a_bad_state_that_loses_half_thins_the_burst() -> None:
    whole = direction(burst_loss={"enter": "2%", "leave": "25%"})
    half = direction(burst_loss={"enter": "2%", "leave": "25%", "loss": "50%"})
    outcome(whole, 20_000)
    outcome(half, 20_000)
    assert half.lost == pytest.approx(whole.lost / 2, rel=0.25)


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_keeps_the_order_of_packets(distribution: str) -> None:
    link = direction(delay="20ms", jitter="10ms", jitter_distribution=distribution)
    due = [x for (x,) in outcome(link, 1_000, spacing_ns=MS)]
    assert due == sorted(due) and len(set(due)) > 100


def test_jitter_larger_than_the_delay_never_sends_a_packet_before_it_came() -> None:
    link = direction(delay="1ms", jitter="20ms")
    assert all(due >= n * 100 * MS for n, (due,) in enumerate(outcome(link, 500, spacing_ns=100 * MS)))


@pytest.mark.parametrize(
    ("distribution", "deviation", "least", "most"),
    [("uniform", 0.577, -1.0, 1.0), ("normal", 1.0, -4.0, 4.0), ("pareto", 0.82, -0.667, 4.0)],
)
def test_each_jitter_distribution_has_netems_spread_and_bounds(
    distribution: str, deviation: float, least: float, most: float
) -> None:
    shape = LinkShape.model_validate({"jitter": "1ms", "jitter_distribution": distribution})
    random = Random(3)
    drawn = [jitter_ns(shape, random) / MS for _ in range(20_000)]
    assert statistics.pstdev(drawn) == pytest.approx(deviation, rel=0.05)
    assert statistics.mean(drawn) == pytest.approx(0.0, abs=0.06)
    assert least <= min(drawn) and max(drawn) <= most


def test_reordered_packets_skip_the_delay_and_the_others_do_not_wait_for_them() -> None:
    link = direction(delay="20ms", reorder="10%")
    outcomes = outcome(link, 5_000, spacing_ns=MS)
    delays = [due - n * MS for n, (due,) in enumerate(outcomes)]
    assert set(delays) == {0, 20 * MS}
    assert delays.count(0) == link.reordered == pytest.approx(500, abs=100)


def test_a_duplicate_is_due_too_and_is_counted() -> None:
    link = direction(duplicate="100%", delay="5ms")
    assert link.admit(0, 100) == (5 * MS, 5 * MS)
    assert (link.duplicated, link.waiting) == (1, 2)


def test_a_packet_both_duplicated_and_lost_passes_once_as_in_netem() -> None:
    link = direction(duplicate="100%", loss="100%")
    assert [len(x) for x in outcome(link, 50)] == [1] * 50


def test_a_duplicate_that_finds_the_queue_full_is_left_out() -> None:
    link = direction(duplicate="100%", delay="1s", queue_packets=1)
    assert len(link.admit(0, 100)) == 1 and link.admit(1, 100) == ()


def ipv4_frame(tos: int, checksum: int = 0) -> bytes:
    header = bytes([0x45, tos, 0, 28, 0, 1, 0, 0, 64, 17, checksum >> 8, checksum & 255, 10, 0, 0, 1, 10, 0, 0, 2])
    return bytes(12) + b"\x08\x00" + header + bytes(8)


def checksum_of(frame: bytes) -> int:
    """RFC 1071 over the IPv4 header, with the checksum field taken as 0."""
    header = frame[14:24] + bytes(2) + frame[26:34]
    total = sum(int.from_bytes(header[i : i + 2], "big") for i in range(0, 20, 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@pytest.mark.parametrize("tos", range(256))
def test_bleaching_clears_dscp_keeps_ecn_and_leaves_a_right_checksum(tos: int) -> None:
    bleached = bleach_dscp(ipv4_frame(tos, checksum_of(ipv4_frame(tos))))
    assert bleached[15] == tos & 3
    assert int.from_bytes(bleached[24:26], "big") == checksum_of(bleached)


def test_bleaching_leaves_frames_alone_that_are_not_ipv4() -> None:
    frame = bytes(12) + b"\x86\xdd" + bytes([0x6F, 0xF0]) + bytes(40)
    assert bleach_dscp(frame) is frame


def test_arp_is_not_shaped_and_ip_is() -> None:
    assert not is_shaped_frame(bytes(12) + b"\x08\x06" + bytes(28))
    assert is_shaped_frame(ipv4_frame(0))


def test_lateness_quantiles_are_right_to_an_eighth() -> None:
    histogram = LatenessHistogram()
    for late_ns in range(1, 100_001):
        histogram.add(late_ns)
    for share in (0.5, 0.99):
        assert 1.0 <= (histogram.quantile_ns(share) or 0) / (share * 100_000) <= 1.125
    assert histogram.summary()["max"] == 100_000


def test_lateness_without_frames_is_missing_not_zero() -> None:
    assert LatenessHistogram().summary() == {"p50": None, "p99": None, "max": None}


def test_a_frame_that_left_early_counts_as_on_time() -> None:
    histogram = LatenessHistogram()
    histogram.add(-5)
    assert histogram.summary() == {"p50": 0, "p99": 0, "max": 0}


def test_a_link_with_a_new_shape_treats_what_comes_by_it_and_goes_on_counting() -> None:
    link = direction(delay="5ms")
    assert outcome(link, 2) == [(5 * MS,), (15 * MS,)]
    link.reshape(LinkShape.model_validate({"loss": "100%"}))
    assert outcome(link, 3) == [(), (), ()]
    always = {"enter": "100%", "leave": "0%", "loss": "100%"}
    link.reshape(LinkShape.model_validate({"delay": "1ms", "burst_loss": always}))
    assert link.admit(1000 * MS, 100) == (1001 * MS,)  # a chain begins in its good state
    assert link.admit(1010 * MS, 100) == ()
    assert (link.received, link.lost) == (7, 4)


def test_a_frame_that_cannot_be_sent_is_counted_on_its_link() -> None:
    """The cable behind w1b is pulled; each link gets a frame from its end A."""

    class Switchboard:
        def __init__(self) -> None:
            self.frames = ["w0a", "w1a"]

        def recvmsg(self, *_: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str]]:
            if not self.frames:
                raise BlockingIOError
            return bytes(12) + b"\x08\x00" + bytes(46), [(0, 0, bytes(16))], 0, (self.frames.pop(0),)

        def sendto(self, frame: bytes, to: tuple[str, int]) -> None:
            if to[0] == "w1b":
                raise OSError(errno.ENETDOWN, "Network is down")

    shape = LinkShape()
    ways = [wire_process.Way(f"link-{n}", "forward", f"w{n}a", f"w{n}b", shape, Random(n)) for n in (0, 1)]
    wire = wire_process.Wire(iter(ways), Switchboard())  # type: ignore[arg-type]
    wire._take()
    wire._send_due()
    assert [wire.routes[f"link-{n}", "forward"].direction.send_failures for n in (0, 1)] == [0, 1]
    assert (wire.send_failures, wire.lateness.count) == (1, 2)
