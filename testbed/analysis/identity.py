"""What makes a packet the same packet on every link: that which NAT, routers and TURN relays leave alone.

RTP: source, sequence number and timestamp. TCP: sequence numbers, flags, IP identification and payload, so that a
retransmission is another packet. Everything else over UDP: the payload, taken out of its TURN message.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Column, Ints, Kind
from testbed.analysis.packets import TCP, UDP, Packets

Hashes = NDArray[np.uint64]
_AT_ONCE: Final = 1 << 15
"Rows hashed at a time: what they need on the way stays in the processor's cache."
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_ODD_2: Final = np.uint64(0xBF58476D1CE4E5B9)


def mix(*columns: Column | Hashes) -> Hashes:
    """Fold columns into one 64-bit hash a row (multiply and shift, as splitmix64 does)."""
    total = np.empty(len(columns[0]), np.uint64)
    for first in range(0, len(total), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        total[part] = _mixed([column[part] for column in columns])
    return total


def _mixed(columns: Sequence[Column | Hashes]) -> Hashes:
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        total ^= column.astype(np.uint64)
        total *= _ODD
        total ^= total >> np.uint64(29)
        total *= _ODD_2
        total ^= total >> np.uint64(32)
    return total


def identities(packets: Packets) -> Hashes:
    """Return each row's identity; meaningful for UDP and TCP rows only."""
    identity = mix(packets.ssrc.astype(np.uint64) << np.uint64(32) | packets.rtp_timestamp, packets.sequence)
    carried = (packets.protocol == TCP) | (packets.protocol == UDP)
    other = np.flatnonzero((packets.kind != Kind.RTP) & carried)
    if not len(other):
        return identity
    is_tcp = packets.protocol[other] == TCP
    # A TURN message over TCP is followed by what is inside it, as over UDP: the segment itself ends at the relay.
    segment = is_tcp & (packets.encapsulation[other] == 0)
    identity[other] = mix(
        _payload_hashes(packets, other),
        packets.inner_length[other],
        *(
            np.where(segment, column[other], 0)
            for column in (packets.ip_id, packets.tcp_sequence, packets.tcp_acknowledged, packets.tcp_flags)
        ),
        segment.astype(np.int64) + 1,
    )
    return identity


def _payload_hashes(packets: Packets, rows: Ints) -> Hashes:
    view = packets.buffer.data
    start, length = packets.inner_offset[rows], packets.inner_length[rows]
    digests = (
        int.from_bytes(blake2b(view[s : s + n], digest_size=8).digest(), "little")
        for s, n in zip(start.tolist(), length.tolist(), strict=True)
    )
    return np.fromiter(digests, np.uint64, len(rows))
