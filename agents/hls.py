"""A live stream in segments, as HTTP Live Streaming has it (RFC 8216): its playlist, and segments of sound.

A segment is one second of mu-law sound in an .au file (audio/basic, RFC 2046 section 4.3), where HLS itself has AAC:
what counts here is when which bytes are asked for, and that who listens can tell whom it hears.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from agents import g711

PLAYLIST_NAME: Final = "index.m3u8"
SEGMENT_SUFFIX: Final = ".au"
_AU_HEADER: Final = struct.Struct(">4sIIIII")
_AU_MULAW: Final = 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class BadStream(Exception):
    """A playlist or a segment that is none; the message is one line."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One entry of a playlist."""

    number: int
    "Media sequence number."
    uri: str
    "Relative to the playlist."
    duration_s: float
    began_ns: int
    "When its first sample was taken (EXT-X-PROGRAM-DATE-TIME), in ns since 1970."


def write_playlist(segments: Sequence[Segment], *, target_s: int) -> str:
    """Return the playlist of a live stream whose newest segments are *segments*, in order."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{target_s}"]
    if segments:
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{segments[0].number}")
    for segment in segments:
        began = _EPOCH + timedelta(microseconds=segment.began_ns // 1000)
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{began.isoformat(timespec='milliseconds')}")
        lines += [f"#EXTINF:{segment.duration_s:.3f},", segment.uri]
    return "\n".join(lines) + "\n"


def read_playlist(text: str) -> tuple[int, tuple[Segment, ...]]:
    """Return the target duration in seconds and the segments of a playlist; raise BadStream."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        raise BadStream("the playlist does not begin with #EXTM3U")
    number, target_s, duration_s, began_ns = 0, 0, None, 0
    found: list[Segment] = []
    try:
        for line in lines[1:]:
            tag, _, value = line.partition(":")
            if tag == "#EXT-X-TARGETDURATION":
                target_s = int(value)
            elif tag == "#EXT-X-MEDIA-SEQUENCE":
                number = int(value)
            elif tag == "#EXT-X-PROGRAM-DATE-TIME":
                began_ns = (datetime.fromisoformat(value) - _EPOCH) // timedelta(microseconds=1) * 1000
            elif tag == "#EXTINF":
                duration_s = float(value.partition(",")[0])
            elif not line.startswith("#"):
                if duration_s is None:
                    raise BadStream(f"the playlist's {line!r} has no #EXTINF")
                found.append(Segment(number + len(found), line, duration_s, began_ns))
                duration_s = None
    except (ValueError, TypeError) as problem:  # TypeError: a date without its zone
        raise BadStream(f"the playlist has {line!r}: {problem}") from None
    if target_s < 1:
        raise BadStream("the playlist has no #EXT-X-TARGETDURATION")
    return target_s, tuple(found)


def write_segment(mulaw: bytes) -> bytes:
    """Return a segment that holds *mulaw*, sound of 8,000 samples a second."""
    return _AU_HEADER.pack(b".snd", _AU_HEADER.size, len(mulaw), _AU_MULAW, g711.SAMPLE_RATE_HZ, 1) + mulaw


def read_segment(data: bytes) -> bytes:
    """Return the sound in a segment; raise BadStream."""
    if len(data) < _AU_HEADER.size:
        raise BadStream(f"a segment of {len(data)} bytes is no sound")
    magic, offset, size, encoding, rate_hz, channels = _AU_HEADER.unpack_from(data)
    if (magic, encoding, rate_hz, channels) != (b".snd", _AU_MULAW, g711.SAMPLE_RATE_HZ, 1):
        raise BadStream("a segment is no mu-law sound of 8,000 samples a second (audio/basic)")
    if len(data) < offset + size:
        raise BadStream(f"a segment is cut off: {len(data)} of {offset + size} bytes")
    return data[offset : offset + size]
