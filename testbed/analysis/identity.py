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
from testbed.analysis.space import lots

Hashes = NDArray[np.uint64]
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_ODD_2: Final = np.uint64(0xBF58476D1CE4E5B9)


def mix(*columns: Column | Hashes) -> Hashes:
    """Fold columns into one 64-bit hash a row (multiply and shift, as splitmix64 does)."""
    total = np.empty(len(columns[0]), np.uint64)
    for lot in lots(len(total)):
        total[lot] = _mixed([column[lot] for column in columns])
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


def identities(packets: Packets, lot: slice = slice(None)) -> Hashes:
    """Return the identity of each row, or of those in *lot*; meaningful for UDP and TCP rows only."""
    source = packets.ssrc[lot].astype(np.uint64) << np.uint64(32) | packets.rtp_timestamp[lot]
    identity = mix(source, packets.sequence[lot])
    protocol = packets.protocol[lot]
    others = np.flatnonzero((packets.kind[lot] != Kind.RTP) & ((protocol == TCP) | (protocol == UDP)))
    if not len(others):
        return identity
    other = others + (lot.start or 0)
    # A TURN message over TCP is followed by what is inside it, as over UDP: the segment itself ends at the relay.
    segment = (packets.protocol[other] == TCP) & (packets.encapsulation[other] == 0)
    identity[others] = mix(
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
