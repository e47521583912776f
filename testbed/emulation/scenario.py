"""A scenario played in its world: the rig set up, programs started, calls placed and followed, evidence saved."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from testbed.emulation import agents
from testbed.emulation.agents import Agent, Forkserver
from testbed.emulation.evidence import Journal
from testbed.emulation.rig import Rig
from testbed.errors import TestbedError
from testbed.plan.model import CallPlan, Job, Plan

_SERVICES_LIMIT_S: Final = 20.0
_MARGIN_S: Final = 5.0
"Beyond the limits that agents keep themselves: a busy machine."
_GOODBYE_LIMIT_S: Final = 4.0
_SALVAGE_LIMIT_S: Final = 1.3
"For evidence of a run that was stopped or broke."


class Play:
    """One scenario: its rig, its agents, and what has happened so far."""

    def __init__(
        self, plan: Plan, directory: Path, backend: Any, journal: Journal, forkserver: Forkserver | None
    ) -> None:
        self.plan = plan
        self.journal = journal
        self.rig = Rig(plan, directory, backend, journal)
        journal.on_fault = self.rig.break_down
        self.agents: dict[str, Agent] = {}
        self._forkserver = forkserver
        self._stop = asyncio.Event()
        if forkserver:
            forkserver.on_death = self._note_death
            self.rig.watch(forkserver.process.wait(), "the forkserver of the agents")

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
                await self.rig.abandon(self._loop_lags())
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
        ends: set[asyncio.Future[Any]] = {task, stopped, self.rig.fault}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if self.rig.fault.done():
            task.cancel()
            return str(self.rig.fault.exception())
        if not task.done():
            task.cancel()
            return "stopped before the scenario was over"
        fault = _first(task.exception())
        if fault is None or isinstance(fault, TestbedError | OSError):
            return None if fault is None else str(fault)
        raise fault

    # Steps

    async def _scenario(self) -> None:
        await self.rig.start()
        await self._start_services()  # while routing converges: nobody sends anything yet
        await self.rig.converge()
        await self._start_parties()
        await self._send_messages()
        if self.plan.calls:
            await self._place_calls()
        await self._hang_up()
        await self.rig.leave(self._loop_lags())

    async def _prompt(self) -> None:
        await self.rig.start_unwatched()
        await self._start_services()
        plan = Path("/run/plan.json")
        plan.write_text(self.plan.model_dump_json())  # noqa: ASYNC240
        prompt = await asyncio.create_subprocess_exec(sys.executable, "-P", "-m", "testbed.emulation.prompt", str(plan))
        await prompt.wait()
        await self._hang_up()
        await self.rig.stop_processes()

    async def _start_services(self) -> None:
        jobs = [x for x in self.plan.jobs if x.stage in ("service", "traffic")]
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
        fd = self.rig.network.node(job.node).netns_fd
        agent = await forkserver.start_agent(job, fd, self.journal.agent)
        self.agents[job.name] = agent
        return agent

    async def _send_messages(self) -> None:
        sent: dict[str, set[str]] = {}
        for message in self.plan.messages:
            agent = self.agents[message.party]
            if agent.is_working:
                agent.tell({"do": "message", **message.model_dump(include={"message", "target", "text"})})
                sent.setdefault(message.party, set()).add(message.message)
            else:
                self.journal.notice(f"{message.message} was not sent: {message.party} is not registered")
        if not sent:
            return
        self.journal.progress("message", ", ".join(sorted({x.target for x in self.plan.messages})))

        def is_over(agent: Agent) -> bool:
            return sent[agent.name] <= agent.messages or agent.exit_status is not None

        limit_s = self.plan.setup_limit_ns / 1e9 + _MARGIN_S
        for agent in await agents.wait_for([self.agents[x] for x in sent], is_over, limit_s=limit_s):
            unfinished = ", ".join(sorted(sent[agent.name] - agent.messages))
            self.journal.notice(f"agent {agent.name} did not say what became of {unfinished}")

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
        self._send_traffic()
        are_up = all(placed[x.name] <= x.established for x in callers)
        changing = asyncio.create_task(self._change_world(are_up=are_up))
        over = asyncio.create_task(agents.wait_for(callers, is_over, limit_s=limit_s + self.plan.duration_ns / 1e9))
        try:
            await asyncio.wait({changing, over}, return_when=asyncio.FIRST_COMPLETED)
            if changing.done():
                changing.result()
            for agent in await over:
                unfinished = ", ".join(sorted(placed[agent.name] - set(agent.terminated)))
                self.journal.notice(f"agent {agent.name} did not say how its call ended: {unfinished}")
        finally:
            changing.cancel()
            over.cancel()

    def _send_traffic(self) -> None:
        for agent in self.agents.values():
            if agent.job.stage == "traffic":
                agent.tell({"do": "send"})

    async def _change_world(self, *, are_up: bool) -> None:
        """Make the plan's changes at their times; those that find the calls over, or never up, are left out."""
        if self.plan.phases and not are_up:
            self.journal.notice("no call is changed under way: not all were established")
            return
        began_s = asyncio.get_running_loop().time()
        for phase in self.plan.phases:
            await asyncio.sleep(began_s + phase.at_ns / 1e9 - asyncio.get_running_loop().time())
            await self.rig.change(phase)

    def _command(self, call: CallPlan) -> dict[str, Any]:
        return {
            "do": "call", "call": call.call, "target": call.target, "media": list(call.media),
            "bundled": call.bundled, "codec": call.codec, "duration_ns": self.plan.duration_ns,
        }  # fmt: skip

    async def _hang_up(self) -> None:
        """Have what competes with the calls, then parties, then services, write their results and end."""
        self.journal.progress("hangup")
        self.rig.is_leaving = True
        for stage in ("traffic", "party", "service"):
            leaving = [x for x in self.agents.values() if x.job.stage == stage]
            for agent in leaving:
                agent.tell({"do": "stop"})
            for agent in await agents.wait_for(leaving, lambda x: x.exit_status is not None, limit_s=_GOODBYE_LIMIT_S):
                self.journal.notice(f"agent {agent.name} had not ended {_GOODBYE_LIMIT_S:g} s after it was told to")

    def _loop_lags(self) -> dict[str, Any]:
        results = {x.name: x.result for x in self.agents.values() if x.result}
        return {x: {"loop_lag_ns": result["loop_lag_ns"]} for x, result in results.items() if result.get("loop_lag_ns")}

    def _note_death(self, agent: Agent) -> None:
        """A party or traffic that says why it fails is a result; a server that ends, or who is killed, a broken rig."""
        is_result = agent.job.stage != "service" and agent.failure is not None and (agent.exit_status or 0) >= 0
        if not self.rig.is_leaving and not is_result:
            self.rig.break_down(agents.death_of(agent))


def _first(error: BaseException | None) -> BaseException | None:
    """Return the first error of a task group."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
