"""Packets and capture files written byte by byte, for tests of the analysis."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

Endpoint = tuple[str, int]


def rtp(sequence: int, *, ssrc: int = 0xA11CE, size: int = 160, payload_type: int = 0) -> bytes:
    """Return an RTP packet."""
    return struct.pack(">BBHII", 0x80, payload_type, sequence & 0xFFFF, sequence * 160, ssrc) + bytes(size)


def rtcp(number: int, *, ssrc: int = 0xA11CE) -> bytes:
    """Return an RTCP receiver report without blocks."""
    return struct.pack(">BBHI", 0x80, 201, 1, ssrc) + number.to_bytes(4, "big")


def channel_data(inner: bytes, channel: int = 0x4000) -> bytes:
    """Return *inner* as TURN ChannelData, padded."""
    return struct.pack(">HH", channel, len(inner)) + inner + bytes(-len(inner) % 4)


def stun(kind: int, transaction: int, attributes: bytes = b"") -> bytes:
    """Return a STUN message."""
    return struct.pack(">HHI", kind, len(attributes), 0x2112A442) + transaction.to_bytes(12, "big") + attributes


def attribute(kind: int, value: bytes) -> bytes:
    """Return one STUN attribute, padded."""
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def indication(inner: bytes, peer: Endpoint, *, kind: int = 0x0016) -> bytes:
    """Return *inner* in a Send or Data indication."""
    address = int(IPv4Address(peer[0])) ^ 0x2112A442
    xor_peer = struct.pack(">BBHI", 0, 1, peer[1] ^ 0x2112, address)
    return stun(kind, 7, attribute(0x0012, xor_peer) + attribute(0x0013, inner))


@dataclass
class Tcp:
    """TCP fields of a segment."""

    sequence: int
    acknowledged: int = 0
    flags: int = 0x18
    ip_id: int = 1


def ip_packet(
    source: Endpoint, destination: Endpoint, payload: bytes, tcp: Tcp | None = None, *, dscp: int = 46
) -> bytes:
    """Return an IPv4 packet with UDP, or TCP where *tcp* is given."""
    if tcp is None:
        transport = struct.pack(">HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
    else:
        ports = struct.pack(">HHII", source[1], destination[1], tcp.sequence, tcp.acknowledged)
        transport = ports + struct.pack(">BBHHH", 0x50, tcp.flags, 1000, 0, 0) + payload
    protocol, ip_id = (17, 0) if tcp is None else (6, tcp.ip_id)
    head = struct.pack(">BBHHHBBH", 0x45, dscp << 2, 20 + len(transport), ip_id, 0x4000, 64, protocol, 0)
    return head + IPv4Address(source[0]).packed + IPv4Address(destination[0]).packed + transport


def icmp_unreachable(source: str, destination: str, quoted: bytes, code: int = 0) -> bytes:
    """Return an ICMP destination unreachable message about *quoted*."""
    body = struct.pack(">BBHI", 3, code, 0, 0) + quoted[:28]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0)
    return head + IPv4Address(source).packed + IPv4Address(destination).packed + body


def option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def packet_block(interface: int, time_ns: int, data: bytes, options: bytes) -> bytes:
    """Return an Enhanced Packet Block."""
    head = struct.pack("<IIIII", interface, time_ns >> 32, time_ns & 0xFFFFFFFF, len(data), len(data))
    return _block(6, head + data + bytes(-len(data) % 4) + options + bytes(4))


def pcapng(
    interfaces: Sequence[str], packets: bytes, *, link_type: int = 1, lost: Mapping[str, int] | None = None
) -> bytes:
    """Return a file: header, interfaces, *packets* (blocks), and statistics with the drop counts of *lost*."""
    out = _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    for name in interfaces:
        out += _block(
            1, struct.pack("<HHI", link_type, 0, 0) + option(2, name.encode()) + option(9, b"\x09") + bytes(4)
        )
    out += packets
    for number, name in enumerate(interfaces):
        counts = option(4, struct.pack("<Q", 1)) + option(5, struct.pack("<Q", (lost or {}).get(name, 0))) + bytes(4)
        out += _block(5, struct.pack("<III", number, 0, 0) + counts)
    return out
