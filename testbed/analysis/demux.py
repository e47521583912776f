"""What a UDP or TCP payload is, and what is inside a TURN message: columns in, columns out, no packet by packet work.

First byte after RFC 7983 section 7: 0-3 STUN, 20-63 DTLS, 64-79 ChannelData, 128-191 RTP or RTCP; RTCP has a packet
type of 192 to 223 (RFC 5761 section 4). ChannelData (RFC 8656 section 12.4), Send and Data indications (section 11) are
opened once.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MAGIC_COOKIE: Final = 0x2112A442
SEND_INDICATION: Final = 0x0016
DATA_INDICATION: Final = 0x0017
_XOR_PEER_ADDRESS: Final = 0x0012
_DATA: Final = 0x0013
_ATTRIBUTES_LOOKED_AT: Final = 8
"An indication carries a peer address, data and at most a few more (RFC 8656 section 11)."
_NOT_MEDIA_PORTS: Final = (53, 67, 68, 123, 179, 500, 4500)
"Protocols whose first byte may look like RTP's."


class Kind(IntEnum):
    """What a frame is, seen through TURN: a ChannelData message with RTP inside is RTP."""

    OTHER = 0
    RTP = 1
    RTCP = 2
    STUN = 3
    DTLS = 4
    SIP = 5
    BGP = 6
    ARP = 7
    ICMP = 8
    TCP = 9
    TURN_INDICATION = 10
    CHANNEL_DATA = 11


class Encapsulation(IntEnum):
    """How a TURN client's packet is wrapped between it and its relay."""

    NONE = 0
    CHANNEL_DATA = 1
    INDICATION = 2


class Reader:
    """Big-endian numbers at any offset of a buffer, whole columns at a time."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self._u8 = buffer
        size = len(buffer)
        # Overlapping views: element i is the number that starts at byte i, so that one gather reads a column.
        self._u16: NDArray[np.uint16] = np.ndarray((size - 1,), ">u2", buffer.data, 0, (1,))
        self._u32: NDArray[np.uint32] = np.ndarray((size - 3,), ">u4", buffer.data, 0, (1,))

    def u8(self, at: Ints) -> Ints:
        """Return the bytes at *at*."""
        return self._u8[np.minimum(at, len(self._u8) - 1)].astype(np.int64)

    def u16(self, at: Ints) -> Ints:
        """Return the 16-bit numbers that start at *at*."""
        return self._u16[np.minimum(at, len(self._u16) - 1)].astype(np.int64)

    def u32(self, at: Ints) -> Ints:
        """Return the 32-bit numbers that start at *at*."""
        return self._u32[np.minimum(at, len(self._u32) - 1)].astype(np.int64)


@dataclass(slots=True)
class Payloads:
    """Columns of the payloads asked about; offsets are into the capture's buffer."""

    kind: Ints
    encapsulation: Ints
    offset: Ints
    "Of the innermost payload that was understood (behind a TURN header)."
    length: Ints
    peer_address: Ints
    "XOR-PEER-ADDRESS of an indication, 0 where there is none (ChannelData names a channel instead)."
    peer_port: Ints
    channel: Ints
    stun_type: Ints
    "Type of the outermost STUN message, 0 where the payload is not STUN."
    ssrc: Ints
    sequence: Ints
    rtp_timestamp: Ints
    payload_type: Ints
    media_bytes: Ints
    "RTP payload without header, extension and padding count; SRTP's tag included."


def classify(read: Reader, offset: Ints, length: Ints, *, over_tcp: Bools, ports: tuple[Ints, Ints]) -> Payloads:
    """Say what the payloads at *offset* are; *ports* are source and destination.

    What looks like RTP is taken for it; `is_repeated` tells, once all packets are known, whether that stands.
    """
    zeros = np.zeros(len(offset), np.int64)
    found = Payloads(
        kind=zeros.copy(),
        encapsulation=zeros.copy(),
        offset=offset.copy(),
        length=length.copy(),
        peer_address=zeros.copy(),
        peer_port=zeros.copy(),
        channel=zeros.copy(),
        stun_type=zeros.copy(),
        ssrc=zeros.copy(),
        sequence=zeros.copy(),
        rtp_timestamp=zeros.copy(),
        payload_type=zeros.copy(),
        media_bytes=zeros.copy(),
    )
    first = np.where(length > 0, read.u8(offset), 255)
    _open_channel_data(read, found, first, over_tcp)
    _read_stun(read, found, first)
    first = np.where(found.length > 0, read.u8(found.offset), 255)
    inside = found.encapsulation != Encapsulation.NONE
    plain = ~over_tcp | inside
    _mark(found, _is_stun(read, found.offset, found.length, first) & inside, Kind.STUN)
    _mark(found, plain & (first >= 20) & (first <= 63) & (found.length >= 13), Kind.DTLS)
    known_other = np.isin(ports[0], _NOT_MEDIA_PORTS) | np.isin(ports[1], _NOT_MEDIA_PORTS)
    like = plain & ~known_other & (first >= 128) & (first <= 191) & (found.length >= 8)
    _read_media(read, found, like)
    return found


