"""SIP as its ends read it: the bytes of each TCP connection in order, and each UDP datagram, link by link."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from testbed.analysis.demux import Kind
from testbed.analysis.packets import TCP, Packets

_WRAP = 1 << 32


def sip_texts(packets: Packets) -> Iterator[bytes]:
    """Yield what was said over SIP: one text for each UDP datagram, and one for each direction of a TCP connection.

    Every link is read by itself, since NAT gives a connection other addresses on each; so what is said is told more
    than once.
    """
    rows = np.flatnonzero((packets.kind == Kind.SIP) & (packets.payload_length > 0))
    connections: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row in rows.tolist():
        if packets.protocol[row] != TCP:
            yield packets.payload(row)
            continue
        columns = (packets.link, packets.source, packets.source_port, packets.destination, packets.destination_port)
        connections[tuple(int(column[row]) for column in columns)].append(row)
    for members in connections.values():
        yield _joined(packets, members)


def _joined(packets: Packets, rows: list[int]) -> bytes:
    """Return the bytes of TCP segments in the order of their numbers, each once; a segment that is missing is left out.

    Sequence numbers (RFC 9293 section 3.4) wrap around: they are counted from the first segment's.
    """
    first = int(packets.tcp_sequence[rows[0]])
    half = _WRAP // 2
    segments = sorted(((int(packets.tcp_sequence[row]) - first + half) % _WRAP - half, row) for row in rows)
    text, at = bytearray(), None
    for offset, row in segments:
        data = packets.payload(row)
        known = 0 if at is None else max(0, at - offset)
        text += data[known:]
        at = max(offset + len(data), offset if at is None else at)
    return bytes(text)
