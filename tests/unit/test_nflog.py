"""The NFLOG parser: messages as the kernel sends them, faults as it reports them, losses as they show."""

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.emulation.nflog import LoggedPacket, SequenceGaps, bind_message, parse_messages


def attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def packet_message(*attributes: bytes) -> bytes:
    return message(4 << 8, struct.pack("!BBH", 2, 0, 100) + b"".join(attributes))


DROPPED = packet_message(
    attribute(1, struct.pack("!HBB", 0x0800, 2, 0)),
    attribute(2, struct.pack("!I", 7)),
    attribute(3, struct.pack("!QQ", 1_700_000_000, 123_456)),
    attribute(4, struct.pack("!I", 3)),
    attribute(5, struct.pack("!I", 4)),
    attribute(10, b"default\0"),
    attribute(12, struct.pack("!I", 5)),
    attribute(9, b"\x45packet"),
)


def test_a_logged_packet_has_its_rule_hook_interfaces_time_and_content() -> None:
    (packet,) = parse_messages(DROPPED)
    assert packet == LoggedPacket(
        time_ns=1_700_000_000_123_456_000,
        rule="default",
        hook="FORWARD",
        in_index=3,
        out_index=4,
        mark=7,
        sequence=5,
        packet=b"\x45packet",
    )


def test_the_comment_names_rule_hook_and_interfaces() -> None:
    (packet,) = parse_messages(DROPPED)
    assert isinstance(packet, LoggedPacket)
    assert packet.comment({3: "isp", 4: "core"}) == "rule=default hook=FORWARD in=isp out=core"


def test_an_input_drop_has_no_outgoing_interface_and_an_unknown_one_shows_its_index() -> None:
    input_hook, interface = attribute(1, struct.pack("!HBB", 0x0800, 1, 0)), attribute(4, struct.pack("!I", 9))
    (packet,) = parse_messages(packet_message(input_hook, interface))
    assert isinstance(packet, LoggedPacket)
    assert packet.comment({}) == "rule= hook=INPUT in=#9 out=-"
    assert packet.time_ns is None


def test_a_datagram_may_hold_several_packets() -> None:
    assert len(list(parse_messages(DROPPED * 3))) == 3


def test_the_kernels_refusal_is_an_error_and_its_acknowledgement_is_not() -> None:
    refusal, acknowledgement = (message(2, struct.pack("=i", n) + bytes(16)) for n in (-errno.EBUSY, 0))
    (error,) = parse_messages(refusal)
    assert isinstance(error, OSError) and error.errno == errno.EBUSY
    assert list(parse_messages(acknowledgement)) == [None]


ATTRIBUTES = st.builds(attribute, st.integers(0, 20), st.binary(max_size=20))
PACKETS = st.lists(ATTRIBUTES, max_size=6).map(lambda x: packet_message(*x))


@given(st.binary(max_size=200) | st.builds(message, st.sampled_from([2, 4 << 8]), st.binary(max_size=60)) | PACKETS)
def test_any_bytes_are_parsed_or_refused_with_a_value_error(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert all(x is None or isinstance(x, LoggedPacket | OSError) for x in parse_messages(content))


def test_a_cut_message_is_refused() -> None:
    with pytest.raises(ValueError, match="left"):
        list(parse_messages(DROPPED[:-4]))


@pytest.mark.parametrize(
    ("arrived", "missing"),
    [((0, 1, 2), 0), ((0, 1, 4, 5), 2), ((3,), 3), ((0, None, 1), 0), ((0, None, 2), 1)],
)
def test_gaps_in_the_sequence_count_what_is_missing(arrived: tuple[int | None, ...], missing: int) -> None:
    gaps = SequenceGaps()
    for sequence in arrived:
        gaps.observe(sequence)
    assert gaps.missing == missing


def test_the_sequence_may_wrap_around() -> None:
    gaps = SequenceGaps()
    gaps.observe(0xFFFFFFFE)
    before = gaps.missing
    for sequence in (0xFFFFFFFF, 0, 1):
        gaps.observe(sequence)
    assert gaps.missing == before


def test_binding_asks_for_whole_packets_numbered_and_sent_at_once() -> None:
    request = bind_message(100)
    assert struct.unpack_from("=IHHII", request)[:3] == (len(request), 4 << 8 | 1, 5)
    assert struct.unpack_from("!H", request, 18) == (100,)
    for wanted in (attribute(1, b"\x01"), attribute(5, struct.pack("!I", 1)), attribute(6, struct.pack("!H", 1))):
        assert wanted in request
