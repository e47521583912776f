"""Queues by DSCP before the rate of one direction of a link: who goes next. Pure, as all of the wire's core.

Strict priority: whenever the rate is free it goes to the first packet of the first class that has one and may send. A
class with a rate of its own may send again when its last packet would have gone at that rate. `wire_core.c` does the
same. There are always as many queues as a shape may have: one that a new shape takes away empties itself.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from testbed.topology import LinkShape

CLASSES: Final = 8
REST: Final = CLASSES - 1
"Class of what is in no other."
MARKS: Final = 64
_NANO: Final = 1_000_000_000


class Queued(NamedTuple):
    """A packet that waits for the rate."""

    arrived_ns: int
    packet_bytes: int
    delay_ns: int | None
    "What comes after the rate; None: nothing, it is sent ahead."
    packet: Any


def class_table(shape: "LinkShape") -> list[int]:
    """Return the class of each DSCP."""
    table = [REST] * MARKS
    for index, each in enumerate(shape.classes):
        for mark in each.dscp:
            table[mark] = index
    return table


def drops_by_class(table: Sequence[int], drops_by_mark: Sequence[int]) -> dict[str, int]:
    """Return how many packets each class of *table* dropped: by its DSCPs ("34 36"), and by "rest".

    What was counted by mark stays right when a new shape sorts the marks anew.
    """
    found = {}
    for index in sorted(set(table)):
        marks = [mark for mark in range(MARKS) if table[mark] == index]
        name = "rest" if index == REST else " ".join(map(str, marks))
        found[name] = sum(drops_by_mark[mark] for mark in marks)
    return found


class ClassQueues:
    """The queues of one direction."""

    def __init__(self, shape: "LinkShape") -> None:
        self._queues: tuple[deque[Queued], ...] = tuple(deque() for _ in range(CLASSES))
        self._waiting = [0] * CLASSES
        "For the rate or the delay."
        self._free_ns = [0] * CLASSES
        self._drops = [0] * MARKS
        self.reshape(shape)

    def reshape(self, shape: "LinkShape") -> None:
        """Sort what comes by the classes of *shape* from now on."""
        self._class_of = class_table(shape)
        self._limits, self._rates = [shape.queue_packets] * CLASSES, [0] * CLASSES
        for index, each in enumerate(shape.classes):
            self._limits[index], self._rates[index] = each.queue_packets, each.rate or 0

    def class_of(self, dscp: int) -> int:
        """Return the class of a mark."""
        return self._class_of[dscp]

    def room(self, index: int) -> int:
        """Return how many more packets the class takes."""
        return self._limits[index] - self._waiting[index]

    def drop(self, dscp: int) -> None:
        """Note that a packet found its class's queue full."""
        self._drops[dscp] += 1

    def drops(self) -> dict[str, int]:
        """Return how many did, by class."""
        return drops_by_class(self._class_of, self._drops)

    def put(self, index: int, queued: Queued) -> None:
        """Let a packet wait."""
        self._queues[index].append(queued)
        self._waiting[index] += 1

    def leave(self, index: int) -> None:
        """Note that a packet of the class was sent on."""
        self._waiting[index] -= 1

    def ready_ns(self) -> int | None:
        """Return when the first packet may have the rate, were it free; None where none waits."""
        ready = [max(q[0].arrived_ns, free_ns) for q, free_ns in zip(self._queues, self._free_ns, strict=True) if q]
        return min(ready, default=None)

    def take(self, at_ns: int) -> tuple[int, Queued]:
        """Return class and packet whose turn it is at *at_ns*, when at least one may send."""
        for index, queue in enumerate(self._queues):
            if queue and max(queue[0].arrived_ns, self._free_ns[index]) <= at_ns:
                queued = queue.popleft()
                if rate := self._rates[index]:
                    self._free_ns[index] = at_ns + queued.packet_bytes * 8 * _NANO // rate
                return index, queued
        raise LookupError("no packet may be sent yet")
