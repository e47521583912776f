"""The calibration's small world: `unshare ... python -m testbed.emulation.calibration_process wire|netem`.

Three namespaces: the switchboard (where it starts), and the probes' two ends. It writes the rows as JSON.
"""

import asyncio
import contextlib
import os
import pathlib
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.emulation import links
from testbed.emulation.batch import run_batch
from testbed.emulation.calibration import EXPEDITED_TOS, Arrival, Row, Trial, rows_as_json, trials
from testbed.emulation.syscalls import inside_network, network_of, new_network
from testbed.errors import TestbedError
from testbed.plan.model import End, LinkPlan
from testbed.topology import LinkShape

_SO_TIMESTAMPNS: Final = 35
_SO_NO_CHECK: Final = 11
_BUFFER_BYTES: Final = 4 << 20
_PORT: Final = 9000
_UDP_IP_BYTES: Final = 28
_QUIET_S: Final = 0.5
"The end of a phase: nothing has arrived for so long. More than any trial's delay and the gaps of its losses."
_PLAIN: Final = LinkShape.model_validate({})
_COLLECT_S: Final = 0.02
_probe: Final = struct.Struct("!IQ")
_timespec: Final = struct.Struct("@ll")


@dataclass(slots=True)
class Path:
    """One of a trial's links: its sending and its receiving socket, and which of its probes it carries."""

    trial: Trial
    probes: range
    sender: socket.socket
    receiver: socket.socket
    target: tuple[str, int]


def _switch_ipv6_off() -> None:
    default = pathlib.Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if default.exists():  # else this kernel has no IPv6
        default.write_text("1")


async def build(count: int, end_a: int, end_b: int) -> None:
    """Make *count* links from end A to end B through this namespace, the switchboard; IPv6 is off, as in a world."""
    _switch_ipv6_off()
    for fd in (end_a, end_b):
        with inside_network(fd):
            _switch_ipv6_off()
    lines = ["link set lo up"]
    for n in range(count):
        for side, fd in (("a", end_a), ("b", end_b)):
            lines.append(f"link add name w{n}{side} arp off type veth peer name p{n}")
            lines.append(f"link set p{n} netns /proc/{os.getpid()}/fd/{fd}")
            lines.append(f"link set w{n}{side} up")
    await run_batch("ip", lines)
    for host, fd in ((1, end_a), (2, end_b)):
        await run_batch(
            "ip",
            [
                line
                for n in range(count)
                for line in (f"address add 198.18.{n}.{host}/24 dev p{n}", f"link set p{n} up")
            ],
            netns_fd=fd,
        )


def _socket_at(netns_fd: int, address: str) -> socket.socket:
    with inside_network(netns_fd):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    made.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)  # a veth leaves checksums to hardware it has not
    made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    made.bind((address, _PORT))
    made.setblocking(False)
    return made


def each_link(planned: Sequence[Trial]) -> list[tuple[Trial, range]]:
    """Return the links of all trials, in order, with the numbers of the probes that each carries."""
    return [(trial, range(link, trial.probes, trial.links)) for trial in planned for link in range(trial.links)]


def open_paths(planned: Sequence[Trial], end_a: int, end_b: int) -> list[Path]:
    """Open the sockets of each link."""
    paths = []
    for n, (trial, probes) in enumerate(each_link(planned)):
        ends = [(_socket_at(fd, f"198.18.{n}.{host}"), host) for host, fd in ((1, end_a), (2, end_b))]
        if trial.is_return:
            ends.reverse()
        (sender, _), (receiver, host) = ends
        paths.append(Path(trial, probes, sender, receiver, (f"198.18.{n}.{host}", _PORT)))
    return paths


def link_of(n: int, trial: Trial) -> links.ShapedLink:
    """Return link *n*, which is of *trial*; its other direction has no shape."""
    shapes = (_PLAIN, trial.shape) if trial.is_return else (trial.shape, _PLAIN)
    plan = LinkPlan(
        name=f"link-{n}",
        segment="calibration",
        segment_kind="internet",
        a=End(node="a", interface=f"p{n}"),
        b=End(node="b", interface=f"p{n}"),
        shape_forward=shapes[0],
        shape_return=shapes[1],
        up=True,
        captured=False,
    )
    return links.ShapedLink(n, plan)


