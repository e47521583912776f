"""What a UDP or TCP payload is, and what is inside a TURN message: columns in, columns out, no packet by packet work.

First byte after RFC 7983 section 7: 0-3 STUN, 20-63 DTLS, 64-79 ChannelData, 128-191 RTP or RTCP; RTCP has a packet
type of 192 to 223 (RFC 5761 section 4). ChannelData (RFC 8656 section 12.4), Send and Data indications (section 11) are
opened once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Offsets = Ints
Bools = NDArray[np.bool_]
Column = NDArray[np.integer[Any] | np.bool_]
"Whole numbers, as narrow as what they count."

MAGIC_COOKIE: Final = 0x2112A442
SEND_INDICATION: Final = 0x0016
DATA_INDICATION: Final = 0x0017
_XOR_PEER_ADDRESS: Final = 0x0012
_DATA: Final = 0x0013
_ATTRIBUTES_LOOKED_AT: Final = 8
"An indication carries a peer address, data and at most a few more (RFC 8656 section 11)."
HEAD_BYTES: Final = 12
"Of a payload: what tells STUN, ChannelData and RTP apart, and RTP's fixed header."
_APPLICATION_DATA: Final = 23
"Content type of a DTLS record (RFC 6347 section 4.1); one datagram's records are of one type here."
_NOT_MEDIA_PORTS: Final = (53, 67, 68, 123, 179, 500, 4500)
"Protocols whose first byte may look like RTP's."


class Kind(IntEnum):
    """What a frame is, seen through TURN: a ChannelData message with RTP inside is RTP.

    DTLS is handshakes and alerts; application data over DTLS is DATA: a WebRTC data channel (RFC 8831).
    """

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
    DNS = 12
    DATA = 13


class Encapsulation(IntEnum):
    """How a TURN client's packet is wrapped between it and its relay."""

    NONE = 0
    CHANNEL_DATA = 1
    INDICATION = 2


class Rows:
    """The same few bytes of every packet, one row each: a field of all of them is one strided read.

    A field that not all packets have is 0 in the rows outside *where*.
    """

    def __init__(self, reader: "Reader", at: Offsets, bytes_: NDArray[np.uint8]) -> None:
        self._reader = reader
        self._at = at
        self._bytes = bytes_

    def further(self, step: Column, width: int) -> "Rows":
        """Return *width* bytes from *step* bytes further on: mostly at hand, for most headers are of one length."""
        first = int(step[0]) if len(step) else 0
        if first + width <= self._bytes.shape[1] and (step == first).all():
            return Rows(self._reader, self._at + first, self._bytes[:, first : first + width])
        return self._reader.rows(self._at + step, width)

    def u8(self, at: int, where: Bools | None = None) -> NDArray[np.uint8]:
        """Return byte number *at* of every row."""
        return self._field(at, np.dtype(np.uint8), where)

    def u16(self, at: int, where: Bools | None = None) -> NDArray[np.uint16]:
        """Return the big-endian 16-bit numbers at byte *at*."""
        return self._field(at, np.dtype(np.uint16), where)

    def u32(self, at: int, where: Bools | None = None) -> NDArray[np.uint32]:
        """Return the big-endian 32-bit numbers at byte *at*."""
        return self._field(at, np.dtype(np.uint32), where)

    def _field(self, at: int, kind: np.dtype[Any], where: Bools | None) -> NDArray[Any]:
        if where is not None and not where.any():
            return np.zeros(len(self._at), kind)
        big_endian = self._bytes[:, at : at + kind.itemsize].view(kind.newbyteorder(">"))[:, 0]
        values = big_endian.astype(kind)
        return values if where is None else only(values, where)


def only(values: NDArray[Any], where: Bools) -> NDArray[Any]:
    """Return *values*, with 0 outside *where*."""
    return values if where.all() else values * where


class Reader:
    """Rows of bytes from any offsets of a buffer. Behind the buffer's end there are zeros."""

    def __init__(self, buffer: NDArray[np.uint8]) -> None:
        self._buffer = buffer
        self._views: dict[int, NDArray[np.void]] = {}

    def rows(self, at: Offsets, width: int) -> Rows:
        """Return *width* bytes from each offset."""
        size = len(self._buffer)
        if size < width:
            return Reader(np.concatenate((self._buffer, np.zeros(width, np.uint8)))).rows(np.minimum(at, size), width)
        if width not in self._views:
            # An overlapping view: element i is the bytes that start at byte i, so that one gather copies whole rows.
            self._views[width] = np.ndarray((size - width + 1,), f"V{width}", self._buffer.data, 0, (1,))
        last = size - width
        is_inside = not len(at) or int(at.max()) <= last
        bytes_ = self._views[width][at if is_inside else np.minimum(at, last)].view(np.uint8).reshape(-1, width)
        for row in () if is_inside else np.flatnonzero(at > last).tolist():
            rest = self._buffer[int(at[row]) :]
            bytes_[row] = 0
            bytes_[row, : len(rest)] = rest
        return Rows(self, at, bytes_)


