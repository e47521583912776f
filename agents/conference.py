"""A conference server: focus and mixer. Whoever calls `sip:<uri_prefix>...` meets all who called the same URI."""

import asyncio
from typing import Any, Final

from agents import tone
from agents.call import Call, CallEnded, take, tones_of
from agents.kinds import PICTURES, marks_of
from agents.media import Access, Ends, MediaSession
from agents.pace import FrameClock, LoopLag
from agents.process import Commands, Message, Say
from agents.relaying import own_turn_server
from agents.room import Room
from agents.sip.hop import Hop, Listen
from agents.sip.tls import Credentials
from agents.sip.ua import IncomingCall, UserAgent

_ANNOUNCEMENT_HZ: Final = 250
_ANNOUNCEMENT_DBOV: Final = -35.0
"Quieter than any party, yet loud enough to be heard as a tone."


class Conference:
    """All conferences of one server."""

    def __init__(self, job: Message, say: Say) -> None:
        """Raise ValueError where *job* lacks a key (docs/agents.md)."""
        try:
            self._name, self._prefix = str(job["name"]), str(job["uri_prefix"])
            address = str(job["address"]).partition("/")[0]
            listen = [Listen.from_json(entry) for entry in job["listen"]]
            front_end = Hop.from_json(job["front_end"]) if job.get("front_end") else None
        except KeyError as missing:
            raise ValueError(f"a conference's job needs the key {missing}") from None
        relay = job.get("relay")
        self._access = Access(
            address=address,
            relay=own_turn_server(relay, user=self._name) if relay else None,
            relay_only=bool(job.get("relay_only", False)),
            marks=marks_of(job),
        )
        self._setup_limit_s = int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9
        self._announcement = tone.tone_frames(int(job.get("tone_hz", _ANNOUNCEMENT_HZ)), level_dbov=_ANNOUNCEMENT_DBOV)
        self._say, self._clock = say, FrameClock()
        self._rooms: dict[str, Room] = {}
        self._calls: list[Call] = []
        self._tones_hz = tones_of(job)
        self._agent = UserAgent(
            uri=job.get("uri", f"sip:{self._name}@{address}"),
            local_address=address,
            server=front_end,
            listen=listen,
            tls=Credentials.from_json(job.get("tls")),
            t1_ns=int(job.get("sip_t1_ns", 500_000_000)),
        )
        self._agent.on_invite = self._admit

    async def start(self) -> None:
        """Listen for INVITEs."""
        await self._agent.start()

    async def _admit(self, incoming: IncomingCall) -> None:
        uri = incoming.target.partition(";")[0]
        if not uri.removeprefix("sip:").startswith(self._prefix.removeprefix("sip:")):
            await incoming.reject(404)
            return
        room = self._rooms.setdefault(uri, Room(self._announcement))
        participant = incoming.call_id
        call = Call(name=None, peer=incoming.caller, say=self._say, tones_hz=self._tones_hz)
        self._calls.append(call)
        room.join(participant)
        try:
            await take(
                incoming, call, lambda: self._session(room, participant, call), setup_limit_s=self._setup_limit_s
            )
        finally:
            room.leave(participant)
            if room.is_empty:
                self._rooms.pop(uri, None)

    async def _session(self, room: Room, participant: str, call: Call) -> MediaSession:
        def hear(samples: Any) -> None:
            call.listener.hear(samples)
            room.mixer.take(participant, samples)

        ends = Ends(
            clock=self._clock,
            source=lambda frame: room.mixer.frame_for(participant, frame),
            sink=hear,
            pictures={kind: room.galleries[kind].end_of(participant, call.watched[kind]) for kind in PICTURES},
            files=room.shelf.join(participant),
        )
        return MediaSession(ends, self._access)

    async def stop(self) -> list[Message]:
        """End all conferences; return what each participant's call measured."""
        await asyncio.gather(*(call.finish(CallEnded("stopped")) for call in self._calls))
        await self._agent.stop()
        return [call.result for call in self._calls]


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Host conferences until told to stop."""
    lag = LoopLag()
    conference = Conference(job, say)
    await conference.start()
    say({"type": "ready"})
    async for command in commands:
        if command.get("do") == "stop":
            break
        raise ValueError(f"a conference knows no command {command.get('do')!r}; there is stop")
    say({"type": "result", "calls": await conference.stop(), "loop_lag_ns": lag.stop()})
