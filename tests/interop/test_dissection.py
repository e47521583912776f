"""tshark reads our captures, one link at a time: every protocol, nothing malformed, the same packets of each flow.

One link at a time, because tshark takes the same TCP segment on a second link for a retransmission.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest

from testbed.analysis import Run, read_run

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from capture_bytes import packet_block, pcapng

TSHARK = shutil.which("tshark")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.emulation,
    pytest.mark.skipif(TSHARK is None, reason="tshark is not installed: apt install tshark"),
]
RELAYED, TLS = "online/p2p-external", "hybrid/p2p-federated-tls"
FIELDS = (
    "frame.protocols", "ip.src", "ip.dst", "ip.proto", "udp.srcport", "udp.dstport", "tcp.srcport", "tcp.dstport",
    "_ws.malformed", "_ws.expert.severity", "sip.Method", "sip.Status-Code", "stun.type.method",
)  # fmt: skip
HEURISTICS = ("--enable-heuristic", "dtls_stun", "--enable-heuristic", "rtp_stun")
ERROR = "8388608"
"PI_ERROR of Wireshark's expert severities."
Flow = tuple[str, str, int, int, int]
"Addresses, IP protocol and ports."


@dataclass(frozen=True)
class Told:
    """What tshark says of one link."""

    rows: tuple[tuple[str, ...], ...]

    def column(self, name: str) -> list[str]:
        return [row[FIELDS.index(name)] for row in self.rows]

    @cached_property
    def flows(self) -> Counter[Flow]:
        found: Counter[Flow] = Counter()
        for row in self.rows:
            named = dict(zip(FIELDS, row, strict=True))
            source, destination = (named[key].split(",")[0] for key in ("ip.src", "ip.dst"))
            if not source:
                continue  # ARP
            ports = [named[f"{kind}.{end}port"].split(",")[0] for kind in ("udp", "tcp") for end in ("src", "dst")]
            protocol = int(named["ip.proto"].split(",")[0])
            shown = {6: ports[2:], 17: ports[:2]}.get(protocol, ["0", "0"])
            found[source, destination, protocol, int(shown[0]), int(shown[1])] += 1
        return found


def dissect(run: Run, link: str, directory: Path, *options: str) -> Told:
    """Have tshark read the frames of one link."""
    number = [interface.name for interface in run.packets.interfaces].index(link)
    path = directory / f"{link}.pcapng"
    blocks = run.packets.blocks
    path.write_bytes(
        pcapng([link], b"".join(
            packet_block(0, int(blocks.time_ns[row]), blocks.buffer[start : start + size].tobytes(), b"")
            for row in np.flatnonzero(run.packets.link == number).tolist()
            for start, size in ((int(blocks.start[row]), int(blocks.captured[row])),)
        ))
    )  # fmt: skip
    fields = [part for name in FIELDS for part in ("-e", name)]
    command = [str(TSHARK), "-r", str(path), *HEURISTICS, *options, "-T", "fields", "-E", "separator=|", *fields]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Told(tuple(tuple(line.split("|")) for line in told.splitlines()))


def ours(run: Run, link: str) -> Counter[Flow]:
    """Count the packets of each flow on *link* as our own decoder has them."""
    p = run.packets
    number = [interface.name for interface in p.interfaces].index(link)
    rows = np.flatnonzero((p.link == number) & (p.source != 0))
    columns = (p.source, p.destination, p.protocol, p.source_port, p.destination_port)
    return Counter(
        (str(IPv4Address(source)), str(IPv4Address(destination)), protocol, source_port, destination_port)
        for source, destination, protocol, source_port, destination_port in zip(
            *(column[rows].tolist() for column in columns), strict=True
        )
    )


def links_with_packets(run: Run) -> list[str]:
    return [run.packets.interfaces[number].name for number in np.unique(run.packets.link).tolist()]


def key_log(run: Run) -> Sequence[str]:
    return ("-o", f"tls.keylog_file:{run.directory / 'tls-keys.log'}", "-d", "tls.port==443,sip")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Return a real run of each scenario."""
    results = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "testbed", "run", RELAYED, TLS, "--jobs", "2", "--duration", "2s", "--json"]
    answer = subprocess.run([*command, "--results", str(results)], capture_output=True, text=True)
    assert answer.returncode in (0, 3), answer.stderr  # 3: a busy machine
    entries = json.loads(answer.stdout)["scenarios"]
    return {entry["scenario"]: read_run(results / "latest" / entry["directory"]) for entry in entries}


@pytest.fixture(scope="module")
def told(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Told]]:
    """Return what tshark says of each link of each scenario, with the secrets where there are any."""
    directory = tmp_path_factory.mktemp("links")
    return {
        slug: {link: dissect(run, link, directory, *_options(run)) for link in links_with_packets(run)}
        for slug, run in runs.items()
    }


def _options(run: Run) -> Sequence[str]:
    return key_log(run) if (run.directory / "tls-keys.log").exists() else ()


@pytest.mark.parametrize("slug", [RELAYED, TLS])
def test_tshark_counts_the_same_packets_of_every_flow_on_every_link(
    slug: str, runs: dict[str, Run], told: dict[str, dict[str, Told]]
) -> None:
    assert len(told[slug]) > 20
    for link, seen in told[slug].items():
        assert seen.flows == ours(runs[slug], link), link


def is_encrypted_report(row: tuple[str, ...]) -> bool:
    """Say whether tshark takes a frame for RTCP, which is SRTCP in these calls (RFC 3711 section 3.4).

    Where no SDP names the very port (in a TURN message, beyond a NAT) it does not know that, reads the ciphertext as
    reports, and by chance finds some malformed.
    """
    return "rtcp" in row[FIELDS.index("frame.protocols")].split(":")


@pytest.mark.parametrize("slug", [RELAYED, TLS])
def test_tshark_finds_nothing_malformed(slug: str, told: dict[str, dict[str, Told]]) -> None:
    wrong = [
        (link, number, row)
        for link, seen in told[slug].items()
        for number, row in enumerate(seen.rows, 1)
        if not is_encrypted_report(row)
        if row[FIELDS.index("_ws.malformed")] or ERROR in row[FIELDS.index("_ws.expert.severity")].split(",")
    ]
    assert wrong == []


def test_tshark_knows_all_our_protocols(told: dict[str, dict[str, Told]]) -> None:
    def seen(slug: str, name: str) -> Iterator[str]:
        for link in told[slug].values():
            for text in link.column(name):
                yield from text.replace(",", ":").split(":")

    protocols = set(seen(RELAYED, "frame.protocols")) | set(seen(TLS, "frame.protocols"))
    assert {"sip", "sdp", "stun", "dtls", "tls", "rtp", "bgp"} <= protocols
    allocate, refresh, channel_bind = "0x0003", "0x0004", "0x0009"
    assert {allocate, refresh, channel_bind} <= set(seen(RELAYED, "stun.type.method"))
    assert {"REGISTER", "SERVICE", "INVITE", "ACK", "BYE"} <= set(seen(RELAYED, "sip.Method"))


@pytest.mark.parametrize("link", ["alice-lan-a", "dc-fe-lan-dc", "dave-fab-lan"])
def test_the_key_log_opens_tls_signaling_and_nothing_else_does(
    link: str, runs: dict[str, Run], told: dict[str, dict[str, Told]], tmp_path: Path
) -> None:
    methods = set(told[TLS][link].column("sip.Method"))
    assert {"INVITE", "ACK", "BYE"} <= methods
    closed = dissect(runs[TLS], link, tmp_path, "-d", "tls.port==443,sip")
    assert set(closed.column("sip.Method")) == {""}
