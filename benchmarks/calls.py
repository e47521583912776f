"""How many audio calls at once this machine carries, ours and stock aiortc's: `python -m benchmarks.calls`. Minutes.

Each trial is a world with one link of 20 ms by the wire, all callers in one process and all called parties in another;
every call has ICE, DTLS-SRTP and 20 ms of G.711 a packet, both ways. The number is doubled until a trial is not well,
then what lies between is halved. Well means within the health limits of a run (testbed.verdict.health), all calls up,
and 98 % of each call's packets there.
"""

import asyncio
import json
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks.call_parties import Side, play
from benchmarks.inside import prefer, run_inside
from benchmarks.wire import one_link
from testbed.emulation import links, offloads
from testbed.emulation.calibration_process import build
from testbed.emulation.syscalls import enter_network, network_of, new_network
from testbed.verdict.health import late_reasons_of

SECONDS: Final = 5.0
SETUP_LIMIT_S: Final = 60.0
FIRST_CALLS: Final = 8
MOST_CALLS: Final = 1024
CLOSE_ENOUGH: Final = 0.1
"The search ends when what is well and what is not are this near: trials of one number scatter as much."
WHOLE: Final = 0.98
"Share of its packets that each call must get: at the ends of the time that is counted up to five of 250 may be due."
TARGET: Final = 3.0
"Times the calls of stock aiortc."
FORK: Final = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How one number of calls went."""

    which: str
    calls: int
    reasons: tuple[str, ...]
    cpu: float
    "Processors' worth of work of both sides, without the wire's."
    cpu_us: float
    "Processor time of both ends for a packet, whatever else this machine does."
    lag_ms: float
    "How late the slower side's event loop was, p99."
    least: float
    "Share of its packets that the worst call got."

    def line(self) -> str:
        """Return the trial in a line, for people."""
        how = "well" if not self.reasons else "; ".join(self.reasons)
        return (
            f"{self.which:5} {self.calls:4} calls: {how} (event loop p99 {self.lag_ms:.0f} ms, worst call"
            f" {self.least:.0%} of its packets, {self.cpu:.2f} processors at work, {self.cpu_us:.0f} µs a packet)"
        )


def run_side(netns_fd: int, side: Side, peer: Connection, answer: Connection, is_caller: bool) -> None:
    """Be one side's process."""
    enter_network(netns_fd)
    try:
        answer.send(asyncio.run(play(side, peer, is_caller=is_caller)))
    except Exception as error:  # whatever goes wrong under too much load is the result
        answer.send({"failure": f"{type(error).__name__} {error}".strip()})
    os._exit(0)  # hundreds of calls need no tidying up


async def inside(which: str, calls: int) -> dict[str, Any]:
    """Run one trial in this world."""
    switchboard, fds = network_of(os.getpid()), (new_network(), new_network())
    await build(1, *fds)
    for fd in fds:
        offloads.switch_off(fd, ["p0"])
    running = await links.start([one_link()], switchboard_fd=switchboard, backend="wire", seed=1)
    await running.ready()
    assert running.pid is not None
    prefer(running.pid)
    peers, answers, processes = FORK.Pipe(), [], []
    for n, fd in enumerate(fds):
        mine, theirs = FORK.Pipe()
        side = Side(which, f"198.18.0.{n + 1}", calls, SECONDS, SETUP_LIMIT_S)
        processes.append(FORK.Process(target=run_side, args=(fd, side, peers[n], theirs, n == 0)))
        answers.append(mine)
        processes[-1].start()
    told = await asyncio.gather(*(asyncio.to_thread(answer.recv) for answer in answers))
    for process in processes:
        process.kill()
    return {"sides": told, "wire": (await running.stop()).wire}


def judge(which: str, calls: int, told: dict[str, Any]) -> Trial:
    """Hold what was told against the limits."""
    reasons = [side["failure"] for side in told["sides"] if "failure" in side]
    sides = [side for side in told["sides"] if "failure" not in side]
    agents = {name: side for name, side in zip(("callers", "called"), sides, strict=False)}
    reasons += late_reasons_of({"wire": told["wire"], "agents": agents})
    least = min((side["received"][0] / side["expected"] for side in sides), default=0.0)
    if least < WHOLE:
        reasons.append("packets are missing")
    return Trial(
        which=which, calls=calls, reasons=tuple(reasons), cpu=sum(side["cpu_ratio"] for side in sides), least=least,
        cpu_us=sum(side["cpu_us"] for side in sides) / 2,
        lag_ms=max((side["loop_lag_ns"]["p99"] / 1e6 for side in sides), default=float("nan")),
    )  # fmt: skip


def trial(which: str, calls: int) -> Trial:
    """Run one trial in a world of its own."""
    told: list[str] = []
    run_inside("benchmarks.calls", which, str(calls), on_line=told.append)
    if not told:
        raise SystemExit("the trial's world ended without a word")
    result = judge(which, calls, json.loads(told[-1]))
    print(result.line(), flush=True)
    return result


def is_well(which: str, calls: int) -> bool:
    """Whether so many calls go well. What does not is tried again: other work may have been in the way."""
    return not (trial(which, calls).reasons and trial(which, calls).reasons)


def search(which: str) -> int:
    """Return the greatest number of calls that was well."""
    well, calls = 0, FIRST_CALLS
    while calls <= MOST_CALLS and is_well(which, calls):
        well, calls = calls, 2 * calls
    too_many = calls
    while too_many - well > max(1, CLOSE_ENOUGH * well):
        calls = (well + too_many) // 2
        if is_well(which, calls):
            well = calls
        else:
            too_many = calls
    return well


def main(arguments: list[str]) -> int:
    """Search for both, and return 1 where the target is missed."""
    if arguments[:1] == ["inside"]:
        print(json.dumps(asyncio.run(inside(arguments[1], int(arguments[2])))), flush=True)
        return 0
    if len(arguments) == 2:
        return int(bool(trial(arguments[0], int(arguments[1])).reasons))
    ours, stock = search("ours"), search("stock")
    load = os.getloadavg()[0]
    print(
        f"{len(os.sched_getaffinity(0))} processors, load {load:.1f}: {ours} calls at once, stock aiortc {stock},",
        end=" ",
    )
    print(f"{ours / max(1, stock):.1f} times (target {TARGET:g})")
    return int(ours < TARGET * stock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
