"""The wire's compiled core (`wire_core.c`), where `make setup` could build it: the same as `wire`, and faster.

`load` looks whether it is there and is of this version; without it the wire carries frames in Python. Both draw the
same random numbers, so that a seed loses the same packets in either.
"""

import ctypes
import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from testbed.emulation.wire import LatenessHistogram
from testbed.emulation.wire_classes import CLASSES, MARKS, class_table, drops_by_class

if TYPE_CHECKING:
    from testbed.topology import LinkShape

LIBRARY: Final = Path(__file__).with_name("libwire_core.so")
_VERSION: Final = 4
_NEVER_NS: Final = (1 << 63) - 1
"Due time of what waits in a class."
_BUCKETS: Final = 1024
_MT_WORDS: Final = 624
_DISTRIBUTIONS: Final = {"uniform": 0, "normal": 1, "pareto": 2}
_COUNTERS: Final = ("received", "sent", "lost", "queue_drops", "duplicated", "reordered", "send_failures")


class Direction(ctypes.Structure):
    """One direction of one link: `struct direction`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("delay_ns", "jitter_ns", "rate_bps", "queue_packets")),
        *(
            (name, ctypes.c_double)
            for name in ("loss", "reorder", "duplicate", "burst_enter", "burst_leave", "burst_loss")
        ),
        *((name, ctypes.c_int32) for name in ("distribution", "has_burst", "is_bleached", "incoming", "outgoing")),
        *((name, ctypes.c_int32) for name in ("is_bad", "has_gauss", "mt_index")),
        ("gauss_next", ctypes.c_double),
        ("mt", ctypes.c_uint32 * _MT_WORDS),
        *((name, ctypes.c_int64) for name in ("rate_free_ns", "last_due_ns", *_COUNTERS)),
        *((name, ctypes.c_int64 * CLASSES) for name in ("class_limit", "class_rate_bps", "class_free_ns")),
        ("class_waiting", ctypes.c_int64 * CLASSES),
        ("turn_ns", ctypes.c_int64),
        *((name, ctypes.c_void_p * CLASSES) for name in ("first", "last")),
        ("mark_drops", ctypes.c_int64 * MARKS),
        ("has_classes", ctypes.c_int32),
        ("class_of", ctypes.c_uint8 * MARKS),
    )

    @staticmethod
    def of(shape: "LinkShape", random: Random, *, incoming: int = 0, outgoing: int = 0) -> "Direction":
        """Return the direction that *shape* describes, between two interfaces (by index); *random* is not used up."""
        _, state, _ = random.getstate()
        made = Direction(incoming=incoming, outgoing=outgoing, mt_index=state[_MT_WORDS])
        made.mt[:] = state[:_MT_WORDS]
        made.reshape(shape)
        return made

    def reshape(self, shape: "LinkShape") -> None:
        """Do what `LinkDirection.reshape` does; the core may be at work on this direction."""
        burst = shape.burst_loss
        self.delay_ns, self.jitter_ns, self.rate_bps = shape.delay, shape.jitter, shape.rate or 0
        self.queue_packets, self.loss = shape.queue_packets, shape.loss
        self.reorder, self.duplicate = shape.reorder, shape.duplicate
        self.distribution = _DISTRIBUTIONS[shape.jitter_distribution]
        self.is_bleached = shape.dscp == "bleach"
        if burst is not None:
            self.burst_enter, self.burst_leave, self.burst_loss = burst.enter, burst.leave, burst.loss
        self.is_bad, self.has_burst = 0, burst is not None
        for index in range(CLASSES):
            each = shape.classes[index] if index < len(shape.classes) else None
            self.class_limit[index] = each.queue_packets if each else shape.queue_packets
            self.class_rate_bps[index] = each.rate or 0 if each else 0
        self.class_of[:] = class_table(shape)
        self.has_classes = bool(shape.classes)

    def counters(self) -> dict[str, int]:
        """Return what was counted, as `LinkDirection.counters`."""
        return {name: getattr(self, name) for name in _COUNTERS}

    def class_drops(self) -> dict[str, int]:
        """Return what `LinkDirection.class_drops` does."""
        return drops_by_class(self.class_of, self.mark_drops) if self.has_classes else {}


class Health(ctypes.Structure):
    """What the core counts of itself: `struct health`."""

    _fields_ = (
        ("send_failures", ctypes.c_int64),
        ("max_late_ns", ctypes.c_int64),
        ("buckets", ctypes.c_int64 * _BUCKETS),
    )

    def lateness(self) -> LatenessHistogram:
        """Return how late frames left."""
        counts = {bucket: count for bucket, count in enumerate(self.buckets) if count}
        return LatenessHistogram.of(counts, self.max_late_ns)


class Core:
    """The library's functions."""

    def __init__(self, library: Path = LIBRARY) -> None:
        """Load *library*; raise OSError where it is not there, or was built from other sources than these."""
        self._library = ctypes.CDLL(os.fspath(library), use_errno=True)
        for name in ("wire_version", "wire_direction_bytes", "wire_health_bytes"):
            getattr(self._library, name).restype = ctypes.c_int64
        found = (self._library.wire_version(), self._library.wire_direction_bytes(), self._library.wire_health_bytes())
        if found != (_VERSION, ctypes.sizeof(Direction), ctypes.sizeof(Health)):
            raise OSError(f"{library} was built from other sources; run `make setup`")
        for name in ("wire_turn", "wire_take"):
            getattr(self._library, name).restype = ctypes.c_int64

    def admit(
        self, direction: Direction, arrived_ns: int, packet_bytes: int, dscp: int = 0, packet: int = 0
    ) -> tuple[int, ...]:
        """Do what `LinkDirection.admit` does; *packet* is a number here."""
        due_ns = (ctypes.c_int64 * 2)()
        arrived, size, token = ctypes.c_int64(arrived_ns), ctypes.c_int64(packet_bytes), ctypes.c_void_p(packet)
        copies = self._library.wire_admit(ctypes.byref(direction), arrived, size, dscp, token, due_ns)
        return tuple(at for at in due_ns[:copies] if at != _NEVER_NS)

    def turn_ns(self, direction: Direction) -> int | None:
        """Do what `LinkDirection.turn_ns` does."""
        turn_ns = int(self._library.wire_turn(ctypes.byref(direction)))
        return None if turn_ns < 0 else turn_ns

    def take(self, direction: Direction) -> tuple[int, int, int]:
        """Do what `LinkDirection.take` does."""
        index, packet = ctypes.c_int32(), ctypes.c_void_p()
        due_ns = self._library.wire_take(ctypes.byref(direction), ctypes.byref(index), ctypes.byref(packet))
        return due_ns, index.value, packet.value or 0

    def leave(self, direction: Direction, index: int | None = None) -> None:
        """Do what `LinkDirection.leave` does."""
        self._library.wire_leave(ctypes.byref(direction), -1 if index is None else index)

    def bleach_dscp(self, frame: bytes) -> bytes:
        """Do what `wire.bleach_dscp` does."""
        content = ctypes.create_string_buffer(frame, len(frame))
        self._library.wire_bleach(content, ctypes.c_uint32(len(frame)))
        return content.raw

    def count_lateness(self, health: Health, late_ns: int) -> None:
        """Do what `LatenessHistogram.add` does."""
        self._library.wire_count_lateness(ctypes.byref(health), ctypes.c_int64(late_ns))

    def run(self, packet_socket: int, stop_fd: int, directions: "ctypes.Array[Direction]", health: Health) -> None:
        """Carry frames until *stop_fd* ends, counting in *directions* and *health*. Raise OSError if it failed."""
        failure = self._library.wire_run(packet_socket, stop_fd, directions, len(directions), ctypes.byref(health))
        if failure:
            raise OSError(-failure, f"the wire's compiled core: {os.strerror(-failure)}")


def load() -> Core | None:
    """Return the core, or None where it is not there."""
    try:
        return Core()
    except OSError:
        return None
