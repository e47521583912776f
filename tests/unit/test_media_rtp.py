"""Plain RTP: packets, statistics of RFC 3550, and the SDP of a telephone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import rtp

PACKETS = st.builds(
    rtp.Packet,
    sequence_number=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=320),
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
)


@given(PACKETS)
def test_what_is_written_is_what_is_read(packet: rtp.Packet) -> None:
    assert rtp.Packet.from_bytes(packet.to_bytes()) == packet


def test_a_packet_is_laid_out_as_the_standard_says() -> None:
    packet = rtp.Packet(sequence_number=0x0102, timestamp=0x03040506, ssrc=0x0708090A, payload=b"xy", marker=True)
    assert packet.to_bytes().hex() == "8080" + "0102" + "03040506" + "0708090a" + "7879"


def test_csrc_extension_and_padding_are_not_payload() -> None:
    data = bytes.fromhex("b100000100000000000000010000000cbede000100000000") + b"ok" + b"\0\0\3"
    assert rtp.Packet.from_bytes(data).payload == b"ok"


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80" * 11, b"\x00" * 20, b"\x81" + b"\0" * 11, b"\x90" + b"\0" * 12, b"\xa0" + b"\0" * 11 + b"\x09"],
    ids=["empty", "short", "version 0", "CSRC missing", "extension missing", "more padding than packet"],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="RTP"):
        rtp.Packet.from_bytes(data)


def observed(*arrivals: tuple[int, int]) -> rtp.StreamStatistics:
    """Return the statistics of packets given as (sequence number, arrival in ms); packet n was sent at 20 n ms."""
    statistics = rtp.StreamStatistics()
    for sequence_number, arrival_ms in arrivals:
        statistics.observe(
            arrival_ns=arrival_ms * 1_000_000,
            sequence_number=sequence_number % 65536,
            timestamp=sequence_number * 160 % 2**32,
        )
    return statistics


def test_packets_that_keep_their_distance_have_no_jitter() -> None:
    assert observed((0, 5), (1, 25), (2, 45)).interarrival_jitter_ms == 0


def test_jitter_moves_by_a_sixteenth_of_each_difference() -> None:
    assert observed((0, 0), (1, 36)).interarrival_jitter_ms == 1
    assert observed((0, 0), (1, 36), (2, 56)).interarrival_jitter_ms == 1 - 1 / 16


def test_jitter_is_unknown_before_the_second_packet() -> None:
    assert observed((0, 0)).interarrival_jitter_ms is None


def test_a_missing_packet_is_lost_and_a_late_one_is_not() -> None:
    assert observed((0, 0), (2, 40)).lost == 1
    assert observed((0, 0), (2, 40), (1, 50)).lost == 0


def test_a_packet_that_came_twice_makes_the_loss_negative() -> None:
    assert observed((0, 0), (1, 20), (1, 21)).lost == -1


def test_sequence_numbers_and_timestamps_may_wrap() -> None:
    statistics = observed(*((n, 20 * n) for n in range(65530, 65545)))
    assert (statistics.received, statistics.lost, statistics.interarrival_jitter_ms) == (15, 0, 0)
    near_the_end = 2**32 // 160 - 3
    assert observed(*((near_the_end + n, 20 * n) for n in range(8))).interarrival_jitter_ms == pytest.approx(
        0, abs=0.01
    )


def test_the_sdp_written_is_understood() -> None:
    assert rtp.read_sdp(rtp.write_sdp("203.0.113.2", 40000)) == ("203.0.113.2", 40000)


def test_the_address_of_the_media_section_counts_before_that_of_the_session() -> None:
    sdp = rtp.write_sdp("203.0.113.2", 40000).replace("a=ptime:20", "c=IN IP4 203.0.113.9")
    assert rtp.read_sdp(sdp)[0] == "203.0.113.9"


@pytest.mark.parametrize(
    "change",
    [("RTP/AVP 0", "RTP/AVP 8"), ("audio 40000", "audio 0"), ("RTP/AVP", "UDP/TLS/RTP/SAVPF"), ("m=audio", "m=video")],
    ids=["A-law only", "refused stream", "encrypted", "video"],
)
def test_sdp_without_plain_pcmu_audio_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="no PCMU audio"):
        rtp.read_sdp(rtp.write_sdp("203.0.113.2", 40000).replace(*change))


def test_sdp_without_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="connection address"):
        rtp.read_sdp(rtp.write_sdp("203.0.113.2", 40000).replace("c=IN IP4", "c=IN IP6"))
