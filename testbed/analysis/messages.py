"""What captured STUN, TURN and ICMP messages say, read one by one: there are few of them.

STUN: RFC 8489 section 5 and 14; methods and attributes of TURN: RFC 8656 sections 17 and 18. ICMP: RFC 792.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

import numpy as np

from testbed.analysis.packets import Kind, Packets

BINDING: Final = 0x001
ALLOCATE: Final = 0x003
METHODS: Final = {1: "Binding", 3: "Allocate", 4: "Refresh", 8: "CreatePermission", 9: "ChannelBind"}
_ERROR_CODE: Final = 0x0009
_XOR_RELAYED_ADDRESS: Final = 0x0016
_ALLOCATE_SUCCESS: Final = 0x0103
_MAGIC_COOKIE: Final = 0x2112A442
_IPV4: Final = 1
_CHALLENGES: Final = (401, 438)
"Unauthorized and Stale Nonce: the first answer of every TURN server, to be asked again with credentials (RFC 8656 5)."
_ICMP_UNREACHABLE: Final = 3


@dataclass(frozen=True, slots=True)
class StunMessage:
    """The header of a STUN message, and its error code."""

    row: int
    method: int
    is_request: bool
    is_success: bool
    error: tuple[int, str] | None
    "Code and reason phrase."
    transaction: bytes

    @property
    def is_refusal(self) -> bool:
        """Return whether this is an error that asking again with credentials does not mend."""
        return self.error is not None and self.error[0] not in _CHALLENGES


@dataclass(frozen=True, slots=True)
class Unreachable:
    """An ICMP destination unreachable message, and the packet it speaks of."""

    frame: int
    sender: int
    code: int
    quoted5: tuple[int, int, int, int, int]
    "Protocol, source and destination of the packet that did not get through."

    def describe(self) -> str:
        """Return the meaning of the code."""
        names = {
            0: "network unreachable",
            1: "host unreachable",
            3: "port unreachable",
            9: "network prohibited",
            10: "host prohibited",
            13: "communication prohibited",
        }
        return f"ICMP {names.get(self.code, f'unreachable, code {self.code}')} from {IPv4Address(self.sender)}"


def stun_messages(packets: Packets) -> Iterator[StunMessage]:
    """Yield every STUN message between a client and its server or its peer (not those inside TURN)."""
    for row in np.flatnonzero((packets.stun_type > 0) & (packets.kind == Kind.STUN)).tolist():
        if (message := parse_stun(_message(packets, row), row)) is not None:
            yield message


def _message(packets: Packets, row: int) -> bytes:
    """Return the outermost STUN message of a row, out of its TLS record if it came in one."""
    return packets.inner(row) if packets.tls[row] else packets.payload(row)


def parse_stun(data: bytes, row: int = 0) -> StunMessage | None:
    """Read one STUN message; None for bytes that are none."""
    if len(data) < 20 or data[0] > 3:
        return None
    kind = int.from_bytes(data[:2], "big")
    method = (kind & 0x000F) | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    message_class = (kind & 0x0010) >> 4 | (kind & 0x0100) >> 7
    error = None
    for attribute, value in attributes(data):
        if attribute == _ERROR_CODE and len(value) >= 4:
            error = (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")
    return StunMessage(row, method, message_class == 0, message_class == 2, error, data[8:20])


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of each attribute of a STUN message."""
    at = 20
    while at + 4 <= len(data):
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        yield int.from_bytes(data[at : at + 2], "big"), data[at + 4 : at + 4 + size]
        at += 4 + (size + 3 & ~3)


def allocations(packets: Packets) -> dict[tuple[int, int, int, int, int], tuple[int, int]]:
    """Return the relayed transport addresses that TURN servers granted, by the five-tuple of the granting answer."""
    found = {}
    for row in np.flatnonzero((packets.stun_type == _ALLOCATE_SUCCESS) & (packets.kind == Kind.STUN)).tolist():
        columns = (packets.source, packets.source_port, packets.destination, packets.destination_port)
        source, source_port, destination, destination_port = (int(column[row]) for column in columns)
        for attribute, value in attributes(_message(packets, row)):
            if attribute == _XOR_RELAYED_ADDRESS and len(value) == 8 and value[1] == _IPV4:
                port = int.from_bytes(value[2:4], "big") ^ _MAGIC_COOKIE >> 16
                relayed = int.from_bytes(value[4:], "big") ^ _MAGIC_COOKIE, port
                tuple5 = int(packets.protocol[row]), source, source_port, destination, destination_port
                found[tuple5] = relayed
    return found


def unreachables(packets: Packets) -> tuple[Unreachable, ...]:
    """Return every ICMP unreachable message with the addresses of the packet it quotes."""
    found = []
    for row in np.flatnonzero((packets.kind == Kind.ICMP) & (packets.icmp_type == _ICMP_UNREACHABLE)).tolist():
        start = int(packets.transport_offset[row]) + 8
        quoted = packets.buffer[start : start + 64].tobytes()
        header = 4 * (quoted[0] & 15)
        if quoted[0] >> 4 != 4 or header + 4 > len(quoted):
            continue
        numbers = [int.from_bytes(quoted[a:b], "big") for a, b in ((12, 16), (header, header + 2), (16, 20))]
        port = int.from_bytes(quoted[header + 2 : header + 4], "big")
        found.append(
            Unreachable(
                frame=int(packets.frame[row]),
                sender=int(packets.source[row]),
                code=int(packets.icmp_code[row]),
                quoted5=(quoted[9], numbers[0], numbers[1], numbers[2], port),
            )
        )
    return tuple(found)
