"""What aiortc sends and receives: audio and pictures that are encoded already, and the consumers of both."""

import fractions
import threading
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.packet import Packet

from agents import g711, opus
from agents.frames import FrameSink, FrameSource
from agents.pace import FrameClock

PictureSource = Callable[[int], bytes | None]
"Gives the encoded picture (VP8) of that number; None while there is nothing to send."
PictureSink = Callable[[Any], None]
"Takes decoded pictures (av.VideoFrame)."

_DECODER_QUEUE: Final = "_RTCRtpReceiver__decoder_queue"
_ENCODER: Final = "_RTCRtpSender__encoder"
_VIDEO_CLOCK_HZ: Final = 90000
"RTP clock of VP8 (RFC 7741 section 4.1)."
_VIDEO_TIME_BASE: Final = fractions.Fraction(1, _VIDEO_CLOCK_HZ)


class _Payload(NamedTuple):
    """What one RTP packet is to carry, and its time in ticks since the first."""

    content: bytes
    timestamp: int


class _Packer:
    """Stands where aiortc would make an encoder: nothing is to be done."""

    @staticmethod
    def pack(payload: _Payload) -> tuple[list[bytes], int]:
        """Return the payloads of packets and their time (aiortc calls this)."""
        return [payload.content], payload.timestamp


class EncodedAudioTrack(MediaStreamTrack):  # type: ignore[misc]
    """Gives frames that are encoded already, one every *frame_ticks* of its RTP clock; `speak` tells its sender so."""

    kind = "audio"

    def __init__(self, clock: FrameClock, source: FrameSource, *, frame_ticks: int = g711.FRAME_SAMPLES) -> None:
        super().__init__()
        self._clock, self._source, self._ticks = clock, source, frame_ticks
        self._first = self._frame = clock.current()

    async def recv(self) -> Any:
        """Wait for the next frame's time and return it (aiortc calls this)."""
        if self.readyState != "live":
            raise MediaStreamError
        self._frame = await self._clock.next_after(self._frame)
        return _Payload(self._source(self._frame), (self._frame - self._first) * self._ticks)


def speak(sender: Any) -> None:
    """Have an aiortc sender that has not begun, and whose track is an `EncodedAudioTrack`, send frames as they are.

    aiortc would encode in another thread; and of what is encoded already it wants an av.Packet, which costs as much.
    """
    assert hasattr(sender, _ENCODER), "this aiortc keeps its encoder elsewhere"
    setattr(sender, _ENCODER, _Packer)


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


class _Decoder:
    """Stands where aiortc has a queue to a thread that decodes: audio is decoded in the event loop, mu-law by table.

    The thread stays, and sleeps until the receiver ends. Waking it for each packet, and the loop for each frame of it,
    costs more than all else that a received packet costs.
    """

    def __init__(self, sink: FrameSink) -> None:
        self._sink = sink
        self._opus: opus.Decoder | None = None
        self._is_over = threading.Event()

    def put(self, task: Any) -> None:
        """Take a codec and what came out of the jitter buffer, or None at the end (aiortc calls this)."""
        if task is None:
            self._is_over.set()
            return
        codec, frame = task
        if codec.name == "PCMU":
            self._sink(g711.decode(frame.data))
        elif codec.name == "opus":
            self._opus = self._opus or opus.Decoder()
            for samples in self._opus.decode(frame.data):
                self._sink(samples)

    def get(self) -> None:
        """Wait for the end (aiortc's thread calls this)."""
        self._is_over.wait()


def hear(receiver: Any, sink: FrameSink) -> None:
    """Have the audio of an aiortc receiver, which has not begun to receive, passed on until it ends."""
    assert hasattr(receiver, _DECODER_QUEUE), "this aiortc keeps its decoder's queue elsewhere"
    setattr(receiver, _DECODER_QUEUE, _Decoder(sink))


async def watch(track: Any, sink: PictureSink) -> None:
    """Pass the pictures of a remote track on until it ends."""
    while True:
        try:
            sink(await track.recv())
        except MediaStreamError:
            return
