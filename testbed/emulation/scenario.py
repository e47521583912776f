"""A scenario played in its world, from the empty world to the evidence."""

import asyncio
import contextlib
import platform
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from testbed.emulation import agents, capture, evidence, firewalls, links, readback, routing
from testbed.emulation.agents import Agent, Forkserver
from testbed.emulation.commands import read_last_line
from testbed.emulation.evidence import Journal
from testbed.emulation.network import EmulatedNetwork
from testbed.errors import RigError, TestbedError
from testbed.plan.model import CallPlan, Job, LinkPlan, Plan

_ROUTING_LIMIT_S: Final = 30.0
_BIRD_HEAD_START_S: Final = 0.6
"Its connect delay of 1 s is shortened by up to a quarter (RFC 4271 section 10): earlier it sends nothing."
_SERVICES_LIMIT_S: Final = 20.0
_MARGIN_S: Final = 5.0
"Beyond the limits that agents keep themselves: a busy machine."
_GOODBYE_LIMIT_S: Final = 4.0
_SALVAGE_LIMIT_S: Final = 0.7
"For evidence of a run that was stopped or broke."


class Play:
    """One scenario: its network, its processes, and what has happened so far."""

    def __init__(
        self, plan: Plan, directory: Path, backend: Any, journal: Journal, forkserver: Forkserver | None
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.journal = journal
        self.network = EmulatedNetwork(plan)
        self.agents: dict[str, Agent] = {}
        self._wanted_backend = backend
        self._backend: links.Backend = "wire"
        self._forkserver = forkserver
        self._links: links.LinksHandle | None = None
        self._capture: capture.CaptureHandle | None = None
        self._logs: list[firewalls.ConnectionLog] = []
        self._birds: list[routing.Bird] = []
        self._versions: asyncio.Task[dict[str, str]] | None = None
        self._facts = 0
        self._started_ns = time.time_ns()
        self._leaving = False
        self._fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """End before the end: save what evidence there is."""
        self._stop.set()

    async def to_the_end(self) -> int:
        """Play the scenario; return the exit status. Whatever breaks becomes one error line."""
        error = await self._unless_broken(self._scenario())
        if error is None:
            self.journal.done()
            return 0
        try:
            async with asyncio.timeout(_SALVAGE_LIMIT_S):
                await self._leave()
        except (TestbedError, OSError, TimeoutError) as second:
            self.journal.notice(f"evidence is incomplete: {str(second) or 'no time was left'}")
        self.journal.error(error)
        return 1

    async def with_prompt(self) -> int:
        """Build the network, start routing and servers, and give the terminal to Mininet's prompt until it is left."""
        error = await self._unless_broken(self._prompt())
        if error is None:
            self.journal.done()
            return 0
        self.journal.error(error)
        return 1

    async def _unless_broken(self, work: Coroutine[Any, Any, None]) -> str | None:
        """Carry *work* out; return what broke it: its own error, a process that died, or the order to stop."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        ends: set[asyncio.Future[Any]] = {task, stopped, self._fault}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self._fault.done():
            task.cancel()
            return str(self._fault.exception())
        if not task.done():
            task.cancel()
            return "stopped before the scenario was over"
        fault = _first(task.exception())
        if fault is None or isinstance(fault, TestbedError | OSError):
            return None if fault is None else str(fault)
        raise fault

    # Steps

    async def _scenario(self) -> None:
        await self._build()
        await self._start_routing()
        async with self._birds_held():
            await self._watch_traffic()
        self._versions = asyncio.create_task(evidence.read_versions())
        await self._converge()
        await self._start_services()
        await self._start_parties()
        await self._place_calls()
        await self._hang_up()
        await self._leave()

    async def _prompt(self) -> None:
        await self._build()
        self.journal.progress("readback")
        await readback.read_back(self.network)
        await self._start_links()
        await self._start_routing()
        await self._converge()
        await self._start_services()
        plan = Path("/run/plan.json")
        plan.write_text(self.plan.model_dump_json())  # noqa: ASYNC240
        prompt = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", "testbed.emulation.prompt", str(plan))
        await prompt.wait()
        self._leaving = True

    async def _build(self) -> None:
        self.journal.progress("build", f"{len(self.plan.nodes)} nodes, {len(self.plan.links)} links")
        if self._forkserver:
            self._forkserver.on_death = self._note_death
            self._watch(self._forkserver.process.wait(), "the forkserver of the agents")
        backend = asyncio.create_task(links.choose_backend(self._wanted_backend))
        await asyncio.to_thread(self.network.build)
        await firewalls.load_rules(self.network)
        self._backend = await backend

    async def _watch_traffic(self) -> None:
        """Start what carries, captures and tracks packets, and read back meanwhile; nothing sends one before."""
        self.journal.progress("readback")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_links())
            group.create_task(self._start_capture())
            group.create_task(self._start_logs())
            self._facts = await readback.read_back(self.network)
            self.journal.progress("capture")

    async def _start_links(self) -> None:
        if shaped := self.network.shaped:
            self._links = await links.start(
                shaped, switchboard_fd=self.network.switchboard_fd, backend=self._backend, seed=self.plan.seed
            )
            self._watch(self._links.ended(), "the process that carries the shaped links")
            await self._links.ready()

    async def _start_capture(self) -> None:
        points = [self._capture_point(x) for x in self.plan.links if x.captured]
        drops = [capture.DropPoint(x.name, x.netns_fd) for x in firewalls.filtering_nodes(self.network)]
        self._capture = await capture.start(points, drops, self.directory)
        self._watch(self._capture.ended(), "the capture")
        await self._capture.ready()

    async def _start_logs(self) -> None:
        self._logs = await firewalls.start_logs(self.network)
        for log in self._logs:
            self._watch(log.process.wait(), f"conntrack -E in {log.node}")
        await asyncio.gather(*(x.ready() for x in self._logs))

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
            self._watch(bird.process.wait(), f"BIRD in {bird.node}", bird.log)

    @asynccontextmanager
    async def _birds_held(self) -> AsyncIterator[None]:
        """Let BIRDs wait out their connect delay meanwhile, but not send anything before this is left."""
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

    async def _converge(self) -> None:
        self.journal.progress("routing", f"{len(self.plan.converged)} routes to be learned")
        await routing.Convergence(self.network, self.plan.converged).wait(limit_s=_ROUTING_LIMIT_S)

    async def _start_services(self) -> None:
        jobs = [x for x in self.plan.jobs if x.stage == "service"]
        self.journal.progress("services", ", ".join(x.name for x in jobs))
        await self._start_agents(jobs, limit_s=_SERVICES_LIMIT_S)

    async def _start_parties(self) -> None:
        jobs = [x for x in self.plan.jobs if x.stage == "party"]
        self.journal.progress("register", ", ".join(x.name for x in jobs))
        await self._start_agents(jobs, limit_s=self.plan.setup_limit_ns / 1e9 + _MARGIN_S)

    async def _start_agents(self, jobs: list[Job], *, limit_s: float) -> None:
        """Start *jobs*' programs and wait until each is ready or has failed: the latter is a result, not a fault."""
        if not self._forkserver:
            return
        started = [await self._start_agent(self._forkserver, job) for job in jobs]
        for agent in await agents.wait_for(started, lambda x: x.is_settled, limit_s=limit_s):
            self.journal.notice(f"agent {agent.name} was not ready after {limit_s:g} s")

    async def _start_agent(self, forkserver: Forkserver, job: Job) -> Agent:
        fd = self.network.node(job.node).netns_fd
        agent = await forkserver.start_agent(job, fd, self.journal.agent)
        self.agents[job.name] = agent
        return agent

    async def _place_calls(self) -> None:
        placed: dict[str, set[str]] = {}
        self.journal.progress("call", ", ".join(sorted({x.target for x in self.plan.calls})))
        for call in self.plan.calls:
            agent = self.agents[call.party]
            if agent.is_working:
                agent.tell(self._command(call))
                placed.setdefault(call.party, set()).add(call.call)
            else:
                self.journal.notice(f"call {call.call} was not placed: {call.party} is not registered")
        callers = [self.agents[x] for x in placed]

        def is_answered(agent: Agent) -> bool:
            over = agent.established | set(agent.terminated)
            return placed[agent.name] <= over or agent.exit_status is not None

        def is_over(agent: Agent) -> bool:
            return placed[agent.name] <= set(agent.terminated) or agent.exit_status is not None

        limit_s = self.plan.setup_limit_ns / 1e9 + _MARGIN_S
        await agents.wait_for(callers, is_answered, limit_s=limit_s)
        self.journal.progress("media", f"{self.plan.duration_ns / 1e9:g} s")
        for agent in await agents.wait_for(callers, is_over, limit_s=limit_s + self.plan.duration_ns / 1e9):
            unfinished = ", ".join(sorted(placed[agent.name] - set(agent.terminated)))
            self.journal.notice(f"agent {agent.name} did not say how its call ended: {unfinished}")

    def _command(self, call: CallPlan) -> dict[str, Any]:
        return {
            "do": "call", "call": call.call, "target": call.target, "media": list(call.media),
            "bundled": call.bundled, "duration_ns": self.plan.duration_ns,
        }  # fmt: skip

    async def _hang_up(self) -> None:
        """Have parties, then services, write their results and end."""
        self.journal.progress("hangup")
        self._leaving = True
        for stage in ("party", "service"):
            leaving = [x for x in self.agents.values() if x.job.stage == stage]
            for agent in leaving:
                agent.tell({"do": "stop"})
            for agent in await agents.wait_for(leaving, lambda x: x.exit_status is not None, limit_s=_GOODBYE_LIMIT_S):
                self.journal.notice(f"agent {agent.name} had not ended {_GOODBYE_LIMIT_S:g} s after it was told to")

    async def _leave(self) -> None:
        """Collect evidence: firewalls, then what links and captures counted; at last emulation.json."""
        self.journal.progress("evidence")
        self._leaving = True
        states = await firewalls.collect_evidence(self.network, self._logs)
        evidence.write_json(self.directory / "firewalls.json", states)
        pressure = evidence.read_cpu_pressure()
        health = await self._links.stop() if self._links else None
        counted = await self._capture.stop() if self._capture else None
        for fault in counted.faults if counted else ():
            self.journal.notice(fault)
        self.journal.close_phase(time.time_ns())
        lags = {x.name: {"loop_lag_ns": (x.result or {}).get("loop_lag_ns")} for x in self.agents.values()}
        evidence.write_json(self.directory / "emulation.json", {
            "format": evidence.FORMAT,
            "kernel": platform.release(),
            "backend": self._backend,
            "readback": {"facts": self._facts},
            "versions": await self._versions if self._versions else {},
            "started_ns": self._started_ns,
            "ended_ns": time.time_ns(),
            "phases": self.journal.phases,
            "capture": counted.capture if counted else {},
            "dropped_log": counted.dropped_log if counted else {},
            "links": health.links if health else {},
            "health": {
                "wire": health.wire if health else None,
                "agents": {name: lag for name, lag in lags.items() if lag["loop_lag_ns"]},
                "cpu_pressure": pressure,
            },
        })  # fmt: skip

    # Deaths

    def _watch(self, end: Awaitable[object], what: str, log: Path | None = None) -> None:
        """Take the end of *what* for a fault, unless the scenario is over."""

        async def watch() -> None:
            await end
            if not self._leaving:
                self._break(f"{what} died" + (f": {read_last_line(log)}" if log else ""))

        self._watches.append(asyncio.create_task(watch()))

    def _note_death(self, agent: Agent) -> None:
        if not self._leaving and (agent.failure is None or (agent.exit_status or 0) < 0):
            self._break(agents.death_of(agent))

    def _break(self, why: str) -> None:
        if not self._fault.done():
            self._fault.set_exception(RigError(why))




def _first(error: BaseException | None) -> BaseException | None:
    """Return the first error of a task group."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