def port_table(ports: Collection[int]) -> Bools:
    """Return, by port number, whether it is one of *ports*."""
    table = np.zeros(1 << 16, np.bool_)
    table[list(ports)] = True
    return table


_IS_NOT_MEDIA_PORT: Final = port_table(_NOT_MEDIA_PORTS)


@dataclass(slots=True)
class Payloads:
    """Columns of the payloads asked about; offsets are into the capture's buffer."""

    kind: NDArray[np.uint8]
    encapsulation: NDArray[np.uint8]
    offset: Offsets
    "Of the innermost payload that was understood (behind a TURN header)."
    length: NDArray[np.int32]
    peer_address: NDArray[np.uint32]
    "XOR-PEER-ADDRESS of an indication, 0 where there is none (ChannelData names a channel instead)."
    peer_port: NDArray[np.uint16]
    channel: NDArray[np.uint16]
    stun_type: NDArray[np.uint16]
    "Type of the outermost STUN message, 0 where the payload is not STUN."
    ssrc: NDArray[np.uint32]
    sequence: NDArray[np.uint16]
    rtp_timestamp: NDArray[np.uint32]
    payload_type: NDArray[np.uint8]
    media_bytes: NDArray[np.int32]
    "RTP payload without header, extension and padding count; SRTP's tag included."


def widened(some: Payloads, rows: Offsets, count: int, others: Mapping[str, Column]) -> Payloads:
    """Return columns of *count* rows: at *rows* those of *some*, elsewhere those of *others*, or 0."""
    columns: dict[str, Any] = {}
    for field in fields(Payloads):
        values = getattr(some, field.name)
        column = others[field.name].astype(values.dtype) if field.name in others else np.zeros(count, values.dtype)
        column[rows] = values
        columns[field.name] = column
    return Payloads(**columns)


def classify(
    read: Reader,
    offset: Offsets,
    length: NDArray[np.int32],
    *,
    over_tcp: Bools,
    ports: tuple[NDArray[np.uint16], NDArray[np.uint16]],
    head: Rows | None = None,
) -> Payloads:
    """Say what the payloads at *offset* are; *ports* are source and destination, *head* has HEAD_BYTES if at hand.

    What looks like RTP is taken for it; `Sources` tells, once all packets are known, whether that stands.
    """

    def zeros(kind: type[np.integer[Any]]) -> NDArray[Any]:
        return np.zeros(len(offset), kind)

    found = Payloads(
        kind=zeros(np.uint8),
        encapsulation=zeros(np.uint8),
        offset=offset.copy(),
        length=length.copy(),
        peer_address=zeros(np.uint32),
        peer_port=zeros(np.uint16),
        channel=zeros(np.uint16),
        stun_type=zeros(np.uint16),
        ssrc=zeros(np.uint32),
        sequence=zeros(np.uint16),
        rtp_timestamp=zeros(np.uint32),
        payload_type=zeros(np.uint8),
        media_bytes=zeros(np.int32),
    )
    head = read.rows(offset, HEAD_BYTES) if head is None else head
    if _open_channel_data(head, found, over_tcp) | _read_stun(read, head, found):
        head = read.rows(found.offset, HEAD_BYTES)
    first = _first_bytes(head, found.length)
    inside = found.encapsulation != Encapsulation.NONE
    plain = ~over_tcp | inside
    if inside.any():
        found.kind[inside & _is_stun(head, found.length, first)] = Kind.STUN
    if (dtls := plain & (first >= 20) & (first <= 63) & (found.length >= 13)).any():
        found.kind[dtls] = Kind.DTLS
        found.kind[dtls & (first == _APPLICATION_DATA)] = Kind.DATA
    known_other = _IS_NOT_MEDIA_PORT[ports[0]] | _IS_NOT_MEDIA_PORT[ports[1]]
    _read_media(read, head, found, plain & ~known_other & (first >> 6 == 2) & (found.length >= 8))
    return found


