"""A Mediation server: a SIP back-to-back user agent between the pool (ICE, DTLS-SRTP) and a gateway (plain RTP).

Audio is G.711 on both sides. Towards the pool the gateway's payloads go out as they came; towards the gateway the
decoded samples are encoded again, which gives the same bytes (tests/unit/test_tone.py), as aiortc gives samples only.
"""

import asyncio
from typing import Final, TypeVar

from agents import g711
from agents.call import Call, CallEnded, Milestones, cause_of, tones_of
from agents.frames import FrameQueue
from agents.kinds import marks_of
from agents.media import Access, Ends, MediaSession
from agents.pace import FrameClock, LoopLag
from agents.plain import PlainSession
from agents.process import Commands, Message, Say
from agents.relaying import own_turn_server
from agents.sip.errors import SipFailure
from agents.sip.hop import Hop, Listen
from agents.sip.tls import Credentials
from agents.sip.ua import Dialog, IncomingCall, UserAgent

_SECURE_PROFILE: Final = "UDP/TLS/RTP/SAVPF"
"What an offer from the pool says (RFC 5764 section 8); one from the gateway says RTP/AVP."


_A = TypeVar("_A")
_B = TypeVar("_B")


async def _both(first: asyncio.Task[_A], second: asyncio.Task[_B]) -> tuple[_A, _B]:
    """Return both results; when one fails, cancel the other, wait for it, and raise."""
    try:
        return await asyncio.gather(first, second)
    except BaseException:
        for task in (first, second):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        raise


