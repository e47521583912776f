"""A user's client: it registers, asks for a relay, calls and is called, and tells what it saw and heard."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from sipmessage import URI

from agents import g711, opus, tone
from agents.browser import Browser, Visit
from agents.call import Call, CallEnded, Milestones, Session, cause_of, take, tones_of
from agents.files import FileChannel, file_of
from agents.ice import TurnTransport
from agents.kinds import PICTURES, Codec, Kind, Mark, marks_of
from agents.media import Access, Ends, MediaSession, PictureEnd
from agents.names import NameFailure, Names
from agents.pace import FrameClock, LoopLag
from agents.pictures import OwnPictures
from agents.plain import PlainSession
from agents.process import Commands, Message, Say, one_line
from agents.relaying import RelayAccess, Side
from agents.renewal import answer_again, keep_heard
from agents.sip.errors import SipError, SipFailure
from agents.sip.hop import Hop, TransportName, default_port, transport_name
from agents.sip.tls import Credentials
from agents.sip.tunnel import WebProxy
from agents.sip.ua import IncomingCall, UserAgent

_FAREWELL_LIMIT_S: Final = 0.4
"How long hanging up and deregistering may take each once `stop` has come: the whole must end within a second."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The client's job (docs/agents.md)."""

    name: str
    uri: str
    password: str
    address: str
    server: Hop | None
    "None: that of the domain, by its name."
    domain: str
    resolver: str | None
    "Address of the name server to ask."
    uses_relay: bool
    relay_side: Side
    turn_transports: tuple[TurnTransport, ...]
    "To the relay, in the order in which they are tried."
    transport: TransportName
    tls: Credentials | None
    "Whom to trust where a transport is tls."
    sip_t1_ns: int
    setup_limit_s: float
    tone_hz: int
    tones_hz: dict[str, int]
    "Who plays which tone, for the result to name whom we heard."
    is_guest: bool
    visits: tuple[Visit, ...]
    authority: str
    "Whom to trust on visits, PEM."
    uses_ice: bool
    "Else plain RTP, without a relay."
    marks: dict[Kind, Mark]
    file_bytes: int
    "Size of the file that we share where a call has file transfer; 0: none."
    ice_restart_s: float | None
    "How long a caller hears nothing before it makes its media anew; None: never."
    proxy: WebProxy | None
    "Web proxy that signaling goes through; media never does."

    @classmethod
    def from_job(cls, job: Message) -> Self:
        """Read the job; raise ValueError where a key is missing or wrong."""
        try:
            return cls(
                name=job["name"],
                uri=job["uri"],
                password=job.get("password") or "",
                address=str(job["address"]).partition("/")[0],
                server=Hop.from_json(job["server"]) if "address" in job["server"] else None,
                domain=str(job["server"].get("domain", "")),
                resolver=job.get("resolver"),
                uses_relay=job.get("relay") is not None,
                relay_side=job.get("relay_side", "external"),
                turn_transports=tuple(job.get("turn_transports") or ("udp",)),
                transport=transport_name(job.get("transport", "tcp")),
                tls=Credentials.from_json(job.get("tls")),
                sip_t1_ns=int(job.get("sip_t1_ns", 500_000_000)),
                setup_limit_s=int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9,
                tone_hz=int(job["tone_hz"]),
                tones_hz=tones_of(job),
                is_guest=bool(job.get("guest", False)),
                visits=tuple(Visit(**visit) for visit in job.get("visits", {}).get("to", ())),
                authority=job.get("visits", {}).get("authority", ""),
                uses_ice=bool(job.get("ice", True)),
                marks=marks_of(job),
                file_bytes=int(job.get("file_bytes", 65536)),
                ice_restart_s=int(restart_ns) / 1e9 if (restart_ns := job.get("ice_restart_ns")) else None,
                proxy=WebProxy.from_json(job["proxy"]) if job.get("proxy") else None,
            )
        except KeyError as missing:
            raise ValueError(f"a client's job needs the key {missing}") from None


