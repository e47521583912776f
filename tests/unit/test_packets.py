"""Decoding captures into columns: every kind of packet, both wrappings, and files that are broken."""

from pathlib import Path
from random import Random

import pytest
from capture_bytes import (
    Tcp,
    attribute,
    channel_data,
    icmp_unreachable,
    indication,
    ip_packet,
    packet_block,
    pcapng,
    rtcp,
    rtp,
    stun,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.rtp import RTP

from testbed.analysis.messages import parse_stun, unreachables
from testbed.analysis.packets import Encapsulation, Kind, Packets, decode
from testbed.analysis.pcapng import CaptureError

A, B = ("10.0.0.1", 40000), ("10.0.0.2", 3478)
OUT, IN = b"\x02\x00\x04\x00\x02\x00\x00\x00", b"\x02\x00\x04\x00\x01\x00\x00\x00"


def ethernet(packet: bytes, ether_type: bytes = b"\x08\x00") -> bytes:
    """Return *packet* in an Ethernet frame."""
    return bytes(range(12)) + ether_type + packet


def written(path: Path, *frames: bytes, options: bytes = OUT) -> Path:
    """Write *frames* as a capture of one link."""
    blocks = b"".join(packet_block(0, 1_000 * number, frame, options) for number, frame in enumerate(frames, 1))
    path.write_bytes(pcapng(["a-b"], blocks))
    return path


def decoded(tmp_path: Path, *packets: bytes) -> Packets:
    """Return the columns of a capture of IP *packets*."""
    return decode(written(tmp_path / "c.pcapng", *map(ethernet, packets)))


@pytest.mark.parametrize(
    ("payload", "kind", "wrapped"),
    [
        (rtp(5), Kind.RTP, Encapsulation.NONE),
        (channel_data(rtp(5)), Kind.RTP, Encapsulation.CHANNEL_DATA),
        (indication(rtp(5), ("192.0.2.9", 7)), Kind.RTP, Encapsulation.INDICATION),
        (indication(rtp(5), ("192.0.2.9", 7), kind=0x0017), Kind.RTP, Encapsulation.INDICATION),
        (rtcp(1), Kind.RTCP, Encapsulation.NONE),
        (channel_data(rtcp(1)), Kind.RTCP, Encapsulation.CHANNEL_DATA),
        (stun(1, 3), Kind.STUN, Encapsulation.NONE),
        (channel_data(stun(1, 3)), Kind.STUN, Encapsulation.CHANNEL_DATA),
        (indication(stun(1, 3), ("192.0.2.9", 7)), Kind.STUN, Encapsulation.INDICATION),
        (bytes([22, 254, 253]) + bytes(20), Kind.DTLS, Encapsulation.NONE),
        (channel_data(b"\xff\xff"), Kind.CHANNEL_DATA, Encapsulation.CHANNEL_DATA),
        (stun(0x0016, 1), Kind.TURN_INDICATION, Encapsulation.NONE),
        (b"hello", Kind.OTHER, Encapsulation.NONE),
        (b"", Kind.OTHER, Encapsulation.NONE),
    ],
)
def test_first_byte_tells_the_kind_through_turn(
    tmp_path: Path, payload: bytes, kind: Kind, wrapped: Encapsulation
) -> None:
    packets = decoded(tmp_path, ip_packet(A, B, rtp(4)), ip_packet(A, B, payload))
    assert (packets.kind[1], packets.encapsulation[1]) == (kind, wrapped)
    assert packets.payload(1) == payload


def test_rtp_fields_are_the_same_inside_and_outside_turn(tmp_path: Path) -> None:
    inner = rtp(513, ssrc=0xDEADBEEF, size=100, payload_type=8)
    forms = (inner, channel_data(inner), indication(inner, ("192.0.2.9", 7)))
    packets = decoded(tmp_path, ip_packet(A, B, rtp(512, ssrc=0xDEADBEEF)), *(ip_packet(A, B, form) for form in forms))
    for row in (1, 2, 3):
        fields = packets.ssrc[row], packets.sequence[row], packets.rtp_timestamp[row], packets.payload_type[row]
        assert (*fields, packets.media_bytes[row]) == (0xDEADBEEF, 513, 513 * 160, 8, 100)
        assert packets.inner(row) == inner
    assert (packets.peer_address[3], packets.peer_port[3], packets.channel[2]) == (0xC0000209, 7, 0x4000)


def test_rtp_with_sources_and_extension_counts_only_its_payload(tmp_path: Path) -> None:
    head = b"\x92\x60\x00\x01" + bytes(4) + b"\x00\x00\x00\x09" + bytes(8) + b"\xbe\xde\x00\x01" + bytes(4)
    packets = decoded(tmp_path, ip_packet(A, B, head + bytes(50)), ip_packet(A, B, rtp(2, ssrc=9)))
    assert (packets.kind[0], packets.media_bytes[0], packets.payload_type[0]) == (Kind.RTP, 50, 96)


def test_one_packet_that_looks_like_rtp_is_not_taken_for_it_unless_the_source_is_known(tmp_path: Path) -> None:
    path = written(tmp_path / "c.pcapng", ethernet(ip_packet(A, B, rtp(1, ssrc=77))))
    assert decode(path).kind[0] == Kind.OTHER
    assert decode(path, sources={77}).kind[0] == Kind.RTP


def test_dns_is_never_rtp(tmp_path: Path) -> None:
    packets = decoded(tmp_path, *(ip_packet(A, ("10.0.0.3", 53), rtp(n)) for n in range(3)))
    assert set(packets.kind.tolist()) == {Kind.DNS}


@pytest.mark.parametrize(
    ("packet", "kind"),
    [
        (ip_packet(A, ("10.0.0.2", 5060), b"", Tcp(1, flags=2)), Kind.SIP),
        (ip_packet(A, ("10.0.0.2", 5060), b"OPTIONS sip:a SIP/2.0"), Kind.SIP),
        (ip_packet(A, ("10.0.0.2", 5060), b"\r\n\r\n"), Kind.OTHER),
        (ip_packet(A, ("10.0.0.2", 179), b"", Tcp(1)), Kind.BGP),
        (ip_packet(A, ("10.0.0.2", 443), b"GET /", Tcp(1)), Kind.TCP),
        (icmp_unreachable("10.0.0.9", "10.0.0.1", ip_packet(A, B, b"x")), Kind.ICMP),
    ],
)
def test_headers_tell_other_kinds(tmp_path: Path, packet: bytes, kind: Kind) -> None:
    assert decoded(tmp_path, packet).kind[0] == kind


def test_a_servers_further_port_is_signaling_at_its_own_address_over_tcp_only(tmp_path: Path) -> None:
    server, other = ("10.0.0.2", 443), ("10.0.0.3", 443)
    packets = [
        ip_packet(A, server, b"", Tcp(1, flags=2)),
        ip_packet(server, A, b"\x16\x03", Tcp(1)),
        ip_packet(A, other, b"\x16\x03", Tcp(1)),
        ip_packet(A, server, b"\x16\x03"),
    ]
    path = written(tmp_path / "c.pcapng", *map(ethernet, packets))
    kinds = decode(path, sip_endpoints=["10.0.0.2:443"]).kind.tolist()
    assert kinds == [Kind.SIP, Kind.SIP, Kind.TCP, Kind.OTHER]


def test_turn_over_tcp_is_opened_where_a_segment_starts_a_message(tmp_path: Path) -> None:
    data = channel_data(rtp(2))
    packets = decoded(
        tmp_path,
        ip_packet(A, B, channel_data(rtp(1)), Tcp(1)),
        ip_packet(A, B, data + data[:9], Tcp(2)),
        ip_packet(A, B, data[20:], Tcp(3)),
    )
    assert packets.kind.tolist() == [Kind.RTP, Kind.RTP, Kind.TCP]


def test_arp_and_unknown_frames_keep_their_row(tmp_path: Path) -> None:
    frames = ethernet(bytes(28), b"\x08\x06"), ethernet(bytes(50), b"\x88\xcc"), b"\x01"
    packets = decode(written(tmp_path / "c.pcapng", *frames))
    assert packets.kind.tolist() == [Kind.ARP, Kind.OTHER, Kind.OTHER]
    assert packets.source.tolist() == [0, 0, 0]


def test_columns_agree_with_scapy(tmp_path: Path) -> None:
    random = Random(4)
    frames = []
    for number in range(200):
        # Both MAC addresses given: without them Scapy would ask the machine's own network for one by ARP.
        head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        ttl, tos, ip_id = random.randint(1, 255), random.randint(0, 255), random.randint(0, 65535)
        ip = head / IP(src=f"10.1.{number}.1", dst="192.0.2.7", ttl=ttl, tos=tos, id=ip_id)
        if number % 2:
            layer = UDP(sport=random.randint(10000, 65535), dport=3480)
            frame = ip / layer / RTP(sequence=number, timestamp=number * 160, sourcesync=5) / bytes(number)
        else:
            flags, sequence = random.choice(["S", "SA", "FA", "R"]), random.randint(0, 2**32 - 1)
            frame = ip / TCP(sport=443, dport=random.randint(10000, 65535), seq=sequence, flags=flags) / bytes(number)
        frames.append(bytes(frame))
    packets = decode(written(tmp_path / "c.pcapng", *frames))
    for row, data in enumerate(frames):
        frame = Ether(data)
        layer = frame[UDP] if UDP in frame else frame[TCP]
        told = packets.ttl[row], packets.dscp[row], packets.ip_id[row], packets.ip_length[row], packets.source_port[row]
        assert told == (frame[IP].ttl, frame[IP].tos >> 2, frame[IP].id, frame[IP].len, layer.sport)
        assert packets.destination_port[row] == layer.dport
        if TCP in frame:
            assert (packets.tcp_sequence[row], packets.tcp_flags[row]) == (layer.seq, int(layer.flags))
        assert packets.payload(row) == bytes(layer.payload)


def test_time_direction_and_frame_numbers(tmp_path: Path) -> None:
    path, frame = tmp_path / "c.pcapng", ethernet(ip_packet(A, B, b"x"))
    first_comment = b"\x01\x00\x02\x00hi\x00\x00" + IN
    blocks = packet_block(0, 1_700_000_000_123_456_789, frame, OUT) + packet_block(1, 5, frame, first_comment)
    path.write_bytes(pcapng(["a-b", "c-d"], blocks, lost={"c-d": 3}))
    packets = decode(path)
    assert packets.time_ns.tolist() == [1_700_000_000_123_456_789, 5]
    assert packets.forward.tolist() == [True, False]
    assert (packets.frame.tolist(), packets.link.tolist()) == ([1, 2], [0, 1])
    assert [(i.name, i.dropped) for i in packets.interfaces] == [("a-b", 0), ("c-d", 3)]
    assert packets.blocks.comment(1) == "hi"


def test_a_frame_without_direction_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="frame 1 does not say its direction"):
        decode(written(tmp_path / "c.pcapng", ethernet(ip_packet(A, B, b"x")), options=b""))


