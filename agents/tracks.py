"""What aiortc sends and receives: pre-encoded audio, small synthetic pictures, and the consumers of both."""

import fractions
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import VideoFrame
from av.packet import Packet

from agents import g711
from agents.frames import FrameSink, FrameSource
from agents.pace import FrameClock

PictureSource = Callable[[], Any]
"Gives the av.VideoFrame to send next."
PictureSink = Callable[[Any], None]

_AUDIO_TIME_BASE: Final = fractions.Fraction(1, g711.SAMPLE_RATE_HZ)
_VIDEO_TIME_BASE: Final = fractions.Fraction(1, 90000)
_PICTURE_FRAMES: Final = 10
"A picture every 10 audio frames: 5 a second."
_PICTURE_SIZE: Final = (120, 160)


class EncodedAudioTrack(MediaStreamTrack):  # type: ignore[misc]
    """Sends frames that are mu-law already, so that aiortc only packs them (it would encode in another thread)."""

    kind = "audio"

    def __init__(self, clock: FrameClock, source: FrameSource) -> None:
        super().__init__()
        self._clock, self._source = clock, source
        self._first = self._frame = clock.current()

    async def recv(self) -> Any:
        """Wait for the next frame's time and return it (aiortc calls this)."""
        if self.readyState != "live":
            raise MediaStreamError
        self._frame = await self._clock.next_after(self._frame)
        packet = Packet(self._source(self._frame))
        packet.pts = (self._frame - self._first) * g711.FRAME_SAMPLES
        packet.time_base = _AUDIO_TIME_BASE
        return packet


class PictureTrack(MediaStreamTrack):  # type: ignore[misc]
    """Sends a small picture five times a second; VP8 encodes it in a thread of aiortc's."""

    kind = "video"

    def __init__(self, clock: FrameClock, source: PictureSource) -> None:
        super().__init__()
        self._clock, self._source = clock, source
        self._first = self._frame = clock.current()

    async def recv(self) -> Any:
        """Wait for the next picture's time and return it (aiortc calls this)."""
        if self.readyState != "live":
            raise MediaStreamError
        self._frame = await self._clock.next_after(self._frame + _PICTURE_FRAMES - 1)
        frame = self._source()
        frame.pts = (self._frame - self._first) * g711.FRAME_SAMPLES * 90000 // g711.SAMPLE_RATE_HZ
        frame.time_base = _VIDEO_TIME_BASE
        return frame


def picture(number: int) -> Any:
    """Return an av.VideoFrame of 160 x 120 whose bright bar moves with *number*."""
    height, width = _PICTURE_SIZE
    pixels = np.full((height * 3 // 2, width), 128, np.uint8)
    pixels[:height] = np.linspace(16, 180, width, dtype=np.uint8)
    left = number * 8 % width
    pixels[:height, left : left + 8] = 235
    return VideoFrame.from_ndarray(pixels, format="yuv420p")


async def hear(track: Any, sink: FrameSink) -> None:
    """Pass the audio of a remote track on until it ends."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        sink(frame.to_ndarray()[0])


async def watch(track: Any, sink: PictureSink) -> None:
    """Pass the pictures of a remote track on until it ends."""
    while True:
        try:
            sink(await track.recv())
        except MediaStreamError:
            return
