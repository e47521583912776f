"""How fast a capture of a million packets is decoded and measured, beside tshark's RTP statistics of the same file.

Run: python -m benchmarks.quality [PACKETS]. Each in a process of its own on one core, so that peak memory is its own.
Then ten times as many packets, in no more memory. Columns of so large a capture lie in files: their pages are in memory
while they are used, and the kernel writes them out where it wants the room. So two peaks are told: all that is resident
(VmHWM), and what of it is nobody's file (RssAnon, looked at every few milliseconds), which must be there.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.captures import write_capture
from testbed.analysis.network import Network
from testbed.analysis.packets import decode
from testbed.analysis.quality import measure
from testbed.analysis.run import Run
from testbed.plan.model import End, Interface, LinkPlan, NodePlan, Plan
from testbed.scenario import Scenario
from testbed.topology import LinkShape

LINKS: Final = 10
RATE_TARGET: Final = 1_000_000
RATIO_TARGET: Final = 6.0
MEMORY_TARGET_BYTES: Final = 1 << 30
"Resident, however many packets there are."
LARGE: Final = 10
"Times as many packets."
TRIES: Final = 5
"Of each, by turns, so that other work on the machine meets both; medians are compared."
_NOTHING: Final = "dropped.pcapng"
_LOOK_EVERY_S: Final = 0.005
_ANONYMOUS: Final = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)


def _plan() -> Plan:
    """Return a chain of nodes whose links are those of the capture, with two hosts at its ends."""
    shape = LinkShape.model_validate({"delay": "1ms"})
    kinds: list[Any] = ["host", *["router"] * (LINKS - 1), "host"]
    nodes = tuple(
        NodePlan(
            name=f"n{n}",
            kind=kind,
            segment="s",
            segment_kind="customer",
            organisation="o",
            title="",
            interfaces=tuple(
                Interface(name=f"l{link}", mac="00:00:00:00:00:00", address=None, link=f"link{link}")
                for link in (n - 1, n)
                if 0 <= link < LINKS
            ),
            routes=(),
            sysctls={},
        )
        for n, kind in enumerate(kinds)
    )
    links = tuple(
        LinkPlan(
            name=f"link{n}",
            segment="s",
            segment_kind="customer",
            a=End(node=f"n{n}", interface="b"),
            b=End(node=f"n{n + 1}", interface="a"),
            shape_forward=shape,
            shape_return=shape,
            up=True,
            captured=True,
        )
        for n in range(LINKS)
    )
    return Plan(
        scenario="bench/quality",
        row="",
        seed=1,
        nodes=nodes,
        links=links,
        converged=(),
        jobs=(),
        calls=(),
        roles={},
        addresses={"10.0.0.1": "n0", "10.0.0.2": f"n{LINKS}"},
        sip_ports=(5060,),
        predicted=(),
        duration_ns=1,
        setup_limit_ns=1,
    )


def _run(path: Path, plan: Plan) -> Run:
    packets = decode(path)
    return Run(
        directory=path.parent,
        manifest={},
        scenario=Scenario(
            id="bench/quality", row="", table="online", title="", topology="chain", parties={}, calls=(), legs=()
        ),
        plan=plan,
        network=Network(plan),
        packets=packets,
        dropped=decode(path.with_name(_NOTHING)),
        incomplete={},
        drop_log_gaps={},
        emulation={},
        firewalls={},
        events=None,
    )


def measure_once(path: Path, packets: int) -> None:
    """Decode and measure *path*, and print seconds and peak memory as JSON."""
    plan = _plan()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    begin = time.perf_counter()
    run = _run(path, plan)
    decoded = time.perf_counter()
    _ = run.walks
    followed = time.perf_counter()
    document = measure(run)
    ended = time.perf_counter()
    stream = document["streams"][0]
    if stream["packets"] * LINKS != packets or stream["end_to_end"]["lost"]:
        raise SystemExit(f"{packets} packets were written, {stream['packets']} measured on {LINKS} links each")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    parts = {"decode": decoded - begin, "follow": followed - decoded, "measure": ended - followed}
    print(json.dumps({"seconds": ended - begin, "memory_bytes": memory, "parts": parts}))


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the run of the median time, with the most memory that any of them had."""
    middle = sorted(runs, key=lambda run: float(run["seconds"]))[len(runs) // 2]
    return {**middle, **{name: max(run[name] for run in runs) for name in ("memory_bytes", "anonymous_bytes")}}


def _watched(path: Path, packets: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.quality", "--once", str(path), str(packets)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    anonymous_kib = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            if told := _ANONYMOUS.search(status.read_text()):
                anonymous_kib = max(anonymous_kib, int(told[1]))
            time.sleep(_LOOK_EVERY_S)
        output, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return {**json.loads(output), "anonymous_bytes": anonymous_kib * 1024}


def _memory(run: dict[str, Any]) -> str:
    resident, anonymous = (run[name] / 2**20 for name in ("memory_bytes", "anonymous_bytes"))
    bound = MEMORY_TARGET_BYTES / 2**20
    return f"peak memory {resident:,.0f} MiB (target below {bound:,.0f}), {anonymous:,.0f} of it no file's"


def _tshark_seconds(path: Path) -> float:
    begin = time.perf_counter()
    tshark = ["tshark", "-q", "-r", str(path), "-d", "udp.port==40000,rtp", "-z", "rtp,streams"]
    subprocess.run(tshark, check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, print, and return 1 where a target is missed."""
    packets = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "c.pcapng"
        write_capture(path.with_name(_NOTHING), 0)
        write_capture(path, packets, LINKS)
        rounds = [(_watched(path, packets), _tshark_seconds(path)) for _ in range(TRIES)]
        ours, tshark_s = _median([run for run, _ in rounds]), median(seconds for _, seconds in rounds)
        write_capture(path, LARGE * packets, LINKS)
        large = _watched(path, LARGE * packets)
    return tell(packets, ours, tshark_s, large)


def tell(packets: int, ours: dict[str, Any], tshark_s: float, large: dict[str, Any]) -> int:
    """Print what was measured; return 1 where a target is missed."""
    rate, ratio = packets / ours["seconds"], tshark_s / ours["seconds"]
    parts = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ours["parts"].items())
    print(f"decode and all metrics: {rate:,.0f} packets/s on one core, median of {TRIES}", end="")
    print(f" ({parts}; target {RATE_TARGET:,})")
    print(f"{ratio:.1f} times as fast as tshark -z rtp,streams", end="")
    print(f" ({tshark_s:.1f} s, median of {TRIES}; target {RATIO_TARGET:g})")
    print(_memory(ours))
    print(f"{LARGE * packets:,} packets: {large['seconds']:.1f} s, {_memory(large)}")
    is_too_large = max(ours["memory_bytes"], large["memory_bytes"]) >= MEMORY_TARGET_BYTES
    return int(rate < RATE_TARGET or ratio < RATIO_TARGET or is_too_large)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--once"]:
        measure_once(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
