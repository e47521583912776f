"""A capture as columns: one row a captured frame, decoded by gathers over the whole file, never packet by packet."""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import (
    HEAD_BYTES,
    Bools,
    Column,
    Encapsulation,
    Kind,
    Offsets,
    Payloads,
    Reader,
    Rows,
    Sources,
    classify,
    is_among,
    only,
    port_table,
    widened,
)
from testbed.analysis.pcapng import Blocks, CaptureError, CaptureFile, CaptureInterface
from testbed.analysis.space import FORGET_EVERY, Space, lots

__all__ = ["Encapsulation", "Kind", "Packets", "decode"]

ETHERNET: Final = 1
RAW_IP: Final = 101
TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1
FIN, SYN, RST, ACK = 1, 2, 4, 16
_BGP_PORT: Final = 179
_DNS_PORT: Final = 53
_HTTP_PORT: Final = 80
_WRAPPED: Final = np.array([Kind.OTHER, Kind.CHANNEL_DATA, Kind.TURN_INDICATION], np.uint8)
"By encapsulation: what a frame is if what is inside is nothing known."
_OF_MEDIA: Final = ("ssrc", "sequence", "rtp_timestamp", "payload_type", "media_bytes")
_FRAME_HEADER: Final = 14
"Bytes of Ethernet's header."
_LOOKED_AT: Final = 20 + 8 + HEAD_BYTES
"Bytes behind it that are read together: the headers of IP and UDP without options, and what tells payloads apart."
_STRAY_BYTES: Final = 4
"A UDP payload this short on a SIP port is a keep-alive (RFC 5626 section 3.5.1), not a message."


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """Columns of a capture. 0 stands where a column does not apply (ports of ARP); `kind` tells what applies.

    Each number is as narrow as its field: widen a column before any arithmetic on it, or it wraps.
    """

    interfaces: tuple[CaptureInterface, ...]
    "In the order that `link` counts; a name is a link's (capture.pcapng) or a firewall's (dropped.pcapng)."
    damage: str | None
    "Why the file ended early; None for a whole one."
    frame: Column
    "Number from 1, as Wireshark shows it."
    time_ns: Offsets
    link: Column
    forward: Bools
    "From end A to end B."
    mac_destination: Column
    source: Column
    destination: Column
    protocol: Column
    source_port: Column
    destination_port: Column
    ttl: Column
    dscp: Column
    ip_id: Column
    ip_length: Column
    "IP length in bytes, header included."
    tcp_sequence: Column
    tcp_acknowledged: Column
    tcp_flags: Column
    icmp_type: Column
    icmp_code: Column
    transport_offset: Offsets
    "Of the TCP, UDP or ICMP header in `buffer`."
    payload_offset: Offsets
    payload_length: Column
    "Of the UDP or TCP payload, as sent (TURN header included)."
    kind: Column
    encapsulation: Column
    inner_offset: Offsets
    inner_length: Column
    peer_address: Column
    peer_port: Column
    channel: Column
    stun_type: Column
    ssrc: Column
    sequence: Column
    rtp_timestamp: Column
    payload_type: Column
    media_bytes: Column
    tls: Bools
    "Whether what is inside was read out of a TLS record (`testbed.analysis.tls`)."
    buffer: NDArray[np.uint8]
    blocks: Blocks
    space: Space
    "Where further columns of this capture are to lie."

    def __len__(self) -> int:
        return len(self.frame)

    def payload(self, row: int) -> bytes:
        """Return the UDP or TCP payload of *row* as sent."""
        start = int(self.payload_offset[row])
        return self.buffer[start : start + int(self.payload_length[row])].tobytes()

    def inner(self, row: int) -> bytes:
        """Return the payload of *row* with its TURN header removed."""
        start = int(self.inner_offset[row])
        return self.buffer[start : start + int(self.inner_length[row])].tobytes()


@dataclass(frozen=True, slots=True)
class _SipPlaces:
    """Where signaling is found: at these ports of anybody, and over TCP at these servers' addresses and ports."""

    is_port: Bools
    "By port number."
    endpoints: list[int]
    "Address and port as one number."


