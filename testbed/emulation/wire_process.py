"""The wire process: `python -m testbed.emulation.wire_process`, started and told its job by `links`.

One AF_PACKET socket hears the whole switchboard and sends each frame out by the other port of its link, when
`wire.LinkDirection` says that it is due. (To close such a socket the kernel waits for all processors: two a link would
hold up a world's end.) Due times count from the kernel's receive timestamp, so that lateness with one frame is not
handed on to the next. The process sleeps until a frame arrives or is due.

Frames are carried by the compiled core where it is there (`wire_core`), else by `Wire` here; the job may ask for one.
"""

import errno
import gc
import heapq
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from testbed.emulation import precedence
from testbed.emulation.parent import one_line, read_job, say
from testbed.emulation.syscalls import Timer, inside_network, set_timer_slack
from testbed.emulation.wire import (
    ETHERNET_BYTES,
    LatenessHistogram,
    LinkDirection,
    bleach_dscp,
    dscp_of,
    is_shaped_frame,
)
from testbed.emulation.wire_core import Core, Direction, Health, load
from testbed.errors import RigError

if TYPE_CHECKING:
    from testbed.topology import LinkShape

_ETH_P_ALL: Final = 3
_SOL_PACKET: Final = 263
_PACKET_STATISTICS, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 6, 20, 23
_SO_TIMESTAMPNS, _SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 35, 32, 33
_RECEIVE_BYTES: Final = 64 << 20
"A wire that was held up is late, and says so, long before frames are lost in front of it."
_SEND_BYTES: Final = 8 << 20
_FRAME_BYTES: Final = 1 << 16
_ANCILLARY_BYTES: Final = 64
_BURST: Final = 32
"Frames taken before frames that are due get their turn."
_UNSHAPED: Final = -1
"In the place of a class: a frame to which no shape applies."
_NANO: Final = 1_000_000_000
_timespec_at: Final = struct.Struct("@ll").unpack_from
_LOST_ON_SEND: Final = {errno.ENOBUFS, errno.ENETDOWN, errno.EAGAIN, errno.ENODEV, errno.ENXIO, errno.EMSGSIZE}
"A cable that was pulled, a full queue, a frame beyond the MTU: the frame is gone, as on a real cable, and counted."


def open_switchboard() -> socket.socket:
    """Open a socket that gets what arrives on any interface with kernel timestamps, not what leaves; not blocking."""
    switchboard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    for level, option, value in (
        (socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1),
        (_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1),
        (_SOL_PACKET, _PACKET_QDISC_BYPASS, 1),
    ):
        switchboard.setsockopt(level, option, value)
    sizes = (_SO_RCVBUFFORCE, socket.SO_RCVBUF, _RECEIVE_BYTES), (_SO_SNDBUFFORCE, socket.SO_SNDBUF, _SEND_BYTES)
    for forced, plain, size in sizes:
        try:
            switchboard.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:  # a user namespace may not exceed net.core.rmem_max on older kernels
            switchboard.setsockopt(socket.SOL_SOCKET, plain, size)
    switchboard.setblocking(False)
    return switchboard


class Way(NamedTuple):
    """One direction of one link, as the job tells it."""

    link: str
    name: str
    "forward or return."
    incoming: str
    outgoing: str
    shape: "LinkShape"
    random: Random


def ways_of(job: dict[str, Any], present: dict[str, int]) -> Iterator[Way]:
    """Yield both directions of every link; raise RigError for an interface that is not *present*."""
    for link in job["links"]:
        name, a, b = link["name"], link["interface_a"], link["interface_b"]
        for port in (a, b):
            if port not in present:
                raise RigError(f"{name}: cannot open {port}: {os.strerror(errno.ENODEV)}")
        for way, incoming, outgoing in (("forward", a, b), ("return", b, a)):
            shape, random = _shape_of(link[f"shape_{way}"]), Random(f"{job['seed']} {name} {way}")
            yield Way(name, way, incoming, outgoing, shape, random)


class Route:
    """One direction of one link: what comes in by one port goes out by the other."""

    __slots__ = ("direction", "is_bleached", "outgoing", "turn_ns")

    def __init__(self, outgoing: str, shape: "LinkShape", random: Random) -> None:
        self.outgoing = outgoing, _ETH_P_ALL
        self.direction = LinkDirection(shape, random)
        self.is_bleached = shape.dscp == "bleach"
        self.turn_ns: int | None = None
        "When a packet of its classes is to be given the rate; the heap has an entry for it."

    def reshape(self, shape: "LinkShape") -> None:
        """Treat what comes from now on by *shape*; what waits keeps its time."""
        self.direction.reshape(shape)
        self.is_bleached = shape.dscp == "bleach"