def test_every_cut_is_noticed_and_decoded_up_to_there(tmp_path: Path) -> None:
    path = written(tmp_path / "c.pcapng", *(ethernet(ip_packet(A, B, rtp(n, size=2))) for n in range(3)))
    whole = path.read_bytes()
    assert decode(path).damage is None
    blocks, counts = decode(path).blocks, set()
    edges = {28, int(blocks.start[0]) - 28, *(blocks.end + 4).tolist()}
    for size in range(int(blocks.start[0]) - 28, len(whole)):
        path.write_bytes(whole[:size])
        packets = decode(path)
        counts.add(len(packets))
        missing_statistics = all(interface.dropped is None for interface in packets.interfaces)
        assert missing_statistics and (packets.damage is not None or size in edges)
    assert counts == {0, 1, 2, 3}


@pytest.mark.parametrize("content", [b"", b"\n\r\r\n", b"\xd4\xc3\xb2\xa1" + bytes(40), pcapng([], b"")])
def test_what_is_no_capture_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pcapng").write_bytes(content)
    with pytest.raises(CaptureError):
        decode(tmp_path / "c.pcapng")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=120), max_size=6), st.integers(0, 400), st.binary(max_size=4))
def test_any_bytes_decode_or_fail_clearly(tmp_path: Path, frames: list[bytes], at: int, noise: bytes) -> None:
    path = written(tmp_path / "c.pcapng", *frames, *(ethernet(ip_packet(A, B, frame)) for frame in frames))
    data = bytearray(path.read_bytes())
    data[at : at + len(noise)] = noise
    path.write_bytes(bytes(data))
    try:
        packets = decode(path)
    except CaptureError:
        return
    assert all(len(packets.payload(row)) >= 0 for row in range(len(packets)))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_stun_message_or_none(data: bytes) -> None:
    message = parse_stun(data)
    assert message is None or len(data) >= 20


def test_a_stun_error_has_its_code_and_phrase() -> None:
    message = parse_stun(stun(0x0113, 9, attribute(0x0009, b"\x00\x00\x04\x25Forbidden")))
    assert message is not None and message.error == (437, "Forbidden") and message.is_refusal


def test_icmp_unreachable_quotes_the_packet(tmp_path: Path) -> None:
    packets = decoded(tmp_path, icmp_unreachable("10.0.0.9", A[0], ip_packet(A, B, b"x"), code=1))
    (told,) = unreachables(packets)
    assert told.quoted5 == (17, 0x0A000001, 40000, 0x0A000002, 3478)
    assert told.describe() == "ICMP host unreachable from 10.0.0.9"
