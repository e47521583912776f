"""The capture process: `python -m testbed.emulation.capture_process`, started and told its job by `capture`.

One AF_PACKET socket a link, Scapy's listen socket read raw: packets are not dissected, and times stay whole nanoseconds
(Scapy's own are floating-point seconds, good to 240 ns). One NFLOG socket a firewall. One epoll loop.
"""

import contextlib
import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from scapy.arch.linux import L2ListenSocket
from scapy.config import conf

from testbed.emulation.capture import CAPTURE_FILE, DROPPED_FILE, NFLOG_GROUP
from testbed.emulation.child import one_line, read_job, say
from testbed.emulation.nflog import NflogSocket
from testbed.emulation.pcapng import INBOUND, LINKTYPE_ETHERNET, LINKTYPE_RAW, OUTBOUND, Writer
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
_BURST: Final = 64
"Frames read from one socket before the others get a turn."
_ALL: Final = 1 << 18
"More frames than a socket's buffer holds, so that the end comes even if someone goes on sending."
_FLUSH_SECONDS: Final = 0.5
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
class _LinkSource:
    """A capture point."""

    link: str
    listening: LinkListenSocket
    interface: int
    outgoing: Literal[1, 2]
    "What a frame that is sent by the interface is for the link."
    incoming: Literal[1, 2]
    kernel_dropped: int = 0

    def drain(self, writer: Writer, limit: int) -> int:
        """Write what waits in the socket, at most *limit* frames; return how many there were."""
        receive, add = self.listening.ins.recvmsg, writer.add_packet
        for done in range(limit):
            try:
                frame, ancillary, _, address = receive(_FRAME_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return done
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # the interface went down: said once, and nothing is lost by it
                    raise
                continue
            direction = self.outgoing if address[2] == _PACKET_OUTGOING else self.incoming
            add(self.interface, _time_of(ancillary), frame, direction=direction)
        return limit

    def count_drops(self) -> None:
        """Take in the kernel's drop counter."""
        self.kernel_dropped += packet_statistics(self.listening.ins)[1]


def _time_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = _timespec.unpack(content)
            return int(seconds * 1_000_000_000 + nanoseconds)
    raise RuntimeError("the kernel gave a frame without a timestamp")


@dataclass(slots=True)
class _DropSource:
    """A firewall's drop log."""

    firewall: str
    log: NflogSocket
    interface: int
    netns_fd: int
    names: dict[int, str]

    def drain(self, writer: Writer, limit: int) -> int:
        """Write what waits in the socket, about *limit* packets; return how many there were."""
        done = 0
        while done < limit and (packets := self.log.read()):
            for packet in packets:
                if not {packet.in_index, packet.out_index} - {0} <= self.names.keys():
                    self.names = _interface_names(self.netns_fd)
                time_ns = time.time_ns() if packet.time_ns is None else packet.time_ns
                writer.add_packet(self.interface, time_ns, packet.packet, comment=packet.comment(self.names))
            done += len(packets)
        return done


def _interface_names(netns_fd: int) -> dict[int, str]:
    with inside_network(netns_fd):
        return dict(socket.if_nameindex())


def _open_link(point: dict[str, Any], writer: Writer) -> _LinkSource:
    with inside_network(point["netns_fd"]):
        listening = LinkListenSocket(point["interface"])
    in_switchboard = point["is_switchboard"]
    return _LinkSource(
        link=point["link"],
        listening=listening,
        interface=writer.add_interface(point["link"], point["description"], LINKTYPE_ETHERNET),
        outgoing=INBOUND if in_switchboard else OUTBOUND,
        incoming=OUTBOUND if in_switchboard else INBOUND,
    )


def _open_log(point: dict[str, Any], writer: Writer) -> _DropSource:
    with inside_network(point["netns_fd"]):
        log = NflogSocket(NFLOG_GROUP)
    return _DropSource(
        firewall=point["firewall"],
        log=log,
        interface=writer.add_interface(point["firewall"], f"dropped by {point['firewall']}", LINKTYPE_RAW),
        netns_fd=point["netns_fd"],
        names=_interface_names(point["netns_fd"]),
    )


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RigError(f"{what}: {error.strerror}") from error


class Capture:
    """All sources and both files."""

    def __init__(self, job: dict[str, Any]) -> None:
        directory = Path(job["directory"])
        self.packets = Writer(directory / CAPTURE_FILE, system=f"Linux {os.uname().release}")
        self.drops = Writer(directory / DROPPED_FILE, system=f"Linux {os.uname().release}")
        self.links: list[_LinkSource] = []
        self.logs: list[_DropSource] = []
        for point in job["points"]:
            with _named(f"{point['link']}: cannot capture on {point['interface']}"):
                self.links.append(_open_link(point, self.packets))
        for point in job["firewalls"]:
            with _named(f"{point['firewall']}: cannot read the drop log"):
                self.logs.append(_open_log(point, self.drops))
        for writer in (self.packets, self.drops):
            writer.flush()
            if writer.fault is not None:
                raise RigError(writer.fault)
        self.started_ns = time.time_ns()
        self._told: set[str] = set()

    def run(self) -> None:
        """Write packets until standard input ends."""
        poller = select.epoll()
        sources: dict[int, tuple[_LinkSource | _DropSource, Writer]] = {}
        for link in self.links:
            sources[link.listening.fileno()] = link, self.packets
        for log in self.logs:
            sources[log.log.fileno()] = log, self.drops
        for fd in (0, *sources):
            poller.register(fd, select.EPOLLIN)
        flush_at = time.monotonic() + _FLUSH_SECONDS
        while True:
            for fd, _ in poller.poll(_FLUSH_SECONDS):
                if fd == 0:
                    if not os.read(0, 4096):
                        return
                    continue
                source, writer = sources[fd]
                source.drain(writer, _BURST)
            if time.monotonic() >= flush_at:
                flush_at = time.monotonic() + _FLUSH_SECONDS
                self._flush()

    def _flush(self) -> None:
        for link in self.links:  # the kernel's counters are 32 bits wide
            link.count_drops()
        for writer in (self.packets, self.drops):
            writer.flush()
            if writer.fault is not None and writer.fault not in self._told:
                self._told.add(writer.fault)
                say("error", what=writer.fault)

    def finish(self) -> dict[str, Any]:
        """Write what still waits, close the files and return the counters."""
        for link in self.links:
            link.drain(self.packets, _ALL)
            link.count_drops()
        for log in self.logs:
            log.drain(self.drops, _ALL)
        ended_ns = time.time_ns()
        self.packets.close(
            started_ns=self.started_ns, ended_ns=ended_ns, kernel_dropped=[x.kernel_dropped for x in self.links]
        )
        self.drops.close(started_ns=self.started_ns, ended_ns=ended_ns, kernel_dropped=[x.log.lost for x in self.logs])
        return {
            "capture": {
                x.link: {
                    "packets": self.packets.written[x.interface],
                    "dropped": x.kernel_dropped + self.packets.lost[x.interface],
                }
                for x in self.links
            },
            "dropped_log": {
                x.firewall: {
                    "packets": self.drops.written[x.interface],
                    "lost": x.log.lost + self.drops.lost[x.interface],
                }
                for x in self.logs
            },
            "faults": [x.fault for x in (self.packets, self.drops) if x.fault is not None],
        }


def main() -> int:
    """Run the process; return its exit status."""
    job = read_job()
    try:
        capture = Capture(job)
        say("ready")
        capture.run()
        say("result", **capture.finish())
    except (OSError, RigError, ValueError, KeyError) as error:
        say("error", what=one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
