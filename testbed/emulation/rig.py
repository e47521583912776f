"""The rig of a world: its network, links, captures, connection logs and BIRDs; set up, watched, and their evidence."""

import asyncio
import contextlib
import platform
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.emulation import capture, during, evidence, firewalls, links, readback, routing, sharing
from testbed.emulation.child import Child
from testbed.emulation.commands import read_last_line
from testbed.emulation.evidence import Journal
from testbed.emulation.network import EmulatedNetwork
from testbed.errors import RigError
from testbed.plan.model import LinkPlan, Phase, Plan

_ROUTING_LIMIT_S: Final = 30.0
_BIRD_HEAD_START_S: Final = 0.6
"Its connect delay of 1 s is shortened by up to a quarter (RFC 4271 section 10): earlier it sends nothing."


class Rig:
    """Everything of a world that is not an agent."""

    def __init__(self, plan: Plan, directory: Path, backend: Any, journal: Journal) -> None:
        self.plan = plan
        self.network = EmulatedNetwork(plan)
        self.is_leaving = False
        "From here on processes may end."
        self.fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        "Fails with RigError when something of the world dies."
        self._directory = directory
        self._journal = journal
        self._wanted_backend = backend
        self._backend: links.Backend = "wire"
        self._links: links.LinksHandle | None = None
        self._prepared: Child | None = None
        self._capture: capture.CaptureHandle | None = None
        self._logs: list[firewalls.ConnectionLog] = []
        self._birds: list[routing.Bird] = []
        self._versions: asyncio.Task[dict[str, str]] | None = None
        self._pressure: dict[str, float] | None = None
        self._facts = 0
        self._changes: list[dict[str, Any]] = []
        self._started_ns = time.time_ns()
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Build it, with everything that watches it, and let routing begin; `converge` waits for it."""
        preparing = asyncio.create_task(capture.prepare())
        await self._build()
        # Rules first: a connection older than they are is INVALID to them, and lost until its hold time is over.
        await firewalls.load_rules(self.network)
        await self._start_routing()  # its connect delay is the longest wait there is
        async with self._birds_held():
            self._prepared = await preparing
            await self._watch_traffic()
        await self._share_state()
        self._versions = asyncio.create_task(evidence.read_versions())

    async def start_unwatched(self) -> None:
        """Build it without captures, for use by hand."""
        await self._build()
        await firewalls.load_rules(self.network)
        self._journal.progress("readback")
        await readback.read_back(self.network)
        await self._start_links()
        await self._share_state()
        await self._start_routing()
        await self.converge()

    async def leave(self, loop_lags: Mapping[str, Any]) -> None:
        """Collect evidence: what firewalls hold, then what links and captures do; at last emulation.json.

        In this order: what a rule counted is in the captures then, and last words on slow links get to their end.
        """
        self._begin_to_leave()
        await self._save_firewalls()
        await self._save_emulation(loop_lags, *await self.stop_processes())

    async def abandon(self, loop_lags: Mapping[str, Any]) -> None:
        """Collect evidence of a world that broke, all at once: there is little time, and nothing is judged by it."""
        self._begin_to_leave()
        # Both are let finish when one fails; cancelled, for want of time, neither is waited for.
        saved, stopped = await asyncio.gather(self._save_firewalls(), self.stop_processes(), return_exceptions=True)
        if isinstance(stopped, BaseException):
            raise stopped
        await self._save_emulation(loop_lags, *stopped)
        if isinstance(saved, BaseException):
            raise saved

    def _begin_to_leave(self) -> None:
        self._journal.progress("evidence")
        self.is_leaving = True
        self._pressure = evidence.read_cpu_pressure()

    async def _save_firewalls(self) -> None:
        states = await firewalls.collect_evidence(self.network, self._logs)
        files.write_json(self._directory / "firewalls.json", states)

    async def _save_emulation(
        self,
        loop_lags: Mapping[str, Any],
        health: links.LinkHealth | None,
        counted: capture.CaptureCounters | None,
    ) -> None:
        for fault in counted.faults if counted else ():
            self._journal.notice(fault)
        self._journal.close_phase(time.time_ns())
        files.write_json(self._directory / "emulation.json", {
            "format": evidence.FORMAT,
            "kernel": platform.release(),
            "backend": self._backend,
            "readback": {"facts": self._facts},
            "versions": await self._versions if self._versions else {},
            "started_ns": self._started_ns,
            "ended_ns": time.time_ns(),
            "phases": self._journal.phases,
            "during": self._changes,
            "capture": counted.capture if counted else {},
            "dropped_log": counted.dropped_log if counted else {},
            "links": health.links if health else {},
            "health": {"wire": health.wire if health else None, "agents": loop_lags, "cpu_pressure": self._pressure},
        })  # fmt: skip

    async def stop_processes(self) -> tuple[links.LinkHealth | None, capture.CaptureCounters | None]:
        """Stop links and capture, side by side; return what they counted."""

        async def nothing() -> None:
            return None

        return await asyncio.gather(
            self._links.stop() if self._links else nothing(), self._capture.stop() if self._capture else nothing()
        )

    def watch(self, end: Awaitable[object], what: str, log: Path | None = None) -> None:
        """Take the end of *what* for a fault, unless the scenario is over; its *log* may say why."""

        async def wait() -> None:
            await end
            if not self.is_leaving:
                self.break_down(f"{what} died" + (f": {read_last_line(log)}" if log else ""))

        self._watches.append(asyncio.create_task(wait()))

    def break_down(self, why: str) -> None:
        """Note the first thing that broke."""
        if not self.fault.done():
            self.fault.set_exception(RigError(why))

    # Steps

    async def _build(self) -> None:
        self._journal.progress("build", f"{len(self.plan.nodes)} nodes, {len(self.plan.links)} links")
        backend = asyncio.create_task(links.choose_backend(self._wanted_backend))
        await asyncio.to_thread(self.network.build)
        self._backend = await backend

    async def _watch_traffic(self) -> None:
        """Start what carries, captures and tracks packets, and read back meanwhile; nothing sends one before."""
        self._journal.progress("readback")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_capture())
            group.create_task(self._start_logs())
            if self._backend == "wire":
                group.create_task(self._start_links())
            self._facts = await readback.read_back(self.network)
            if self._backend == "netem":  # puts its qdiscs where readback wants none, and reads them back itself
                group.create_task(self._start_links())
            self._journal.progress("capture")

    async def _start_links(self) -> None:
        if shaped := self.network.shaped:
            self._links = await links.start(
                shaped, switchboard_fd=self.network.switchboard_fd, backend=self._backend, seed=self.plan.seed
            )
            self.watch(self._links.ended(), "the process that carries the shaped links")
            if self._links.pid is not None:
                self._journal.urgent(self._links.pid)
            await self._links.ready()

    async def _start_capture(self) -> None:
        points = [self._capture_point(x) for x in self.plan.links if x.captured]
        drops = [capture.DropPoint(x.name, x.netns_fd) for x in firewalls.filtering_nodes(self.network)]
        self._capture = await capture.start(points, drops, self._directory, prepared=self._prepared)
        self.watch(self._capture.ended(), "the capture")
        await self._capture.ready()

    async def _start_logs(self) -> None:
        self._logs = await firewalls.start_logs(self.network)
        for log in self._logs:
            self.watch(log.process.wait(), f"conntrack -E in {log.node}")
        await asyncio.gather(*(x.ready() for x in self._logs))

    async def _share_state(self) -> None:
        for each in await sharing.start_sharing(self.network):
            self.watch(each.process.wait(), f"conntrackd in {each.node}", each.log)

    def _capture_point(self, link: LinkPlan) -> capture.CapturePoint:
        # In A's node: what the wire sends past the queueing disciplines is not seen in the switchboard.
        return capture.CapturePoint(
            link=link.name,
            description=f"{link.a.node} -> {link.b.node} ({link.segment})",
            netns_fd=self.network.node(link.a.node).netns_fd,
            interface=link.a.interface,
            is_switchboard=False,
        )

    async def _start_routing(self) -> None:
        self._birds = await routing.start_birds(self.network)
        for bird in self._birds:
            self.watch(bird.process.wait(), f"BIRD in {bird.node}", bird.log)

    @asynccontextmanager
    async def _birds_held(self) -> AsyncIterator[None]:
        """Let BIRDs wait out their connect delay meanwhile, but not send (unless all is late) before this is left."""
        holding = asyncio.get_running_loop().call_later(_BIRD_HEAD_START_S, self._signal_birds, signal.SIGSTOP)
        try:
            yield
        finally:
            holding.cancel()
            self._signal_birds(signal.SIGCONT)

    def _signal_birds(self, number: signal.Signals) -> None:
        for bird in self._birds:
            with contextlib.suppress(ProcessLookupError):  # its death is noticed elsewhere
                bird.process.send_signal(number)

    async def converge(self) -> None:
        """Wait until routing is as the plan says; raise RigError with what is not when that takes too long."""
        self._journal.progress("routing", f"{len(self.plan.converged)} routes to be learned")
        await routing.Convergence(self.network, self.plan.converged).wait(limit_s=_ROUTING_LIMIT_S)

    async def change(self, phase: Phase) -> None:
        """Change the running world, and keep what came of it for emulation.json."""
        self._journal.progress("media", phase.why)
        change = during.WorldChange(self.network, self._links, phase)
        self._changes.append(change.record)
        await change.make()
        await change.settle()
        self._journal.change(change.record)
