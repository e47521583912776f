"""How fast captures are decoded: our columns beside tshark's RTP statistics and Scapy's dissection, same file.

Run: python benchmarks/decode.py [PACKETS]. Each is timed in the same run, best of three (Scapy: once, on a part).
"""

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

from benchmarks.captures import write_capture
from testbed.analysis.packets import Kind, decode

SCAPY_PACKETS = 20_000
TARGETS = {"tshark -z rtp,streams": 3.0, "Scapy dissection": 30.0}


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
