"""What makes a packet the same packet on every link: that which NAT, routers and TURN relays leave alone.

RTP: source, sequence number and timestamp. TCP: sequence numbers, flags, IP identification and payload, so that a
retransmission is another packet. Everything else over UDP: the payload, taken out of its TURN message.
"""

from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Ints, Kind
from testbed.analysis.packets import TCP, UDP, Packets

Hashes = NDArray[np.uint64]
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_ODD_2: Final = np.uint64(0xBF58476D1CE4E5B9)


def mix(*columns: Ints | Hashes) -> Hashes:
    """Fold columns into one 64-bit hash a row (multiply and shift, as splitmix64 does)."""
    total = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        total = (total ^ column.astype(np.uint64)) * _ODD
        total = (total ^ (total >> np.uint64(29))) * _ODD_2
        total ^= total >> np.uint64(32)
    return total


def identities(packets: Packets) -> Hashes:
    """Return each row's identity; meaningful for UDP and TCP rows only."""
    identity = mix(packets.ssrc, packets.rtp_timestamp, packets.sequence)
    other = np.flatnonzero((packets.kind != Kind.RTP) & np.isin(packets.protocol, (TCP, UDP)))
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
