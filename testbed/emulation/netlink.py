"""Requests and dumps over one routing-netlink socket: pyroute2's messages, sent in batches, every answer checked.

pyroute2's own IPRoute waits for each answer and runs an event loop of its own, which costs more than the request.
"""

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from testbed.emulation.netlink_messages import ifaddrmsg, ifinfmsg, rtmsg, tcmsg
from testbed.emulation.syscalls import inside_network
from testbed.errors import RigError

IFF_UP: Final = 0x1
IFF_NOARP: Final = 0x80
PROTOCOL_STATIC: Final = 4
"RTPROT_STATIC: set by an administrator; the kernel's own routes have 2, BIRD's 12."
_TABLE_MAIN: Final = 254
_SCOPE_UNIVERSE: Final = 0
_UNICAST: Final = 1
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_RTM_GETLINK, _RTM_GETADDR, _RTM_GETROUTE, _RTM_GETQDISC = 18, 22, 26, 38
_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTMGRP_IPV4_ROUTE: Final = 0x40
_IFLA_EXT_MASK, _SKIP_STATISTICS = 29, 8
_HEADER: Final = struct.Struct("=IHHII")
_BATCH: Final = 64
"Requests sent at once: their answers (less than 100 bytes each) fit any receive buffer."


@dataclass(frozen=True, slots=True)
class Request:
    """One change, encoded, and what it is, for the error message."""

    what: str
    message: bytes


