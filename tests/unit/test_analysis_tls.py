"""TLS opened with the run's key log: real records of a real handshake, captured on every link, lost and sent again."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, MEDIA_ER, Wire, make_scenario
from capture_bytes import Tcp, channel_data, rtp

from testbed.analysis.packets import Encapsulation, Kind, decode
from testbed.analysis.tls import KEY_LOG, open_tls, read_key_log
from testbed.plan.certificates import Authority
from testbed.verdict import judge

OWN, POOL, RELAY = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 443)
MEDIA = [channel_data(rtp(number)) for number in range(4)]


class Ends:
    """Both ends of a TLS connection in memory: `send` returns the bytes that one of them puts on the wire."""

    def __init__(self, directory: Path, version: ssl.TLSVersion, ciphers: str | None) -> None:
        authority = Authority("a secret", name="Test")
        shown = authority.issue(["edge1.example"], label="edge1", addresses=[EDGE1])
        (directory / "pem").write_text(shown.key + shown.certificate)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(directory / "pem")
        client = ssl.create_default_context(cadata=authority.certificate)
        client.maximum_version = version
        if ciphers is not None:
            client.set_ciphers(ciphers)
        client.keylog_filename = str(directory / KEY_LOG)
        self._bios = {name: (ssl.MemoryBIO(), ssl.MemoryBIO()) for name in ("client", "server")}
        self._ends = {
            "client": client.wrap_bio(*self._bios["client"], server_hostname=EDGE1),
            "server": server.wrap_bio(*self._bios["server"], server_side=True),
        }

    def step(self, name: str) -> bytes:
        """Carry on with the handshake, or read what came; return what is to be sent."""
        end = self._ends[name]
        try:
            end.do_handshake()
            end.read()
        except ssl.SSLWantReadError:
            pass
        return self._bios[name][1].read()

    def send(self, name: str, text: bytes) -> bytes:
        self._ends[name].write(text)
        return self._bios[name][1].read()

    def take(self, name: str, data: bytes) -> None:
        self._bios[name][0].write(data)


class Connection:
    """TCP segments of one connection through alice's NAT, on every link of her way to the Edge."""

    def __init__(self, wire: Wire, *, client_begins: int = 0xFFFFFFF0) -> None:
        self._wire, self._sent, self._ip_id = wire, {"client": client_begins, "server": 7_000}, 0

    def carry(self, name: str, data: bytes, *, again: bool = False) -> None:
        self._ip_id += 1
        at = self._sent[name] - (len(data) if again else 0) & 0xFFFFFFFF
        tcp = Tcp(at, ip_id=self._ip_id)
        if name == "client":
            self._wire.carry(BY_ER, OWN, RELAY, data, nat={"fw-er": (POOL, RELAY)}, tcp=tcp)
        else:
            self._wire.carry(BY_ER[::-1], RELAY, POOL, data, nat={"fw-er": (RELAY, OWN)}, tcp=tcp)
        self._sent[name] = at + len(data) & 0xFFFFFFFF


def together(self: Ends, name: str, *texts: bytes) -> bytes:
    """Return several records that leave in one segment."""
    return b"".join(self.send(name, text) for text in texts)


def shaken_hands(ends: Ends, connection: Connection) -> Ends:
    """Carry the handshake; return the ends."""
    for name, other in (("client", "server"), ("server", "client")) * 2:
        if data := ends.step(name):
            connection.carry(name, data)
            ends.take(other, data)
    return ends


def captured(
    directory: Path,
    *,
    again: bool = False,
    in_one_segment: bool = False,
    before: tuple[int, ...] = (),
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str | None = None,
    **scenario: Any,
) -> Path:
    """Capture media that alice sends and gets through TLS; with *again* one segment is sent twice.

    There were connections from the same port *before*, which began with these sequence numbers.
    """
    directory.mkdir(parents=True, exist_ok=True)
    wire = Wire()
    for begins in before:
        given_up = Connection(wire, client_begins=begins)
        given_up.carry("client", shaken_hands(Ends(directory, version, ciphers), given_up).send("client", MEDIA[0]))
    connection = Connection(wire)
    ends = shaken_hands(Ends(directory, version, ciphers), connection)
    if in_one_segment:
        connection.carry("client", together(ends, "client", *MEDIA))
    for number, text in enumerate(() if in_one_segment else MEDIA):
        data = ends.send("client", text)
        connection.carry("client", data)
        if again and number == 1:
            connection.carry("client", data, again=True)
        connection.carry("server", ends.send("server", channel_data(rtp(number, ssrc=0xED6E))))
    return wire.write(directory, make_scenario(MEDIA_ER, **scenario))


