"""Several TURN messages in one TCP segment: a row each; what is no whole message adds none."""

from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, MEDIA_ER, Wire, make_scenario
from capture_bytes import Tcp, channel_data, rtp, stun

from testbed.analysis.packets import Kind, decode
from testbed.analysis.texts import unfold
from testbed.verdict import judge

OWN, POOL, RELAY = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 443)
LINKS = len(BY_ER) - 1


def padded(message: bytes) -> bytes:
    return message + b"\0" * (-len(message) % 4)


MEDIA = [padded(channel_data(rtp(number, size=160 + number))) for number in range(6)]
"The last two come alone: one packet of a source by itself is not taken for RTP."


def captured(directory: Path, *segments: bytes, unseen: int | None = None) -> Path:
    wire, at = Wire(), 100
    for number, data in enumerate(segments):
        if number != unseen:
            wire.carry(BY_ER, OWN, RELAY, data, nat={"fw-er": (POOL, RELAY)}, tcp=Tcp(at, ip_id=number))
        at += len(data)
    return wire.write(directory, make_scenario(MEDIA_ER))


def read(directory: Path) -> Any:
    return unfold(decode(directory / "capture.pcapng"))


def sequences(packets: Any) -> list[int]:
    """Sequence numbers of the media on one link, in order."""
    numbers = sorted(packets.sequence[packets.kind == Kind.RTP].tolist())
    assert all(numbers.count(number) % LINKS == 0 for number in numbers), "each link shows each packet"
    return numbers[::LINKS]


@pytest.mark.parametrize("first", [b"", stun(0x0109, 7)])
def test_every_message_of_a_segment_is_a_packet(tmp_path: Path, first: bytes) -> None:
    packets = read(captured(tmp_path, first + b"".join(MEDIA[:4]), *MEDIA[4:]))
    assert sequences(packets) == [0, 1, 2, 3, 4, 5]
    third = (packets.sequence == 2) & (packets.kind == Kind.RTP)
    assert {packets.inner(row) for row in third.nonzero()[0].tolist()} == {rtp(2, size=162)}


def test_rows_that_were_there_keep_their_place(tmp_path: Path) -> None:
    directory = captured(tmp_path, b"".join(MEDIA[:4]), *MEDIA[4:])
    before, after = decode(directory / "capture.pcapng"), read(directory)
    assert (after.frame[: len(before)] == before.frame).all()
    assert len(after) == len(before) + 3 * LINKS
    assert set(after.frame[len(before) :].tolist()) <= set(before.frame.tolist())


def test_a_message_that_goes_on_in_the_next_segment_is_a_packet(tmp_path: Path) -> None:
    # A full segment ends wherever it ends; what follows begins in the middle of a message.
    directory = captured(tmp_path, MEDIA[0] + MEDIA[1] + MEDIA[2][:-8], MEDIA[2][-8:] + MEDIA[3], *MEDIA[4:])
    packets = read(directory)
    assert sequences(packets) == [0, 1, 2, 3, 4, 5]
    halved = ((packets.sequence == 2) & (packets.kind == Kind.RTP)).nonzero()[0].tolist()
    assert {packets.inner(row) for row in halved} == {rtp(2, size=162)}
    assert sorted(packets.frame[halved].tolist()) == list(range(1, LINKS + 1))


def test_a_message_of_which_only_the_first_part_was_seen_is_none(tmp_path: Path) -> None:
    packets = read(captured(tmp_path, *MEDIA[4:], MEDIA[0] + MEDIA[1] + MEDIA[2][:-8]))
    assert sequences(packets) == [0, 1, 4, 5]


def test_behind_a_gap_reading_goes_on_with_the_segment_that_begins_with_a_message(tmp_path: Path) -> None:
    halves = MEDIA[1][:50], MEDIA[1][50:]
    segments = (MEDIA[0] + halves[0], halves[1] + MEDIA[2][:-8], MEDIA[2][-8:] + MEDIA[3], MEDIA[4] + MEDIA[5])
    assert sequences(read(captured(tmp_path, *segments, unseen=1))) == [0, 4, 5]


def test_a_capture_without_turn_over_tcp_is_left_alone(tmp_path: Path) -> None:
    packets = decode(captured(tmp_path, b"GET / HTTP/1.1") / "capture.pcapng")
    assert unfold(packets).frame is packets.frame


def test_a_leg_counts_every_message(tmp_path: Path) -> None:
    verdict = judge(captured(tmp_path, b"".join(MEDIA[:4]), *MEDIA[4:]))
    (leg,) = verdict["legs"]
    assert {link["packets_forward"] for link in leg["observed"]["links"]} == {len(MEDIA)}
