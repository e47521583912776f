"""What one direction of a shaped link does to packets: the pure core of the wire, with time and randomness passed in.

The order of things for one packet: loss, queue limit, rate, delay and jitter, order. Where a shape has classes, which
packet has the rate next is decided when it is free (`wire_classes`). As with netem:
- loss and duplication are drawn apart, and a packet that gets both passes once; a copy has its own delay;
- the queue holds what waits for the rate or the delay; a packet that finds it full is dropped (tail drop);
- the rate counts IP packets, by a virtual queue: each leaves when those before it have;
- jitter "normal" has `jitter` as its standard deviation, up to 4 times that; "uniform" reaches `jitter` to either side;
  "pareto" is iproute2's table (shape 3, from -2/3 to 4 times `jitter`, standard deviation 0.82 of it). No delay is
  negative.
Unlike plain netem, jitter never reorders (nor does the queue of a real router): packets keep their order, so that where
they follow closely a late one holds up those behind it. The share `reorder` skips the delay and overtakes.
"""

import struct
from random import Random
from typing import TYPE_CHECKING, Any, Final

from testbed.emulation.wire_classes import ClassQueues, Queued

if TYPE_CHECKING:
    from testbed.topology import BurstLoss, LinkShape

ETHERNET_BYTES: Final = 14
_ARP: Final = b"\x08\x06"
_IPV4: Final = b"\x08\x00"
_NANO: Final = 1_000_000_000
_MOST_SIGMA: Final = 4.0
_PARETO_SHAPE: Final = 3.0
_PARETO_MEAN: Final = 1.5
_PARETO_SCALE: Final = 4 / 3
"What iproute2's table has, the inverse of the variance where one would expect that of the standard deviation."
_word: Final = struct.Struct("!H")


class BurstLossState:
    """A Gilbert-Elliott chain: two states, one step a packet."""

    def __init__(self, model: "BurstLoss") -> None:
        self._model = model
        self._is_bad = False

    def loses(self, random: Random) -> bool:
        """Step, and say whether this packet is lost; the state before the step decides, as in netem."""
        was_bad = self._is_bad
        if random.random() < (self._model.leave if was_bad else self._model.enter):
            self._is_bad = not was_bad
        return was_bad and random.random() < self._model.loss


def jitter_ns(shape: "LinkShape", random: Random) -> int:
    """Draw what is added to the delay; negative as often as the distribution says."""
    match shape.jitter_distribution:
        case "uniform":
            deviation = random.uniform(-1.0, 1.0)
        case "normal":
            deviation = max(-_MOST_SIGMA, min(_MOST_SIGMA, random.gauss(0.0, 1.0)))
        case "pareto":
            deviation = min(_MOST_SIGMA, (random.paretovariate(_PARETO_SHAPE) - _PARETO_MEAN) * _PARETO_SCALE)
    return round(deviation * shape.jitter)