def _encode(
    message: Any, kind: int, fields: dict[str, Any], attributes: list[tuple[str, Any]], *, create: bool = False
) -> bytes:
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = kind
    message["header"]["flags"] = _REQUEST | _ACK | (_CREATE | _EXCLUSIVE if create else 0)
    message.encode()
    return bytes(message.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class VethEnd:
    """One end of a veth to be made. *index* is free in its namespace, so that no look-up is needed afterwards."""

    netns_fd: int
    index: int
    name: str
    mac: str | None
    mtu: int = 1500

    def attributes(self) -> list[tuple[str, Any]]:
        mac = [("IFLA_ADDRESS", self.mac)] if self.mac else []
        return [("IFLA_IFNAME", self.name), ("IFLA_MTU", self.mtu), ("IFLA_NET_NS_FD", self.netns_fd), *mac]


def add_veth(a: VethEnd, b: VethEnd) -> Request:
    """Make a veth with its ends in two namespaces at once."""
    peer = {"index": b.index, "attrs": b.attributes()}
    info = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    attributes = [*a.attributes(), ("IFLA_LINKINFO", {"attrs": info})]
    message = _encode(ifinfmsg(), _RTM_NEWLINK, {"index": a.index}, attributes, create=True)
    return Request(f"making veth {a.name} - {b.name}", message)


def add_bridge(name: str, index: int) -> Request:
    """Make an Ethernet switch that forwards from the first moment: no spanning tree, no learning delay."""
    data = [("IFLA_BR_FORWARD_DELAY", 0), ("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0)]
    info = [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": data})]
    attributes = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": info})]
    message = _encode(ifinfmsg(), _RTM_NEWLINK, {"index": index}, attributes, create=True)
    return Request(f"making bridge {name}", message)


def set_link(name: str, index: int, *, up: bool, arp: bool = True, master: int | None = None) -> Request:
    """Bring an interface up or down, with or without ARP, as a port of the bridge *master*."""
    flags = (IFF_UP if up else 0) | (0 if arp else IFF_NOARP)
    fields = {"index": index, "flags": flags, "change": IFF_UP | IFF_NOARP}
    attributes = [("IFLA_MASTER", master)] if master else []
    return Request(f"setting up {name}", _encode(ifinfmsg(), _RTM_NEWLINK, fields, attributes))


def add_address(index: int, address: str) -> Request:
    """Give an interface an IPv4 address, "10.0.0.1/24"."""
    host, _, length = address.partition("/")
    fields = {"family": socket.AF_INET, "prefixlen": int(length), "index": index, "scope": _SCOPE_UNIVERSE}
    attributes = [("IFA_LOCAL", host), ("IFA_ADDRESS", host)]
    return Request(f"address {address}", _encode(ifaddrmsg(), _RTM_NEWADDR, fields, attributes, create=True))


def add_route(prefix: str, via: str, index: int) -> Request:
    """Add a static route through the interface *index*."""
    destination, _, length = prefix.partition("/")
    fields = {
        "family": socket.AF_INET, "dst_len": int(length), "table": _TABLE_MAIN, "proto": PROTOCOL_STATIC,
        "scope": _SCOPE_UNIVERSE, "type": _UNICAST,
    }  # fmt: skip
    to = [("RTA_DST", destination)] if int(length) else []
    attributes = [*to, ("RTA_GATEWAY", via), ("RTA_OIF", index)]
    return Request(f"route {prefix} via {via}", _encode(rtmsg(), _RTM_NEWROUTE, fields, attributes, create=True))


class Netlink:
    """A routing-netlink socket of one network namespace."""

    def __init__(self, netns_fd: int, *, where: str, follow_routes: bool = False) -> None:
        """Open it in *netns_fd*; *where* names the node in errors; *follow_routes*: readable when routes change."""
        self.where = where
        with inside_network(netns_fd):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, _RTMGRP_IPV4_ROUTE if follow_routes else 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def forget_news(self) -> None:
        """Take all that has arrived, unread: the news is only that something changed."""
        while True:
            try:
                self._socket.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != 105:  # ENOBUFS: more changed than the buffer holds, which is news all the same
                    raise

    def carry_out(self, requests: Sequence[Request]) -> None:
        """Send *requests*, in order; raise RigError for the first that the kernel refuses."""
        for start in range(0, len(requests), _BATCH):
            batch = requests[start : start + _BATCH]
            first = self._sequence
            self._sequence += len(batch)
            self._socket.send(b"".join(_numbered(x.message, first + n) for n, x in enumerate(batch)))
            answers = 0
            while answers < len(batch):
                for kind, sequence, body in _messages(self._socket.recv(1 << 16)):
                    if kind == _NLMSG_ERROR:
                        answers += 1
                        number = -struct.unpack_from("=i", body)[0]
                        if number:
                            what = batch[sequence - first].what
                            raise RigError(f"{self.where}: {what}: {os.strerror(number)}")

    def _dump(self, kind: int, message: Any, size: int, attributes: bytes = b"") -> Iterator[Any]:
        self._sequence += 1
        family = socket.AF_INET if kind in (_RTM_GETADDR, _RTM_GETROUTE) else 0
        body = bytes([family]).ljust(size, b"\0") + attributes
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, _REQUEST | _DUMP, self._sequence, 0) + body)
        while True:
            data = self._socket.recv(1 << 18)
            offset = 0
            for found, sequence, content in _messages(data):
                if sequence == self._sequence:
                    if found == _NLMSG_DONE:
                        return
                    if found == _NLMSG_ERROR:
                        number = -struct.unpack_from("=i", content)[0]
                        raise RigError(f"{self.where}: reading from the kernel: {os.strerror(number)}")
                    decoded = message(data, offset=offset)
                    decoded.decode()
                    yield decoded
                offset += (_HEADER.size + len(content) + 3) & ~3

    def links(self) -> list[Any]:
        """Return every interface (pyroute2's ifinfmsg), without its counters, which take long to decode."""
        return list(self._dump(_RTM_GETLINK, ifinfmsg, 16, struct.pack("=HHI", 8, _IFLA_EXT_MASK, _SKIP_STATISTICS)))

    def addresses(self) -> list[Any]:
        """Return every IPv4 address (ifaddrmsg)."""
        return list(self._dump(_RTM_GETADDR, ifaddrmsg, 8))

    def routes(self) -> list[Any]:
        """Return the main table's IPv4 routes (rtmsg)."""
        return [x for x in self._dump(_RTM_GETROUTE, rtmsg, 12) if x["table"] == _TABLE_MAIN]

    def qdiscs(self) -> list[Any]:
        """Return every queueing discipline (tcmsg)."""
        return list(self._dump(_RTM_GETQDISC, tcmsg, 20))


def _numbered(message: bytes, sequence: int) -> bytes:
    padding = -len(message) % 4
    return message[:8] + struct.pack("=I", sequence) + message[12:] + b"\0" * padding


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message in *data*."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _flags, sequence, _port = _HEADER.unpack_from(data, offset)
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3