class Orders:
    """What standard input says while the wire runs: new shapes of links, one JSON line a link, until it ends."""

    def __init__(self) -> None:
        self._begun = b""
        self.is_over = False

    def read(self) -> Iterator[tuple[tuple[str, str], "LinkShape"]]:
        """Wait for more; yield each link and direction with its new shape."""
        chunk = os.read(0, 1 << 16)
        self.is_over = not chunk
        *lines, self._begun = (self._begun + chunk).split(b"\n")
        for link in map(json.loads, lines):
            for way in ("forward", "return"):
                yield (link["name"], way), _shape_of(link[f"shape_{way}"])


class Wire:
    """All links, one timer, one heap of frames that wait."""

    def __init__(self, ways: Iterator[Way], switchboard: socket.socket) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        self.lateness = LatenessHistogram()
        self.send_failures = 0
        self._heap: list[tuple[int, int, Route, bytes | None, int | None]] = []
        "When; the earlier of equals; a frame, or None for a turn of the classes; the frame's class, UNSHAPED, or None."
        self._sequence = 0
        self._timer = Timer()
        self._timer_due_ns = 0
        self._orders = Orders()
        self._by_port: dict[str, Route] = {}
        "Interface that a frame comes in by, to its route."
        self._switchboard = switchboard
        for way in ways:
            route = Route(way.outgoing, way.shape, way.random)
            self.routes[way.link, way.name] = self._by_port[way.incoming] = route

    def run(self) -> None:
        """Carry frames until standard input ends."""
        poller = select.epoll()
        timer_fd = self._timer.fileno()
        for fd in (0, timer_fd, self._switchboard.fileno()):
            poller.register(fd, select.EPOLLIN)
        while not self._orders.is_over:
            for fd, _ in poller.poll():
                if fd == timer_fd:
                    self._timer.clear()
                    self._timer_due_ns = 0
                elif fd == 0:
                    for way, shape in self._orders.read():
                        self.routes[way].reshape(shape)
                else:
                    self._take()
                self._send_due()
            self._arm()

    def _take(self) -> None:
        receive = self._switchboard.recvmsg
        for _ in range(_BURST):
            try:
                frame, ancillary, _, address = receive(_FRAME_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            route = self._by_port.get(address[0])
            if route is None:  # the loopback
                continue
            seconds, nanoseconds = _timespec_at(ancillary[0][2])
            arrived_ns = seconds * _NANO + nanoseconds
            if is_shaped_frame(frame):
                if route.is_bleached:
                    frame = bleach_dscp(frame)
                for due_ns in route.direction.admit(arrived_ns, len(frame) - ETHERNET_BYTES, dscp_of(frame), frame):
                    self._wait(due_ns, route, frame, None)
                if route.direction.shape.classes:
                    self._await_turn(route)
            else:
                self._wait(arrived_ns, route, frame, _UNSHAPED)

    def _wait(self, due_ns: int, route: Route, frame: bytes | None, index: int | None) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (due_ns, self._sequence, route, frame, index))

    def _await_turn(self, route: Route) -> None:
        turn_ns = route.direction.turn_ns()
        if turn_ns is not None and (route.turn_ns is None or turn_ns < route.turn_ns):
            route.turn_ns = turn_ns
            self._wait(turn_ns, route, None, None)

    def _give_turn(self, route: Route, turn_ns: int) -> None:
        """Give the rate to the packet whose turn it is; a turn for which an earlier one came since is none."""
        if turn_ns != route.turn_ns:
            return
        route.turn_ns = None
        due_ns, index, frame = route.direction.take()
        self._wait(due_ns, route, frame, index)
        self._await_turn(route)

    def _send_due(self) -> None:
        heap, send = self._heap, self._switchboard.sendto
        now_ns = time.time_ns()
        while heap and heap[0][0] <= now_ns:
            due_ns, _, route, frame, index = heapq.heappop(heap)
            if frame is None:
                self._give_turn(route, due_ns)
                continue
            try:
                send(frame, route.outgoing)
            except OSError as error:
                if error.errno not in _LOST_ON_SEND:
                    raise
                self.send_failures += 1
                route.direction.send_failures += 1
            if index != _UNSHAPED:
                route.direction.leave(index)
            now_ns = time.time_ns()
            self.lateness.add(now_ns - due_ns)

    def _arm(self) -> None:
        if self._heap and self._heap[0][0] != self._timer_due_ns:
            self._timer_due_ns = self._heap[0][0]
            self._timer.set(self._timer_due_ns)

    def result(self) -> dict[str, Any]:
        """Return health and counters."""
        directions = {way: route.direction for way, route in self.routes.items()}
        return _result("Python", self._switchboard, self.lateness, self.send_failures, directions)


