"""A capture as columns: one row a captured frame, decoded by gathers over the whole file, never packet by packet."""

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Bools, Encapsulation, Ints, Kind, Payloads, Reader, classify, is_repeated
from testbed.analysis.pcapng import Blocks, CaptureError, CaptureInterface, read_blocks

__all__ = ["Encapsulation", "Kind", "Packets", "decode"]

ETHERNET: Final = 1
RAW_IP: Final = 101
TCP: Final = 6
UDP: Final = 17
ICMP: Final = 1
FIN, SYN, RST, ACK = 1, 2, 4, 16
_BGP_PORT: Final = 179
_CHUNK: Final = 1 << 13
"Packets decoded at a time: some 2 MB of file, which stay in the processor's cache while its columns are read."
_WRAPPED: Final = np.array([Kind.OTHER, Kind.CHANNEL_DATA, Kind.TURN_INDICATION], np.int64)
"By encapsulation: what a frame is if what is inside is nothing known."
_STRAY_BYTES: Final = 4
"A UDP payload this short on a SIP port is a keep-alive (RFC 5626 section 3.5.1), not a message."


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets:
    """Columns of a capture. 0 stands where a column does not apply (ports of ARP); `kind` tells what applies.

    Numbers are int64 throughout, addresses too (the 32-bit number), so that arithmetic never wraps.
    """

    interfaces: tuple[CaptureInterface, ...]
    "In the order that `link` counts; a name is a link's (capture.pcapng) or a firewall's (dropped.pcapng)."
    damage: str | None
    "Why the file ended early; None for a whole one."
    frame: Ints
    "Number from 1, as Wireshark shows it."
    time_ns: Ints
    link: Ints
    forward: Bools
    "From end A to end B."
    mac_destination: Ints
    source: Ints
    destination: Ints
    protocol: Ints
    source_port: Ints
    destination_port: Ints
    ttl: Ints
    dscp: Ints
    ip_id: Ints
    ip_length: Ints
    "IP length in bytes, header included."
    tcp_sequence: Ints
    tcp_acknowledged: Ints
    tcp_flags: Ints
    icmp_type: Ints
    icmp_code: Ints
    transport_offset: Ints
    "Of the TCP, UDP or ICMP header in `buffer`."
    payload_offset: Ints
    payload_length: Ints
    "Of the UDP or TCP payload, as sent (TURN header included)."
    kind: Ints
    encapsulation: Ints
    inner_offset: Ints
    inner_length: Ints
    peer_address: Ints
    peer_port: Ints
    channel: Ints
    stun_type: Ints
    ssrc: Ints
    sequence: Ints
    rtp_timestamp: Ints
    payload_type: Ints
    media_bytes: Ints
    buffer: NDArray[np.uint8]
    blocks: Blocks

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

    ports: list[int]
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
    blocks = read_blocks(path)
    read = Reader(blocks.buffer)
    count = len(blocks.start)
    places = _SipPlaces(list(sip_ports), [_endpoint(*text.split(":")) for text in sip_endpoints])
    columns: dict[str, NDArray[Any]] = {}
    for first in range(0, max(count, 1), _CHUNK):
        part = blocks.part(first, first + _CHUNK)
        for name, values in _decode_part(path, part, first, read, places).items():
            column = columns.setdefault(name, np.empty(count, values.dtype))
            column[first : first + _CHUNK] = values
    _forget_lone_packets(columns, sources)
    return Packets(
        interfaces=blocks.interfaces,
        damage=blocks.damage,
        frame=np.arange(1, count + 1, dtype=np.int64),
        time_ns=blocks.time_ns,
        link=blocks.interface,
        buffer=blocks.buffer,
        blocks=blocks,
        **columns,
    )


def _endpoint(address: str, port: str) -> int:
    return int(IPv4Address(address)) << 16 | int(port)


