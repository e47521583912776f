"""Wireshark's RTP analysis and ours, of the same packets: counts equal, jitter within 1 % or 0.05 ms."""

import json
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from testbed.analysis import Run, read_run
from testbed.analysis.demux import Encapsulation, Kind
from testbed.analysis.quality.figures import interarrival_jitter_ms
from testbed.analysis.quality.streams import NOT_SEEN, Stream, find_streams

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from analysis_samples import MEDIA_ER, Wire, make_scenario
from capture_bytes import ip_packet, packet_block, pcapng
from quality_samples import MS, SPACING_NS, START_NS, media, shaped_plan

TSHARK = shutil.which("tshark")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(TSHARK is None, reason="tshark is not installed: apt install tshark"),
]


@dataclass(frozen=True)
class Told:
    """What an analyser says of a stream."""

    packets: int
    lost: int
    jitter_mean_ms: float
    jitter_max_ms: float


def tshark(run: Run, link: str, directory: Path) -> dict[int, Told]:
    """Return what tshark says of the plain RTP streams on *link*, by SSRC."""
    packets = run.packets
    number = [interface.name for interface in packets.interfaces].index(link)
    plain = (packets.kind == Kind.RTP) & (packets.encapsulation == Encapsulation.NONE) & (packets.link == number)
    rows = np.flatnonzero(plain)
    blocks = b"".join(_block(run, row) for row in rows.tolist())
    one = directory / "one.pcapng"
    one.write_bytes(pcapng([link], blocks))
    ports = sorted({int(port) for port in packets.source_port[rows]})
    decode = [part for port in ports for part in ("-d", f"udp.port=={port},rtp")]
    command = [str(TSHARK), "-q", "-r", str(one), *decode, "-z", "rtp,streams"]
    return dict(_streams(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _block(run: Run, row: int) -> bytes:
    """Return a frame with RTP's marker bit cleared: aiortc sets it always, and tshark leaves such packets out of J."""
    blocks = run.packets.blocks
    start = int(blocks.start[row])
    frame = bytearray(blocks.buffer[start : start + int(blocks.captured[row])].tobytes())
    frame[int(run.packets.inner_offset[row]) + 1 - start] &= 0x7F
    return packet_block(0, int(run.packets.time_ns[row]), bytes(frame), b"")


def _streams(text: str) -> list[tuple[int, Told]]:
    """Read the table: ... SSRC, payload, packets, lost (share), min, mean and max delta, min, mean and max jitter."""
    found = []
    for line in text.splitlines():
        columns = line.split()
        at = next((n for n, column in enumerate(columns) if column.startswith("0x")), None)
        if at is None:
            continue
        percent = next(n for n, column in enumerate(columns) if column.endswith("%)"))
        numbers = [float(column) for column in columns[percent + 1 : percent + 7]]
        told = Told(int(columns[percent - 2]), int(columns[percent - 1]), numbers[4], numbers[5])
        found.append((int(columns[at], 16), told))
    return found


def ours(stream: Stream, hop: int) -> Told:
    at_ns = stream.time_ns[:, stream.column[hop]]
    seen = at_ns != NOT_SEEN
    sequence = stream.sequence[seen]
    jitter = interarrival_jitter_ms(at_ns[seen], stream.rtp_timestamp[seen], 8000)
    return Told(len(sequence), int(np.ptp(sequence)) + 1 - len(sequence), float(jitter.mean()), float(jitter.max()))


def compare(run: Run, link: str, directory: Path) -> int:
    """Hold every stream that is plain RTP on *link* against tshark; return how many there were."""
    told = tshark(run, link, directory)
    compared = 0
    for stream in find_streams(run.packets, run.walks, run.network):
        for way in stream.ways[:1]:
            hop = next((h for h, d in zip(way.hops, way.directions, strict=True) if d.link == link), None)
            if hop is None or stream.ssrc not in told:
                continue
            mine, theirs = ours(stream, hop), told[stream.ssrc]
            assert (mine.packets, mine.lost) == (theirs.packets, theirs.lost)
            assert mine.jitter_mean_ms == pytest.approx(theirs.jitter_mean_ms, rel=0.01, abs=0.05)
            assert mine.jitter_max_ms == pytest.approx(theirs.jitter_max_ms, rel=0.01, abs=0.05)
            compared += 1
    return compared


def test_a_synthetic_stream_with_loss_and_jitter(tmp_path: Path) -> None:
    chance = random.Random(5)
    wire = Wire(shaped_plan("core-fabrikam"))
    way = (("alice", "core"), ("core", "fabrikam"), ("fabrikam", "dave"))
    sightings = []
    for number in range(65000, 67000):
        at_ns = START_NS + number * SPACING_NS
        for place, (a, b) in enumerate(way):
            if place == 2 and chance.random() < 0.02:
                break
            sightings.append((at_ns, a, b, number))
            at_ns += 5 * MS + round(chance.expovariate(1 / (4 * MS))) if place == 1 else 1000
    for at_ns, a, b, number in sorted(sightings):
        wire.now_ns = at_ns - 10_000
        wire.frame(a, b, ip_packet(("10.0.0.10", 50000), ("10.8.0.9", 50002), media(number)))
    run = read_run(wire.write(tmp_path, make_scenario(MEDIA_ER)))
    for link in ("alice-core", "core-fabrikam", "dave-fabrikam"):
        assert compare(run, link, tmp_path) == 1
    assert tshark(run, "dave-fabrikam", tmp_path)[0xA11CE].lost > 10


@pytest.mark.emulation
def test_a_real_call(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "testbed", "run", "online/p2p-internal", "--duration", "3s", "--json"]
    answer = subprocess.run([*command, "--results", str(tmp_path / "results")], capture_output=True, text=True)
    assert answer.returncode in (0, 3), answer.stderr  # 3: a busy machine
    entry = json.loads(answer.stdout)["scenarios"][0]
    run = read_run(tmp_path / "results" / "latest" / entry["directory"])
    streams = list(find_streams(run.packets, run.walks, run.network))
    plain = run.packets.encapsulation == Encapsulation.NONE
    row = int(np.flatnonzero((run.packets.ssrc == streams[0].ssrc) & plain)[0])
    link = run.packets.interfaces[int(run.packets.link[row])].name
    assert compare(run, link, tmp_path) == 2
