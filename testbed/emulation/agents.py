"""The programs of a scenario: started in their nodes by the forkserver, told what to do, followed line by line."""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

from testbed.errors import RigError
from testbed.plan.model import Job

Line = dict[str, Any]
_LONGEST_LINE_BYTES: Final = 1 << 24
_LONGEST_ANSWER_BYTES: Final = 1 << 16


class Agent:
    """One program at work in a node."""

    def __init__(self, job: Job, commands_fd: int, on_line: Callable[[str, Line], None]) -> None:
        self.job = job
        self.pid = 0
        self.is_ready = False
        self.failure: str | None = None
        "Its own `error` line."
        self.result: Line | None = None
        self.established: set[str] = set()
        self.terminated: dict[str, str] = {}
        "Call to its cause."
        self.messages: set[str] = set()
        "Instant messages of which it said what became of them."
        self.exit_status: int | None = None
        self.news = asyncio.Event()
        "Set whenever one of the above changes; whoever waits clears it first."
        self._commands_fd = commands_fd
        self._on_line = on_line

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    @property
    def is_settled(self) -> bool:
        """Whether it is ready or has failed for good."""
        return self.is_ready or self.failure is not None or self.exit_status is not None

    @property
    def is_working(self) -> bool:
        """Whether it can be told to do something."""
        return self.is_ready and self.exit_status is None

    def tell(self, message: Line) -> None:
        """Write one command; nothing happens if it has ended."""
        with contextlib.suppress(BrokenPipeError):
            line = memoryview(json.dumps(message).encode() + b"\n")
            while line:
                line = line[os.write(self._commands_fd, line) :]

    def take(self, line: Line) -> None:
        """Take in one line it wrote."""
        match line:
            case {"type": "ready"}:
                self.is_ready = True
            case {"type": "error"}:
                self.failure = str(line.get("what", "it did not say what"))
            case {"type": "result"}:
                self.result = line
            case {"type": "event", "event": "established"}:
                self.established.add(str(line.get("call", "")))
            case {"type": "event", "event": "terminated"}:
                self.terminated[str(line.get("call", ""))] = str(line.get("cause", ""))
            case {"type": "event", "event": "message-delivered" | "message-failed"}:
                self.messages.add(str(line.get("message", "")))
        self._on_line(self.name, line)
        self.news.set()

    def ended(self, status: int) -> None:
        """Note that its process is gone."""
        self.exit_status = status
        os.close(self._commands_fd)
        self._commands_fd = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self.news.set()


class Forkserver:
    """The process that has every agent's modules imported, and forks."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.process = process
        self._control = control
        self._answers: asyncio.Queue[Line] = asyncio.Queue()
        self._by_pid: dict[int, Agent] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._gone = False
        self._turn = asyncio.Lock()
        self.on_death: Callable[[Agent], None] = lambda agent: None
        "Called with each agent whose process has ended, after its last line."
        asyncio.get_running_loop().add_reader(control.fileno(), self._hear)

    @classmethod
    async def start(cls) -> "Forkserver":
        """Start it; it takes requests at once and answers when its imports are done."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "agents.forkserver", str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, pass_fds=[theirs.fileno()],
            )  # fmt: skip
        return cls(process, ours)

    def _hear(self) -> None:
        try:
            data = self._control.recv(_LONGEST_ANSWER_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._gone = True
            self._answers.put_nowait({"error": "the forkserver died"})
            return
        message: Line = json.loads(data)
        if "exit" in message:
            # An exit may be told before `start` has noted the pid: both come through here, in order.
            task = asyncio.create_task(self._end(message["pid"], message["exit"]))
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)
        else:
            self._answers.put_nowait(message)

    async def start_agent(self, job: Job, netns_fd: int, on_line: Callable[[str, Line], None]) -> Agent:
        """Start a job's program in its node and hand it its arguments; raise RigError if it cannot be started."""
        commands_out, commands_in = os.pipe()
        lines_out, lines_in = os.pipe()
        agent = Agent(job, commands_in, on_line)
        request = json.dumps({"program": job.program, "name": job.name}).encode()
        try:
            async with self._turn:  # answers carry no name: one request at a time
                if self._gone:
                    raise RigError("the forkserver died")
                socket.send_fds(self._control, [request], [netns_fd, commands_out, lines_in])
                answer = await self._answers.get()
                if "error" in answer:
                    raise RigError(f"agent {job.name}: {answer['error']}")
                agent.pid = answer["pid"]
                self._by_pid[agent.pid] = agent
        except OSError as error:
            raise RigError(f"agent {job.name}: the forkserver takes no request: {error.strerror}") from None
        finally:
            os.close(commands_out)
            os.close(lines_in)
        self._readers[agent.name] = asyncio.create_task(self._read(agent, lines_out))
        agent.tell({"name": job.name, "node": job.node, **job.arguments})
        return agent

    async def _read(self, agent: Agent, fd: int) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
        pipe = os.fdopen(fd, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            async for line in reader:
                try:
                    agent.take(json.loads(line))
                except ValueError:
                    agent.take({"type": "error", "what": f"it wrote a line that is no JSON: {line[:80]!r}"})
        finally:
            transport.close()

    async def _end(self, pid: int, status: int) -> None:
        agent = self._by_pid.get(pid)
        while agent is None or agent.name not in self._readers:  # its start is still being taken note of
            await asyncio.sleep(0)
            agent = self._by_pid.get(pid)
        await self._readers[agent.name]
        agent.ended(status)
        self.on_death(agent)


async def wait_for(agents: Iterable[Agent], fact: Callable[[Agent], bool], *, limit_s: float) -> list[Agent]:
    """Wait until *fact* is true of every agent; return those of which it is not after *limit_s*."""
    agents = list(agents)

    async def one(agent: Agent) -> None:
        while not fact(agent):
            agent.news.clear()
            await agent.news.wait()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*map(one, agents))
    return [x for x in agents if not fact(x)]


def death_of(agent: Agent) -> str:
    """Say how an agent ended, in one line."""
    status = agent.exit_status
    how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
    return f"agent {agent.name} (process {agent.pid}) {how}" + (f": {agent.failure}" if agent.failure else "")
