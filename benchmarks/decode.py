"""How fast captures are decoded: our columns beside tshark's RTP statistics and Scapy's dissection, same file.

Run: python benchmarks/decode.py [PACKETS]. Each is timed in the same run, best of three (Scapy: once, on a part).
"""

import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from scapy.config import conf
from scapy.layers.inet import UDP
from scapy.layers.rtp import RTP
from scapy.utils import PcapNgReader

from testbed.analysis.packets import Kind, decode

SCAPY_PACKETS = 20_000
TARGETS = {"tshark -z rtp,streams": 3.0, "Scapy dissection": 30.0}


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def write_capture(path: Path, packets: int, links: int = 10) -> None:
    """Write a capture of *packets* G.711 frames, each seen on *links* links."""
    flags = _option(2, struct.pack("<I", 2)) + bytes(4)
    with path.open("wb") as file:
        file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for link in range(links):
            file.write(
                _block(1, struct.pack("<HHI", 1, 0, 0) + _option(2, b"link%d" % link) + _option(9, b"\x09") + bytes(4))
            )
        head = bytes(12) + b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0xB8, 200, 0, 0x4000, 64, 17, 0)
        head += bytes((10, 0, 0, 1, 10, 0, 0, 2)) + struct.pack(">HHHH", 40000, 40002, 180, 0)
        for number in range(packets):
            sequence, link = divmod(number, links)
            media = struct.pack(">BBHII", 0x80, 0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, 7) + bytes(160)
            at = 1_700_000_000_000_000_000 + sequence * 20_000_000 + link * 1_000_000
            data = head + media
            entry = struct.pack("<IIIII", link, at >> 32, at & 0xFFFFFFFF, len(data), len(data))
            file.write(_block(6, entry + data + bytes(-len(data) % 4) + flags))


def seconds(work: Callable[[], None], times: int = 3) -> float:
    """Return the shortest time *work* takes."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "c.pcapng"
        write_capture(path, packets)

        def ours() -> None:
            if int((decode(path).kind == Kind.RTP).sum()) != packets:
                raise SystemExit("decode missed RTP packets")

        def tshark() -> None:
            command = ["tshark", "-q", "-r", str(path), "-d", "udp.port==40000,rtp", "-z", "rtp,streams"]
            subprocess.run(command, check=True, capture_output=True)

        def scapy() -> None:
            conf.debug_dissector = False
            with PcapNgReader(str(path)) as reader:
                for _ in range(SCAPY_PACKETS):
                    packet = reader.read_packet()
                    if packet is not None:
                        RTP(bytes(packet[UDP].payload))

        rates = {
            "columns (testbed.analysis)": packets / seconds(ours),
            "tshark -z rtp,streams": packets / seconds(tshark),
            "Scapy dissection": SCAPY_PACKETS / seconds(scapy, 1),
        }
    ratios = {name: rates["columns (testbed.analysis)"] / rate for name, rate in rates.items()}
    for name, rate in rates.items():
        target = f" (target {TARGETS[name]:g})" if name in TARGETS else ""
        sys.stdout.write(f"{name:28} {rate:12,.0f} packets/s   columns are {ratios[name]:6.1f} times as fast{target}\n")
    return int(any(ratios[name] < target for name, target in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
