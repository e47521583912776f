"""One call as a party lives it: events on the way, a cause at the end, and what was measured."""

import asyncio
import enum
import sys
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from agents.ice import RelayError
from agents.kinds import PICTURES, Kind
from agents.media import MediaFailed
from agents.pictures import Watched
from agents.process import Message, Say, one_line
from agents.sip.call import Dialog, IncomingCall
from agents.sip.errors import CertificateRefused, SipFailure, SipTimeout, TransportFailure
from agents.tone import Listener

UNFORESEEN: Final = "failed"
"Cause of an error that no part expects: the detail tells its type."
_BYE_LIMIT_S: Final = 0.3
_SETTLE_LIMIT_S: Final = 5.0
"How long after the call's duration a file that is still being sent may take."


class CallEnded(Exception):
    """The call is over in an orderly way; the message is the cause."""


def tones_of(job: Message) -> dict[str, int]:
    """Return who plays which tone, from the job's `tones`; empty where it has none."""
    return {str(name): int(hz) for name, hz in (job.get("tones") or {}).items()}


class Session(Protocol):
    """Media of a call: `agents.media.MediaSession`, or plain RTP (`agents.plain.PlainSession`)."""

    @property
    def is_open(self) -> bool: ...
    @property
    def has_lost_consent(self) -> bool: ...
    def selected_pair(self) -> Message | None: ...
    async def answer(self, offer: str) -> str: ...
    async def connected(self, *, limit_s: float) -> None: ...
    async def heard(self, *, limit_s: float) -> None: ...
    async def is_heard(self, *, limit_s: float) -> None: ...
    async def lost(self) -> None: ...
    async def settled(self, *, limit_s: float) -> None: ...
    def failures(self) -> Mapping[Kind, str]: ...
    async def result(self) -> Message: ...
    async def close(self) -> None: ...


class Milestones(enum.Enum):
    """Moments that delays are measured between."""

    INVITED = "invited"
    RINGING = "ringing"
    MEDIA = "media"


def cause_of(error: BaseException) -> str:
    """Return the word that `terminated` gives for *error*: a SIP status, or what did not work."""
    match error:
        case CallEnded():
            return str(error)
        case SipFailure():
            return str(error.status)
        case SipTimeout() | TimeoutError():
            return "timeout"
        case CertificateRefused():
            return "certificate-refused"
        case TransportFailure():
            return "unreachable"
        case MediaFailed() | RelayError():
            return error.cause
    return UNFORESEEN


