"""Queues by DSCP before a link's rate, for the netem backend: HTB with a class for each, and a netem at each leaf.

Strict priority, as in the wire: every class is promised next to nothing and borrows the rest, and of those that would
borrow HTB serves the lowest `prio` first. Delay, jitter and loss are the leaf's, which comes before the rate here.
"""

from collections.abc import Iterator
from typing import Final

from testbed.emulation.wire_classes import REST
from testbed.topology import LinkShape, QueueClass

HTB: Final = "20:"
_LINK: Final = "20:99"
_PROMISED: Final = "8kbit"
"The least that HTB works with; a class gets it whatever its turn: a packet of 1500 bytes in 1.5 s."
_FRAME_BYTES: Final = 1514


def leaf(index: int) -> str:
    """Return the parent of a class's netem."""
    return f"{HTB}{index + 1}"


def leaves(shape: LinkShape) -> list[tuple[int, QueueClass | None]]:
    """Return each class with its number; None stands for what is in no class."""
    return [*enumerate(shape.classes), (REST, None)]


def class_drops(shape: LinkShape, parent: str, drops: int) -> dict[str, int]:
    """Return the *drops* of the netem at *parent* by the name of its class, as the wire has them; empty for no leaf."""
    for index, each in leaves(shape):
        if shape.classes and parent == leaf(index):
            return {"rest" if each is None else " ".join(map(str, sorted(each.dscp))): drops}
    return {}


def leaf_shape(shape: LinkShape, each: QueueClass | None) -> LinkShape:
    """Return what the netem of a class does: all but the rate, which is HTB's."""
    limit = shape.queue_packets if each is None else each.queue_packets
    return shape.model_copy(update={"rate": None, "classes": (), "queue_packets": limit})


def size_table(shape: LinkShape, overhead_bytes: int) -> str:
    """Return the words that have the root count packets without *overhead_bytes*, if HTB is below it.

    HTB itself can only count more than a frame, and only a root may have a size table.
    """
    return f" stab overhead {-overhead_bytes} linklayer ethernet" if shape.classes else ""


def class_commands(outgoing: str, shape: LinkShape, *, parent: str) -> Iterator[str]:
    """Yield the lines that make HTB and its classes below *parent*; the netems at `leaf` come after."""
    rate = f"{shape.rate}bit"
    yield f"qdisc add dev {outgoing} parent {parent} handle {HTB} htb default {REST + 1}"
    yield f"class add dev {outgoing} parent {HTB} classid {_LINK} htb rate {rate} ceil {rate}"
    for index, each in leaves(shape):
        most = f"{each.rate}bit" if each is not None and each.rate else rate
        queue = f"rate {_PROMISED} ceil {most} prio {index} quantum {_FRAME_BYTES}"
        yield f"class add dev {outgoing} parent {_LINK} classid {leaf(index)} htb {queue}"
        for mark in each.dscp if each is not None else ():
            match = f"u32 match ip dsfield {mark << 2:#04x} 0xfc flowid {leaf(index)}"
            yield f"filter add dev {outgoing} parent {HTB} protocol ip prio {index + 1} {match}"
