"""From what lateness of the wire on its figures are wrong: `python -m benchmarks.health_limits`. Some two minutes.

Streams of 50 packets a second cross links of 20 ms without jitter, while the wire is disturbed more and more: by
processes that compete for the processors (the wire not being preferred), and by being held up once. What is then
measured is held against what was configured. The limits of testbed.verdict.health are right if every trial that keeps
them keeps the tolerance, and the trials reach beyond both.
"""

import asyncio
import itertools
import multiprocessing
import os
import signal
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.inside import run_inside
from testbed.emulation import calibration_process, links
from testbed.emulation.calibration import Arrival, Trial, judge_delay
from testbed.emulation.syscalls import network_of, new_network
from testbed.topology import LinkShape
from testbed.verdict.health import late_reasons_of

STREAMS: Final = 4
SECONDS: Final = 5
SPACING_NS: Final = 20_000_000
DELAY_MS: Final = 20.0
TOLERANCE_MS: Final = 1.0
"What a figure may be off: the tolerance that calibration gives a median delay."
COMPETITORS: Final = (0, 1, 2, 4, 8, 16)
STALLS_MS: Final = (10, 25, 50, 100, 200, 400)
FORK: Final = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one disturbance."""

    what: str
    wire: dict[str, Any]
    delay_error_ms: float
    "Median one-way delay of the worst stream, less what was configured."
    change_ms: float
    "Mean delay change of the worst stream; nothing changes the delay, so all of it is wrong."
    lost: int

    @property
    def is_right(self) -> bool:
        """Whether the figures are within the tolerance."""
        return not self.lost and max(abs(self.delay_error_ms), self.change_ms) <= TOLERANCE_MS

    @property
    def is_within_limits(self) -> bool:
        """Whether a run like this would count as healthy."""
        return not late_reasons_of({"wire": self.wire})

    def line(self) -> str:
        """Return the outcome in a line, for people."""
        late = {name: ns / 1e6 for name, ns in self.wire["lateness_ns"].items()}
        return (
            f"{self.what:18} lateness p50 {late['p50']:6.2f}, p99 {late['p99']:6.2f}, max {late['max']:6.1f} ms;"
            f" median delay {self.delay_error_ms:+6.2f} ms, mean delay change {self.change_ms:5.2f} ms,"
            f" {self.lost} lost:"
            f" {'within' if self.is_within_limits else 'beyond'} the limits, {'right' if self.is_right else 'WRONG'}"
        )


def compete() -> None:
    """Use a processor until killed."""
    for _ in itertools.repeat(None):
        pass


@contextmanager
def competitors(count: int) -> Any:
    """Have so many processes use the processors."""
    processes = [FORK.Process(target=compete, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


async def hold_up(pid: int, stall_ms: int) -> None:
    """Stop process *pid* once, in the middle of the trial."""
    await asyncio.sleep(SECONDS / 2)
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(stall_ms / 1000)
    os.kill(pid, signal.SIGCONT)


def worst(paths: Sequence[Sequence[Arrival]]) -> tuple[float, float]:
    """Return the median delay's error and the mean delay change of the stream that is off the most."""
    delays = [[x.delay_ms for x in sorted(path, key=lambda x: x.sequence)] for path in paths]
    errors = [statistics.median(stream) - DELAY_MS for stream in delays]
    changes = [statistics.fmean(abs(b - a) for a, b in itertools.pairwise(stream)) for stream in delays]
    return max(errors, key=abs), max(changes)


async def trial(netns_fds: tuple[int, int, int], planned: Sequence[Trial], load: int, stall_ms: int) -> Outcome:
    """Send all streams once, disturbed so."""
    switchboard, end_a, end_b = netns_fds
    shaped = [calibration_process.link_of(n, each) for n, each in enumerate(planned)]
    running = await links.start(shaped, switchboard_fd=switchboard, backend="wire", seed=1)
    await running.ready()
    assert running.pid is not None
    paths = calibration_process.open_paths(planned, end_a, end_b)
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(path.sender)
            stack.enter_context(path.receiver)
        await calibration_process.wake_neighbours(paths)
        with competitors(load):
            sending = asyncio.create_task(calibration_process.send_probes(paths))
            holding = asyncio.create_task(hold_up(running.pid, stall_ms)) if stall_ms else None
            arrived = await calibration_process.collect(paths, sending)
            await sending
            if holding:
                await holding
    error_ms, change_ms = worst(arrived)
    what = f"held up {stall_ms} ms" if stall_ms else f"{load} competitors"
    lost = sum(each.probes for each in planned) - sum(map(len, arrived))
    wire = (await running.stop()).wire or {}
    return Outcome(what=what, wire=wire, delay_error_ms=error_ms, change_ms=change_ms, lost=lost)


async def inside() -> int:
    """Run all trials, say what they show, and return 1 where a limit is wrong or was not reached."""
    shape = LinkShape.model_validate({"delay": f"{DELAY_MS:g}ms"})
    probes = SECONDS * 1_000_000_000 // SPACING_NS
    planned = [Trial("stream", shape, judge_delay, probes, SPACING_NS)] * STREAMS
    netns_fds = network_of(os.getpid()), new_network(), new_network()
    await calibration_process.build(STREAMS, *netns_fds[1:])
    outcomes = []
    for load, stall_ms in [(load, 0) for load in COMPETITORS] + [(0, stall_ms) for stall_ms in STALLS_MS]:
        outcomes.append(await trial(netns_fds, planned, load, stall_ms))
        print(outcomes[-1].line(), flush=True)
    right = [x.wire["lateness_ns"]["p99"] / 1e6 for x in outcomes if x.is_right]
    wrong = [x.wire["lateness_ns"]["p99"] / 1e6 for x in outcomes if not x.is_right]
    print(f"figures are right up to a p99 of {max(right, default=0):.1f} ms,", end=" ")
    print(f"and wrong by over {TOLERANCE_MS:g} ms from {min(wrong):.1f} ms on" if wrong else "and never wrong")
    misleading = [x for x in outcomes if x.is_within_limits and not x.is_right]
    unreached = all(x.is_within_limits for x in outcomes)
    return int(bool(misleading) or unreached)


if __name__ == "__main__":
    sys.exit(asyncio.run(inside()) if sys.argv[1:] == ["inside"] else run_inside("benchmarks.health_limits"))
