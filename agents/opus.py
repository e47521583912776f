"""Opus (RFC 6716) as RTP carries it (RFC 7587): a party's tone encoded once, and a decoder to linear audio."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.context import CodecContext
from av.packet import Packet

from agents import g711, tone

CLOCK_HZ: Final = 48_000
"Of RTP timestamps, whatever the sampling rate (RFC 7587 section 4.1)."
FRAME_TICKS: Final = 960
"20 ms."
_BIT_RATE_BPS: Final = 32_000
"Full-band speech, one channel: the middle of RFC 7587 section 3.1.1's range of 28 to 40 kbit/s."
_SECONDS_TO_SETTLE: Final = 1
_FRAMES_PER_SECOND: Final = g711.SAMPLE_RATE_HZ // g711.FRAME_SAMPLES


def tone_frames(frequency_hz: int) -> tuple[bytes, ...]:
    """Return 50 frames of a tone of a whole number of Hz, to be played in a circle."""
    encoder = CodecContext.create("libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.format, encoder.layout, encoder.sample_rate = "s16", "mono", g711.SAMPLE_RATE_HZ
    encoder.bit_rate, encoder.options = _BIT_RATE_BPS, {"application": "voip"}
    second = tone.tone(frequency_hz)
    frames: list[bytes] = []
    for samples in np.tile(second, _SECONDS_TO_SETTLE + 1).reshape(-1, 1, g711.FRAME_SAMPLES):
        frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = g711.SAMPLE_RATE_HZ
        frames += [bytes(packet) for packet in encoder.encode(frame)]
    return tuple(frames[-_FRAMES_PER_SECOND:])


class Decoder:
    """Decodes one stream to what a `g711.Samples` sink takes: 8000 samples a second."""

    def __init__(self) -> None:
        codec = CodecContext.create("libopus", "r")
        assert isinstance(codec, AudioCodecContext)
        codec.format, codec.layout, codec.sample_rate = "s16", "mono", CLOCK_HZ
        self._codec = codec
        self._resampler = AudioResampler(format="s16", layout="mono", rate=g711.SAMPLE_RATE_HZ)

    def decode(self, payload: bytes) -> Iterator[g711.Samples]:
        """Yield the audio of a packet's payload; raise av.FFmpegError where it is no Opus."""
        for decoded in self._codec.decode(Packet(payload)):
            for frame in self._resampler.resample(decoded):
                yield frame.to_ndarray()[0]
