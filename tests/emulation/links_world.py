"""A small world for the links' tests: `unshare ... python -m tests.emulation.links_world TRIAL`. It writes JSON."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.emulation import links
from testbed.emulation.batch import run_batch
from testbed.emulation.calibration_process import build
from testbed.emulation.syscalls import inside_network, network_of, new_network
from testbed.errors import RigError
from testbed.plan.model import End, LinkPlan
from testbed.topology import LinkShape


class World:
    """Two ends and a number of links between them, not yet joined."""

    def __init__(self) -> None:
        self.switchboard, self.a, self.b = network_of(os.getpid()), new_network(), new_network()

    async def join(self, *shapes: dict[str, object], is_built: bool = True) -> links.LinksHandle:
        """Start one link a shape (both directions), after building their interfaces if *is_built*."""
        await build(len(shapes) if is_built else 0, self.a, self.b)
        planned = []
        for n, written in enumerate(shapes):
            shape = LinkShape.model_validate(written)
            plan = LinkPlan(
                name=f"link-{n}",
                segment="lab",
                segment_kind="internet",
                a=End(node="a", interface=f"p{n}"),
                b=End(node="b", interface=f"p{n}"),
                shape_forward=shape,
                shape_return=shape,
                up=True,
                captured=False,
            )
            planned.append(links.ShapedLink(n, plan))
        return await links.start(planned, switchboard_fd=self.switchboard, backend="wire", seed=1)

    def ends(self, n: int) -> tuple[socket.socket, socket.socket]:
        """Return sockets at both ends of link *n*, connected to each other."""
        made = []
        for fd, own in ((self.a, 1), (self.b, 2)):
            with inside_network(fd):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
            one.bind((f"198.18.{n}.{own}", 9))
            one.connect((f"198.18.{n}.{3 - own}", 9))
            one.setblocking(False)
            made.append(one)
        return made[0], made[1]


async def receive(end: socket.socket, count: int, limit_s: float = 5) -> list[bytes]:
    """Return *count* datagrams, or those that came within *limit_s*."""
    got: list[bytes] = []
    try:
        async with asyncio.timeout(limit_s):
            while len(got) < count:
                got.append(await asyncio.get_running_loop().sock_recv(end, 2048))
    except TimeoutError:
        pass
    return got


async def exchange(ends: Sequence[socket.socket]) -> bool:
    """Send one datagram each way; tell whether both arrived."""
    passed = []
    for sender, receiver in (ends, ends[::-1]):
        sender.send(b"x")
        passed.append(bool(await receive(receiver, 1)))
    return all(passed)


async def resolved(netns_fd: int) -> None:
    """Wait until ARP has found the other end."""
    deadline = time.monotonic() + 5
    while "0x2" not in _arp_table(netns_fd):  # ATF_COM
        assert time.monotonic() < deadline, "ARP found nobody"
        await asyncio.sleep(0.02)


def _arp_table(netns_fd: int) -> str:
    with inside_network(netns_fd):
        return Path("/proc/thread-self/net/arp").read_text()


async def carried() -> dict[str, Any]:
    world = World()
    handle = await world.join({"delay": "5ms"}, {"delay": "1ms"})
    await handle.ready()
    passed = [await exchange(world.ends(n)) for n in (0, 1)]
    health = await handle.stop()
    return {"passed": passed, "links": health.links, "wire": health.wire}


async def arp_on_a_link_that_loses_all() -> dict[str, Any]:
    world = World()
    handle = await world.join({"loss": "100%"})
    await handle.ready()
    ends = world.ends(0)
    ends[0].send(b"x")
    await resolved(world.a)
    received = await receive(ends[1], 1, limit_s=0.2)
    return {"received": len(received), "links": (await handle.stop()).links}


async def cable_pulled() -> dict[str, Any]:
    """Take down an end in the node, send into it, put it back."""
    world = World()
    handle = await world.join({"delay": "1ms"}, {"delay": "1ms"})
    await handle.ready()
    ends = [world.ends(n) for n in (0, 1)]
    before = [await exchange(x) for x in ends]
    await run_batch("ip", ["link set p0 down"], netns_fd=world.b)
    ends[0][0].send(b"lost")
    meanwhile = await exchange(ends[1])
    await run_batch("ip", ["link set p0 up"], netns_fd=world.b)
    await run_batch("ip", ["link set w0a down", "link set w0a up"])
    after = await exchange(ends[0])
    health = await handle.stop()
    return {"before": before, "meanwhile": meanwhile, "after": after, "wire": health.wire, "links": health.links}


async def killed() -> dict[str, Any]:
    world = World()
    handle = await world.join({"delay": "1ms"})
    await handle.ready()
    assert handle.pid is not None
    os.kill(handle.pid, signal.SIGKILL)
    await asyncio.wait_for(handle.ended(), 5)
    return {"failure": handle.failure, "complaint": await complaint_of_stop(handle)}


async def complaint_of_stop(handle: links.LinksHandle) -> str | None:
    try:
        await handle.stop()
    except RigError as error:
        return str(error)
    return None


async def interface_missing() -> dict[str, Any]:
    world = World()
    handle = await world.join({"delay": "1ms"}, is_built=False)
    try:
        await handle.ready()
    except RigError as error:
        return {"complaint": str(error)}
    return {"complaint": None}


async def rest() -> dict[str, Any]:
    """Say how much processor time the wire uses in a second in which a frame waits for its time."""
    world = World()
    handle = await world.join({"delay": "1500ms"})
    await handle.ready()
    ends = world.ends(0)
    ends[0].send(b"x")
    await resolved(world.a)
    before = cpu_seconds(handle.pid)
    started = time.monotonic()
    arrived = await receive(ends[1], 1)
    return {"arrived": len(arrived), "share": (cpu_seconds(handle.pid) - before) / (time.monotonic() - started)}


def cpu_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(globals()[sys.argv[1]]())) + "\n")