def arrivals_of(path: Path) -> Iterator[Arrival]:
    """Yield the probes that wait at the receiver."""
    while True:
        try:
            content, ancillary, _, _ = path.receiver.recvmsg(2048, 256)
        except BlockingIOError:
            return
        received_ns = tos = 0
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _timespec.unpack(value)
                received_ns = seconds * 1_000_000_000 + nanoseconds
            elif (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
                tos = value[0]
        sequence, sent_ns = _probe.unpack_from(content)
        yield Arrival(sequence, sent_ns, received_ns, tos)


async def wake_neighbours(paths: Sequence[Path]) -> None:
    """Have ARP done before anything is measured: send until something has arrived on every path."""
    silent = list(paths)
    async with asyncio.timeout(10):
        while silent:
            for path in silent:
                path.sender.sendto(_probe.pack(0, time.time_ns()), path.target)
            await asyncio.sleep(0.05)
            silent = [x for x in silent if not list(arrivals_of(x))]
    await collect(paths)


async def send_probes(paths: Sequence[Path]) -> None:
    """Send every trial's probes at their times."""
    schedule = sorted(
        (n * x.trial.spacing_ns // x.trial.links, index, n) for index, x in enumerate(paths) for n in x.probes
    )
    start_ns = time.monotonic_ns()
    for offset_ns, index, n in schedule:
        # Even when late, 0: whoever collects must get at the sockets before their buffers are full.
        await asyncio.sleep(max(0, start_ns + offset_ns - time.monotonic_ns()) / 1e9)
        path = paths[index]
        tos = 0 if n % path.trial.marked_every else EXPEDITED_TOS
        path.sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
        padding = bytes(path.trial.packet_bytes - _UDP_IP_BYTES - _probe.size)
        await asyncio.get_running_loop().sock_sendto(path.sender, _probe.pack(n, time.time_ns()) + padding, path.target)


async def collect(paths: Sequence[Path], sending: asyncio.Task[None] | None = None) -> list[list[Arrival]]:
    """Return what arrives on each path until *sending* is done and nothing more comes."""
    arrived: list[list[Arrival]] = [[] for _ in paths]
    quiet_since = time.monotonic()
    while time.monotonic() < quiet_since + _QUIET_S:
        for path, gathered in zip(paths, arrived, strict=True):
            before = len(gathered)
            gathered.extend(arrivals_of(path))
            if len(gathered) > before or (sending is not None and not sending.done()):
                quiet_since = time.monotonic()
        await asyncio.sleep(_COLLECT_S)
    return arrived


async def measure(backend: links.Backend) -> list[Row]:
    """Build, run both phases, and judge."""
    planned = trials()
    with contextlib.ExitStack() as stack:
        switchboard, end_a, end_b = network_of(os.getpid()), new_network(), new_network()
        for fd in (switchboard, end_a, end_b):
            stack.callback(os.close, fd)
        shaped = [link_of(n, trial) for n, (trial, _) in enumerate(each_link(planned))]
        await build(len(shaped), end_a, end_b)
        paths = [stack.enter_context(_closing(x)) for x in open_paths(planned, end_a, end_b)]
        # Another chance each time: what missed once and is measured again would else be drawn alike again.
        seed = time.time_ns() & 0x7FFFFFFF
        running = await links.start(shaped, switchboard_fd=switchboard, backend=backend, seed=seed)
        await running.ready()
        await wake_neighbours(paths)
        rows: list[Row] = []
        for phase in (1, 2):
            at_work = [x for x in paths if x.trial.phase == phase]
            sending = asyncio.create_task(send_probes(at_work))
            collected = await collect(at_work, sending)
            await sending
            for trial in planned:
                if trial.phase == phase:
                    gathered = zip(at_work, collected, strict=True)
                    arrived = [x for path, on_link in gathered if path.trial is trial for x in on_link]
                    rows += trial.judge(trial, arrived)
        await running.stop()
    return rows


@contextlib.contextmanager
def _closing(path: Path) -> Iterator[Path]:
    with path.sender, path.receiver:
        yield path


def main() -> int:
    """Run the process; return its exit status."""
    try:
        rows = asyncio.run(measure(sys.argv[1]))  # type: ignore[arg-type]    # `calibrate` gives a backend
    except (OSError, TestbedError, TimeoutError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(rows_as_json(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
