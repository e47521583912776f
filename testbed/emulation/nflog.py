"""Read what iptables' NFLOG target logs: packets with their rule (the prefix), hook and interfaces, over netlink.

Messages as in linux/netfilter/nfnetlink_log.h. The parser is pure; `NflogSocket` is the thin shell.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 4 << 8  # NFNL_SUBSYS_ULOG
_PACKET: Final = _SUBSYSTEM | 0  # NFULNL_MSG_PACKET
_CONFIG: Final = _SUBSYSTEM | 1  # NFULNL_MSG_CONFIG
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4

_CFG_CMD, _CFG_MODE, _CFG_QUEUE_THRESHOLD, _CFG_FLAGS = 1, 2, 5, 6
_CMD_BIND: Final = 1
_COPY_PACKET: Final = 2
_FLAG_SEQUENCE: Final = 1

_ATTR_HEADER, _ATTR_MARK, _ATTR_TIMESTAMP, _ATTR_IN, _ATTR_OUT = 1, 2, 3, 4, 5
_ATTR_PAYLOAD, _ATTR_PREFIX, _ATTR_SEQUENCE = 9, 10, 12
_SO_MEMINFO, _MEMINFO_DROPS = 55, 8
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_TYPE_MASK: Final = 0x3FFF  # without the flags "nested" and "network byte order"

_HOOKS: Final = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_message_head: Final = struct.Struct("=IHHII")
_family_head: Final = struct.Struct("!BBH")
_attribute_head: Final = struct.Struct("=HH")


@dataclass(frozen=True, slots=True)
class LoggedPacket:
    """One packet that passed an NFLOG rule."""

    time_ns: int | None
    "Wall clock, to the microsecond as the kernel gives it; None where it gives none."
    rule: str
    "The rule's --nflog-prefix."
    hook: str
    in_index: int
    "Index of the interface it came in by; 0 for none."
    out_index: int
    mark: int
    sequence: int | None
    "Number among this group's packets, from 0."
    packet: bytes
    "From the IP header on."

    def comment(self, name_of_interface: dict[int, str]) -> str:
        """Say in one line what became of the packet."""
        names = (name_of_interface.get(i, f"#{i}") if i else "-" for i in (self.in_index, self.out_index))
        return "rule={} hook={} in={} out={}".format(self.rule, self.hook, *names)


def _attributes(content: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(content):
        length, kind = _attribute_head.unpack_from(content, at)
        if length < 4 or at + length > len(content):
            raise ValueError(f"netlink attribute of {length} bytes with {len(content) - at} left")
        found[kind & _TYPE_MASK] = content[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _packet_of(content: bytes) -> LoggedPacket:
    try:
        return _packet_from(content)
    except (KeyError, IndexError, struct.error) as error:
        raise ValueError(f"not a message of NFLOG: {error!r}") from error


def _packet_from(content: bytes) -> LoggedPacket:
    attributes = _attributes(content[4:])
    hook = attributes[_ATTR_HEADER][2]

    def number(kind: int) -> int | None:
        return int.from_bytes(attributes[kind], "big") if kind in attributes else None

    time_ns = None
    if _ATTR_TIMESTAMP in attributes:
        seconds, microseconds = struct.unpack("!QQ", attributes[_ATTR_TIMESTAMP])
        time_ns = seconds * 1_000_000_000 + microseconds * 1_000
    return LoggedPacket(
        time_ns=time_ns,
        rule=attributes.get(_ATTR_PREFIX, b"").rstrip(b"\0").decode(errors="replace"),
        hook=_HOOKS[hook] if hook < len(_HOOKS) else str(hook),
        in_index=number(_ATTR_IN) or 0,
        out_index=number(_ATTR_OUT) or 0,
        mark=number(_ATTR_MARK) or 0,
        sequence=number(_ATTR_SEQUENCE),
        packet=attributes.get(_ATTR_PAYLOAD, b""),
    )


def parse_messages(datagram: bytes) -> Iterator[LoggedPacket | OSError | None]:
    """Yield what one netlink datagram holds: a packet, an acknowledgement (None), or the error the kernel answers with.

    Raise ValueError for bytes that are none of these.
    """
    at = 0
    while at + _message_head.size <= len(datagram):
        length, kind, _, _, _ = _message_head.unpack_from(datagram, at)
        if length < _message_head.size or at + length > len(datagram):
            raise ValueError(f"netlink message of {length} bytes with {len(datagram) - at} left")
        body = datagram[at + _message_head.size : at + length]
        if kind == _PACKET:
            yield _packet_of(body)
        elif kind == _NLMSG_ERROR:
            number = int.from_bytes(body[:4], sys.byteorder, signed=True)
            yield OSError(-number, os.strerror(-number)) if number else None
        at += (length + 3) & ~3


def _attribute(kind: int, content: bytes) -> bytes:
    return _attribute_head.pack(4 + len(content), kind) + content + bytes(-len(content) % 4)


def bind_message(group: int) -> bytes:
    """Return the request that binds *group*, copies packets whole, numbers them and sends each at once."""
    attributes = (
        _attribute(_CFG_CMD, bytes([_CMD_BIND]))
        + _attribute(_CFG_MODE, struct.pack("!IBx", 0xFFFF, _COPY_PACKET))
        + _attribute(_CFG_QUEUE_THRESHOLD, struct.pack("!I", 1))
        + _attribute(_CFG_FLAGS, struct.pack("!H", _FLAG_SEQUENCE))
    )
    body = _family_head.pack(socket.AF_UNSPEC, 0, group) + attributes
    return _message_head.pack(_message_head.size + len(body), _CONFIG, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0) + body


class SequenceGaps:
    """Packets missing between those that arrived, by the kernel's numbers."""

    def __init__(self) -> None:
        self.missing = 0
        self._expected = 0

    def observe(self, sequence: int | None) -> None:
        """Take in the number of a packet that arrived."""
        if sequence is None:
            return
        self.missing += (sequence - self._expected) & _SEQUENCE_MASK
        self._expected = sequence + 1 & _SEQUENCE_MASK


class NflogSocket:
    """A netlink socket on one NFLOG group of the network namespace it is opened in. Not blocking."""

    def __init__(self, group: int, *, buffer_bytes: int = 4 << 20) -> None:
        self._gaps = SequenceGaps()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        self._socket.bind((0, 0))
        self._socket.send(bind_message(group))
        for answer in parse_messages(self._socket.recv(1 << 16)):
            if isinstance(answer, OSError):
                raise OSError(answer.errno, f"NFLOG group {group}: {answer.strerror}")
        self._socket.setblocking(False)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def read(self) -> list[LoggedPacket]:
        """Return what waits in the socket, at most one datagram; empty when nothing does."""
        try:
            datagram = self._socket.recv(1 << 18)
        except BlockingIOError:
            return []
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return self.read()  # the kernel says that it dropped some: `lost` counts them
        packets = [x for x in parse_messages(datagram) if isinstance(x, LoggedPacket)]
        for packet in packets:
            self._gaps.observe(packet.sequence)
        return packets

    @property
    def lost(self) -> int:
        """How many logged packets never reached us: by the socket's own counter, or by gaps where these say more."""
        counters = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
        dropped: int = struct.unpack_from("=I", counters, 4 * _MEMINFO_DROPS)[0]
        return max(self._gaps.missing, dropped)

    def close(self) -> None:
        """Close the socket, which unbinds the group."""
        self._socket.close()
