"""Captures of media whose every delay, loss and overtaking is chosen, for tests of the metrics."""

import struct
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, Wire, make_plan
from capture_bytes import channel_data, ip_packet

from testbed.plan.model import Plan
from testbed.topology import LinkShape

START_NS = 1_700_000_000_000_000_000
SPACING_NS = 20_000_000
SHAPED = ("alice-core", "er")
MS = 1_000_000
Delay = Callable[[str, int], int]


def media(number: int, *, ssrc: int = 0xA11CE, payload_type: int = 0) -> bytes:
    """Return packet *number* of a G.711 stream; numbers and timestamps wrap."""
    head = struct.pack(">BBHII", 0x80, payload_type, number & 0xFFFF, number * 160 & 0xFFFFFFFF, ssrc)
    return head + bytes(160)


def shaped_plan(*shaped: str, uncaptured: Sequence[str] = ()) -> Plan:
    """Return the small world with a delay configured on *shaped* links (captures decide what it really is)."""
    plan = make_plan(uncaptured=uncaptured)
    shape = LinkShape(delay="1ms")  # type: ignore[arg-type]
    links = tuple(
        link.model_copy(update={"shape_forward": shape, "shape_return": shape}) if link.name in shaped else link
        for link in plan.links
    )
    return plan.model_copy(update={"links": links})


def send(
    wire: Wire,
    numbers: Collection[int],
    delay_ns: Delay,
    *,
    lost_on: Callable[[int], str | None] = lambda number: None,
    way: Sequence[str] = BY_ER,
    payload_type: int = 0,
    ssrc: int = 0xA11CE,
) -> None:
    """Send packets of alice's stream, or to alice's side, every 20 ms along *way*; `lost_on(number)` swallows them."""
    inner, outer, relay = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 3478)
    sightings = []
    for number in numbers:
        at_ns = START_NS + number * SPACING_NS
        for a, b in pairwise(way):
            link = next(link for link in wire.plan.links if {link.a.node, link.b.node} == {a, b})
            mine = inner if {"alice", "core"} & {a, *({b} if way[0] != "alice" else ())} else outer
            ends = (mine, relay) if way[0] == "alice" else (relay, mine)
            passed_ns = at_ns + delay_ns(link.name, number)
            dead = lost_on(number) == link.name
            if link.a.node == a:
                sightings.append((at_ns, a, b, ends, number))
            elif not dead:
                sightings.append((passed_ns, a, b, ends, number))
            if dead:
                break
            at_ns = passed_ns
    for at_ns, a, b, ends, number in sorted(sightings, key=lambda one: one[0]):
        wire.now_ns = at_ns - 10_000  # the wire adds these for each frame
        payload = channel_data(media(number, ssrc=ssrc, payload_type=payload_type))
        wire.frame(a, b, ip_packet(*ends, payload))