class Client:
    """One user at one node."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings, self._say = settings, say
        self._clock = FrameClock()
        self._tone = tone.tone_frames(settings.tone_hz)
        self._opus_tone: tuple[bytes, ...] = ()
        self._pictures = {
            kind: OwnPictures(settings.tone_hz, is_slide=kind == "application-sharing") for kind in PICTURES
        }
        self._agent = UserAgent(
            uri=settings.uri,
            local_address=settings.address,
            transport=settings.transport,
            server=settings.server,
            username="" if settings.is_guest else settings.uri.removeprefix("sip:").partition("@")[0],
            password=settings.password,
            t1_ns=settings.sip_t1_ns,
            tls=settings.tls,
            proxy=settings.proxy,
        )
        self._agent.on_invite = self._take_call
        self._agent.on_message = self._take_message
        self._names = Names(settings.resolver, say) if settings.resolver else None
        self._relay = RelayAccess(
            lambda conference: self._agent.request_relay(conference=conference, timeout_s=settings.setup_limit_s / 2),
            transports=settings.turn_transports,
            side=settings.relay_side,
            say=say,
            trusts=settings.tls.authority if settings.tls else None,
            names=self._names,
            mark=settings.marks.get("audio"),
        )
        self._registration_ms: float | None = None
        self._calls: list[Call] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_registered = False

    async def sign_in(self) -> None:
        """Find the server, register and get a relay; raise NameFailure, SipError or TimeoutError."""
        settings = self._settings
        await self._agent.start()
        async with asyncio.timeout(settings.setup_limit_s):
            if settings.server is None and self._names is not None:
                self._agent.use_server(await self._names.sip_server(settings.domain, settings.transport))
            if settings.is_guest:
                return
            began_s = asyncio.get_running_loop().time()
            await self._register()
        self._is_registered = True
        self._registration_ms = (asyncio.get_running_loop().time() - began_s) * 1000
        self._say({"type": "event", "event": "registered", "registration_ms": round(self._registration_ms, 3)})
        await asyncio.gather(self._make_visits(), *([self._relay.server()] if settings.uses_relay else []))

    async def _make_visits(self) -> None:
        """Visit the web servers that a client visits when it has signed in; what does not work is told, no more."""
        if self._settings.visits and self._names is not None:
            browser = Browser(self._names, self._settings.authority, self._say)
            await asyncio.gather(*(browser.visit(visit) for visit in self._settings.visits))

    async def _register(self) -> None:
        """Register, at another server where the first one says that we are at home there (RFC 3261 section 8.1.3.4)."""
        try:
            await self._agent.register()
        except SipFailure as answer:
            if answer.status != 301 or not answer.contact or self._names is None:
                raise
            home = URI.parse(answer.contact)
            self._say({"type": "event", "event": "redirected", "to": answer.contact})
            address = await self._names.address(home.host)
            transport = transport_name(home.parameters.get("transport") or self._settings.transport)
            identity = home.host if transport == "tls" else ""
            self._agent.use_server(Hop(address, home.port or default_port(transport), transport, identity))
            await self._agent.register()

    def call(self, command: Message) -> None:
        """Start the call that *command* asks for."""
        task = asyncio.create_task(self._make_call(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def message(self, command: Message) -> None:
        """Send the instant message that *command* asks for."""
        task = asyncio.create_task(self._send_message(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_message(self, command: Message) -> None:
        facts = {"message": command["message"], "to": command["target"]}
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with asyncio.timeout(self._settings.setup_limit_s):
                await self._agent.message(command["target"], command["text"])
        except (SipError, TimeoutError) as error:
            failure = {"cause": cause_of(error), "detail": one_line(error)}
            self._say({"type": "event", "event": "message-failed", **facts, **failure})
        else:
            answer_ms = round((loop.time() - began_s) * 1000, 3)
            self._say({"type": "event", "event": "message-delivered", **facts, "answer_ms": answer_ms})

    async def _take_message(self, sender: str, content_type: str, body: bytes) -> None:
        text = body.decode(errors="replace")
        received = {"from": sender, "content_type": content_type, "text": text}
        self._say({"type": "event", "event": "message-received", **received})

    def _new_call(self, name: str | None, peer: str) -> Call:
        call = Call(
            name=name,
            peer=peer,
            say=self._say,
            tones_hz=self._settings.tones_hz,
            registration_ms=self._registration_ms,
        )
        self._calls.append(call)
        return call

    async def _open_media(
        self, call: Call, *, conference: str = "", bundled: bool = True, codec: Codec = "PCMU"
    ) -> MediaSession | PlainSession:
        if not self._settings.uses_ice:
            plain = PlainSession(
                self._settings.address,
                clock=self._clock,
                source=self._source,
                sink=lambda payload: call.listener.hear(g711.decode(payload)),
                mark=self._settings.marks.get("audio"),
            )
            return plain
        relay = await self._relay.server(conference) if self._settings.uses_relay else None
        call.relay_failure = self._relay.failure
        access = Access(address=self._settings.address, relay=relay, marks=self._settings.marks)
        return MediaSession(self._ends(call), access, bundled=bundled, codec=codec)

    def _ends(self, call: Call) -> Ends:
        shares = self._settings.file_bytes
        return Ends(
            clock=self._clock,
            source=self._source,
            sink=call.listener.hear,
            opus=self._opus_source,
            pictures={kind: PictureEnd(own.encoded, call.watched[kind].take) for kind, own in self._pictures.items()},
            files=FileChannel((file_of(self._settings.name, shares),) if shares else ()),
        )

    def _source(self, frame: int) -> bytes:
        return self._tone[frame % len(self._tone)]

    def _opus_source(self, frame: int) -> bytes:
        self._opus_tone = self._opus_tone or opus.tone_frames(self._settings.tone_hz)
        return self._opus_tone[frame % len(self._opus_tone)]

    async def _make_call(self, command: Message) -> None:
        target = command["target"]
        call = self._new_call(command["call"], target)
        deadline_s = call.began_s + self._settings.setup_limit_s
        try:
            call.event("calling", target=target)
            async with asyncio.timeout_at(deadline_s):
                session = await self._open_media(
                    call,
                    conference=target if self._settings.is_guest else "",
                    bundled=command.get("bundled", True),
                    codec=command.get("codec", "PCMU"),
                )
                call.session = session
                if isinstance(session, PlainSession):
                    offer = await session.offer()
                else:
                    offer = await session.offer(command.get("media", ["audio"]))
            call.reached(Milestones.INVITED)
            call.dialog = await self._agent.invite(
                target, offer, timeout_s=call.seconds_to(deadline_s), on_provisional=call.provisional
            )
            call.event("answered")
            await session.accept(call.dialog.answer)
            await call.establish(deadline_s)
            await call.stay(command["duration_ns"] / 1e9, *self._watch_silence(call, command))
        except Exception as error:
            call.fail(error)
        await call.finish()

    async def _take_call(self, incoming: IncomingCall) -> None:
        call = self._new_call(None, incoming.caller)
        limit_s = self._settings.setup_limit_s

        async def open_session() -> Session:
            return await self._open_media(call)

        async def answer(offer: str) -> str:
            return await answer_again(call, offer, open_session, limit_s)

        await take(incoming, call, open_session, setup_limit_s=limit_s, answer_again=answer)

    def _watch_silence(self, call: Call, command: Message) -> Iterator[Coroutine[Any, Any, None]]:
        if (silence_s := self._settings.ice_restart_s) is not None and self._settings.uses_ice:
            yield keep_heard(call, silence_s=silence_s, renew=lambda: self._renew_media(call, command))

    async def _renew_media(self, call: Call, command: Message) -> Session:
        """Return a new session, connected and heard, for the dialog of *call*; raise as the set-up of a call does."""
        assert call.dialog is not None
        deadline_s = asyncio.get_running_loop().time() + self._settings.setup_limit_s
        async with asyncio.timeout_at(deadline_s):
            await self._agent.reconnect()
            session = await self._open_media(
                call, bundled=command.get("bundled", True), codec=command.get("codec", "PCMU")
            )
            assert isinstance(session, MediaSession)
            await session.accept(await call.dialog.reinvite(await session.offer(command.get("media", ["audio"]))))
            await session.connected(limit_s=call.seconds_to(deadline_s))
            await session.heard(limit_s=call.seconds_to(deadline_s))
        return session

    async def sign_out(self) -> None:
        """Hang up, deregister and give the sockets back, within a second."""
        await asyncio.gather(*(call.finish(CallEnded("stopped")) for call in self._calls))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(_FAREWELL_LIMIT_S):
                if self._is_registered:
                    await self._agent.unregister()
        except (SipError, TimeoutError) as error:
            self._say({"type": "event", "event": "unregister-failed", "cause": cause_of(error)})
        await self._agent.stop()

    def results(self) -> list[Message]:
        """Return what each call measured."""
        return [call.result for call in self._calls]


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Be a client until told to stop."""
    lag = LoopLag()
    client = Client(Settings.from_job(job), say)
    try:
        await client.sign_in()
    except NameFailure as error:
        say({"type": "error", "what": f"registration failed: {error}"})
    except (SipError, TimeoutError) as error:
        # Not an exception of the program: the world goes on, and the verdict tells what it means.
        say({"type": "error", "what": f"registration failed: {cause_of(error)} ({one_line(error)})"})
    else:
        say({"type": "ready"})
    await obey(client, commands)
    await client.sign_out()
    say({"type": "result", "calls": client.results(), "loop_lag_ns": lag.stop()})


async def obey(party: Any, commands: Commands) -> None:
    """Carry out commands until `stop` or the end of the pipe; raise ValueError for one that does not exist."""
    async for command in commands:
        match command.get("do"):
            case "call":
                party.call(command)
            case "message" if hasattr(party, "message"):
                party.message(command)
            case "stop":
                return
            case unknown:
                raise ValueError(f"no command {unknown!r}; there are call, message and stop")