def opened(directory: Path) -> Any:
    return open_tls(decode(directory / "capture.pcapng"), read_key_log(directory / KEY_LOG))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1_3, None),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_turn_inside_tls_is_read_on_every_link(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str | None, again: bool
) -> None:
    packets = opened(captured(tmp_path, again=again, version=version, ciphers=ciphers))
    media = packets.kind == Kind.RTP
    assert media.sum() == 4 * (2 * len(MEDIA) + again), "on each of four links, both ways"
    assert packets.tls[media].all()
    assert set(packets.encapsulation[media].tolist()) == {Encapsulation.CHANNEL_DATA}
    assert set(packets.ssrc[media].tolist()) == {0xA11CE, 0xED6E}
    texts = {packets.inner(row) for row in media.nonzero()[0].tolist()}
    assert rtp(2) in texts


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
@pytest.mark.parametrize("before", [(0x1000_0000,), (0x9000_0000,), (0xFFFF_FFF0,), (5, 0x9000_0000)])
def test_a_port_used_again_makes_another_connection(
    tmp_path: Path, before: tuple[int, ...], version: ssl.TLSVersion
) -> None:
    packets = opened(captured(tmp_path, before=before, version=version))
    assert (packets.kind == Kind.RTP).sum() == 4 * (2 * len(MEDIA) + len(before))


def test_records_that_share_a_segment_are_packets_of_their_own(tmp_path: Path) -> None:
    packets = opened(captured(tmp_path, in_one_segment=True))
    media = (packets.kind == Kind.RTP) & (packets.ssrc == 0xA11CE)
    assert sorted(packets.sequence[media].tolist()) == sorted(4 * list(range(len(MEDIA))))
    assert packets.tls[media].all()
    assert len(set(packets.frame[media].tolist())) == 4, "one frame on each link"


def test_a_leg_inside_tls_is_judged_as_any_other(tmp_path: Path) -> None:
    verdict = judge(captured(tmp_path, relay_transports={"alice": "tls"}))
    assert verdict["legs"][0]["verdict"] == "PASS", verdict["legs"][0]
    check = next(each for each in verdict["checks"] if each["check"] == "relay-transport")
    assert (check["verdict"], check["observed"]["alice"]["used"]) == ("PASS", ["tls"])


@pytest.mark.parametrize("wanted", ["tcp", "udp"])
def test_tls_is_not_taken_for_another_rung(tmp_path: Path, wanted: str) -> None:
    verdict = judge(captured(tmp_path, relay_transports={"alice": wanted}))
    check = next(each for each in verdict["checks"] if each["check"] == "relay-transport")
    assert check["reason"] == f"media of alice reached its relay by tls, not {wanted}"


def test_without_the_keys_nothing_is_proven(tmp_path: Path) -> None:
    directory = captured(tmp_path)
    (directory / KEY_LOG).unlink()
    leg = judge(directory)["legs"][0]
    assert leg["verdict"] == "INCONCLUSIVE"
    assert "inside TLS" in leg["reason"] and KEY_LOG in leg["reason"]


def test_keys_of_another_connection_open_nothing(tmp_path: Path) -> None:
    directory = captured(tmp_path / "one")
    captured(tmp_path / "other")
    (tmp_path / "other" / KEY_LOG).replace(directory / KEY_LOG)
    packets = opened(directory)
    assert not packets.tls.any() and not (packets.kind == Kind.RTP).any()


def test_a_key_log_that_is_none_is_named(tmp_path: Path) -> None:
    directory = captured(tmp_path)
    (directory / KEY_LOG).write_text("CLIENT_TRAFFIC_SECRET_0 zz zz\n")
    verdict = judge(directory)
    assert verdict["verdict"] == "ERROR" and "is no key log" in verdict["reason"]
