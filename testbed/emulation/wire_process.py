"""The wire process: `python -m testbed.emulation.wire_process`, started and told its job by `links`.

Frames come in on one AF_PACKET socket of a link and go out by the other, when `wire.LinkDirection` says they are due.
Due times count from the kernel's receive timestamp, so that lateness with one frame is not handed on to the next. The
process sleeps until a frame arrives or is due.
"""

import errno
import gc
import heapq
import os
import select
import socket
import struct
import sys
import time
from random import Random
from typing import Any, Final

from testbed.emulation.child import one_line, read_job, say
from testbed.emulation.syscalls import Timer, inside_network, set_timer_slack
from testbed.emulation.wire import ETHERNET_BYTES, LatenessHistogram, LinkDirection, bleach_dscp, is_shaped_frame
from testbed.errors import RigError
from testbed.topology import LinkShape

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_STATISTICS, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 6, 20, 23
_SO_TIMESTAMPNS, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 35, 32, 33
_BUFFER_BYTES: Final = 8 << 20
_FRAME_BYTES: Final = 1 << 16
_ANCILLARY_BYTES: Final = 64
_BURST: Final = 32
"Frames taken from one socket before frames that are due get their turn."
_NANO: Final = 1_000_000_000
_timespec_at: Final = struct.Struct("@ll").unpack_from
_LOST_ON_SEND: Final = {errno.ENOBUFS, errno.ENETDOWN, errno.EAGAIN, errno.ENXIO, errno.EMSGSIZE}
"A cable that was pulled, a full queue, a frame beyond the MTU: the frame is gone, as on a real cable, and counted."


def open_port(interface: str) -> socket.socket:
    """Open a socket that gets what arrives on *interface* with kernel timestamps, not what leaves; not blocking."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    for level, option, value in (
        (socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1),
        (_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1),
        (_SOL_PACKET, _PACKET_QDISC_BYPASS, 1),
    ):
        port.setsockopt(level, option, value)
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            port.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_BYTES)
        except PermissionError:  # a user namespace may not exceed net.core.rmem_max on older kernels
            port.setsockopt(socket.SOL_SOCKET, plain, _BUFFER_BYTES)
    port.setblocking(False)
    port.bind((interface, _ETH_P_ALL))
    return port


class Route:
    """One direction of one link: in by one port, out by the other."""

    __slots__ = ("direction", "incoming", "is_bleached", "outgoing")

    def __init__(self, incoming: socket.socket, outgoing: socket.socket, shape: LinkShape, random: Random) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.direction = LinkDirection(shape, random)
        self.is_bleached = shape.dscp == "bleach"


class Wire:
    """All links, one timer, one heap of frames that wait."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.routes: dict[str, dict[str, Route]] = {}
        self.lateness = LatenessHistogram()
        self.send_failures = 0
        self._heap: list[tuple[int, int, Route, bytes, bool]] = []
        self._sequence = 0
        self._timer = Timer()
        self._timer_due_ns = 0
        self._is_over = False
        with inside_network(job["netns_fd"]):
            for link in job["links"]:
                self.routes[link["name"]] = _open_link(link, job["seed"])

    def run(self) -> None:
        """Carry frames until standard input ends."""
        poller = select.epoll()
        by_fd = {r.incoming.fileno(): r for directions in self.routes.values() for r in directions.values()}
        for fd in (0, self._timer.fileno(), *by_fd):
            poller.register(fd, select.EPOLLIN)
        timer_fd = self._timer.fileno()
        while not self._is_over:
            for fd, _ in poller.poll():
                if fd == timer_fd:
                    self._timer.clear()
                    self._timer_due_ns = 0
                elif fd == 0:
                    self._is_over = not os.read(0, 4096)
                else:
                    self._take(by_fd[fd])
                self._send_due()
            self._arm()

    def _take(self, route: Route) -> None:
        receive, admit, heap = route.incoming.recvmsg, route.direction.admit, self._heap
        for _ in range(_BURST):
            try:
                frame, ancillary, _, _ = receive(_FRAME_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # the cable was pulled: said once
                    raise
                return
            seconds, nanoseconds = _timespec_at(ancillary[0][2])
            arrived_ns = seconds * _NANO + nanoseconds
            if is_shaped_frame(frame):
                if route.is_bleached:
                    frame = bleach_dscp(frame)
                for due_ns in admit(arrived_ns, len(frame) - ETHERNET_BYTES):
                    self._sequence += 1
                    heapq.heappush(heap, (due_ns, self._sequence, route, frame, True))
            else:
                self._sequence += 1
                heapq.heappush(heap, (arrived_ns, self._sequence, route, frame, False))

    def _send_due(self) -> None:
        heap = self._heap
        now_ns = time.time_ns()
        while heap and heap[0][0] <= now_ns:
            due_ns, _, route, frame, is_shaped = heapq.heappop(heap)
            try:
                route.outgoing.send(frame)
            except OSError as error:
                if error.errno not in _LOST_ON_SEND:
                    raise
                self.send_failures += 1
            if is_shaped:
                route.direction.leave()
            now_ns = time.time_ns()
            self.lateness.add(now_ns - due_ns)

    def _arm(self) -> None:
        if self._heap and self._heap[0][0] != self._timer_due_ns:
            self._timer_due_ns = self._heap[0][0]
            self._timer.set(self._timer_due_ns)

    def result(self) -> dict[str, Any]:
        """Return health and counters."""
        ports = {r.incoming for directions in self.routes.values() for r in directions.values()}
        drops = sum(struct.unpack("II", p.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1] for p in ports)
        return {
            "health": {
                "frames": self.lateness.count,
                "lateness_ns": self.lateness.summary(),
                "receive_drops": drops,
                "send_failures": self.send_failures,
            },
            "links": {
                name: {way: route.direction.counters() for way, route in directions.items()}
                for name, directions in self.routes.items()
            },
        }


def _open_link(link: dict[str, Any], seed: int) -> dict[str, Route]:
    name, ports = link["name"], []
    for interface in (link["interface_a"], link["interface_b"]):
        try:
            ports.append(open_port(interface))
        except OSError as error:
            raise RigError(f"{name}: cannot open {interface}: {error.strerror}") from error
    a, b = ports
    return {
        way: Route(incoming, outgoing, LinkShape.model_validate(link[f"shape_{way}"]), Random(f"{seed} {name} {way}"))
        for way, incoming, outgoing in (("forward", a, b), ("return", b, a))
    }


def main() -> int:
    """Run the process; return its exit status."""
    job = read_job()
    try:
        set_timer_slack(1)
        wire = Wire(job)
        gc.freeze()
        gc.disable()  # nothing here makes cycles, and a collection would make frames late
        say("ready")
        wire.run()
        say("result", **wire.result())
    except (OSError, RigError, ValueError, KeyError) as error:
        say("error", what=one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