class Call:
    """State of one call, from the first command or INVITE to `terminated`."""

    def __init__(
        self,
        *,
        name: str | None,
        peer: str,
        say: Say,
        tones_hz: Mapping[str, int] | None = None,
        registration_ms: float | None = None,
    ) -> None:
        """*name* is the conductor's for it; a called party does not know it, and tells the SIP Call-ID instead.

        *tones_hz* says who plays which tone, so that the result can name who was heard.
        """
        self._name, self._peer, self._say = name, peer, say
        self._registration_ms = registration_ms
        self._tones_hz = tones_hz or {}
        self._loop = asyncio.get_running_loop()
        self.began_s = self._loop.time()
        self._moments: dict[Milestones, float] = {}
        self._ending: CallEnded | Exception | None = None
        self._finished: asyncio.Task[None] | None = None
        self.listener = Listener()
        self.watched = {kind: Watched(is_slide=kind == "application-sharing") for kind in PICTURES}
        self.session: Session | None = None
        self.dialog: Dialog | None = None
        self.relay_failure: RelayError | None = None
        self.has_settled = asyncio.Event()
        "Clear while `session` is being replaced by another (`agents.renewal`)."
        self.has_settled.set()
        self._background: set[asyncio.Task[None]] = set()
        self.result: Message = {"call": name, "peer": peer}

    def event(self, event: str, **facts: object) -> None:
        """Tell what happened to this call."""
        call_id = {"call_id": self.dialog.call_id} if self.dialog else {}
        self._say({"type": "event", "event": event, "call": self._name, "peer": self._peer, **call_id, **facts})

    def reached(self, milestone: Milestones) -> None:
        """Note the time of *milestone*, the first time only."""
        self._moments.setdefault(milestone, self._loop.time())

    def provisional(self, status: int) -> None:
        """Take in a provisional response (180 Ringing ...)."""
        if Milestones.RINGING not in self._moments:
            self.reached(Milestones.RINGING)
            self.event("ringing", status=status)

    def seconds_to(self, deadline_s: float) -> float:
        """Return the time left, at least a millisecond."""
        return max(0.001, deadline_s - self._loop.time())

    async def establish(self, deadline_s: float) -> None:
        """Wait for ICE, media from the other side, and its word that ours arrives; raise MediaFailed or CallEnded."""
        waiting = asyncio.create_task(self._establish(deadline_s))
        ended = asyncio.create_task(self._hung_up())
        await self._first_of(waiting, ended)

    async def _establish(self, deadline_s: float) -> None:
        assert self.session is not None
        await self.session.connected(limit_s=self.seconds_to(deadline_s))
        if (pair := self.session.selected_pair()) is not None:
            self.event("ice", selected_pair=pair)
        for kind, cause in self.session.failures().items():
            self.event("media-failed", media=kind, cause=cause)
        await self.session.heard(limit_s=self.seconds_to(deadline_s))
        self.reached(Milestones.MEDIA)
        self.event("media")
        await self.session.is_heard(limit_s=self.seconds_to(deadline_s))
        self.event("established", **self._timing())

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Carry *work* out beside everything else, until the call is over at the latest."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def stay(self, duration_s: float | None, *more: Coroutine[Any, Any, None]) -> None:
        """Stay until the other side has been heard for *duration_s*, hangs up or its media is lost; raise CallEnded.

        *more* goes on meanwhile, and ends the call by raising.
        """
        ends: list[Coroutine[Any, Any, None]] = [self._hung_up(), self._media_lost(), *more]
        if duration_s is not None:
            ends.append(self._said_all(self._moments[Milestones.MEDIA] + duration_s))
        await self._first_of(*map(asyncio.create_task, ends))
        raise CallEnded("hangup")

    async def _said_all(self, until_s: float) -> None:
        await asyncio.sleep(until_s - self._loop.time())
        assert self.session is not None
        await self.session.settled(limit_s=_SETTLE_LIMIT_S)

    async def _hung_up(self) -> None:
        assert self.dialog is not None
        await self.dialog.ended.wait()
        raise CallEnded("remote-hangup" if self.dialog.ended_by == "remote" else str(self.dialog.ended_by))

    async def _media_lost(self) -> None:
        lost: Session | None = None
        while lost is not self.session:  # another has taken its place meanwhile
            lost = self.session
            assert lost is not None
            await lost.lost()
            await self.has_settled.wait()
        assert self.dialog is not None
        if lost is not None and lost.has_lost_consent:
            self.event("consent-lost")
        # The other side closes DTLS right after its BYE: which of the two comes in first is chance.
        try:
            async with asyncio.timeout(0.5):
                await self.dialog.ended.wait()
        except TimeoutError:
            raise CallEnded("media-lost") from None
        await self._hung_up()

    @staticmethod
    async def _first_of(*tasks: asyncio.Task[None]) -> None:
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, error: Exception) -> None:
        """Note why the call ended."""
        self._ending = self._ending or error
        if cause_of(error) == UNFORESEEN:
            traceback.print_exception(error, file=sys.stderr)

    async def finish(self, ending: CallEnded | None = None) -> None:
        """Hang up if need be, measure, tell `terminated`, give the media back. The second time waits for the first."""
        if ending is not None:
            self.fail(ending)
        if self._finished is None:
            self._finished = asyncio.create_task(self._finish())
        await asyncio.shield(self._finished)

    async def _finish(self) -> None:
        # Before BYE: the other side closes DTLS when it gets one.
        self.result = {"call": self._name, "peer": self._peer, **(await self._measured())}
        if self.dialog is not None and not self.dialog.ended.is_set():
            await self._hang_up(self.dialog)
        error = self._ending or CallEnded("hangup")
        cause = cause_of(error)
        if cause == "ice-failed" and self.relay_failure is not None:
            cause = self.relay_failure.cause  # without a relay nothing else could work
        detail = {} if isinstance(error, CallEnded) else {"detail": one_line(error)}
        self.event("terminated", cause=cause, **detail)
        self.result["cause"] = cause
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self.session is not None:
            await self.session.close()

    async def _hang_up(self, dialog: Dialog) -> None:
        try:
            async with asyncio.timeout(_BYE_LIMIT_S):
                await dialog.bye()
        except TimeoutError:
            self.event("bye-unanswered")

    async def _measured(self) -> Message:
        measured = await self.session.result() if self.session and self.session.is_open else {}
        for kind in measured.get("media") or ():
            if kind in self.watched:
                measured["media"][kind] |= self.watched[kind].describe(self._tones_hz)
        level = self.listener.received_level_dbov()
        return {
            **({"call_id": self.dialog.call_id} if self.dialog else {}),
            **measured,
            "audio": {
                "received_level_dbov": None if level is None else round(level, 1),
                "seconds": self.listener.seconds,
                "tone_hz": self.listener.levels(self._tones_hz),
            },
            "timing": self._timing(),
        }

    def _timing(self) -> Message:
        return {
            "registration_ms": None if self._registration_ms is None else round(self._registration_ms, 3),
            "post_dial_ms": self._delay_ms(Milestones.RINGING),
            "setup_ms": self._delay_ms(Milestones.MEDIA),
        }

    def _delay_ms(self, milestone: Milestones) -> float | None:
        invited, reached = self._moments.get(Milestones.INVITED), self._moments.get(milestone)
        return None if invited is None or reached is None else round((reached - invited) * 1000, 3)


async def take(
    incoming: IncomingCall,
    call: Call,
    open_session: Callable[[], Awaitable[Session]],
    *,
    setup_limit_s: float,
    answer_again: Callable[[str], Awaitable[str]] | None = None,
) -> None:
    """Ring, answer with the session that *open_session* makes, and live through the call until it ends.

    *answer_again* answers a new offer within the call; without it such an offer is refused.
    """
    call.reached(Milestones.INVITED)
    # The caller gives up first, so that its reason is the one that counts.
    deadline_s = call.began_s + setup_limit_s + 2
    try:
        await incoming.ring()
        call.event("ringing", call_id=incoming.call_id)
        try:
            call.session = await open_session()
            answer = await call.session.answer(incoming.offer)
        except Exception as error:
            # 503: we have no way for media at the moment; 488: what you offer does not suit us (RFC 3261 section 21).
            await incoming.reject(503 if cause_of(error) in ("no-candidates", "relay-refused") else 488)
            raise
        call.dialog = await incoming.accept(answer)
        if answer_again is not None:
            call.dialog.on_reinvite = answer_again
        await call.establish(deadline_s)
        await call.stay(None)
    except Exception as error:
        call.fail(error)
    await call.finish()