def decode(
    path: Path,
    *,
    sip_ports: Collection[int] = (5060, 5061),
    sip_endpoints: Collection[str] = (),
    sources: Collection[int] = (),
) -> Packets:
    """Read *path* (pcapng, Ethernet or raw IP) into columns.

    *sip_endpoints* are servers ("address:port") that await signaling over TCP at other ports too. *sources* are SSRCs
    already known: without them a lone packet is not taken for RTP. A file cut off or damaged is decoded up to there and
    `damage` says where. Raise CaptureError when it cannot be read.
    """
    file = CaptureFile(path)
    read = Reader(file.buffer)
    places = _SipPlaces(port_table(sip_ports), [_endpoint(*text.split(":")) for text in sip_endpoints])
    space = Space(path.parent)
    columns = _Columns(space)
    for part in file.parts():
        read_so_far = (int(part.start[-1]) + int(part.length[-1])) / len(file.buffer)
        before = columns.count
        columns.add(_decode_part(file, part, before, read, places), read_so_far)
        if before // FORGET_EVERY < columns.count // FORGET_EVERY:
            space.forget()
    if not columns.count:
        none = np.zeros(0, np.int64)
        nothing = Blocks(file.buffer, none.astype(np.int16), none, none, none.astype(np.int32), none.astype(np.int32))
        columns.add(_decode_part(file, nothing, 0, read, places), 1)
    return _packets(file, columns, sources)


def _endpoint(address: str, port: str) -> int:
    return int(IPv4Address(address)) << 16 | int(port)


def _packets(file: CaptureFile, decoded: "_Columns", sources: Collection[int]) -> Packets:
    columns, count = decoded.all(), decoded.count
    _forget_lone_packets(columns, decoded.sources.lone(sources))
    names = "interface", "time_ns", "start", "captured", "length"
    blocks = Blocks(file.buffer, *(columns.pop(name) for name in names))
    return Packets(
        interfaces=tuple(file.interfaces),
        damage=file.damage,
        frame=_frame_numbers(count, decoded.space),
        time_ns=blocks.time_ns,
        link=blocks.interface,
        tls=decoded.space.zeros(count, np.bool_),
        buffer=file.buffer,
        blocks=blocks,
        space=decoded.space,
        **columns,
    )


def _frame_numbers(count: int, space: Space) -> Column:
    numbers = space.zeros(count, np.int64)
    for lot in lots(count):
        numbers[lot] = np.arange(lot.start + 1, lot.stop + 1)
    return numbers


class _Columns:
    """Columns that grow part by part, in arrays as large as the rest of the file will need if it is like its start."""

    def __init__(self, space: Space) -> None:
        self.count = 0
        self.space = space
        self.sources = Sources()
        self._arrays: dict[str, Column] = {}

    def add(self, part: dict[str, Any], read_so_far: float) -> None:
        """Append *part*; *read_so_far* is the share of the file with which it ends."""
        first, self.count = self.count, self.count + len(part["start"])
        media = part["kind"] == Kind.RTP
        some = slice(None) if media.all() else media
        self.sources.add(part["ssrc"][some], part["sequence"][some])
        for name, values in part.items():
            array = self._arrays.get(name)
            if array is None or len(array) < self.count:
                # Zeros that nobody writes to take no memory, and many a column is zeros alone.
                larger = self.space.zeros(int(1.05 * self.count / read_so_far) + 16, values.dtype)
                if array is not None:
                    larger[:first] = array[:first]
                self._arrays[name] = array = larger
            if len(values) and (values[0] or values.any()):
                array[first : self.count] = values

    def all(self) -> dict[str, Any]:
        """Return the columns by name."""
        return {name: array[: self.count] for name, array in self._arrays.items()}