def _decode_part(path: Path, blocks: Blocks, before: int, read: Reader, places: _SipPlaces) -> dict[str, NDArray[Any]]:
    """Return the decoded columns of some packets, which *before* others precede in the file.

    They are so few that what is read for one column is at hand for the next.
    """
    ip_at, is_ip, is_arp = _network_layer(path, blocks, read)
    ip = _ip_columns(read, ip_at, is_ip, blocks)
    payloads = _payloads(read, ip, _kind_by_port(ip, places, is_arp))
    return {
        "forward": _directions(path, blocks, before),
        "mac_destination": np.where(ip_at > blocks.start, read.u16(blocks.start) << 32 | read.u32(blocks.start + 2), 0),
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


def _forget_lone_packets(columns: dict[str, NDArray[Any]], sources: Collection[int]) -> None:
    """Take back what looked like RTP and is of a source with a single sequence number: it may be anything."""
    rows = np.flatnonzero(columns["kind"] == Kind.RTP)
    lone = rows[~is_repeated(columns["ssrc"][rows], columns["sequence"][rows], sources)]
    columns["kind"][lone] = _WRAPPED[columns["encapsulation"][lone]]
    for name in ("ssrc", "sequence", "rtp_timestamp", "payload_type", "media_bytes"):
        columns[name][lone] = 0


def _network_layer(path: Path, blocks: Blocks, read: Reader) -> tuple[Ints, Bools, Bools]:
    """Return where the IP header starts, and which rows are IPv4 and ARP."""
    types = np.array([interface.link_type for interface in blocks.interfaces], np.int64)
    if strange := {int(kind) for kind in types} - {ETHERNET, RAW_IP}:
        raise CaptureError(f"{path}: has link types {sorted(strange)}; Ethernet (1) and raw IP (101) are read")
    ethernet = types[blocks.interface] == ETHERNET
    ip_at = blocks.start + np.where(ethernet, 14, 0)
    ether_type = np.where(ethernet & (blocks.captured >= 14), read.u16(blocks.start + 12), 0)
    room = blocks.captured - (ip_at - blocks.start) >= 20
    is_ip = room & (~ethernet | (ether_type == 0x0800)) & (read.u8(ip_at) >> 4 == 4)
    return ip_at, np.asarray(is_ip, np.bool_), np.asarray(ether_type == 0x0806, np.bool_)


def _directions(path: Path, blocks: Blocks, before: int) -> Bools:
    """Return which frames go from end A to end B (epb_flags bits 0-1: 2 outbound, 1 inbound)."""
    direction = blocks.flags() & 3
    ethernet = np.array([i.link_type == ETHERNET for i in blocks.interfaces], np.bool_)[blocks.interface]
    unknown = np.flatnonzero(ethernet & (direction != 1) & (direction != 2))
    if len(unknown):
        raise CaptureError(f"{path}: frame {before + int(unknown[0]) + 1} does not say its direction (epb_flags)")
    return np.asarray(direction == 2, np.bool_)


def _ip_columns(read: Reader, at: Ints, is_ip: Bools, blocks: Blocks) -> dict[str, Ints]:
    def ip_only(values: Ints) -> Ints:
        return np.where(is_ip, values, 0)

    protocol = ip_only(read.u8(at + 9))
    header, length = 4 * (read.u8(at) & 15), ip_only(read.u16(at + 2))
    first = is_ip & (read.u16(at + 6) & 0x1FFF == 0)
    end = at + np.minimum(length, blocks.start + blocks.captured - at)
    over = at + header
    is_tcp = first & (protocol == TCP) & (over + 20 <= end)
    is_udp = first & (protocol == UDP) & (over + 8 <= end)
    is_icmp = first & (protocol == ICMP) & (over + 8 <= end)
    ported = is_tcp | is_udp
    payload = over + np.where(is_tcp, 4 * (read.u8(over + 12) >> 4), 8)
    return {
        "source": ip_only(read.u32(at + 12)),
        "destination": ip_only(read.u32(at + 16)),
        "protocol": protocol,
        "source_port": np.where(ported, read.u16(over), 0),
        "destination_port": np.where(ported, read.u16(over + 2), 0),
        "ttl": ip_only(read.u8(at + 8)),
        "dscp": ip_only(read.u8(at + 1) >> 2),
        "ip_id": ip_only(read.u16(at + 4)),
        "ip_length": length,
        "tcp_sequence": np.where(is_tcp, read.u32(over + 4), 0),
        "tcp_acknowledged": np.where(is_tcp, read.u32(over + 8), 0),
        "tcp_flags": np.where(is_tcp, read.u8(over + 13), 0),
        "icmp_type": np.where(is_icmp, read.u8(over), 0),
        "icmp_code": np.where(is_icmp, read.u8(over + 1), 0),
        "transport_offset": over,
        "payload_offset": np.where(ported, payload, end),
        "payload_length": np.where(ported, np.maximum(end - payload, 0), 0),
    }


def _kind_by_port(ip: dict[str, Ints], places: _SipPlaces, is_arp: Bools) -> Ints:
    """Return what the headers alone decide; `Kind.OTHER` is left to the payload."""
    source, destination = ip["source_port"], ip["destination_port"]
    is_tcp, is_udp = ip["protocol"] == TCP, ip["protocol"] == UDP
    kind = np.where(is_arp, int(Kind.ARP), int(Kind.OTHER))
    kind = np.where(ip["protocol"] == ICMP, int(Kind.ICMP), kind)
    kind = np.where(is_tcp, int(Kind.TCP), kind)
    kind = np.where(is_tcp & ((source == _BGP_PORT) | (destination == _BGP_PORT)), int(Kind.BGP), kind)
    sip = np.isin(source, places.ports) | np.isin(destination, places.ports)
    if places.endpoints:
        ends = ip["source"] << 16 | source, ip["destination"] << 16 | destination
        sip |= is_tcp & (np.isin(ends[0], places.endpoints) | np.isin(ends[1], places.endpoints))
    message = is_tcp | (is_udp & (ip["payload_length"] > _STRAY_BYTES))
    return np.where(sip & message, int(Kind.SIP), kind)


def _payloads(read: Reader, ip: dict[str, Ints], kind: Ints) -> Payloads:
    """Return the payload columns of every row; only UDP, and TCP that may be TURN, is looked into."""
    open_tcp = (kind == Kind.TCP) & (ip["payload_length"] >= 4)
    rows = np.flatnonzero(((ip["protocol"] == UDP) & (kind == Kind.OTHER)) | open_tcp)
    ports = ip["source_port"][rows], ip["destination_port"][rows]
    some = classify(
        read,
        ip["payload_offset"][rows],
        ip["payload_length"][rows],
        over_tcp=ip["protocol"][rows] == TCP,
        ports=ports,
    )
    some.kind = np.where(some.kind == Kind.OTHER, kind[rows], some.kind)
    everything = {"kind": kind, "offset": ip["payload_offset"], "length": ip["payload_length"]}
    columns = {}
    for name in Payloads.__slots__:
        column = everything.get(name, np.zeros(len(kind), np.int64)).copy()
        column[rows] = getattr(some, name)
        columns[name] = column
    return Payloads(**columns)
