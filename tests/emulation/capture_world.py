"""A small world for the capture's tests: `unshare ... python -m tests.emulation.capture_world TRIAL DIRECTORY`.

client -- fw -- server, where the firewall drops UDP to port 9 by the rule "no-discard". Writes one JSON line.
"""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from testbed.emulation import capture
from testbed.emulation.batch import output_of, run_batch
from testbed.emulation.syscalls import inside_network, new_network
from testbed.errors import RigError

RULES = """*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp --dport 9 -j NFLOG --nflog-group 100 --nflog-prefix no-discard
-A FORWARD -p udp --dport 9 -j DROP
COMMIT
"""
SERVER = "198.18.2.2"
ANSWERED, DROPPED = 7, 9


def forward(netns_fd: int) -> None:
    with inside_network(netns_fd):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


async def build() -> dict[str, int]:
    nodes = {x: new_network() for x in ("client", "fw", "server")}
    for a, b, net in (("client", "fw", "198.18.1"), ("fw", "server", "198.18.2")):
        lines = [f"link add name {b} type veth peer name {a}"]
        lines += [f"link set {end} netns /proc/{os.getpid()}/fd/{nodes[at]}" for end, at in ((b, a), (a, b))]
        await run_batch("ip", lines)
        for at, end, host in ((a, b, 1), (b, a, 2)):
            lines = [f"address add {net}.{host}/24 dev {end}", f"link set {end} up"]
            await run_batch("ip", lines, netns_fd=nodes[at])
    await run_batch("ip", ["route add default via 198.18.1.2"], netns_fd=nodes["client"])
    await run_batch("ip", ["route add default via 198.18.2.1"], netns_fd=nodes["server"])
    forward(nodes["fw"])
    enter = ["nsenter", f"--net=/proc/self/fd/{nodes['fw']}", "iptables-restore"]
    await output_of("iptables-restore", enter, lines=RULES.splitlines(), fds=[nodes["fw"]])
    return nodes


def udp(netns_fd: int, address: str, port: int) -> socket.socket:
    with inside_network(netns_fd):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(5)
    made.bind((address, port))
    return made


def points(nodes: dict[str, int]) -> list[capture.CapturePoint]:
    return [
        capture.CapturePoint("client-fw", "client -> fw (lab)", nodes["client"], "fw"),
        capture.CapturePoint("fw-server", "fw -> server (lab)", nodes["fw"], "server"),
    ]


async def start(nodes: dict[str, int], directory: Path) -> capture.CaptureHandle:
    handle = await capture.start(points(nodes), [capture.DropPoint("fw", nodes["fw"])], directory)
    await handle.ready()
    return handle


def ask(nodes: dict[str, int], count: int, size: int = 100) -> None:
    """Send *count* packets to the server, each answered before the next."""
    with udp(nodes["client"], "198.18.1.1", 5000) as client, udp(nodes["server"], SERVER, ANSWERED) as server:
        for _ in range(count):
            client.sendto(bytes(size), (SERVER, ANSWERED))
            server.sendto(*server.recvfrom(2048))
            client.recv(2048)


def discard(nodes: dict[str, int], count: int, size: int = 100) -> None:
    """Send *count* packets that the firewall drops; each has passed it when sendto returns."""
    with udp(nodes["client"], "198.18.1.1", 5000) as client:
        for _ in range(count):
            client.sendto(bytes(size), (SERVER, DROPPED))


def counted(counters: capture.CaptureCounters) -> dict[str, Any]:
    return {"capture": counters.capture, "dropped_log": counters.dropped_log, "faults": counters.faults}


async def both_ways(directory: Path) -> dict[str, Any]:
    nodes = await build()
    handle = await start(nodes, directory)
    ask(nodes, 10)
    discard(nodes, 3)
    return counted(await handle.stop())


async def stopped_amid(directory: Path) -> dict[str, Any]:
    """Stop while numbered packets go on being sent, and some still wait to be read, as on a busy machine."""
    nodes = await build()
    ask(nodes, 1)  # ARP is done
    handle = await start(nodes, directory)
    over = threading.Event()

    def send() -> None:
        with udp(nodes["client"], "198.18.1.1", 5000) as client, udp(nodes["server"], SERVER, ANSWERED) as server:
            for number in itertools.count():
                client.sendto(number.to_bytes(8, "big"), (SERVER, ANSWERED))
                server.recv(2048)
                if over.wait(0.0001):  # no faster than packets can be written
                    return

    sender = threading.Thread(target=send)
    sender.start()
    os.kill(handle.pid, signal.SIGSTOP)
    await asyncio.sleep(0.2)
    os.kill(handle.pid, signal.SIGCONT)
    result = counted(await handle.stop())
    over.set()
    sender.join()
    return result


async def overrun(directory: Path) -> dict[str, Any]:
    """Hold the capture while more is sent than its buffers can take."""
    nodes = await build()
    ask(nodes, 1)  # ARP is done
    handle = await start(nodes, directory)
    os.kill(handle.pid, signal.SIGSTOP)
    discard(nodes, 12_000, size=1400)
    os.kill(handle.pid, signal.SIGCONT)
    return counted(await handle.stop())


async def full_disk(directory: Path) -> dict[str, Any]:
    nodes = await build()
    ask(nodes, 1)
    small = directory / "small"
    small.mkdir()
    await output_of("mount", ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(small)])
    handle = await start(nodes, small)
    discard(nodes, 200, size=1400)
    result = counted(await handle.stop())
    for name in (capture.CAPTURE_FILE, capture.DROPPED_FILE):
        (directory / name).write_bytes((small / name).read_bytes())
    return result


async def killed(directory: Path) -> dict[str, Any]:
    nodes = await build()
    handle = await start(nodes, directory)
    os.kill(handle.pid, signal.SIGKILL)
    await asyncio.wait_for(handle.ended(), 5)
    return await complaint_of(handle.stop)


async def no_such_interface(directory: Path) -> dict[str, Any]:
    nodes = await build()
    handle = await capture.start([capture.CapturePoint("client-fw", "", nodes["client"], "nowhere")], [], directory)
    return await complaint_of(handle.ready)


async def log_taken(directory: Path) -> dict[str, Any]:
    """Two captures of one firewall: the kernel gives a group to one reader only."""
    nodes = await build()
    await start(nodes, directory)
    second = await capture.start([], [capture.DropPoint("fw", nodes["fw"])], directory)
    return await complaint_of(second.ready)


async def interface_lost(directory: Path) -> dict[str, Any]:
    """Pull the cable in the middle of it."""
    nodes = await build()
    handle = await start(nodes, directory)
    ask(nodes, 2)
    await run_batch("ip", ["link set fw down"], netns_fd=nodes["client"])
    await run_batch("ip", ["link set fw up", "route add default via 198.18.1.2"], netns_fd=nodes["client"])
    ask(nodes, 2)
    return counted(await handle.stop())


async def complaint_of(act: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    try:
        await act()
    except RigError as error:
        return {"complaint": str(error)}
    return {"complaint": None}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2])))) + "\n")
