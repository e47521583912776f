"""By which transport media reached its relay: read from packets, and held against what the row asks."""

from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, MEDIA_ER, Wire, make_scenario, media_by_er
from capture_bytes import Tcp, channel_data, rtp, stun

from testbed.verdict import judge

UDP_RELAY, TCP_RELAY, OWN, POOL = (EDGE1, 3478), (EDGE1, 443), (ALICE, 50000), (ER_POOL, 40000)
ALLOCATE = 0x0003


def told(directory: Path) -> dict[str, Any]:
    """Return the check."""
    found: dict[str, Any] = next(each for each in judge(directory)["checks"] if each["check"] == "relay-transport")
    return found


def asks(wire: Wire) -> None:
    """Let alice ask her relay over UDP for an allocation, in vain."""
    wire.carry(BY_ER[:3], OWN, UDP_RELAY, stun(ALLOCATE, 1))


def media_by_tcp(wire: Wire) -> None:
    """Let alice send three packets of media to her relay over TCP."""
    out = {"fw-er": (POOL, TCP_RELAY)}
    wire.carry(BY_ER, OWN, TCP_RELAY, b"", nat=out, tcp=Tcp(99, flags=2, ip_id=1))
    wire.carry(BY_ER, OWN, TCP_RELAY, stun(ALLOCATE, 2), nat=out, tcp=Tcp(100, ip_id=2))
    for number in range(3):
        data = channel_data(rtp(number))
        wire.carry(BY_ER, OWN, TCP_RELAY, data, nat=out, tcp=Tcp(1000 + number * len(data), ip_id=3 + number))


def by_tcp(directory: Path, wanted: str) -> Path:
    wire = Wire()
    asks(wire)
    wire.now_ns += 1_000_000_000
    media_by_tcp(wire)
    return wire.write(directory, make_scenario(MEDIA_ER, relay_transports={"alice": wanted}))


def test_media_by_tcp_after_udp_was_given_up(tmp_path: Path) -> None:
    found = told(by_tcp(tmp_path, "tcp"))
    assert (found["verdict"], found["expected"]) == ("PASS", {"alice": "tcp"})
    assert found["reason"] == "media of alice by TCP 443 after UDP was given up after 1000 ms"
    seen = found["observed"]["alice"]
    assert seen["used"] == ["tcp"]
    assert seen["tried"] == [{"transport": "udp", "first_frame": 1}, {"transport": "tcp", "first_frame": 3}]
    assert seen["relay_ms"] is None and seen["rtt_ms"] is None, "only agents know, and none said anything"


@pytest.mark.parametrize("wanted", ["udp", "tls"])
def test_another_rung_than_the_row_asks_for_fails(tmp_path: Path, wanted: str) -> None:
    found = told(by_tcp(tmp_path, wanted))
    assert found["verdict"] == "FAIL"
    assert found["reason"] == f"media of alice reached its relay by tcp, not {wanted}"


def test_udp_that_answers_at_once_gives_nothing_up(tmp_path: Path) -> None:
    wire = Wire()
    for number in range(3):
        media_by_er(wire, sequence=number)
    found = told(wire.write(tmp_path, make_scenario(MEDIA_ER, relay_transports={"alice": "udp"})))
    assert (found["verdict"], found["observed"]["alice"]["given_up_ms"]) == ("PASS", {})


def test_a_row_with_nothing_open_asks_for_no_relay(tmp_path: Path) -> None:
    scenario = make_scenario(MEDIA_ER, relay_transports={"alice": "none"})
    wire = Wire()
    asks(wire)
    found = told(wire.write(tmp_path / "shut", scenario))
    assert (found["verdict"], found["observed"]["alice"]["used"]) == ("PASS", [])
    wire.lost["alice-core"] = 3
    assert told(wire.write(tmp_path / "gaps", scenario))["verdict"] == "INCONCLUSIVE"
    found = told(by_tcp(tmp_path / "open", "none"))
    assert (found["verdict"], found["reason"]) == ("FAIL", "media of alice reached its relay by tcp, not none")


def test_no_media_to_a_relay_fails_and_is_inconclusive_where_a_capture_is_missing(tmp_path: Path) -> None:
    scenario = make_scenario(MEDIA_ER, relay_transports={"alice": "udp"})
    wire = Wire()
    asks(wire)
    assert told(wire.write(tmp_path / "whole", scenario))["verdict"] == "FAIL"
    wire.lost["alice-core"] = 3
    assert told(wire.write(tmp_path / "gaps", scenario))["verdict"] == "INCONCLUSIVE"
