"""A PSTN telephone with its gateway in one: plain SIP and plain RTP (G.711), no ICE, no encryption."""

import asyncio

from agents import g711, tone
from agents.call import Call, CallEnded, Milestones, take, tones_of
from agents.client import obey
from agents.pace import FrameClock, LoopLag
from agents.plain import PlainSession
from agents.process import Commands, Message, Say
from agents.sip.hop import Hop, Listen
from agents.sip.ua import IncomingCall, UserAgent


class Phone:
    """One telephone."""

    def __init__(self, job: Message, say: Say) -> None:
        """Raise ValueError where *job* lacks a key (docs/agents.md)."""
        try:
            uri, self._address = str(job["uri"]), str(job["address"]).partition("/")[0]
            self._tone = tone.tone_frames(int(job["tone_hz"]))
            listen = [Listen.from_json(entry) for entry in job["listen"]]
        except KeyError as missing:
            raise ValueError(f"a phone's job needs the key {missing}") from None
        self._say, self._clock = say, FrameClock()
        self._setup_limit_s = int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9
        self._calls: list[Call] = []
        self._tones_hz = tones_of(job)
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent = UserAgent(
            uri=uri,
            local_address=self._address,
            server=Hop.from_json(job["server"]) if job.get("server") else None,
            listen=listen,
            t1_ns=int(job.get("sip_t1_ns", 500_000_000)),
        )
        self._agent.on_invite = self._ring

    async def start(self) -> None:
        """Listen for INVITEs."""
        await self._agent.start()

    def _new_call(self, name: str | None, peer: str) -> Call:
        call = Call(name=name, peer=peer, say=self._say, tones_hz=self._tones_hz)
        self._calls.append(call)
        return call

    def _session(self, call: Call) -> PlainSession:
        return PlainSession(
            self._address,
            clock=self._clock,
            source=lambda frame: self._tone[frame % len(self._tone)],
            sink=lambda payload: call.listener.hear(g711.decode(payload)),
        )

    async def _ring(self, incoming: IncomingCall) -> None:
        call = self._new_call(None, incoming.caller)

        async def open_session() -> PlainSession:
            return self._session(call)

        await take(incoming, call, open_session, setup_limit_s=self._setup_limit_s)

    def call(self, command: Message) -> None:
        """Start the call that *command* asks for; it goes to the job's `server` (the mediation server)."""
        task = asyncio.create_task(self._dial(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _dial(self, command: Message) -> None:
        call = self._new_call(command["call"], command["target"])
        deadline_s = call.began_s + self._setup_limit_s
        try:
            call.event("calling", target=command["target"])
            call.session = session = self._session(call)
            offer = await session.offer()
            call.reached(Milestones.INVITED)
            call.dialog = await self._agent.invite(
                command["target"], offer, timeout_s=call.seconds_to(deadline_s), on_provisional=call.provisional
            )
            call.event("answered")
            await session.accept(call.dialog.answer)
            await call.establish(deadline_s)
            await call.stay(command["duration_ns"] / 1e9)
        except Exception as error:
            call.fail(error)
        await call.finish()

    async def stop(self) -> list[Message]:
        """Hang up; return what each call measured."""
        await asyncio.gather(*(call.finish(CallEnded("stopped")) for call in self._calls))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._agent.stop()
        return [call.result for call in self._calls]


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Be a telephone until told to stop."""
    lag = LoopLag()
    phone = Phone(job, say)
    await phone.start()
    say({"type": "ready"})
    await obey(phone, commands)
    say({"type": "result", "calls": await phone.stop(), "loop_lag_ns": lag.stop()})