class CompiledWire:
    """The same, by the compiled core."""

    def __init__(self, ways: Iterator[Way], switchboard: socket.socket, core: Core, present: dict[str, int]) -> None:
        self._core, self._switchboard, self._health = core, switchboard, Health()
        self._directions: dict[tuple[str, str], Direction] = {}
        for way in ways:
            incoming, outgoing = present[way.incoming], present[way.outgoing]
            direction = Direction.of(way.shape, way.random, incoming=incoming, outgoing=outgoing)
            self._directions[way.link, way.name] = direction

    def run(self) -> None:
        """Carry frames until standard input ends."""
        stop, self._stop = os.pipe()
        # The core runs without Python; the array is its own, so that a new shape is heeded from the next frame on.
        array = (Direction * len(self._directions))(*self._directions.values())
        self._directions = dict(zip(self._directions, array, strict=True))
        threading.Thread(target=self._obey, daemon=True).start()
        self._core.run(self._switchboard.fileno(), stop, array, self._health)

    def _obey(self) -> None:
        orders = Orders()
        while not orders.is_over:
            for way, shape in orders.read():
                self._directions[way].reshape(shape)
        os.close(self._stop)

    def result(self) -> dict[str, Any]:
        """Return health and counters."""
        lateness, failures = self._health.lateness(), self._health.send_failures
        return _result("C", self._switchboard, lateness, failures, self._directions)


def _result(
    core: str,
    switchboard: socket.socket,
    lateness: LatenessHistogram,
    send_failures: int,
    directions: Mapping[tuple[str, str], LinkDirection | Direction],
) -> dict[str, Any]:
    _, drops = struct.unpack("II", switchboard.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
    links: dict[str, dict[str, dict[str, Any]]] = {}
    for (link, way), direction in directions.items():
        by_class = direction.class_drops()
        counted = {**direction.counters(), **({"class_drops": by_class} if by_class else {})}
        links.setdefault(link, {})[way] = counted
    return {
        "health": {
            "core": core,
            "precedes": precedence.has(),
            "frames": lateness.count,
            "lateness_ns": lateness.summary(),
            "receive_drops": drops,
            "send_failures": send_failures,
        },
        "links": links,
    }


def open_wire(job: dict[str, Any]) -> Wire | CompiledWire:
    """Open the switchboard and return what will carry the job's frames."""
    with inside_network(job["netns_fd"]):
        present = {name: index for index, name in socket.if_nameindex()}
        ways = ways_of(job, present)
        core = None if job["core"] == "python" else load()
        if core is None and job["core"] == "compiled":
            raise RigError("the wire's compiled core is not there: `make setup` builds it where there is a C compiler")
        switchboard = open_switchboard()
        return CompiledWire(ways, switchboard, core, present) if core else Wire(ways, switchboard)


def _shape_of(written: dict[str, Any]) -> "LinkShape":
    """Return a shape as the plan has it, validated there: importing what validates takes longer than all else here."""
    burst_loss = written["burst_loss"] and SimpleNamespace(**written["burst_loss"])
    classes = [SimpleNamespace(**each) for each in written["classes"]]
    return cast("LinkShape", SimpleNamespace(**{**written, "burst_loss": burst_loss, "classes": classes}))


def main() -> int:
    """Run the process; return its exit status."""
    job = read_job()
    try:
        set_timer_slack(1)
        precedence.take()
        wire = open_wire(job)
        gc.freeze()
        gc.disable()  # nothing here makes cycles, and a collection would make frames late
        say("ready")
        started_ns = time.thread_time_ns()
        wire.run()
        result = wire.result()
        result["health"]["cpu_ns"] = time.thread_time_ns() - started_ns
        say("result", **result)
    except (OSError, RigError, ValueError, KeyError) as error:
        say("error", what=one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
