"""How much one wire process carries, and how late it is: `python -m benchmarks.wire`. Some 10 seconds."""

import asyncio
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from testbed.emulation import links
from testbed.emulation.calibration_process import build
from testbed.emulation.syscalls import inside_network, network_of, new_network
from testbed.plan.model import End, LinkPlan
from testbed.topology import LinkShape

SECONDS: Final = 3
PACED_PPS: Final = 5_000
PAYLOAD: Final = bytes(172)
"200 bytes of IP: 20 ms of G.711 in RTP."
FORK: Final = multiprocessing.get_context("fork")


def send(netns_fd: int, pps: int | None) -> None:
    """Send for SECONDS from end A to end B: *pps* packets a second, or as fast as it goes."""
    with inside_network(netns_fd), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("198.18.0.2", 9000))
        start = time.monotonic()
        sent = 0
        while (now := time.monotonic() - start) < SECONDS:
            if pps is not None and sent >= now * pps:
                time.sleep(0.001)
                continue
            sender.send(PAYLOAD)
            sent += 1


def received_packets(netns_fd: int) -> int:
    """Return how many packets end B has received."""
    with inside_network(netns_fd):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(x.split(":")[1].split()[1]) for x in lines if x.strip().startswith("p0:"))


def show(text: str) -> None:
    print(text, flush=True)


async def trial(what: str, switchboard: int, end_a: int, end_b: int, pps: int | None) -> None:
    """Run one load over a link of 20 ms and print how it went."""
    shape = LinkShape.model_validate({"delay": "20ms", "queue_packets": 1_000_000})
    plan = LinkPlan(
        name="link",
        segment="benchmark",
        segment_kind="internet",
        a=End(node="a", interface="p0"),
        b=End(node="b", interface="p0"),
        shape_forward=shape,
        shape_return=shape,
        up=True,
        captured=False,
    )
    running = await links.start([links.ShapedLink(0, plan)], switchboard_fd=switchboard, backend="wire", seed=1)
    await running.ready()
    before = received_packets(end_b)
    sender = FORK.Process(target=send, args=(end_a, pps))
    sender.start()
    await asyncio.to_thread(sender.join)
    carried = received_packets(end_b) - before
    health: dict[str, Any] = (await running.stop()).wire or {}
    late = {name: ns / 1e6 for name, ns in health["lateness_ns"].items()}
    show(
        f"{what:20} {carried / SECONDS:9,.0f} frames/s carried"
        f"   lateness p50 {late['p50']:.3f} ms, p99 {late['p99']:.3f} ms, max {late['max']:.3f} ms"
        f"   dropped before the wire {health['receive_drops']:,}"
    )


async def run() -> None:
    """Build the world and run each load."""
    switchboard, end_a, end_b = network_of(os.getpid()), new_network(), new_network()
    await build(1, end_a, end_b)
    with inside_network(end_b), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("198.18.0.2", 9000))
    for what, pps in (("idle: 50 frames/s", 50), (f"{PACED_PPS:,} frames/s", PACED_PPS), ("as many as it takes", None)):
        await trial(what, switchboard, end_a, end_b, pps)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        asyncio.run(run())
    else:
        world = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        sys.exit(subprocess.run([*world, sys.executable, "-m", "benchmarks.wire", "inside"], check=False).returncode)