def _decode_part(file: CaptureFile, blocks: Blocks, before: int, read: Reader, places: _SipPlaces) -> dict[str, Column]:
    """Return the decoded columns of some packets, which *before* others precede in the file.

    They are so few that what is read for one column is at hand for the next.
    """
    ip_at, header, is_ip, is_arp, mac = _network_layer(file, blocks, read)
    ip, payload_head = _ip_columns(header, ip_at, is_ip, blocks)
    payloads = _payloads(read, ip, payload_head, _kind_by_port(ip, places, is_arp))
    return {
        "interface": blocks.interface,
        "time_ns": blocks.time_ns,
        "start": blocks.start,
        "captured": blocks.captured,
        "length": blocks.length,
        "forward": _directions(file, blocks, before),
        "mac_destination": mac,
        "kind": payloads.kind,
        "encapsulation": payloads.encapsulation,
        "inner_offset": payloads.offset,
        "inner_length": payloads.length,
        "peer_address": payloads.peer_address,
        "peer_port": payloads.peer_port,
        "channel": payloads.channel,
        "stun_type": payloads.stun_type,
        "ssrc": payloads.ssrc,
        "sequence": payloads.sequence,
        "rtp_timestamp": payloads.rtp_timestamp,
        "payload_type": payloads.payload_type,
        "media_bytes": payloads.media_bytes,
        **ip,
    }


def _forget_lone_packets(columns: dict[str, Any], lone: NDArray[np.uint32]) -> None:
    """Take back what looked like RTP and is of a source with a single sequence number: it may be anything."""
    for lot in lots(len(columns["kind"]) if len(lone) else 0):
        part = {name: columns[name][lot] for name in ("kind", "ssrc", "encapsulation", *_OF_MEDIA)}
        rows = np.flatnonzero((part["kind"] == Kind.RTP) & is_among(part["ssrc"], lone))
        part["kind"][rows] = _WRAPPED[part["encapsulation"][rows]]
        for name in _OF_MEDIA:
            part[name][rows] = 0


def _network_layer(file: CaptureFile, blocks: Blocks, read: Reader) -> tuple[Offsets, Rows, Bools, Bools, Column]:
    """Return where the IP header starts and what it holds, which rows are IPv4 and ARP, and whom frames are for."""
    types = np.array([interface.link_type for interface in file.interfaces], np.int64)
    if strange := {int(kind) for kind in types} - {ETHERNET, RAW_IP}:
        raise CaptureError(f"{file.path}: has link types {sorted(strange)}; Ethernet (1) and raw IP (101) are read")
    ethernet = (types == ETHERNET)[blocks.interface]
    before_ip = ethernet * np.int64(_FRAME_HEADER)
    frame = read.rows(blocks.start, _FRAME_HEADER + _LOOKED_AT)
    framed = ethernet & (blocks.captured >= _FRAME_HEADER)
    ether_type = frame.u16(12, framed)
    is_ip = (blocks.captured >= before_ip + 20) & (~ethernet | (ether_type == 0x0800))
    mac = frame.u16(0, ethernet).astype(np.int64) << 32 | frame.u32(2, ethernet)
    is_arp = framed & (ether_type == 0x0806)
    return blocks.start + before_ip, frame.further(before_ip, _LOOKED_AT), is_ip, is_arp, mac


def _directions(file: CaptureFile, blocks: Blocks, before: int) -> Bools:
    """Return which frames go from end A to end B (epb_flags bits 0-1: 2 outbound, 1 inbound)."""
    direction = blocks.flags() & 3
    forward = np.asarray(direction == 2, np.bool_)
    if not (told := forward | (direction == 1)).all():
        ethernet = np.array([i.link_type == ETHERNET for i in file.interfaces], np.bool_)[blocks.interface]
        if (unknown := ethernet & ~told).any():
            number = before + int(np.argmax(unknown)) + 1
            raise CaptureError(f"{file.path}: frame {number} does not say its direction (epb_flags)")
    return forward