class Bridge:
    """The two legs of one call and the audio between them."""

    def __init__(self, mediation: "Mediation", incoming: IncomingCall) -> None:
        self._incoming = incoming
        self.pool = mediation.new_call(incoming.caller)
        self.gateway = mediation.new_call(incoming.target)
        to_pool, to_gateway = FrameQueue(g711.FRAME_SAMPLES), FrameQueue(g711.FRAME_SAMPLES)

        def from_pool(samples: g711.Samples) -> None:
            self.pool.listener.hear(samples)
            to_gateway.put(g711.encode(samples))

        def from_gateway(payload: bytes) -> None:
            self.gateway.listener.hear(g711.decode(payload))
            to_pool.put(payload)

        self.pool_session = MediaSession(
            Ends(clock=mediation.clock, source=lambda frame: to_pool.pop() or g711.SILENCE, sink=from_pool),
            mediation.access,
        )
        self.gateway_session = PlainSession(
            mediation.gateway_facing_address,
            clock=mediation.clock,
            source=lambda frame: to_gateway.pop() or g711.SILENCE,
            sink=from_gateway,
            mark=mediation.access.marks.get("audio"),
        )
        self.pool.session, self.gateway.session = self.pool_session, self.gateway_session

    async def run(self, gateway_agent: UserAgent, pool_agent: UserAgent, setup_limit_s: float) -> None:
        """Set up the other leg, then live until either side hangs up."""
        deadline_s = self.pool.began_s + setup_limit_s + 2
        try:
            if _SECURE_PROFILE in self._incoming.offer:
                await self._towards_gateway(gateway_agent, deadline_s)
            else:
                await self._towards_pool(pool_agent, deadline_s)
            await self._live(deadline_s)
        except Exception as error:
            self.pool.fail(error)
            self.gateway.fail(error)
        await asyncio.gather(self.pool.finish(), self.gateway.finish())

    async def _towards_gateway(self, agent: UserAgent, deadline_s: float) -> None:
        self.pool.reached(Milestones.INVITED)
        try:
            # Gathering takes some round trips to the relay, ringing some to the gateway: side by side.
            answer, dialog = await _both(
                asyncio.create_task(self.pool_session.answer(self._incoming.offer)),
                asyncio.create_task(self._dial(self.gateway, self.gateway_session, agent, deadline_s)),
            )
            self.gateway.dialog = dialog
            await self.gateway_session.accept(dialog.answer)
        except Exception as error:
            await self._refuse(error)
            raise
        self.pool.dialog = await self._incoming.accept(answer)

    async def _towards_pool(self, agent: UserAgent, deadline_s: float) -> None:
        self.gateway.reached(Milestones.INVITED)
        try:
            answer, dialog = await _both(
                asyncio.create_task(self.gateway_session.answer(self._incoming.offer)),
                asyncio.create_task(self._dial(self.pool, self.pool_session, agent, deadline_s)),
            )
            self.pool.dialog = dialog
            await self.pool_session.accept(dialog.answer)
        except Exception as error:
            await self._refuse(error)
            raise
        self.gateway.dialog = await self._incoming.accept(answer)

    async def _dial(
        self, call: Call, session: MediaSession | PlainSession, agent: UserAgent, deadline_s: float
    ) -> Dialog:
        ringing: set[asyncio.Task[None]] = set()

        def provisional(status: int) -> None:
            call.provisional(status)
            if status == 180 and not ringing:
                ringing.add(asyncio.create_task(self._incoming.ring()))

        offer = await session.offer()
        call.reached(Milestones.INVITED)
        call.event("calling", target=self._incoming.target)
        calling = asyncio.create_task(
            agent.invite(
                self._incoming.target, offer, timeout_s=call.seconds_to(deadline_s), on_provisional=provisional
            )
        )
        given_up = asyncio.create_task(self._incoming.cancelled.wait())
        await asyncio.wait([calling, given_up], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            calling.cancel()  # which sends CANCEL
            await asyncio.gather(calling, return_exceptions=True)
            raise CallEnded("487")
        given_up.cancel()
        await asyncio.gather(*ringing)
        return await calling

    async def _refuse(self, error: Exception) -> None:
        if isinstance(error, SipFailure):
            await self._incoming.reject(error.status)
        elif cause_of(error) == "timeout":
            await self._incoming.reject(504)
        else:
            await self._incoming.reject(503 if cause_of(error) == "no-candidates" else 488)

    async def _live(self, deadline_s: float) -> None:
        await _both(
            asyncio.create_task(self.pool.establish(deadline_s)),
            asyncio.create_task(self.gateway.establish(deadline_s)),
        )
        await _both(asyncio.create_task(self.pool.stay(None)), asyncio.create_task(self.gateway.stay(None)))


class Mediation:
    """All calls between one pool and one gateway."""

    def __init__(self, job: Message, say: Say) -> None:
        """Raise ValueError where *job* lacks a key (docs/agents.md)."""
        try:
            name, self.address = str(job["name"]), str(job["address"]).partition("/")[0]
            listen = [Listen.from_json(entry) for entry in job["listen"]]
            gateway = Hop.from_json(job["gateway"])
        except KeyError as missing:
            raise ValueError(f"a mediation server's job needs the key {missing}") from None
        relay = job.get("relay")
        self.access = Access(
            address=self.address,
            relay=own_turn_server(relay, user=name) if relay else None,
            relay_only=bool(job.get("relay_only", False)),
            marks=marks_of(job),
        )
        self.gateway_facing_address = str(job.get("gateway_facing_address", self.address))
        self.clock = FrameClock()
        self._say = say
        self._setup_limit_s = int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9
        self._calls: list[Call] = []
        self._tones_hz = tones_of(job)
        uri, t1_ns = job.get("uri", f"sip:{name}@{self.address}"), int(job.get("sip_t1_ns", 500_000_000))
        self._pool_agent = UserAgent(
            uri=uri,
            local_address=self.address,
            server=Hop.from_json(job["front_end"]) if job.get("front_end") else None,
            listen=listen,
            tls=Credentials.from_json(job.get("tls")),
            t1_ns=t1_ns,
        )
        self._gateway_agent = UserAgent(
            uri=uri,
            local_address=self.gateway_facing_address,
            transport=gateway.transport,
            server=gateway,
            t1_ns=t1_ns,
        )
        self._pool_agent.on_invite = self._bridge

    def new_call(self, peer: str) -> Call:
        """Return a new leg, whose result will be told."""
        call = Call(name=None, peer=peer, say=self._say, tones_hz=self._tones_hz)
        self._calls.append(call)
        return call

    async def start(self) -> None:
        """Listen for INVITEs from both sides."""
        await self._pool_agent.start()
        await self._gateway_agent.start()

    async def _bridge(self, incoming: IncomingCall) -> None:
        await Bridge(self, incoming).run(self._gateway_agent, self._pool_agent, self._setup_limit_s)

    async def stop(self) -> list[Message]:
        """Hang up all legs; return what each measured."""
        await asyncio.gather(*(call.finish(CallEnded("stopped")) for call in self._calls))
        await self._pool_agent.stop()
        await self._gateway_agent.stop()
        return [call.result for call in self._calls]


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Stand between pool and gateway until told to stop."""
    lag = LoopLag()
    mediation = Mediation(job, say)
    await mediation.start()
    say({"type": "ready"})
    async for command in commands:
        if command.get("do") == "stop":
            break
        raise ValueError(f"a mediation server knows no command {command.get('do')!r}; there is stop")
    say({"type": "result", "calls": await mediation.stop(), "loop_lag_ns": lag.stop()})
