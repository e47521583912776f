"""netem's commands, and the comparison of what was asked with what tc shows."""

from typing import Any

import pytest

from testbed.emulation import netem
from testbed.plan.model import End, LinkPlan
from testbed.topology import LinkShape


def shape(**written: object) -> LinkShape:
    return LinkShape.model_validate(written)


def words(**written: object) -> str:
    return " ".join(netem.netem_words(shape(**written)))


def link(forward: LinkShape, back: LinkShape | None = None) -> LinkPlan:
    return LinkPlan(
        name="isp-er",
        segment="er",
        segment_kind="expressroute",
        a=End(node="a", interface="b"),
        b=End(node="b", interface="a"),
        shape_forward=forward,
        shape_return=back or shape(),
        up=True,
        captured=True,
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, ""),
        ({"dscp": "bleach"}, ""),
        ({"delay": "20ms"}, "limit 1000 delay 20000us"),
        ({"loss": "0.5%", "queue_packets": 7}, "limit 7 loss random 0.5%"),
        ({"rate": "10Mbit"}, "limit 1000 rate 10000000bit -14"),
        ({"duplicate": "1%"}, "limit 1000 duplicate 1%"),
        ({"delay": "5ms", "reorder": "25%"}, "limit 1000 delay 5000us reorder 25%"),
        ({"reorder": "25%"}, ""),
        ({"burst_loss": {"enter": "1%", "leave": "20%"}}, "limit 1000 loss gemodel 1% 20% 100% 0%"),
        (
            {"burst_loss": {"enter": "1%", "leave": "20%", "loss": "50%"}, "loss": "10%"},
            "limit 1000 loss gemodel 1% 20% 55% 10%",
        ),
    ],
)
def test_a_shape_becomes_netems_words(written: dict[str, object], expected: str) -> None:
    assert words(**written) == expected


def test_jitter_gets_a_rate_so_that_netem_keeps_the_order() -> None:
    assert words(delay="5ms", jitter="1ms") == "limit 1000 delay 5000us 1000us distribution normal rate 100gbit"
    assert words(delay="5ms", jitter="1ms", jitter_distribution="uniform") == (
        "limit 1000 delay 5000us 1000us rate 100gbit"
    )
    assert words(jitter="1ms", rate="1Mbit").endswith("rate 1000000bit -14")


def test_arp_goes_around_netem_and_everything_is_redirected_both_ways() -> None:
    lines = netem.commands("w3a", "w3b", link(shape(delay="5ms")))
    assert lines == [
        "qdisc add dev w3b root handle 1: prio bands 2 priomap 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "qdisc add dev w3b parent 1:1 handle 10: netem limit 1000 delay 5000us",
        "filter add dev w3b parent 1: protocol arp prio 1 u32 match u32 0 0 flowid 1:2",
        "qdisc add dev w3a ingress",
        "filter add dev w3a parent ffff: protocol all prio 2 u32 match u32 0 0 action mirred egress redirect dev w3b",
        "qdisc add dev w3b ingress",
        "filter add dev w3b parent ffff: protocol all prio 2 u32 match u32 0 0 action mirred egress redirect dev w3a",
    ]


QOS = {"delay": "3ms", "rate": "10Mbit", "queue_packets": 100}
VOICE, VIDEO = {"dscp": [46], "queue_packets": 20, "rate": "3Mbit"}, {"dscp": [34, 36], "queue_packets": 50}


def test_classes_become_htbs_in_strict_priority_with_a_netem_each() -> None:
    lines = [*netem.direction_commands("w0a", "w0b", shape(**QOS, classes=[VOICE, VIDEO]))]
    htb = "class add dev w0b parent 20:99 classid 20:{} htb rate 8kbit ceil {} prio {} quantum 1514"
    priomap = " ".join(["priomap", *"0" * 16])
    assert lines[:-2] == [
        f"qdisc add dev w0b root handle 1: stab overhead -14 linklayer ethernet prio bands 2 {priomap}",
        "qdisc add dev w0b parent 1:1 handle 20: htb default 8",
        "class add dev w0b parent 20: classid 20:99 htb rate 10000000bit ceil 10000000bit",
        htb.format(1, "3000000bit", 0),
        "filter add dev w0b parent 20: protocol ip prio 1 u32 match ip dsfield 0xb8 0xfc flowid 20:1",
        htb.format(2, "10000000bit", 1),
        "filter add dev w0b parent 20: protocol ip prio 2 u32 match ip dsfield 0x88 0xfc flowid 20:2",
        "filter add dev w0b parent 20: protocol ip prio 2 u32 match ip dsfield 0x90 0xfc flowid 20:2",
        htb.format(8, "10000000bit", 7),
        "qdisc add dev w0b parent 20:1 handle 11: netem limit 20 delay 3000us",
        "qdisc add dev w0b parent 20:2 handle 12: netem limit 50 delay 3000us",
        "qdisc add dev w0b parent 20:8 handle 18: netem limit 100 delay 3000us",
        "filter add dev w0b parent 1: protocol arp prio 1 u32 match u32 0 0 flowid 1:2",
    ]


