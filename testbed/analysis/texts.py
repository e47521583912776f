"""What one TCP segment carries together: each TURN message in it gets a row of its own, as if it had come alone.

A busy sender, or TCP itself, puts several messages into one segment (RFC 8656 section 12.5). Rows that are added have
the frame number of their segment and stand behind all others, so that row and frame number of those still agree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Encapsulation, Ints, Payloads, Reader, classify
from testbed.analysis.packets import TCP, Kind, Packets
from testbed.analysis.space import IN_MEMORY_BYTES

_HEADER: Final = 4
"Of ChannelData, and the first bytes of a STUN message: type or channel, and length."
_STUN_HEADER: Final = 20
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
    """Return *packets* with a row for every ChannelData message that follows another one in its segment."""
    return with_texts(packets, list(_following(packets)))


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


def _following(packets: Packets) -> Iterator[Text]:
    """Yield the messages behind the first one of each segment that begins with TURN in the clear."""
    p = packets
    is_turn = (p.encapsulation == Encapsulation.CHANNEL_DATA) | (p.stun_type > 0)
    rows = np.flatnonzero((p.protocol == TCP) & ~p.tls & is_turn & (p.payload_length > _HEADER))
    for row in rows.tolist():
        data = p.payload(row)
        at = _size(data)
        while at + _HEADER <= len(data) and (size := _size(data[at:])) <= len(data) - at:
            yield Text(row, int(p.payload_offset[row]) + at, size, is_first=False)
            at += size


def _size(message: bytes) -> int:
    """Return the bytes that a message over TCP takes, with its padding."""
    header = _HEADER if message[0] >> 6 == 1 else _STUN_HEADER
    return header + (int.from_bytes(message[2:4], "big") + 3 & ~3)
