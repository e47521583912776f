"""Media over TURN over TCP: what was lost on the way and sent again is late, not lost, and no other stream."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from analysis_samples import ALICE, BY_ER, CAROL, EDGE1, ER_POOL, HOTEL_POOL, MEDIA_ER, Wire, make_scenario
from capture_bytes import Tcp, channel_data
from quality_samples import MS, SHAPED, SPACING_NS, START_NS, media, shaped_plan

from testbed.analysis import read_run
from testbed.analysis.quality import measure

OWN, POOL, RELAY = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 443)
PEER, HOTEL, ALLOCATED = (CAROL, 50002), (HOTEL_POOL, 41000), (EDGE1, 50500)
LOST = range(40, 44)
LATE_MS = 300
MESSAGE_BYTES = len(channel_data(media(0)))


def segment(numbers: Collection[int]) -> bytes:
    return b"".join(channel_data(media(number)) for number in numbers)


def tcp(number: int, *, again: bool = False) -> Tcp:
    return Tcp(100 + number * MESSAGE_BYTES, ip_id=1000 if again else number)


def streams(wire: Wire, directory: Path) -> list[dict[str, Any]]:
    return list(measure(read_run(wire.write(directory, make_scenario(MEDIA_ER))))["streams"])


def test_what_a_client_sent_again_in_one_segment_is_late(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    for number in range(100):
        if number == LOST[-1] + 1:
            wire.now_ns = START_NS + LOST[0] * SPACING_NS + LATE_MS * MS
            wire.carry(BY_ER, OWN, RELAY, segment(LOST), nat={"fw-er": (POOL, RELAY)}, tcp=tcp(LOST[0], again=True))
        wire.now_ns = START_NS + number * SPACING_NS + (LATE_MS * MS if number > LOST[-1] else 0)
        way = BY_ER[:3] if number in LOST else BY_ER
        wire.carry(way, OWN, RELAY, segment([number]), nat={"fw-er": (POOL, RELAY)}, tcp=tcp(number))
    (stream,) = streams(wire, tmp_path)
    assert (stream["from"], stream["packets"], stream["duplicates"]) == ("alice", 100, len(LOST))
    assert (stream["end_to_end"]["lost"], stream["lost_where"]) == (0, [])
    assert LATE_MS <= stream["end_to_end"]["one_way_delay_ms"]["max"] < LATE_MS + 1


def test_what_a_relay_sent_again_is_not_of_the_relay(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    nat, way = {"fw-er": (RELAY, OWN)}, BY_ER[::-1]
    for number in range(100):
        wire.now_ns = START_NS + number * SPACING_NS
        to_relay = ("carol", "hotel-nat", "transit", "ms", "edge1")
        wire.carry(to_relay, PEER, ALLOCATED, media(number), nat={"hotel-nat": (HOTEL, ALLOCATED)})
        wire.carry(way[:2] if number in LOST else way, RELAY, POOL, segment([number]), nat=nat, tcp=tcp(number))
        if number == LOST[-1]:
            wire.now_ns = START_NS + LOST[0] * SPACING_NS + LATE_MS * MS
            wire.carry(way, RELAY, POOL, segment(LOST), nat=nat, tcp=tcp(LOST[0], again=True))
    (stream,) = streams(wire, tmp_path)
    assert (stream["from"], stream["to"], stream["packets"]) == ("carol", "alice", 100)
    assert (stream["end_to_end"]["lost"], stream["lost_where"]) == (0, [])
    assert LATE_MS <= stream["end_to_end"]["one_way_delay_ms"]["max"] < LATE_MS + 1
