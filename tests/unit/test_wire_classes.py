"""Queues by DSCP: who goes first, what a class may take, whose queue is full; by the wire's Python core."""

from random import Random
from typing import Any

import pytest
from pydantic import ValidationError

from testbed.emulation.wire import LinkDirection, dscp_of
from testbed.plan.text import shape_text
from testbed.topology import LinkShape

MS = 1_000_000
EF, AF41 = 46, 34
PRIORITY = {"dscp": [EF], "queue_packets": 3}


def direction(*classes: dict[str, Any], **more: Any) -> LinkDirection:
    # 1250 bytes take 10 ms at 1 Mbit/s
    return LinkDirection(LinkShape.model_validate({"rate": "1Mbit", "classes": classes, **more}), Random(1))


def served(link: LinkDirection) -> list[tuple[str, int]]:
    """Let every packet go in turn; return who went, and when each is due."""
    told = []
    while link.turn_ns() is not None:
        due_ns, index, packet = link.take()
        link.leave(index)
        told.append((packet, due_ns))
    return told


def test_a_marked_packet_goes_before_all_that_wait_but_not_before_the_one_under_way() -> None:
    link = direction(PRIORITY)
    link.admit(0, 1250, 0, "first")
    link.admit(0, 1250, 0, "second")
    link.admit(5 * MS, 1250, EF, "voice")
    assert served(link) == [("first", 10 * MS), ("voice", 20 * MS), ("second", 30 * MS)]


def test_classes_are_served_in_their_order_and_each_first_in_first_out() -> None:
    link = direction(PRIORITY, {"dscp": [AF41, 36]})
    for name, mark in (("rest", 7), ("video", AF41), ("video 2", 36), ("voice", EF), ("voice 2", EF)):
        link.admit(0, 1250, mark, name)
    assert [name for name, _ in served(link)] == ["voice", "voice 2", "video", "video 2", "rest"]


def test_a_class_that_has_had_its_rate_waits_while_others_go() -> None:
    link = direction({**PRIORITY, "rate": "250kbit"})  # a packet of 10 ms each 40 ms
    for name, mark in (("voice", EF), ("voice 2", EF), ("a", 0), ("b", 0)):
        link.admit(0, 1250, mark, name)
    assert served(link) == [("voice", 10 * MS), ("a", 20 * MS), ("b", 30 * MS), ("voice 2", 50 * MS)]


def test_a_full_queue_drops_its_own_class_alone() -> None:
    link = direction(PRIORITY, queue_packets=2)
    for name, mark in (("a", 0), ("b", 0), ("c", 0), *((f"voice {n}", EF) for n in range(4))):
        link.admit(0, 1250, mark, name)
    assert link.queue_drops == 2
    assert link.class_drops() == {"46": 1, "rest": 1}
    assert [name for name, _ in served(link)] == ["voice 0", "voice 1", "voice 2", "a", "b"]


def test_drops_are_told_by_the_classes_of_the_shape_in_force() -> None:
    link = direction({**PRIORITY, "queue_packets": 1}, {"dscp": [36, AF41], "queue_packets": 1}, queue_packets=1)
    for mark in (EF, EF, AF41, 36, AF41, 0, 0, 7):
        link.admit(0, 1250, mark, "any")
    assert link.class_drops() == {"46": 1, "34 36": 2, "rest": 2}
    assert sum(link.class_drops().values()) == link.queue_drops
    link.reshape(LinkShape.model_validate({"rate": "1Mbit", "classes": [{"dscp": [AF41]}]}))
    assert link.class_drops() == {"34": 1, "rest": 4}


def test_a_link_without_classes_tells_of_none() -> None:
    link = direction(queue_packets=1)
    for _ in range(3):
        link.admit(0, 1250, EF, "any")
    assert (link.queue_drops, link.class_drops()) == (2, {})


def test_what_waits_for_the_delay_is_in_its_classs_queue_too() -> None:
    link = direction({**PRIORITY, "queue_packets": 1}, delay="1s")
    link.admit(0, 125, EF, "one")
    _, index, _ = link.take()
    link.admit(2 * MS, 125, EF, "two")
    assert link.queue_drops == 1
    link.leave(index)
    link.admit(3 * MS, 125, EF, "three")
    assert served(link)[0][0] == "three"


def test_the_delay_comes_after_the_rate_and_an_idle_link_saves_nothing_up() -> None:
    link = direction(PRIORITY, delay="5ms")
    link.admit(0, 1250, EF, "early")
    link.admit(100 * MS, 1250, 0, "late")
    assert served(link) == [("early", 15 * MS), ("late", 115 * MS)]


def test_a_new_shape_lets_go_what_waited_in_classes_that_it_has_not() -> None:
    link = direction(PRIORITY)
    for name, mark in (("a", 0), ("voice", EF)):
        link.admit(0, 1250, mark, name)
    link.reshape(LinkShape.model_validate({"rate": "1Mbit"}))
    assert link.admit(0, 1250, EF, "after") == (10 * MS,)
    assert [name for name, _ in served(link)] == ["voice", "a"]
    assert (link.sent, link.waiting) == (2, 1)


def test_the_mark_is_read_where_a_frame_has_one() -> None:
    ipv4 = bytes(12) + b"\x08\x00" + b"\x45" + bytes([EF << 2 | 1]) + bytes(20)
    assert dscp_of(ipv4) == EF
    assert dscp_of(ipv4[:12] + b"\x08\x06" + ipv4[14:]) == dscp_of(ipv4[:15]) == dscp_of(b"") == 0


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ({"classes": [{"dscp": [46]}]}, "classes need a rate"),
        ({"rate": "1Mbit", "classes": [{"dscp": [46]}, {"dscp": [34, 46]}]}, "DSCP 46 is in two classes"),
        ({"rate": "1Mbit", "classes": [{"dscp": [64]}]}, "less than or equal to 63"),
        ({"rate": "1Mbit", "classes": [{"dscp": []}]}, "at least 1 item"),
        ({"rate": "1Mbit", "classes": [{"dscp": [n]} for n in range(8)]}, "at most 7 items"),
    ],
)
def test_classes_that_make_no_sense_are_refused(written: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LinkShape.model_validate(written)


def test_a_plan_tells_the_classes() -> None:
    shape = LinkShape.model_validate({"rate": "10Mbit", "classes": [{**PRIORITY, "rate": "3Mbit"}, {"dscp": [34, 36]}]})
    assert "DSCP 46 first (3 packets, 3Mbit), then 34 36 (100 packets), then the rest (1000 packets)" in shape_text(
        shape
    )