def _mark(found: Payloads, where: Bools, kind: Kind) -> None:
    found.kind = np.where(where, int(kind), found.kind)


def _is_stun(read: Reader, offset: Ints, length: Ints, first: Ints) -> Bools:
    return np.asarray((first <= 3) & (length >= 20) & (read.u32(offset + 4) == MAGIC_COOKIE), np.bool_)


def _open_channel_data(read: Reader, found: Payloads, first: Ints, over_tcp: Bools) -> None:
    inner = read.u16(found.offset + 2)
    # Over UDP the message may be padded, over TCP it must be and others may follow (RFC 8656 section 12.5).
    fits = inner + 4 <= found.length
    hit = (first >= 64) & (first <= 79) & (found.length >= 4) & fits & (over_tcp | (found.length - inner < 8))
    found.channel = np.where(hit, read.u16(found.offset), 0)
    _open(found, hit, found.offset + 4, inner, Encapsulation.CHANNEL_DATA)
    _mark(found, hit, Kind.CHANNEL_DATA)


def _open(found: Payloads, hit: Bools, offset: Ints, length: Ints, how: Encapsulation) -> None:
    found.offset = np.where(hit, offset, found.offset)
    found.length = np.where(hit, length, found.length)
    found.encapsulation = np.where(hit, int(how), found.encapsulation)


def _read_stun(read: Reader, found: Payloads, first: Ints) -> None:
    is_stun = _is_stun(read, found.offset, found.length, first) & (found.encapsulation == Encapsulation.NONE)
    found.stun_type = np.where(is_stun, read.u16(found.offset), 0)
    _mark(found, is_stun, Kind.STUN)
    rows = np.flatnonzero((found.stun_type == SEND_INDICATION) | (found.stun_type == DATA_INDICATION))
    if not len(rows):
        return
    found.kind[rows] = Kind.TURN_INDICATION
    at, end = found.offset[rows] + 20, found.offset[rows] + found.length[rows]
    for _ in range(_ATTRIBUTES_LOOKED_AT):
        inside = at + 4 <= end
        kind, size = np.where(inside, read.u16(at), 0), read.u16(at + 2)
        inside &= at + 4 + size <= end
        data = inside & (kind == _DATA)
        found.offset[rows[data]], found.length[rows[data]] = at[data] + 4, size[data]
        found.encapsulation[rows[data]] = Encapsulation.INDICATION
        peer = inside & (kind == _XOR_PEER_ADDRESS) & (size == 8)
        found.peer_port[rows[peer]] = read.u16(at[peer] + 6) ^ (MAGIC_COOKIE >> 16)
        found.peer_address[rows[peer]] = read.u32(at[peer] + 8) ^ MAGIC_COOKIE
        at = np.where(inside, at + 4 + (size + 3 & ~3), end)


def _read_media(read: Reader, found: Payloads, like: Bools) -> None:
    rows = np.flatnonzero(like)
    if not len(rows):
        return
    at, length = found.offset[rows], found.length[rows]
    second = read.u8(at + 1)
    control = (second >= 192) & (second <= 223)
    # An RTCP packet says its own length in words less one; a compound packet or SRTCP has more behind it.
    control_ok = control & ((read.u16(at + 2) + 1) * 4 <= length)
    media = ~control & (length >= 12)
    first = read.u8(at)
    header = 12 + 4 * (first & 15)
    extension = np.where(first & 16, 4 + 4 * read.u16(at + header + 2), 0)
    media &= header + extension <= length
    ssrc = read.u32(at + 8)
    found.kind[rows[control_ok]] = Kind.RTCP
    found.kind[rows[media]] = Kind.RTP
    found.ssrc[rows] = np.where(media, ssrc, np.where(control_ok, read.u32(at + 4), 0))
    found.sequence[rows] = np.where(media, read.u16(at + 2), 0)
    found.rtp_timestamp[rows] = np.where(media, read.u32(at + 4), 0)
    found.payload_type[rows] = np.where(media, second & 127, np.where(control_ok, second, 0))
    found.media_bytes[rows] = np.where(media, length - header - extension, 0)


def is_repeated(ssrc: Ints, sequence: Ints, sources: Collection[int]) -> Bools:
    """Return which rows belong to a source with two or more sequence numbers, or to one of *sources*.

    One packet alone may be anything.
    """
    known, inverse = np.unique(ssrc, return_inverse=True)
    lowest = np.full(len(known), 1 << 20, np.int64)
    highest = np.full(len(known), -1, np.int64)
    np.minimum.at(lowest, inverse, sequence)
    np.maximum.at(highest, inverse, sequence)
    return np.asarray(((highest > lowest) | np.isin(known, list(sources)))[inverse], np.bool_)
