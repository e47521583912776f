"""Tones, G.711 and mixing: what proves who is heard."""

import numpy as np
import pytest

from agents import g711, tone


def listen(*tones_hz: int, seconds: int = 2, level_dbov: float = tone.TONE_LEVEL_DBOV) -> tone.Listener:
    listener = tone.Listener()
    audio = sum((tone.tone(hz, level_dbov=level_dbov).astype(np.int32) for hz in tones_hz), np.zeros(8000, np.int32))
    for frame in np.tile(audio.astype(np.int16), seconds).reshape(-1, g711.FRAME_SAMPLES):
        listener.hear(g711.decode(g711.encode(frame)))
    return listener


@pytest.mark.parametrize(
    ("code", "sample"),
    [(0xFF, 0), (0x80, 32124), (0x00, -32124), (0xFE, 8), (0x7E, -8), (0xE7, 260), (0x8F, 16764)],
)
def test_mu_law_codes_decode_as_the_recommendation_tables_say(code: int, sample: int) -> None:
    assert g711.decode(bytes([code]))[0] == sample


def test_every_mu_law_code_but_negative_zero_survives_decoding_and_encoding() -> None:
    codes = bytes(range(256))
    assert g711.encode(g711.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_samples_beyond_the_clip_level_are_clipped_and_do_not_wrap() -> None:
    assert g711.encode(np.array([32767, -32768], np.int16)) == b"\x80\x00"


def test_a_tone_is_heard_at_the_level_it_is_played() -> None:
    assert listen(400).tones() == {400: pytest.approx(tone.TONE_LEVEL_DBOV, abs=0.1)}


def test_each_tone_of_a_mix_is_heard_and_no_other() -> None:
    assert set(listen(400, 500, 600).tones()) == {400, 500, 600}


def test_a_tone_that_is_not_played_is_not_heard() -> None:
    level = listen(400).level_of(500)
    assert level is not None
    assert level < tone.HEARD_DBOV


def test_silence_has_the_lowest_level_and_no_tones() -> None:
    listener = listen()
    assert (listener.seconds, listener.received_level_dbov(), listener.tones()) == (2, tone.SILENCE_DBOV, {})


def test_levels_name_who_was_heard_who_was_not_and_whom_nobody_expected() -> None:
    levels = listen(400, 700).levels({"alice": 400, "bob": 500})
    assert levels["alice"] == pytest.approx(tone.TONE_LEVEL_DBOV, abs=0.1)
    assert levels["bob"] is not None
    assert levels["bob"] < tone.HEARD_DBOV
    assert set(levels) == {"alice", "bob", "700"}


def test_nothing_is_said_before_a_whole_second_was_heard() -> None:
    listener = tone.Listener()
    listener.hear(tone.tone(400)[:7999])
    assert (listener.seconds, listener.received_level_dbov(), listener.level_of(400)) == (0, None, None)
    assert listener.levels({"alice": 400}) == {"alice": None}


def test_a_tone_with_lost_frames_is_still_heard_as_one_tone() -> None:
    listener = tone.Listener()
    audio = np.tile(tone.tone(470), 4).reshape(-1, g711.FRAME_SAMPLES)
    for number, frame in enumerate(audio):
        if number % 25 != 7:
            listener.hear(frame)
    assert list(listener.tones()) == [470]


def test_frames_played_in_a_circle_have_no_seam() -> None:
    played = np.tile(tone.tone(410), 2)[8000 - 2 : 8000 + 2].astype(np.int32)
    steps = np.diff(played)
    assert len(tone.tone_frames(410)) == 50
    assert max(steps) - min(steps) < 120  # at the crossing of zero; a missing sample would double a step of 1038