@pytest.mark.parametrize(("voice_limit", "is_right"), [(20, True), (21, False), (None, False)])
def test_the_netem_of_each_class_is_read_back(voice_limit: int | None, is_right: bool) -> None:
    limits = {"20:1": voice_limit, "20:2": 50, "20:8": 100}
    delay = {"delay": 0.003, "jitter": 0, "correlation": 0}
    there = [
        {"kind": "netem", "dev": "w0b", "parent": parent, "options": {"limit": limit, "delay": delay}}
        for parent, limit in limits.items()
        if limit is not None
    ]
    planned = {("w0a", "w0b"): link(shape(**QOS, classes=[VOICE, VIDEO]))}
    assert (netem.differences(planned, there) == []) is is_right
    if voice_limit == 21:
        assert netem.differences(planned, there) == ["isp-er: w0b: netem of 20:1 limit should be 20, is 21.0"]


def test_bleaching_is_done_where_frames_come_in_and_mends_the_checksum() -> None:
    (bleach,) = [x for x in netem.commands("w0a", "w0b", link(shape(dscp="bleach"))) if "pedit" in x]
    assert bleach.startswith("filter add dev w0a parent ffff: protocol ip prio 1 ")
    assert "dsfield set 0 retain 0xfc" in bleach and "csum ip4h" in bleach and bleach.endswith("redirect dev w0b")


def shown(**options: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "prio", "dev": "w0b", "options": {}},
        {"kind": "netem", "dev": "w0b", "parent": "1:1", "options": options},
    ]


PLANNED = {("w0a", "w0b"): link(shape(delay="5ms", loss="1%"))}
DELAY = {"delay": 0.005, "jitter": 0, "correlation": 0}


def test_what_was_asked_and_is_there_has_no_differences() -> None:
    there = shown(limit=1000, delay=DELAY, **{"loss-random": {"loss": 0.00999999}})
    assert netem.differences(PLANNED, there) == []


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"limit": 1000, "delay": DELAY}, "netem loss should be 0.01, is None"),
        ({"limit": 5, "delay": DELAY, "loss-random": {"loss": 0.01}}, "netem limit should be 1000, is 5.0"),
        (
            {"limit": 1000, "delay": DELAY | {"delay": 0.004}, "loss-random": {"loss": 0.01}},
            "netem delay should be 0.005, is 0.004",
        ),
        (
            {"limit": 1000, "delay": DELAY, "loss-random": {"loss": 0.01}, "duplicate": {"duplicate": 0.1}},
            "netem duplicate should be None, is 0.1",
        ),
    ],
)
def test_each_difference_is_told(options: dict[str, Any], difference: str) -> None:
    assert netem.differences(PLANNED, shown(**options)) == [f"isp-er: w0b: {difference}"]


def test_a_missing_qdisc_and_one_too_many_are_differences() -> None:
    assert netem.differences(PLANNED, []) != []
    assert netem.differences({("w0a", "w0b"): link(shape())}, shown(limit=1000)) != []


def test_drops_are_told_by_class_where_a_direction_has_them() -> None:
    classes = [{"dscp": [46]}, {"dscp": [36, 34]}]
    shapes = {"w0b": shape(rate="1Mbit", classes=classes), "w0a": shape(delay="1ms")}
    shown = [
        {"dev": "w0b", "kind": "prio", "parent": "root", "packets": 9, "drops": 9},
        {"dev": "w0b", "kind": "netem", "parent": "20:1", "packets": 5, "drops": 0},
        {"dev": "w0b", "kind": "netem", "parent": "20:2", "packets": 4, "drops": 2},
        {"dev": "w0b", "kind": "netem", "parent": "20:8", "packets": 3, "drops": 7},
        {"dev": "w0a", "kind": "netem", "parent": "1:1", "packets": 2, "drops": 1},
    ]
    assert netem.counted(shapes, shown) == {
        "w0b": {"sent": 12, "dropped": 9, "class_drops": {"46": 0, "34 36": 2, "rest": 7}},
        "w0a": {"sent": 2, "dropped": 1},
    }
