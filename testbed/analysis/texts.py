"""What one TCP segment carries together: each TURN message in it gets a row of its own, as if it had come alone.

A busy sender, or TCP itself, puts several messages into one segment (RFC 8656 section 12.5). Rows that are added have
the frame number of their segment and stand behind all others, so that row and frame number of those still agree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import MAGIC_COOKIE, Encapsulation, Ints, Payloads, Reader, classify
from testbed.analysis.packets import TCP, Kind, Packets
from testbed.analysis.segments import between, ends_of, streams
from testbed.analysis.space import IN_MEMORY_BYTES

_HEADER: Final = 4
"Of ChannelData, and the first bytes of a STUN message: type or channel, and length."
_STUN_HEADER: Final = 20
_COOKIE: Final = MAGIC_COOKIE.to_bytes(4, "big")
_RESERVED_CHANNEL: Final = 0x50
"Channel numbers end at 0x4FFF."
_PADDING: Final = b"\0" * 16
"Behind texts that are added to the buffer: readers take a few bytes at a time."


@dataclass(frozen=True, slots=True)
class Text:
    """A message, or what a TLS record held, somewhere in the buffer."""

    row: int
    "Of the segment in which it begins."
    offset: int
    length: int
    is_first: bool
    "Whether the segment begins with it: then the segment's own row tells of it."


def unfold(packets: Packets) -> Packets:
    """Return *packets* with every TURN message over TCP told: in a row of its own if it follows another in its segment.

    A message that goes on in the next segment is told of the one in which it begins.
    """
    found = sorted(_messages(packets), key=lambda message: (message.row, message.offset))
    apart = list(dict.fromkeys(message.text for message in found if message.text))
    longer, offsets = add_bytes(packets, apart) if apart else (packets, [])
    place = dict(zip(apart, offsets, strict=True))
    texts = [
        Text(each.row, place[each.text] if each.text else each.offset, each.length, each.is_first)
        for each in found
        if each.text or not each.is_first
    ]
    return with_texts(longer, texts)


def add_bytes(packets: Packets, texts: Sequence[bytes]) -> tuple[Packets, list[int]]:
    """Put *texts* behind the capture's own bytes, and return where each begins."""
    ends = np.cumsum([len(packets.buffer), *map(len, texts)])
    added = np.frombuffer(b"".join(texts) + _PADDING, np.uint8)
    buffer = packets.space.longer(packets.buffer, added, IN_MEMORY_BYTES)
    return replace(packets, buffer=buffer), ends[:-1].tolist()


def with_texts(packets: Packets, texts: Sequence[Text], *, tls: bool = False) -> Packets:
    """Return *packets* with *texts* read: into the row of the segment, or into a row added for a wrapped message."""
    for is_first in (True, False):
        some = [text for text in texts if text.is_first == is_first]
        if some:
            packets = _read(packets, some, is_first=is_first, tls=tls)
    return packets


def _read(packets: Packets, texts: Sequence[Text], *, is_first: bool, tls: bool) -> Packets:
    rows = np.array([text.row for text in texts], np.int64)
    found = classify(
        Reader(packets.buffer),
        np.array([text.offset for text in texts], np.int64),
        np.array([text.length for text in texts], np.int32),
        over_tcp=np.ones(len(rows), np.bool_),
        ports=(packets.source_port[rows].astype(np.uint16), packets.destination_port[rows].astype(np.uint16)),
    )
    found.kind[found.kind == Kind.OTHER] = Kind.TCP
    keep = np.flatnonzero(found.encapsulation != Encapsulation.NONE) if not is_first else np.arange(len(rows))
    columns: dict[str, Any] = dict(_columns(packets, rows[keep], is_first=is_first))
    at = rows[keep] if is_first else np.arange(len(packets), len(packets) + len(keep))
    for field in fields(Payloads):
        name = {"offset": "inner_offset", "length": "inner_length"}.get(field.name, field.name)
        columns[name][at] = getattr(found, field.name)[keep]
    columns["tls"][at] = tls
    return replace(packets, **columns)


def _columns(packets: Packets, rows: Ints, *, is_first: bool) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the columns to write into: copies, longer by copies of *rows* where rows are to be added."""
    for field in fields(Packets):
        values = getattr(packets, field.name)
        if isinstance(values, np.ndarray) and field.name != "buffer":
            yield field.name, packets.space.longer(values, values[:0] if is_first else values[rows])


@dataclass(frozen=True, slots=True)
class _Message:
    """A message, as it lies in the segment of a row."""

    row: int
    offset: int
    "In the buffer."
    length: int
    is_first: bool
    text: bytes
    "Of one that goes on in the next segment; else empty."


def _messages(packets: Packets) -> Iterator[_Message]:
    """Yield the messages in the clear of connections that carry TURN, on every link, sent again or not."""
    p = packets
    is_turn = (p.encapsulation == Encapsulation.CHANNEL_DATA) | (p.stun_type > 0)
    is_turn &= (p.protocol == TCP) & ~p.tls
    begins = np.flatnonzero(is_turn)
    speaking = np.flatnonzero((p.protocol == TCP) & (p.payload_length > 0)) if len(begins) else begins
    for ends in sorted(ends_of(p, begins)):
        for stream in streams(p, between(p, speaking, ends)):
            known = stream.offset[is_turn[stream.rows]]
            for at, size in _sizes(stream.data, known):
                for row, into in stream.beginning(at):
                    is_whole = into + size <= int(p.payload_length[row])
                    text = b"" if is_whole else stream.data[at : at + size]
                    yield _Message(row, int(p.payload_offset[row]) + into, size, into == 0, text)


def _sizes(data: bytes, known: Ints) -> Iterator[tuple[int, int]]:
    """Yield where messages begin and how long they are, from the first segment on that surely begins with one.

    Where something else stands, the next such segment is gone on with.
    """
    at = -1
    for begin in known.tolist():
        if begin <= at:
            continue
        at = begin
        while at + _HEADER <= len(data) and _is_message(data, at):
            size = _size(data[at : at + _HEADER])
            if at + size > len(data):
                break
            yield at, size
            at += size


def _is_message(data: bytes, at: int) -> bool:
    """Return whether ChannelData or STUN begins at *at* (RFC 8656 section 12, RFC 8489 section 5)."""
    if data[at] >> 6 == 1:
        return data[at] < _RESERVED_CHANNEL
    return data[at] >> 6 == 0 and data[at + 4 : at + 8] == _COOKIE


def _size(message: bytes) -> int:
    """Return the bytes that a message over TCP takes, with its padding."""
    header = _HEADER if message[0] >> 6 == 1 else _STUN_HEADER
    return header + (int.from_bytes(message[2:4], "big") + 3 & ~3)
