"""What the capture process reads: links, by AF_PACKET sockets, and firewalls' drop logs, by NFLOG sockets.

Scapy's listen socket is read raw: packets are not dissected, and times stay whole nanoseconds (Scapy's own are
floating-point seconds, good to 240 ns).
"""

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from scapy.arch.linux import L2ListenSocket
from scapy.config import conf

from testbed.emulation.nflog import NflogSocket
from testbed.emulation.pcapng import INBOUND, OUTBOUND, Writer
from testbed.emulation.syscalls import inside_network
from testbed.errors import RigError

SOL_PACKET: Final = 263
_ETH_P_ALL: Final = 3
_PACKET_STATISTICS: Final = 6
_PACKET_OUTGOING: Final = 4
_SO_TIMESTAMPNS: Final = 35
_BUFFER_BYTES: Final = 8 << 20
_FRAME_BYTES: Final = 1 << 16
_ANCILLARY_BYTES: Final = 256
FOREVER_NS: Final = 1 << 62
_timespec: Final = struct.Struct("@ll")


def packet_statistics(listening: socket.socket) -> tuple[int, int]:
    """Return (packets, drops) since the last call: what the kernel put before this socket, and what found it full."""
    packets, drops = struct.unpack("II", listening.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))
    return packets, drops


def grow_receive_buffer(receiving: socket.socket, size_bytes: int) -> None:
    """Make the receive buffer *size_bytes* large, beyond net.core.rmem_max where the privilege allows."""
    so_rcvbufforce = 33
    try:
        receiving.setsockopt(socket.SOL_SOCKET, so_rcvbufforce, size_bytes)
    except PermissionError:
        receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes)


class LinkListenSocket(L2ListenSocket):  # type: ignore[misc]   # Scapy's classes are not typed
    """Scapy's listen socket, opened on one interface at once; not blocking.

    Scapy's own first listens on every interface and then binds, which makes the kernel wait for all processors
    (some 20 ms a link), and may have caught frames of other links in between.
    """

    ins: socket.socket

    def __init__(self, interface: str) -> None:
        self.iface, self.type, self.promisc = interface, _ETH_P_ALL, False
        self.ins = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.outs = None
        self.LL, self.lvl = conf.raw_layer, 2
        self.auxdata_available = True
        grow_receive_buffer(self.ins, _BUFFER_BYTES)
        self.ins.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.ins.setblocking(False)
        self.ins.bind((interface, _ETH_P_ALL))


@dataclass(slots=True)
class LinkSource:
    """A capture point. It is opened, read and closed by one thread."""

    point: dict[str, Any]
    interface: int
    writer: Writer
    kernel_dropped: int = 0
    listening: LinkListenSocket = field(init=False)

    @property
    def link(self) -> str:
        """Name of the link."""
        return str(self.point["link"])

    def open(self) -> int:
        """Begin to listen; return the descriptor. Raise RigError naming link and interface."""
        name = self.point["interface"]
        with _named(f"{self.link}: cannot capture on {name}"), _inside(self.point["netns"]):
            self.listening = LinkListenSocket(name)
        return self.listening.ins.fileno()

    def drain(self, limit: int, until_ns: int = FOREVER_NS) -> int:
        """Write what waits in the socket, at most *limit* frames, but none from after *until_ns*; return how many."""
        receive, add = self.listening.ins.recvmsg, self.writer.add_packet
        # In the switchboard, the other end of A's cable, what the interface sends goes to A.
        is_far_end = self.point["is_switchboard"]
        outgoing: Literal[1, 2] = INBOUND if is_far_end else OUTBOUND
        incoming: Literal[1, 2] = OUTBOUND if is_far_end else INBOUND
        for done in range(limit):
            try:
                frame, ancillary, _, address = receive(_FRAME_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return done
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # the interface went down: said once, and nothing is lost by it
                    raise
                continue
            direction = outgoing if address[2] == _PACKET_OUTGOING else incoming
            if (time_ns := _time_of(ancillary)) <= until_ns:
                add(self.interface, time_ns, frame, direction=direction)
        return limit

    def count_drops(self) -> None:
        """Take in the kernel's drop counter, which is 32 bits wide."""
        self.kernel_dropped += packet_statistics(self.listening.ins)[1]

    def close(self) -> None:
        """Stop listening."""
        self.listening.close()


def _time_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _timespec.unpack(content)
            return int(seconds * 1_000_000_000 + nanoseconds)
    raise RuntimeError("the kernel gave a frame without a timestamp")


@dataclass(slots=True)
class DropSource:
    """A firewall's drop log. It is opened, read and closed by one thread."""

    point: dict[str, Any]
    group: int
    interface: int
    writer: Writer
    kernel_dropped: int = 0
    log: NflogSocket = field(init=False)
    names: dict[int, str] = field(init=False)

    @property
    def firewall(self) -> str:
        """Name of the firewall."""
        return str(self.point["firewall"])

    def open(self) -> int:
        """Begin to listen; return the descriptor. Raise RigError naming the firewall."""
        with _named(f"{self.firewall}: cannot read the drop log"):
            with _inside(self.point["netns"]):
                self.log = NflogSocket(self.group)
            self.names = _interface_names(self.point["netns"])
        return self.log.fileno()

    def drain(self, limit: int, until_ns: int = FOREVER_NS) -> int:
        """Write what waits in the socket, about *limit* packets, but none from after *until_ns*; return how many."""
        done = 0
        while done < limit and (packets := self.log.read()):
            for packet in packets:
                if not {packet.in_index, packet.out_index} - {0} <= self.names.keys():
                    self.names = _interface_names(self.point["netns"])
                time_ns = time.time_ns() if packet.time_ns is None else packet.time_ns
                if time_ns <= until_ns:
                    self.writer.add_packet(self.interface, time_ns, packet.packet, comment=packet.comment(self.names))
            done += len(packets)
        return done

    def count_drops(self) -> None:
        """Take in what the log says it lost."""
        self.kernel_dropped = self.log.lost

    def close(self) -> None:
        """Stop listening."""
        self.log.close()


@contextlib.contextmanager
def _inside(netns: str) -> Iterator[None]:
    """Be in the network namespace at the path *netns* for a while."""
    fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with inside_network(fd):
            yield
    finally:
        os.close(fd)


def _interface_names(netns: str) -> dict[int, str]:
    with _inside(netns):
        return dict(socket.if_nameindex())


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RigError(f"{what}: {error.strerror}") from error


Source = LinkSource | DropSource
