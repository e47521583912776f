"""timeline.json: packets with their headers and every link, drops with their packet, where legs ended, series."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, FE, MEDIA_ER, Wire, make_scenario
from capture_bytes import Tcp, attribute, channel_data, indication, rtcp, rtp, stun
from quality_samples import MS, SHAPED, send, shaped_plan
from story_samples import SIGNALING_WAY, call_wire, half_way_wire, write_story

from testbed.analysis import read_run
from testbed.analysis.packets import decode
from testbed.analysis.quality.series import series
from testbed.analysis.timeline.choice import thin
from testbed.analysis.timeline.headers import bgp_title, ends, layers, sip_title, title


def told(directory: Path, wire: Wire | None = None) -> dict[str, Any]:
    write_story(directory, wire)
    document: dict[str, Any] = json.loads((directory / "test-one" / "timeline.json").read_text())
    return document


def one_packet(directory: Path, payload: bytes, tcp: Tcp | None = None, port: int = 6000) -> tuple[str, dict[str, str]]:
    """Return title and layers of a packet that alice sends."""
    wire = Wire()
    for _ in range(3):
        wire.carry(("alice", "core"), (ALICE, 50000), (EDGE1, port), payload, tcp=tcp)
    path = wire.write(directory, make_scenario(MEDIA_ER)) / "capture.pcapng"
    packets = decode(path, sip_ports=(5060,), sources=(0xA11CE,))
    assert ends(packets, 0) == f"{ALICE}:50000 → {EDGE1}:{port}"
    return title(packets, 0), dict(layers(packets, 0))


BINDING = stun(
    0x0001,
    9,
    attribute(0x0006, b"abcd:efgh") + attribute(0x0024, (1845501695).to_bytes(4, "big")) + attribute(0x25, b""),
)
REFUSED = stun(0x0113, 9, attribute(0x0009, bytes((0, 0, 4, 37)) + b"Mismatch"))
MAPPED = stun(0x0101, 9, attribute(0x0020, bytes((0, 1)) + (40000 ^ 0x2112).to_bytes(2, "big") + b"\xe1\x12\xa6\x03"))


@pytest.mark.parametrize(
    ("payload", "name", "layer", "words"),
    [
        (rtp(7), "RTP 7", "RTP", "SSRC 0x000a11ce, sequence 7, timestamp 1120, payload type 0, 160 bytes of media"),
        (rtcp(1), "RTCP", "RTCP", "packet type 201, SSRC 0x000a11ce"),
        (BINDING, "Binding request", "STUN", "USERNAME abcd:efgh; PRIORITY 1845501695; USE-CANDIDATE"),
        (REFUSED, "Allocate error 437", "STUN", "ERROR-CODE 437 Mismatch"),
        (MAPPED, "Binding success", "STUN", "XOR-MAPPED-ADDRESS 192.0.2.65:40000"),
        (channel_data(rtp(7)), "RTP 7", "TURN ChannelData", "channel 0x4000, 172 bytes"),
        (indication(rtp(7), ("192.0.2.9", 7)), "RTP 7", "TURN", "Send indication, peer 192.0.2.9:7, 172 bytes"),
        (b"\x16\xfe\xfd" + bytes(30), "DTLS Handshake", "DTLS", "Handshake, 33 bytes"),
    ],
)
def test_a_packet_is_told_by_its_headers(tmp_path: Path, payload: bytes, name: str, layer: str, words: str) -> None:
    called, headers = one_packet(tmp_path, payload)
    assert called == name
    assert words in headers[layer]
    assert "DSCP 46" in headers["IP"]


def test_tcp_is_told_by_flags_and_sip_whole(tmp_path: Path) -> None:
    called, headers = one_packet(tmp_path / "syn", b"", Tcp(100, 0, 2), 5060)
    assert (called, headers["TCP"]) == ("TCP SYN", "SYN; sequence 100, acknowledged 0; 0 bytes of payload")
    called, headers = one_packet(tmp_path / "sip", b"OPTIONS sip:a SIP/2.0\r\nMax-Forwards: 1\r\n\r\n", Tcp(1), 5060)
    assert (called, headers["SIP"]) == ("OPTIONS sip:a", "OPTIONS sip:a SIP/2.0\nMax-Forwards: 1")


@pytest.mark.parametrize(
    ("payload", "called"),
    [(b"\x16\x03\x01\x00\x05hello", "TLS Handshake"), (b"\x9c\xff\x00\xe2", "TLS record, continued")],
)
def test_signaling_over_tls_is_told_as_records(tmp_path: Path, payload: bytes, called: str) -> None:
    name, headers = one_packet(tmp_path, payload, Tcp(1), 5060)
    assert name == called
    assert "encrypted SIP" in headers["TLS"]
    assert "SIP" not in headers


def test_a_sip_response_says_what_it_answers() -> None:
    assert sip_title(b"SIP/2.0 200 OK\r\nCSeq: 3 INVITE\r\n\r\n") == "200 OK (INVITE)"
    assert sip_title(b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\n") == "SIP, continued"


def test_bgp_updates_say_which_prefixes() -> None:
    body = bytes((0, 3, 16, 198, 18)) + bytes((0, 0)) + bytes((26, 192, 0, 2, 64))
    update = b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + b"\x02" + body
    keepalive = b"\xff" * 16 + b"\x00\x13\x04"
    assert bgp_title(keepalive + update) == "UPDATE withdraws 198.18.0.0/16 and announces 192.0.2.64/26"
    assert bgp_title(keepalive) is None
    assert bgp_title(b"\xff" * 16 + b"\x00\x02\x02") is None  # a length that cannot be must not loop


def test_a_packet_is_told_with_every_link_in_order_of_time(tmp_path: Path) -> None:
    document = told(tmp_path)
    register = next(one for one in document["packets"] if one["title"].startswith("REGISTER"))
    assert tuple(document["links"][seen[0]] for seen in register["way"]) == SIGNALING_WAY
    assert all(one[2] < other[2] for one, other in pairwise(register["way"]))
    addresses = [document["ends"][seen[4]] for seen in register["way"]]
    assert addresses[0] == f"{ALICE}:50010 → {FE}:5060"
    assert addresses[-1] == f"{ER_POOL}:40010 → {FE}:5060"
    assert (register["from"], register["to"]) == ("alice", "fe")


def test_a_drop_leads_to_the_packet_that_was_dropped(tmp_path: Path) -> None:
    document = told(tmp_path)
    (drop,) = document["drops"]
    assert (drop["firewall"], drop["rule"], drop["title"]) == ("fw-inet", "default", "Binding request")
    packet = document["packets"][drop["packet"]]
    assert [document["links"][seen[0]] for seen in packet["way"]] == ["alice-core", "core-fw-inet"]


def test_a_leg_tells_where_each_direction_ended(tmp_path: Path) -> None:
    leg = told(tmp_path, half_way_wire())["legs"][0]
    assert leg["forward"] == {"links": list(SIGNALING_WAY), "arrived": True, "end": None}
    assert leg["return"]["links"] == ["ms-fe", "border", "inet"]
    end = {"node": "fw-inet", "rule": "invalid", "packets": 1, "frame": 1, "dropped": True}
    assert (leg["return"]["arrived"], leg["return"]["end"]) == (False, end)
    assert len(leg["packets"]) == 2


def test_media_that_never_flowed_is_told_by_its_attempts(tmp_path: Path) -> None:
    wire = call_wire(packets=0)
    wire.carry(BY_ER, (ALICE, 50000), (EDGE1, 3478), stun(0x0003, 5))
    leg = told(tmp_path, wire)["legs"][1]
    assert leg["attempt"] is True
    assert leg["forward"]["links"][-1] == "ms-edge1"


def test_an_empty_capture_gives_an_empty_timeline(tmp_path: Path) -> None:
    document = told(tmp_path, Wire())
    assert document["packets"] == document["drops"] == document["series"] == []


def test_thinning_keeps_both_ends_and_spreads_evenly() -> None:
    values = np.arange(1000)
    kept = thin(values, 11)
    assert len(kept) == 11
    assert (int(kept[0]), int(kept[-1])) == (0, 999)
    assert int(np.diff(kept).max()) <= 100
    assert thin(values, 1000) is values


def test_many_packets_are_thinned_for_drawing_and_counted_whole(tmp_path: Path) -> None:
    document = told(tmp_path, call_wire(packets=400))
    media = document["lanes"]["media"]
    assert media["packets"] == 800
    assert media["shown"] < 160
    assert sum(one["lane"] == "media" for one in document["packets"]) == media["shown"]


def test_series_show_a_delay_step_and_a_lost_packet_where_they_were(tmp_path: Path) -> None:
    def delay(link: str, number: int) -> int:
        return (30 * MS if number >= 50 else 10 * MS) if link == "er" else 2 * MS if link == "alice-core" else 0

    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(100), delay, lost_on=lambda number: "er" if number == 75 else None)
    (one,) = series(read_run(wire.write(tmp_path, make_scenario(MEDIA_ER))))
    assert one["path"] == "client to Microsoft edge"
    before = [value for at, value in one["delay"] if at < 1.0]
    after = [value for at, value in one["delay"] if at >= 1.0]
    assert before == pytest.approx([12] * 50, abs=0.1)
    assert after == pytest.approx([32] * 49, abs=0.1)
    lossy = [(at, percent) for at, percent, _ in one["loss"] if percent]
    assert one["window_ms"] == 200
    assert lossy == [(pytest.approx(1.5, abs=0.11), 10.0)]
    assert max(one["delay_change"], key=lambda point: point[1])[0] == pytest.approx(1.1, abs=0.11)
    assert one["segments"]["expressroute"]["points"][0] == [pytest.approx(10, abs=0.1), 0.0]
    assert one["box"][0] == pytest.approx(12, abs=0.1)
    assert one["box"][-1] == pytest.approx(32, abs=0.1)


def test_series_keep_the_greatest_delay_of_a_long_stream(tmp_path: Path) -> None:
    def delay(link: str, number: int) -> int:
        return (90 * MS if number == 777 else 10 * MS) if link == "er" else 0

    wire = Wire(shaped_plan("er"))
    send(wire, range(1500), delay)
    (one,) = series(read_run(wire.write(tmp_path, make_scenario(MEDIA_ER))))
    assert len(one["delay"]) <= 240
    assert max(value for _, value in one["delay"]) == pytest.approx(90, abs=0.1)
