"""Pictures that tell who sends them: drawn, encoded (VP8), read again from what a decoder gives.

A picture is 160 x 120. Its upper two thirds are 4 rows of 8 squares, light for 1 and dark for 0: 16 bits say who, 8
bits count, one says that it is a slide, 7 bits check the others. Its lower third has the sender's colour and a bar that
moves with the count. Every picture is a key frame, so that a receiver may begin, and a server may switch, at any.
"""

import fractions
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import av
import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from agents.process import Message

WIDTH: Final = 160
HEIGHT: Final = 120
LOOP: Final = 20
"A party's pictures are drawn and encoded once, and sent in a circle of so many."
_SIDE: Final = 20
_COLUMNS: Final = WIDTH // _SIDE
_ROWS: Final = 4
_DARK, _LIGHT = 30, 220
_CHECK_BITS: Final = 7
_CHECK: Final = 127
"A prime: a picture with any one square wrong has another remainder."
_RATE: Final = fractions.Fraction(10, 1)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Content:
    """What a picture says."""

    who: int
    "16 bits: the frequency of the sender's tone, which no two parties share."
    count: int
    is_slide: bool

    def bits(self) -> int:
        """Return the 32 squares as a number."""
        said = (self.who & 0xFFFF) << 9 | (self.count & 0xFF) << 1 | self.is_slide
        return said << _CHECK_BITS | said % _CHECK


def draw(content: Content) -> Pixels:
    """Return the picture as yuv420p pixels (a column of 180 lines of 160: luma, then the two chroma planes)."""
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    bits, squares = content.bits(), _ROWS * _COLUMNS
    values = [_LIGHT if bits >> (squares - 1 - number) & 1 else _DARK for number in range(squares)]
    coded = np.array(values, np.uint8).reshape(_ROWS, _COLUMNS)
    pixels[: _ROWS * _SIDE] = coded.repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)
    left = content.count * _SIDE // 2 % WIDTH
    pixels[_ROWS * _SIDE : HEIGHT] = 110
    pixels[_ROWS * _SIDE : HEIGHT, left : left + _SIDE // 2] = 200
    chroma = pixels[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    angle = content.who / 100 * 2.4  # far apart for neighbours: the golden angle, in radians
    for plane, value in zip(chroma, (np.cos(angle), np.sin(angle)), strict=True):
        plane[_ROWS * _SIDE // 2 :] = 128 + int(80 * value)
    return pixels


def read(luma: Pixels) -> Content | None:
    """Return what a decoded picture says by its luma plane; None where it is no picture of ours, or too damaged."""
    if luma.shape[0] < _ROWS * _SIDE or luma.shape[1] < WIDTH:
        return None
    middle = luma[: _ROWS * _SIDE, :WIDTH].reshape(_ROWS, _SIDE, _COLUMNS, _SIDE)[:, 8:12, :, 8:12]
    bits = 0
    for is_light in (middle.mean(axis=(1, 3)) > (_DARK + _LIGHT) / 2).ravel().tolist():
        bits = bits << 1 | is_light
    said, check = bits >> _CHECK_BITS, bits & (1 << _CHECK_BITS) - 1
    return Content(said >> 9, said >> 1 & 0xFF, bool(said & 1)) if said % _CHECK == check else None


def luma_of(frame: Any) -> Pixels:
    """Return the luma plane of an av.VideoFrame without copying it."""
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:, : frame.width]


class Encoder:
    """VP8 for pictures of this size; each comes out as a key frame, and at once."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libvpx", "w")
        codec.width, codec.height, codec.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        codec.framerate, codec.time_base = _RATE, 1 / _RATE
        codec.bit_rate, codec.gop_size, codec.thread_count = 200_000, 1, 1
        codec.options = {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}
        self._codec, self._number = codec, 0

    def encode(self, frame: Any) -> bytes:
        """Return an av.VideoFrame of yuv420p as VP8 (RFC 6386)."""
        frame.pts, frame.time_base = self._number, 1 / _RATE
        self._number += 1
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))


@dataclass
class Watched:
    """What a receiver has seen of one stream of pictures."""

    is_slide: bool
    seen: dict[int, int] = field(default_factory=dict)
    "Pictures by who sent them."
    unreadable: int = 0
    "Pictures that say nothing, or are of the other stream: slides in the video, or the reverse."

    def take(self, frame: Any) -> None:
        """Take in a decoded picture (`agents.tracks.PictureSink`)."""
        content = read(luma_of(frame))
        if content is None or content.is_slide != self.is_slide:
            self.unreadable += 1
            return
        self.seen[content.who] = self.seen.get(content.who, 0) + 1

    def describe(self, parties: Mapping[str, int]) -> Message:
        """Return how many pictures of whom were seen; *parties* gives each name its number, others go by number."""
        names = {who: name for name, who in parties.items()}
        seen = {names.get(who, str(who)): count for who, count in sorted(self.seen.items())}
        return {"seen": dict.fromkeys(parties, 0) | seen, "unreadable": self.unreadable}


class OwnPictures:
    """The pictures that a party sends of one kind: a circle, each encoded when it is first due."""

    def __init__(self, who: int, *, is_slide: bool) -> None:
        """*who* is the frequency of the party's tone."""
        self._who, self._is_slide = who, is_slide
        self._encoder: Encoder | None = None
        self._encoded: dict[int, bytes] = {}

    def encoded(self, number: int) -> bytes:
        """Return the picture of that number (`agents.tracks.PictureSource`)."""
        count = number % LOOP
        if count not in self._encoded:
            self._encoder = self._encoder or Encoder()
            picture = VideoFrame.from_ndarray(draw(Content(self._who, count, self._is_slide)), format="yuv420p")
            self._encoded[count] = self._encoder.encode(picture)
        return self._encoded[count]
