"""Wireshark's RTP analysis and quality.json's, of the same packets: counts equal, jitter within 1 % or 0.05 ms."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from testbed.analysis import Run, read_run
from testbed.analysis.demux import Encapsulation, Kind
from testbed.analysis.quality import measure

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from analysis_samples import MEDIA_ER, Wire, make_scenario
from capture_bytes import ip_packet, packet_block, pcapng
from quality_samples import MS, SHAPED, SPACING_NS, START_NS, media, send, shaped_plan

Document = dict[str, Any]
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


def tshark(run: Run, link: str, directory: Path) -> dict[int, list[Told]]:
    """Return what tshark says of the RTP streams on *link*, plain or in TURN's ChannelData, by SSRC."""
    packets = run.packets
    number = [interface.name for interface in packets.interfaces].index(link)
    rows = np.flatnonzero((packets.kind == Kind.RTP) & (packets.link == number))
    one = directory / "one.pcapng"
    one.write_bytes(pcapng([link], b"".join(_block(run, row) for row in rows.tolist())))
    guess = [part for name in ("rtp_udp", "rtp_stun") for part in ("--enable-heuristic", name)]
    command = [str(TSHARK), "-q", "-r", str(one), *guess, "-z", "rtp,streams"]
    return _streams(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _block(run: Run, row: int) -> bytes:
    """Return a frame with RTP's marker bit cleared: aiortc sets it always, and tshark leaves such packets out of J."""
    blocks = run.packets.blocks
    start = int(blocks.start[row])
    frame = bytearray(blocks.buffer[start : start + int(blocks.captured[row])].tobytes())
    frame[int(run.packets.inner_offset[row]) + 1 - start] &= 0x7F
    return packet_block(0, int(run.packets.time_ns[row]), bytes(frame), b"")


def _streams(text: str) -> dict[int, list[Told]]:
    """Read the table: ... SSRC, payload, packets, lost (share), min, mean and max delta, min, mean and max jitter."""
    found: dict[int, list[Told]] = {}
    for line in text.splitlines():
        columns = line.split()
        at = next((n for n, column in enumerate(columns) if column.startswith("0x")), None)
        if at is None:
            continue
        percent = next(n for n, column in enumerate(columns) if column.endswith("%)"))
        numbers = [float(column) for column in columns[percent + 1 : percent + 7]]
        told = Told(int(columns[percent - 2]), int(columns[percent - 1]), numbers[4], numbers[5])
        found.setdefault(int(columns[at], 16), []).append(told)
    return found


def compare(document: Document, run: Run, directory: Path) -> int:
    """Hold every stream of quality.json against tshark where it begins and where it ends; return how many there were.

    tshark counts what is missing between the first and the last packet on a link; so at the end its count of packets
    is held against ours, which knows what was sent after the last that arrived.
    """
    for stream in document["streams"]:
        end_to_end, links = stream["end_to_end"], stream["end_to_end"]["links"]
        (begin,), (end,) = (tshark(run, link, directory)[stream["ssrc"]] for link in (links[0], links[-1]))
        assert (begin.packets, begin.lost) == (stream["packets"], stream["sequence_gaps"])
        assert (begin.packets, end.packets) == (end_to_end["packets_entered"], end_to_end["packets_left"])
        assert begin.packets - end.packets == end_to_end["lost"]
        jitter = end_to_end["interarrival_jitter_ms"]
        assert jitter["mean"] == pytest.approx(end.jitter_mean_ms, rel=0.01, abs=0.05)
        assert jitter["max"] == pytest.approx(end.jitter_max_ms, rel=0.01, abs=0.05)
    return len(document["streams"])


def plain(directory: Path) -> Run:
    """Return a run of a stream with gaps, loss and jitter, whose sequence numbers wrap."""
    chance = random.Random(5)
    wire = Wire(shaped_plan("core-fabrikam"))
    way = (("alice", "core"), ("core", "fabrikam"), ("fabrikam", "dave"))
    sightings = []
    for number in range(65000, 67000):
        if number % 400 == 100:  # never sent
            continue
        at_ns = START_NS + number * SPACING_NS
        for place, (a, b) in enumerate(way):
            if place == 2 and chance.random() < 0.02:
                break
            sightings.append((at_ns, a, b, number))
            at_ns += 5 * MS + round(chance.expovariate(1 / (4 * MS))) if place == 1 else 1000
    for at_ns, a, b, number in sorted(sightings):
        wire.now_ns = at_ns - 10_000
        wire.frame(a, b, ip_packet(("10.0.0.10", 50000), ("10.8.0.9", 50002), media(number)))
    return read_run(wire.write(directory, make_scenario(MEDIA_ER)))


def relayed(directory: Path) -> Run:
    """Return a run of a stream in TURN's ChannelData through a NAT, with gaps, loss and jitter."""
    chance = random.Random(6)
    wire = Wire(shaped_plan(*SHAPED))
    sent = [number for number in range(1000) if number % 300 != 150]
    lost = {number for number in sent if chance.random() < 0.03}
    delay_ns = [5 * MS + round(chance.expovariate(1 / (4 * MS))) for _ in range(1000)]
    send(
        wire,
        sent,
        lambda link, number: delay_ns[number] if link == "er" else 0,
        lost_on=lambda number: "er" if number in lost else None,
    )
    return read_run(wire.write(directory, make_scenario(MEDIA_ER)))


@pytest.mark.parametrize("make", [plain, relayed])
def test_a_made_up_stream_with_gaps_loss_and_jitter(tmp_path: Path, make: Callable[[Path], Run]) -> None:
    run = make(tmp_path)
    document = measure(run)
    assert compare(document, run, tmp_path) == 1
    (stream,) = document["streams"]
    assert stream["sequence_gaps"] >= 3 and stream["end_to_end"]["lost"] > 10
    assert stream["end_to_end"]["interarrival_jitter_ms"]["mean"] > 2


@pytest.mark.parametrize(
    ("where", "figure", "by"),
    [
        ("stream", "packets", 1),
        ("stream", "sequence_gaps", 1),
        ("end_to_end", "packets_entered", 1),
        ("end_to_end", "packets_left", -1),
        ("end_to_end", "lost", 1),
        ("jitter", "mean", 0.1),
        ("jitter", "max", 0.2),
    ],
)
def test_a_figure_that_is_a_little_wrong_is_seen(tmp_path: Path, where: str, figure: str, by: float) -> None:
    run = relayed(tmp_path)
    document = measure(run)
    stream = document["streams"][0]
    parts = {"stream": stream, "end_to_end": stream["end_to_end"]}
    parts["jitter"] = stream["end_to_end"]["interarrival_jitter_ms"]
    parts[where][figure] += by
    with pytest.raises(AssertionError):
        compare(document, run, tmp_path)


@pytest.mark.emulation
@pytest.mark.parametrize("scenario", ["online/p2p-internal", "online/p2p-external"])
def test_a_real_call(tmp_path: Path, scenario: str) -> None:
    """One goes straight, the other through a relay, to which one party speaks TURN."""
    command = [sys.executable, "-m", "testbed", "run", scenario, "--duration", "3s", "--json"]
    answer = subprocess.run([*command, "--results", str(tmp_path / "results")], capture_output=True, text=True)
    assert answer.returncode in (0, 3), answer.stderr  # 3: a busy machine
    entry = json.loads(answer.stdout)["scenarios"][0]
    directory = tmp_path / "results" / "latest" / entry["directory"]
    run = read_run(directory)
    assert compare(json.loads((directory / "quality.json").read_text()), run, tmp_path) == 2
    is_media = run.packets.kind == Kind.RTP
    in_turn = bool((run.packets.encapsulation[is_media] == Encapsulation.CHANNEL_DATA).any())
    assert in_turn is (scenario == "online/p2p-external")
