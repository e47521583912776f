"""Frame queues and the mixer: each hears the sum of the others, jitter tears no holes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import g711, tone
from agents.frames import FrameQueue, Mixer

ANNOUNCEMENT = (b"\x11" * g711.FRAME_SAMPLES, b"\x22" * g711.FRAME_SAMPLES)


def constant(value: int, frames: int = 1) -> g711.Samples:
    return np.full(g711.FRAME_SAMPLES * frames, value, np.int16)


def encoded(value: int) -> bytes:
    return g711.encode(constant(value))


def mixer_of(**spoken: int) -> Mixer:
    mixer = Mixer(ANNOUNCEMENT)
    for name, value in spoken.items():
        mixer.join(name)
        mixer.take(name, constant(value, frames=2))
    return mixer


def test_a_queue_gives_nothing_until_it_is_filled_and_then_every_frame() -> None:
    queue = FrameQueue(2)
    queue.put(b"aa")
    assert queue.pop() is None
    queue.put(b"bb")
    assert [queue.pop(), queue.pop(), queue.pop()] == [b"aa", b"bb", None]


def test_a_queue_that_ran_empty_fills_up_again_before_it_plays() -> None:
    queue = FrameQueue(1)
    queue.put(b"ab")
    assert [queue.pop(), queue.pop(), queue.pop()] == [b"a", b"b", None]
    queue.put(b"c")
    assert queue.pop() is None


def test_a_burst_costs_the_oldest_frames_and_no_lasting_delay() -> None:
    queue = FrameQueue(1, most=3)
    queue.put(b"abcde")
    assert queue.dropped == 2
    assert [queue.pop(), queue.pop(), queue.pop(), queue.pop()] == [b"c", b"d", b"e", None]


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20))
def test_frames_are_whole_and_in_order_however_the_audio_is_cut(sizes: list[int]) -> None:
    queue = FrameQueue(4, prefill=1, most=1000)
    sent = bytes(i % 251 for i in range(sum(sizes)))
    position = 0
    for size in sizes:
        queue.put(sent[position : position + size])
        position += size
    received = b"".join(iter(queue.pop, None))
    assert received == sent[: len(sent) // 4 * 4]


def test_each_participant_hears_the_sum_of_the_others() -> None:
    mixer = mixer_of(alice=1000, bob=2000, carol=4000)
    assert mixer.frame_for("alice", 1) == encoded(6000)
    assert mixer.frame_for("bob", 1) == encoded(5000)
    assert mixer.frame_for("carol", 1) == encoded(3000)


def test_asking_twice_for_a_frame_does_not_use_up_two() -> None:
    mixer = mixer_of(alice=1000, bob=2000)
    assert mixer.frame_for("alice", 1) == mixer.frame_for("alice", 1) == encoded(2000)
    assert mixer.frame_for("alice", 2) == encoded(2000)
    assert mixer.frame_for("alice", 3) == encoded(0)


def test_nobody_hears_himself() -> None:
    mixer = mixer_of(alice=1000)
    mixer.join("bob")
    assert mixer.frame_for("alice", 1) == g711.SILENCE


def test_who_is_alone_hears_the_announcement() -> None:
    mixer = mixer_of(alice=1000)
    assert [mixer.frame_for("alice", frame) for frame in (0, 1, 2)] == [*ANNOUNCEMENT, ANNOUNCEMENT[0]]


def test_who_left_is_not_heard_any_more() -> None:
    mixer = mixer_of(alice=1000, bob=2000, carol=4000)
    mixer.leave("carol")
    mixer.take("carol", constant(4000))
    assert mixer.frame_for("alice", 1) == encoded(2000)
    assert mixer.participants == ("alice", "bob")


def test_a_sum_too_loud_is_clipped_and_does_not_wrap() -> None:
    mixer = mixer_of(alice=30000, bob=30000, carol=0)
    assert mixer.frame_for("carol", 1) == encoded(32767)


def test_the_same_participant_cannot_join_twice() -> None:
    mixer = mixer_of(alice=0)
    with pytest.raises(ValueError, match="alice takes part already"):
        mixer.join("alice")


def test_eight_tones_together_stay_below_the_overload_point() -> None:
    together = sum(tone.tone(400 + 100 * i).astype(np.int32) for i in range(8))
    assert np.abs(together).max() < 32768