def _ip_columns(header: Rows, at: Offsets, is_ip: Bools, blocks: Blocks) -> tuple[dict[str, Column], Rows]:
    """Return the columns of the headers at *at*, and the payloads' first bytes."""
    version = header.u8(0)
    is_ip = is_ip & (version >> 4 == 4)
    protocol, length = header.u8(9, is_ip), header.u16(2, is_ip)
    first = is_ip & (header.u16(6) & 0x1FFF == 0)
    # The packet ends where its header says, or where the captured bytes do; padding of short frames is not of it.
    end = at + np.minimum(length, blocks.start + blocks.captured - at)
    transport_after = (version & 15) << 2
    over = at + transport_after
    room = end - over
    is_tcp = first & (protocol == TCP) & (room >= 20)
    is_udp = first & (protocol == UDP) & (room >= 8)
    is_icmp = first & (protocol == ICMP) & (room >= 8)
    ported = is_tcp | is_udp
    transport = header.further(transport_after, _LOOKED_AT - 20)
    payload_after = np.where(is_tcp, transport.u8(12, is_tcp) >> 4 << 2, np.uint8(8))
    payload = over + payload_after
    columns: dict[str, Column] = {
        "source": header.u32(12, is_ip),
        "destination": header.u32(16, is_ip),
        "protocol": protocol,
        "source_port": transport.u16(0, ported),
        "destination_port": transport.u16(2, ported),
        "ttl": header.u8(8, is_ip),
        "dscp": header.u8(1, is_ip) >> 2,
        "ip_id": header.u16(4, is_ip),
        "ip_length": length,
        "tcp_sequence": transport.u32(4, is_tcp),
        "tcp_acknowledged": transport.u32(8, is_tcp),
        "tcp_flags": transport.u8(13, is_tcp),
        "icmp_type": transport.u8(0, is_icmp),
        "icmp_code": transport.u8(1, is_icmp),
        "transport_offset": over,
        "payload_offset": payload if ported.all() else np.where(ported, payload, end),
        "payload_length": only(np.maximum(end - payload, 0), ported).astype(np.int32),
    }
    return columns, transport.further(payload_after, HEAD_BYTES)


def _kind_by_port(ip: dict[str, Any], places: _SipPlaces, is_arp: Bools) -> NDArray[np.uint8]:
    """Return what the headers alone decide; `Kind.OTHER` is left to the payload."""
    source, destination, protocol = ip["source_port"], ip["destination_port"], ip["protocol"]
    is_tcp, is_udp = protocol == TCP, protocol == UDP
    kind = np.full(len(protocol), Kind.OTHER, np.uint8)
    kind[is_arp] = Kind.ARP
    kind[protocol == ICMP] = Kind.ICMP
    kind[is_tcp] = Kind.TCP
    kind[is_tcp & ((source == _BGP_PORT) | (destination == _BGP_PORT))] = Kind.BGP
    kind[(is_tcp | is_udp) & ((source == _DNS_PORT) | (destination == _DNS_PORT))] = Kind.DNS
    message = is_tcp | (is_udp & (ip["payload_length"] > _STRAY_BYTES))
    sip = places.is_port[source] | places.is_port[destination]
    for endpoint in places.endpoints if is_tcp.any() else ():
        address, port = endpoint >> 16, endpoint & 0xFFFF
        sip |= is_tcp & (ip["source"] == address) & (source == port)
        sip |= is_tcp & (ip["destination"] == address) & (destination == port)
    kind[message & sip] = Kind.SIP
    return kind


def _payloads(read: Reader, ip: dict[str, Any], head: Rows, kind: NDArray[np.uint8]) -> Payloads:
    """Return the payload columns of every row; only UDP, and TCP that may be TURN, is looked into."""
    asked = ("payload_offset", "payload_length", "protocol", "source_port", "destination_port")
    offset, length, protocol, *ports = (ip[name] for name in asked)
    wanted = (protocol == UDP) & (kind == Kind.OTHER)
    if wanted.all():
        found = classify(read, offset, length, over_tcp=~wanted, ports=(ports[0], ports[1]), head=head)
        found.kind = np.where(found.kind == Kind.OTHER, kind, found.kind)
        return found
    # What HTTP carries may begin like TURN, and is none.
    is_http = (ports[0] == _HTTP_PORT) | (ports[1] == _HTTP_PORT)
    rows = np.flatnonzero(wanted | ((kind == Kind.TCP) & (length >= 4) & ~is_http))
    offset, length, protocol, *ports = (ip[name][rows] for name in asked)
    some = classify(read, offset, length, over_tcp=protocol == TCP, ports=(ports[0], ports[1]))
    some.kind = np.where(some.kind == Kind.OTHER, kind[rows], some.kind)
    everything = {"kind": kind, "offset": ip["payload_offset"], "length": ip["payload_length"]}
    return widened(some, rows, len(kind), everything)