class LinkDirection:
    """One direction of one link. Times are whole nanoseconds of one clock; packets are told in the order of arrival."""

    def __init__(self, shape: "LinkShape", random: Random) -> None:
        self.shape = shape
        self.received = 0
        "Packets told of by `admit`."
        self.sent = 0
        "Packets told of by `leave`."
        self.lost = 0
        "Packets the shape lost at random or in a burst."
        self.queue_drops = 0
        "Packets dropped because `queue_packets` were waiting."
        self.duplicated = 0
        self.reordered = 0
        "Packets sent ahead of the delay."
        self.send_failures = 0
        "Of `sent`, and of what has no shape: what the kernel did not take, as when the cable is pulled."
        self._random = random
        self._burst_loss = BurstLossState(shape.burst_loss) if shape.burst_loss is not None else None
        self._rate_free_ns = 0
        self._last_due_ns = 0
        self._queues = ClassQueues(shape)

    def reshape(self, shape: "LinkShape") -> None:
        """Treat packets by *shape* from now on; counters go on, and a chain of burst loss begins anew."""
        self.shape = shape
        self._burst_loss = BurstLossState(shape.burst_loss) if shape.burst_loss is not None else None
        self._queues.reshape(shape)

    @property
    def waiting(self) -> int:
        """How many packets wait for the rate or the delay."""
        return self.received + self.duplicated - self.lost - self.queue_drops - self.sent

    def admit(self, arrived_ns: int, packet_bytes: int, dscp: int = 0, packet: Any = None) -> tuple[int, ...]:
        """Take in an IP packet of *packet_bytes* and return when it is due: one time for each copy, none if lost.

        Where there are classes it waits for its turn: `take` gives *packet* back then, once for each copy.
        """
        self.received += 1
        copies = 1
        if self._draw(self.shape.duplicate):
            copies += 1
        if self._is_lost():
            copies -= 1
        if copies == 0:
            self.lost += 1
            return ()
        index = self._queues.class_of(dscp)
        has_classes = bool(self.shape.classes)
        room = self._queues.room(index) if has_classes else self.shape.queue_packets - self.waiting + 1
        # +1: this packet itself is counted as waiting, though in no class yet
        if room <= 0:
            self.queue_drops += 1
            if has_classes:
                self._queues.drop(dscp)
            return ()
        copies = min(copies, room)
        self.duplicated += copies - 1
        if not has_classes:
            return tuple(self._due_ns(arrived_ns, packet_bytes) for _ in range(copies))
        for _ in range(copies):
            self._queues.put(index, Queued(arrived_ns, packet_bytes, self._delay_ns(), packet))
        return ()

    def turn_ns(self) -> int | None:
        """Return when a packet of the classes has the rate next; None where none waits for it."""
        ready_ns = self._queues.ready_ns()
        return None if ready_ns is None else max(self._rate_free_ns, ready_ns)

    def take(self) -> tuple[int, int, Any]:
        """Give the rate to the packet whose turn it is; return when it is due, its class, and what `admit` was told."""
        at_ns = self.turn_ns()
        assert at_ns is not None
        index, queued = self._queues.take(at_ns)
        self._rate_free_ns = at_ns
        return self._behind_ns(at_ns, queued.packet_bytes, queued.delay_ns), index, queued.packet

    def leave(self, index: int | None = None) -> None:
        """Note that one packet was sent on; *index* is the class that `take` told."""
        self.sent += 1
        if index is not None:
            self._queues.leave(index)

    def _draw(self, ratio: float) -> bool:
        return ratio > 0 and self._random.random() < ratio

    def _is_lost(self) -> bool:
        in_burst = self._burst_loss is not None and self._burst_loss.loses(self._random)
        return self._draw(self.shape.loss) or in_burst

    def _due_ns(self, arrived_ns: int, packet_bytes: int) -> int:
        return self._behind_ns(arrived_ns, packet_bytes, self._delay_ns())

    def _delay_ns(self) -> int | None:
        """Draw the delay; None for a packet that is sent ahead of it."""
        shape = self.shape
        if self._draw(shape.reorder):
            self.reordered += 1
            return None
        return max(0, shape.delay + jitter_ns(shape, self._random)) if shape.jitter else shape.delay

    def _behind_ns(self, at_ns: int, packet_bytes: int, delay_ns: int | None) -> int:
        """Return when a packet is due that has the rate from *at_ns* on, or from when it is free."""
        if self.shape.rate:
            at_ns = max(at_ns, self._rate_free_ns) + packet_bytes * 8 * _NANO // self.shape.rate
            self._rate_free_ns = at_ns
        if delay_ns is None:
            return at_ns
        self._last_due_ns = max(self._last_due_ns, at_ns + delay_ns)
        return self._last_due_ns

    def counters(self) -> dict[str, int]:
        """Return what was counted."""
        return {
            "received": self.received,
            "sent": self.sent,
            "lost": self.lost,
            "queue_drops": self.queue_drops,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "send_failures": self.send_failures,
        }

    def class_drops(self) -> dict[str, int]:
        """Return how many of `queue_drops` were of which class; empty where there are no classes."""
        return self._queues.drops() if self.shape.classes else {}


def is_shaped_frame(frame: bytes) -> bool:
    """Tell whether the shape applies to an Ethernet frame: to all but ARP, the emulated Ethernet's own affair."""
    return frame[12:14] != _ARP


def dscp_of(frame: bytes) -> int:
    """Return the DSCP of the IPv4 packet in an Ethernet frame; 0 of anything else."""
    return frame[15] >> 2 if frame[12:14] == _IPV4 and len(frame) > ETHERNET_BYTES + 1 else 0


def bleach_dscp(frame: bytes) -> bytes:
    """Return an Ethernet frame whose IPv4 packet has DSCP 0, its ECN bits kept, and a right checksum (RFC 1624)."""
    if frame[12:14] != _IPV4 or len(frame) < ETHERNET_BYTES + 20 or not frame[15] & 0xFC:
        return frame
    before = frame[14] << 8 | frame[15]
    after = before & ~0xFC
    total = (~_word.unpack_from(frame, 24)[0] & 0xFFFF) + (~before & 0xFFFF) + after
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    bleached = bytearray(frame)
    bleached[15] = after & 0xFF
    _word.pack_into(bleached, 24, ~total & 0xFFFF)
    return bytes(bleached)


class LatenessHistogram:
    """How late frames left, in buckets an eighth of a power of two wide: cheap to fill, and good to 12.5 %."""

    def __init__(self) -> None:
        self.count = 0
        self.max_ns = 0
        self._buckets: dict[int, int] = {}

    @classmethod
    def of(cls, buckets: dict[int, int], max_ns: int) -> "LatenessHistogram":
        """Return one that was filled elsewhere."""
        filled = cls()
        filled._buckets, filled.max_ns, filled.count = buckets, max_ns, sum(buckets.values())
        return filled

    def add(self, late_ns: int) -> None:
        """Take in one frame; early counts as on time."""
        late_ns = max(0, late_ns)
        shift = max(0, late_ns.bit_length() - 4)
        bucket = shift << 4 | late_ns >> shift
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        if late_ns > self.max_ns:
            self.max_ns = late_ns

    def quantile_ns(self, share: float) -> int | None:
        """Return what *share* of the frames were not later than, rounded up to the bucket's end; None if no frames."""
        left = share * self.count
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                shift = bucket >> 4
                return min(self.max_ns, ((bucket & 15) + 1 << shift) - 1)
        return None

    def summary(self) -> dict[str, int | None]:
        """Return {"p50", "p99", "max"} in nanoseconds; None where there were no frames."""
        return {
            "p50": self.quantile_ns(0.5),
            "p99": self.quantile_ns(0.99),
            "max": self.max_ns if self.count else None,
        }
