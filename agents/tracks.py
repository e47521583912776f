"""What aiortc sends and receives: audio and pictures that are encoded already, and the consumers of both."""

import fractions
from collections.abc import Callable
from typing import Any, Final

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from agents import g711
from agents.frames import FrameSink, FrameSource
from agents.pace import FrameClock

PictureSource = Callable[[int], bytes | None]
"Gives the encoded picture (VP8) of that number; None while there is nothing to send."
PictureSink = Callable[[Any], None]
"Takes decoded pictures (av.VideoFrame)."

_AUDIO_TIME_BASE: Final = fractions.Fraction(1, g711.SAMPLE_RATE_HZ)
_VIDEO_CLOCK_HZ: Final = 90000
"RTP clock of VP8 (RFC 7741 section 4.1)."
_VIDEO_TIME_BASE: Final = fractions.Fraction(1, _VIDEO_CLOCK_HZ)


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


class EncodedPictureTrack(MediaStreamTrack):  # type: ignore[misc]
    """Sends pictures that are encoded already, a picture every so many audio frames, while there are any."""

    kind = "video"

    def __init__(self, clock: FrameClock, source: PictureSource, *, every_frames: int) -> None:
        super().__init__()
        self._clock, self._source, self._every = clock, source, every_frames
        self._first = self._frame = clock.current() // every_frames * every_frames

    async def recv(self) -> Any:
        """Wait for the next picture's time and return it (aiortc calls this)."""
        data = None
        while data is None:
            if self.readyState != "live":
                raise MediaStreamError
            due = await self._clock.next_after(self._frame + self._every - 1)
            self._frame = due // self._every * self._every  # whoever is late stays on the grid
            data = self._source(self._frame // self._every)
        packet = Packet(data)
        packet.pts = (self._frame - self._first) * g711.FRAME_SAMPLES * _VIDEO_CLOCK_HZ // g711.SAMPLE_RATE_HZ
        packet.time_base = _VIDEO_TIME_BASE
        return packet


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
