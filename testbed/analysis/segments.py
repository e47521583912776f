"""What one end of a TCP connection sent, put together from captured segments: each comes on several links, or again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from testbed.analysis.demux import Ints
from testbed.analysis.packets import Packets

Ends = tuple[int, int, int, int]
"Source address and port, destination address and port."


@dataclass(frozen=True, slots=True)
class Stream:
    """Segments that follow each other without a gap, and what they hold."""

    rows: Ints
    "In the order of their sequence numbers."
    offset: Ints
    "Of each row's payload in `data`."
    length: Ints
    "Of each row's payload."
    data: bytes

    def beginning(self, at: int) -> Iterator[tuple[int, int]]:
        """Yield the rows, on all links, in whose segment byte number *at* is, and how many bytes precede it there."""
        first = int(np.searchsorted(self.offset, at - int(self.length.max())))
        for index in range(first, int(np.searchsorted(self.offset, at, "right"))):
            if at < self.offset[index] + self.length[index]:
                yield int(self.rows[index]), at - int(self.offset[index])


def ends_of(packets: Packets, rows: Ints) -> set[Ends]:
    """Return the different ends of *rows*."""
    p = packets
    columns = p.source, p.source_port, p.destination, p.destination_port
    return set(zip(*(column[rows].tolist() for column in columns), strict=True))


def between(packets: Packets, rows: Ints, ends: Ends) -> Ints:
    """Return those of *rows* that go between *ends*, in this direction."""
    columns = packets.source, packets.source_port, packets.destination, packets.destination_port
    for column, value in zip(columns, ends, strict=True):
        rows = rows[column[rows] == value]
    return rows


def streams(packets: Packets, rows: Ints) -> Iterator[Stream]:
    """Yield what *rows* of one direction hold, from the first segment seen; a gap, where none was seen, divides it."""
    while len(rows):
        # Sequence numbers wrap; the first segment that was seen begins the stream.
        base = int(packets.tcp_sequence[rows[np.argmin(packets.time_ns[rows])]])
        offset = (packets.tcp_sequence[rows].astype(np.int64) - base) & 0xFFFFFFFF
        inside = offset < 1 << 31
        later, rows, offset = rows[~inside], rows[inside], offset[inside]
        order = np.argsort(offset, kind="stable")
        rows, offset = rows[order], offset[order]
        length = packets.payload_length[rows].astype(np.int64)
        behind = np.maximum.accumulate(offset + length)
        gaps = np.flatnonzero(offset[1:] > behind[:-1]) + 1
        for part in np.split(np.arange(len(rows)), gaps):
            yield _joined(packets, rows[part], offset[part] - offset[part[0]], length[part])
        rows = later


def _joined(packets: Packets, rows: Ints, offset: Ints, length: Ints) -> Stream:
    data = bytearray()
    for row, at in zip(rows.tolist(), offset.tolist(), strict=True):
        data += packets.payload(row)[len(data) - at :]
    return Stream(rows, offset, length, bytes(data))