def _first_bytes(head: Rows, length: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the payloads' first bytes; 255, which nothing begins with, for an empty one."""
    first, is_empty = head.u8(0), length <= 0
    first[is_empty] = 255
    return first


def _is_stun(head: Rows, length: NDArray[np.int32], first: NDArray[np.uint8]) -> Bools:
    like = (first <= 3) & (length >= 20)
    return np.asarray(like & (head.u32(4, like) == MAGIC_COOKIE), np.bool_)


def _open_channel_data(head: Rows, found: Payloads, over_tcp: Bools) -> bool:
    """Open ChannelData messages; say whether there were any."""
    first = _first_bytes(head, found.length)
    hit = (first >= 64) & (first <= 79) & (found.length >= 4)
    if not hit.any():
        return False
    inner = head.u16(2).astype(np.int32)
    # Over UDP the message may be padded, over TCP it must be and others may follow (RFC 8656 section 12.5).
    hit &= (inner + 4 <= found.length) & (over_tcp | (found.length - inner < 8))
    found.channel = head.u16(0, hit)
    found.offset = found.offset + hit * np.int64(4)
    found.length = np.where(hit, inner, found.length)
    found.encapsulation[hit] = Encapsulation.CHANNEL_DATA
    found.kind[hit] = Kind.CHANNEL_DATA
    return True


def _read_stun(read: Reader, head: Rows, found: Payloads) -> bool:
    """Note STUN messages and open indications; say whether there were any of these."""
    is_stun = _is_stun(head, found.length, _first_bytes(head, found.length))
    is_stun &= found.encapsulation == Encapsulation.NONE
    if not is_stun.any():
        return False
    found.stun_type = head.u16(0, is_stun)
    found.kind[is_stun] = Kind.STUN
    rows = np.flatnonzero((found.stun_type == SEND_INDICATION) | (found.stun_type == DATA_INDICATION))
    found.kind[rows] = Kind.TURN_INDICATION
    at, end = found.offset[rows] + 20, found.offset[rows] + found.length[rows]
    for _ in range(_ATTRIBUTES_LOOKED_AT if len(rows) else 0):
        attribute = read.rows(at, 12)
        kind, size = attribute.u16(0), attribute.u16(2).astype(np.int32)
        inside = (at + 4 <= end) & (at + 4 + size <= end)
        data = inside & (kind == _DATA)
        found.offset[rows[data]], found.length[rows[data]] = at[data] + 4, size[data]
        found.encapsulation[rows[data]] = Encapsulation.INDICATION
        peer = inside & (kind == _XOR_PEER_ADDRESS) & (size == 8)
        found.peer_port[rows[peer]] = attribute.u16(6)[peer] ^ np.uint16(MAGIC_COOKIE >> 16)
        found.peer_address[rows[peer]] = attribute.u32(8)[peer] ^ np.uint32(MAGIC_COOKIE)
        at = np.where(inside, at + 4 + (size + 3 & ~3), end)
    return len(rows) > 0


def _read_media(read: Reader, head: Rows, found: Payloads, like: Bools) -> None:
    second = head.u8(1)
    is_control = like & (second >= 192) & (second <= 223)
    # An RTCP packet says its own length in words less one; a compound packet or SRTCP has more behind it.
    control = is_control & ((head.u16(2, is_control).astype(np.int32) + 1) * 4 <= found.length)
    media = like & ~is_control & (found.length >= 12)
    first = head.u8(0)
    header = 12 + 4 * (first & 15).astype(np.int32)
    extended = np.flatnonzero(media & (first & 16 != 0))
    if len(extended):
        length = read.rows(found.offset[extended] + header[extended], 4).u16(2).astype(np.int32)
        header[extended] += 4 + 4 * length
    media &= header <= found.length
    found.kind[control] = Kind.RTCP
    found.kind[media] = Kind.RTP
    found.ssrc = head.u32(8, media) | head.u32(4, control)
    found.sequence = head.u16(2, media)
    found.rtp_timestamp = head.u32(4, media)
    found.payload_type = only(second & np.uint8(127), media) | only(second, control)
    found.media_bytes = only(found.length - header, media)


class Sources:
    """Which sources (SSRC) have but one sequence number: a packet alone may be anything. Packets come lot by lot."""

    def __init__(self) -> None:
        self._repeated = np.zeros(0, np.uint32)
        "Sorted."
        self._single = np.zeros(0, np.int64)
        "Source and sequence number as one number, sorted."

    def add(self, ssrc: NDArray[np.uint32], sequence: NDArray[np.uint16]) -> None:
        """Take in packets that look like RTP."""
        if (known := is_among(ssrc, self._repeated)).all():
            return
        new = ssrc[~known].astype(np.int64) << 16 | sequence[~known]
        seen = distinct(np.concatenate((self._single, new)))
        source = seen >> 16
        alone = np.ones(len(seen), np.bool_)
        alone[1:] &= source[1:] != source[:-1]
        alone[:-1] &= source[:-1] != source[1:]
        self._single = seen[alone]
        self._repeated = distinct(np.concatenate((self._repeated, source[~alone].astype(np.uint32))))

    def lone(self, expected: Collection[int]) -> NDArray[np.uint32]:
        """Return the sources with one sequence number that are not *expected*."""
        single = (self._single >> 16).astype(np.uint32)
        return single[~is_among(single, distinct(np.array(list(expected), np.uint32)))]


def distinct(values: NDArray[Any]) -> NDArray[Any]:
    """Return the different values, sorted: np.unique imports numpy.ma, which takes as long as 50,000 packets."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def is_among(values: NDArray[Any], known: NDArray[Any]) -> Bools:
    """Return which of *values* are among those *known*, few of them and sorted."""
    if not len(known):
        return np.zeros(len(values), np.bool_)
    return np.asarray(known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values, np.bool_)
