"""One captured packet in words: a line a layer, and a title. For the few packets that are shown, one by one.

STUN: RFC 8489 and 8445, TURN: RFC 8656, DTLS: RFC 6347, RTP: RFC 3550, BGP: RFC 4271.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from testbed.analysis.messages import attributes
from testbed.analysis.packets import FIN, ICMP, RST, SYN, TCP, UDP, Encapsulation, Kind, Packets

Layer = tuple[str, str]
"A protocol, and what its header says."
START_LINE: Final = re.compile(rb"^(?:SIP/2\.0 \d{3}\b[^\r\n]*|[A-Z]+ \S+ SIP/2\.0)\r?$", re.MULTILINE)
_CSEQ: Final = re.compile(rb"^CSeq\s*:\s*\d+\s+([A-Z]+)", re.MULTILINE | re.IGNORECASE)
_PUSH, _ACK, _URGENT = 8, 16, 32
_FLAGS: Final = ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST"), (_PUSH, "PSH"), (_ACK, "ACK"), (_URGENT, "URG"))
_METHODS: Final = {
    0x001: "Binding",
    0x003: "Allocate",
    0x004: "Refresh",
    0x006: "Send",
    0x007: "Data",
    0x008: "CreatePermission",
    0x009: "ChannelBind",
}
_CLASSES: Final = ("request", "indication", "success", "error")
_ATTRIBUTES: Final = {
    0x0006: "USERNAME",
    0x0009: "ERROR-CODE",
    0x000C: "CHANNEL-NUMBER",
    0x000D: "LIFETIME",
    0x0012: "XOR-PEER-ADDRESS",
    0x0014: "REALM",
    0x0016: "XOR-RELAYED-ADDRESS",
    0x0019: "REQUESTED-TRANSPORT",
    0x0020: "XOR-MAPPED-ADDRESS",
    0x0024: "PRIORITY",
    0x0025: "USE-CANDIDATE",
    0x8029: "ICE-CONTROLLED",
    0x802A: "ICE-CONTROLLING",
}
"Those that tell a reader something; integrity, fingerprint and padding do not."
_MAGIC: Final = 0x2112A442
_RECORD_TYPES: Final = {20: "ChangeCipherSpec", 21: "Alert", 22: "Handshake", 23: "ApplicationData"}
_BGP_TYPES: Final = {1: "OPEN", 2: "UPDATE", 3: "NOTIFICATION", 4: "KEEPALIVE"}


def title(packets: Packets, row: int) -> str:
    """Say in a few words what a packet is: REGISTER sip:contoso.example, TCP SYN-ACK, Binding request, RTP 4711."""
    kind, protocol = Kind(int(packets.kind[row])), int(packets.protocol[row])
    if protocol == TCP and not int(packets.payload_length[row]):
        return f"TCP {_tcp_flags(int(packets.tcp_flags[row])).replace(', ', '-')}"
    if kind == Kind.SIP:
        payload = packets.payload(row)
        return f"TLS {_record_type(payload)}" if is_tls(payload) else sip_title(payload)
    if kind == Kind.RTP:
        return f"RTP {int(packets.sequence[row])}"
    if kind in (Kind.STUN, Kind.TURN_INDICATION):
        return _stun_title(packets.inner(row) if kind == Kind.STUN else packets.payload(row))
    if kind in (Kind.DTLS, Kind.DATA):
        return f"DTLS {_record_type(packets.inner(row))}"
    return kind.name.replace("_", " ")


def is_tls(payload: bytes) -> bool:
    """Whether a segment of a signaling connection is TLS: it begins a record (RFC 8446 section 5.1) or is no text."""
    begins = len(payload) >= 3 and payload[0] in _RECORD_TYPES and payload[1] == 3
    return begins or not (payload.isascii() or START_LINE.search(payload))


def sip_title(payload: bytes) -> str:
    """Return the start line of the first message that begins in *payload*, a response with its method."""
    start = START_LINE.search(payload)
    if start is None:
        return "SIP, continued"
    line = start[0].decode("utf-8", "replace").strip()
    if not line.startswith("SIP/2.0"):
        return line.removesuffix(" SIP/2.0")
    method = _CSEQ.search(payload, start.end())
    return f"{line.removeprefix('SIP/2.0 ')}{f' ({method[1].decode()})' if method else ''}"


def layers(packets: Packets, row: int) -> list[Layer]:
    """Return the headers of a packet, from IP inwards; addresses and TTL are told link by link beside it."""
    return list(_layers(packets, row))


def ends(packets: Packets, row: int) -> str:
    """Return source and destination of a packet as they are on the link of *row*."""
    source, destination = IPv4Address(int(packets.source[row])), IPv4Address(int(packets.destination[row]))
    if int(packets.protocol[row]) not in (TCP, UDP):
        return f"{source} → {destination}"
    return f"{source}:{int(packets.source_port[row])} → {destination}:{int(packets.destination_port[row])}"


def _layers(packets: Packets, row: int) -> Iterator[Layer]:
    protocol, kind = int(packets.protocol[row]), Kind(int(packets.kind[row]))
    yield "IP", f"{int(packets.ip_length[row])} bytes, DSCP {int(packets.dscp[row])}, id {int(packets.ip_id[row]):#06x}"
    if protocol == TCP:
        numbers = f"sequence {int(packets.tcp_sequence[row])}, acknowledged {int(packets.tcp_acknowledged[row])}"
        length = int(packets.payload_length[row])
        yield "TCP", f"{_tcp_flags(int(packets.tcp_flags[row])) or 'no flag'}; {numbers}; {length} bytes of payload"
    elif protocol == UDP:
        yield "UDP", f"{int(packets.payload_length[row])} bytes of payload"
    elif protocol == ICMP:
        yield "ICMP", f"type {int(packets.icmp_type[row])}, code {int(packets.icmp_code[row])}"
    wrapped = Encapsulation(int(packets.encapsulation[row]))
    if wrapped == Encapsulation.CHANNEL_DATA:
        yield "TURN ChannelData", f"channel {int(packets.channel[row]):#06x}, {int(packets.inner_length[row])} bytes"
    elif wrapped == Encapsulation.INDICATION:
        peer = f"{IPv4Address(int(packets.peer_address[row]))}:{int(packets.peer_port[row])}"
        yield "TURN", f"{_stun_title(packets.payload(row))}, peer {peer}, {int(packets.inner_length[row])} bytes"
    yield from _inside(packets, row, kind)


def _inside(packets: Packets, row: int, kind: Kind) -> Iterator[Layer]:
    if kind == Kind.SIP and is_tls(packets.payload(row)):
        yield "TLS", f"{_record_type(packets.payload(row))}, {int(packets.payload_length[row])} bytes, encrypted SIP"
    elif kind == Kind.SIP and int(packets.payload_length[row]):
        yield "SIP", packets.payload(row).decode("utf-8", "replace").replace("\r\n", "\n").strip()
    elif kind == Kind.RTP:
        numbers = f"SSRC {int(packets.ssrc[row]):#010x}, sequence {int(packets.sequence[row])}"
        when = f"timestamp {int(packets.rtp_timestamp[row])}, payload type {int(packets.payload_type[row])}"
        yield "RTP", f"{numbers}, {when}, {int(packets.media_bytes[row])} bytes of media"
    elif kind == Kind.RTCP:
        yield "RTCP", f"packet type {int(packets.payload_type[row])}, SSRC {int(packets.ssrc[row]):#010x}"
    elif kind in (Kind.STUN, Kind.TURN_INDICATION):
        message = packets.inner(row) if kind == Kind.STUN else packets.payload(row)
        yield "STUN", "; ".join((_stun_title(message), *_stun_attributes(message)))
    elif kind in (Kind.DTLS, Kind.DATA):
        yield "DTLS", f"{_record_type(packets.inner(row))}, {int(packets.inner_length[row])} bytes"


def _tcp_flags(flags: int) -> str:
    return ", ".join(name for bit, name in _FLAGS if flags & bit)


def _stun_title(message: bytes) -> str:
    if len(message) < 20:
        return "STUN, cut off"
    kind = int.from_bytes(message[:2], "big")
    method = (kind & 0x000F) | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    answer = (kind & 0x0010) >> 4 | (kind & 0x0100) >> 7
    error = next((value for number, value in attributes(message) if number == 0x0009 and len(value) >= 4), None)
    code = f" {(error[2] & 7) * 100 + error[3]}" if error else ""
    return f"{_METHODS.get(method, f'method {method:#05x}')} {_CLASSES[answer]}{code}"


def _stun_attributes(message: bytes) -> Iterator[str]:
    for number, value in attributes(message):
        if name := _ATTRIBUTES.get(number):
            yield f"{name} {_stun_value(number, value)}".strip()


def _stun_value(number: int, value: bytes) -> str:
    if number in (0x0012, 0x0016, 0x0020) and len(value) == 8 and value[1] == 1:
        port = int.from_bytes(value[2:4], "big") ^ _MAGIC >> 16
        return f"{IPv4Address(int.from_bytes(value[4:], 'big') ^ _MAGIC)}:{port}"
    if number == 0x0009 and len(value) >= 4:
        return f"{(value[2] & 7) * 100 + value[3]} {value[4:].decode('utf-8', 'replace')}"
    if number in (0x0006, 0x0014):
        return value.decode("utf-8", "replace")
    if number in (0x000D, 0x0024) and len(value) == 4:
        return str(int.from_bytes(value, "big"))
    return f"{int.from_bytes(value[:2], 'big'):#06x}" if number == 0x000C and len(value) >= 2 else ""


def _record_type(record: bytes) -> str:
    return _RECORD_TYPES.get(record[0], "record, continued") if record else "empty"


def bgp_title(payload: bytes) -> str | None:
    """Return what the first BGP UPDATE or NOTIFICATION in *payload* says; None where there is none."""
    at = 0
    while at + 19 <= len(payload):
        size, kind = int.from_bytes(payload[at + 16 : at + 18], "big"), payload[at + 18]
        if size < 19:
            return None
        if kind == 2:
            return _update_words(payload[at + 19 : at + size])
        if kind == 3:
            return "NOTIFICATION"
        at += size
    return None


def _update_words(body: bytes) -> str:
    withdrawn_size = int.from_bytes(body[:2], "big")
    path_size = int.from_bytes(body[2 + withdrawn_size : 4 + withdrawn_size], "big")
    withdrawn = _prefixes(body[2 : 2 + withdrawn_size])
    announced = _prefixes(body[4 + withdrawn_size + path_size :])
    words = [f"withdraws {', '.join(withdrawn)}"] if withdrawn else []
    words += [f"announces {', '.join(announced)}"] if announced else []
    return f"UPDATE {' and '.join(words) or 'end of table'}"


def _prefixes(field: bytes) -> list[str]:
    """Read prefixes as RFC 4271 section 4.3 packs them: a length in bits, then as many bytes as that needs."""
    found, at = [], 0
    while at < len(field):
        bits = field[at]
        size = (bits + 7) // 8
        found.append(f"{IPv4Address(int.from_bytes(field[at + 1 : at + 1 + size].ljust(4, bytes(1)), 'big'))}/{bits}")
        at += 1 + size
    return found
