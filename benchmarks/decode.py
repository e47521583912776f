"""How fast captures are decoded: our columns beside tshark's RTP statistics and Scapy's dissection, same file.

Run: python -m benchmarks.decode [PACKETS]. Each is timed three times, by turns, and medians are compared (Scapy: of
a part).
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from scapy.config import conf
from scapy.layers.inet import UDP
from scapy.layers.rtp import RTP
from scapy.utils import PcapNgReader

from benchmarks.captures import write_capture
from testbed.analysis.packets import Kind, decode

SCAPY_PACKETS = 20_000
OURS, TSHARK, SCAPY = "columns (testbed.analysis)", "tshark -z rtp,streams", "Scapy dissection"
TARGETS = {TSHARK: 3.0, SCAPY: 30.0}
TRIES = 3


def seconds(work: Callable[[], None]) -> float:
    """Return the time *work* takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


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

        works = {OURS: (packets, ours), TSHARK: (packets, tshark), SCAPY: (SCAPY_PACKETS, scapy)}
        rounds = [{name: count / seconds(work) for name, (count, work) in works.items()} for _ in range(TRIES)]
    return tell({name: median(each[name] for each in rounds) for name in works})


def tell(rates: dict[str, float]) -> int:
    """Print packets a second of each; return 1 where a target is missed."""
    ratios = {name: rates[OURS] / rate for name, rate in rates.items()}
    for name, rate in rates.items():
        target = f" (target {TARGETS[name]:g})" if name in TARGETS else ""
        sys.stdout.write(f"{name:28} {rate:12,.0f} packets/s   columns are {ratios[name]:6.1f} times as fast{target}\n")
    return int(any(ratios[name] < target for name, target in TARGETS.items()))


if __name__ == "__main__":
    sys.exit(main())
