"""Attendees of a broadcast: players that pull a live stream over HTTP, keep a buffer, and tell how well it played.

Job: `{"name", "address", "viewers", "buffer_ns", "resolver"?, "setup_limit_ns", "tones"?}`. A `call` command's target
is the URL of the playlist. `established` follows when every player plays, `terminated` when every one has played for
the duration.
"""

import asyncio
import http.client
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urljoin, urlsplit

from agents import g711, hls
from agents.call import UNFORESEEN, tones_of
from agents.client import obey
from agents.names import NameFailure, Names
from agents.pace import LoopLag
from agents.process import Commands, Message, Say, one_line
from agents.tone import Listener

_ANSWER_LIMIT_S: Final = 5.0
_OK, _NOT_FOUND = 200, 404


class Unavailable(Exception):
    """The stream cannot be had; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The job."""

    name: str
    address: str
    viewers: int
    buffer_s: float
    "How much of the stream a player wants to have before it begins to play."
    resolver: str | None
    "Name server; None: URLs hold addresses."
    setup_limit_s: float
    tones_hz: dict[str, int]

    @classmethod
    def from_job(cls, job: Message) -> Self:
        """Read the job; raise ValueError where a key is missing."""
        try:
            return cls(
                name=job["name"],
                address=str(job["address"]).partition("/")[0],
                viewers=int(job["viewers"]),
                buffer_s=int(job["buffer_ns"]) / 1e9,
                resolver=job.get("resolver"),
                setup_limit_s=int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9,
                tones_hz=tones_of(job),
            )
        except KeyError as missing:
            raise ValueError(f"an attendee's job needs the key {missing}") from None


class Source:
    """One player's connection to the server, kept open between requests."""

    def __init__(self, url: str, server: str, *, local_address: str, threads: ThreadPoolExecutor) -> None:
        """*server* is the address of the URL's host."""
        self._url, self._threads = url, threads
        parts = urlsplit(url)
        self._host = parts.netloc
        self._connection = http.client.HTTPConnection(
            server, parts.port, timeout=_ANSWER_LIMIT_S, source_address=(local_address, 0)
        )
        self.received_bytes = 0

    async def fetch(self, uri: str = "") -> bytes | None:
        """Return what is at *uri*, relative to the playlist; None where there is nothing yet. Raises Unavailable."""
        path = urlsplit(urljoin(self._url, uri)).path
        try:
            status, body = await asyncio.get_running_loop().run_in_executor(self._threads, self._get, path)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"GET {path}: {one_line(error)}") from None
        if status not in (_OK, _NOT_FOUND):
            raise Unavailable(f"GET {path}: status {status}")
        self.received_bytes += len(body)
        return body if status == _OK else None

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            self._connection.request("GET", path, headers={"Host": self._host})
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(slots=True)
class Playing:
    """What one player has and has done; times are the event loop's, in seconds."""

    buffered: list[tuple[hls.Segment, bytes]] = field(default_factory=list)
    segments: int = 0
    played_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    levels_s: list[float] = field(default_factory=list)
    "Of the buffer, each time a segment has been played."
    behind_s: list[float] = field(default_factory=list)
    "Age of what is played, each time a segment begins."
    failures: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def buffer_s(self) -> float:
        """Return how much sound waits to be played."""
        return sum(segment.duration_s for segment, _ in self.buffered)

    def note(self, failure: str) -> None:
        """Note what went wrong, once where it goes on."""
        if failure not in self.failures[-1:]:
            self.failures.append(failure)

    def take(self, segment: hls.Segment, data: bytes) -> None:
        """Put a segment into the buffer."""
        self.buffered.append((segment, hls.read_segment(data)))
        self.segments += 1
        self.news.set()


class Player:
    """One attendee's player."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source, self._settings = source, settings
        self._loop = asyncio.get_running_loop()
        self._newest = -1
        "Media sequence number of the last segment that was fetched."
        self.playing = Playing()
        self.listener = Listener()
        self.started = asyncio.Event()
        self.start_up_s: float | None = None

    async def play(self, duration_s: float) -> None:
        """Play for *duration_s*, stalls not counted. Raises Unavailable if nothing plays within the set-up limit."""
        began_s = self._loop.time()
        pulling = asyncio.create_task(self._pull())
        try:
            async with asyncio.timeout(self._settings.setup_limit_s):
                await self._wait_for(self._settings.buffer_s, pulling)
            self.start_up_s = self._loop.time() - began_s
            self.started.set()
            await self._play_out(duration_s, pulling)
        except TimeoutError:
            raise Unavailable(self.playing.failures[-1] if self.playing.failures else "no segment came") from None
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)

    async def _wait_for(self, buffer_s: float, pulling: asyncio.Task[None]) -> None:
        while self.playing.buffer_s < buffer_s:
            if pulling.done():
                pulling.result()
            self.playing.news.clear()
            news = asyncio.create_task(self.playing.news.wait())
            try:
                await asyncio.wait({news, pulling}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()

    async def _play_out(self, duration_s: float, pulling: asyncio.Task[None]) -> None:
        """Play the buffer a segment at a time; where it is empty, stall until it is as full as at the start."""
        playing = self.playing
        due_s = self._loop.time()
        while playing.played_s < duration_s:
            if not playing.buffered:
                playing.stalls += 1
                await self._wait_for(self._settings.buffer_s, pulling)
                now_s = self._loop.time()
                playing.stalled_s, due_s = playing.stalled_s + now_s - due_s, now_s
            segment, sound = playing.buffered.pop(0)
            playing.behind_s.append(time.time() - segment.began_ns / 1e9)
            self.listener.hear(g711.decode(sound))
            due_s += segment.duration_s
            await asyncio.sleep(due_s - self._loop.time())
            playing.played_s += segment.duration_s
            playing.levels_s.append(playing.buffer_s)

    async def _pull(self) -> None:
        """Fetch the playlist and what is new in it, as RFC 8216 section 6.3.4 says, until cancelled."""
        while True:
            asked_s = self._loop.time()
            target_s, has_news = 1.0, False
            try:
                text = await self._source.fetch()
                if text is None:
                    self.playing.note("the server has no such playlist")
                else:
                    target_s, segments = hls.read_playlist(text.decode())
                    has_news = await self._fetch_new(segments)
            except (Unavailable, hls.BadStream, UnicodeDecodeError) as error:
                self.playing.note(one_line(error))
            wait_s = target_s if has_news else target_s / 2
            await asyncio.sleep(max(0.0, asked_s + wait_s - self._loop.time()))

    async def _fetch_new(self, segments: tuple[hls.Segment, ...]) -> bool:
        """Fetch the segments that are new, of the first playlist only as many as the buffer wants; say if any was."""
        wanted = [segment for segment in segments if segment.number > self._newest]
        if self._newest < 0:
            wanted = wanted[-max(1, round(self._settings.buffer_s / wanted[-1].duration_s)) :] if wanted else []
        for segment in wanted:
            data = await self._source.fetch(segment.uri)
            if data is None:
                self.playing.note(f"segment {segment.number} is listed and not there")
                return False
            self.playing.take(segment, data)
            self._newest = segment.number
        return bool(wanted)

    def result(self) -> Message:
        """Return what was played, and how."""
        playing = self.playing
        level = self.listener.received_level_dbov()
        return {
            "segments": playing.segments,
            "bytes": self._source.received_bytes,
            "played_s": playing.played_s,
            "start_up_ms": _ms(self.start_up_s),
            "stalls": playing.stalls,
            "stalled_ms": _ms(playing.stalled_s),
            "buffer_ms": _spread(playing.levels_s),
            "behind_live_ms": _spread(playing.behind_s),
            "failures": playing.failures,
            "audio": {
                "received_level_dbov": None if level is None else round(level, 1),
                "tone_hz": self.listener.levels(self._settings.tones_hz),
            },
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _spread(values_s: list[float]) -> Message:
    if not values_s:
        return {"min": None, "mean": None, "max": None}
    return {"min": _ms(min(values_s)), "mean": _ms(sum(values_s) / len(values_s)), "max": _ms(max(values_s))}


class Audience:
    """All attendees at one node."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings, self._say = settings, say
        self._names = Names(settings.resolver, say) if settings.resolver else None
        self._threads = ThreadPoolExecutor(max_workers=settings.viewers)
        self._players: list[Player] = []
        self._sources: list[Source] = []
        self._watching: asyncio.Task[None] | None = None

    def call(self, command: Message) -> None:
        """Start to watch what *command* names."""
        self._watching = asyncio.create_task(self._watch(command))

    async def _watch(self, command: Message) -> None:
        url, name = command["target"], command["call"]
        self._say({"type": "event", "event": "calling", "call": name, "target": url})
        try:
            server = await self._address_of(urlsplit(url).hostname or "")
        except NameFailure as failure:
            ended = {"cause": "name-not-resolved", "detail": one_line(failure)}
            self._say({"type": "event", "event": "terminated", "call": name, **ended})
            return
        for _ in range(self._settings.viewers):
            source = Source(url, server, local_address=self._settings.address, threads=self._threads)
            self._sources.append(source)
            self._players.append(Player(source, self._settings))
        told = asyncio.create_task(self._tell_start(name))
        duration_s = command["duration_ns"] / 1e9
        ends = await asyncio.gather(*(player.play(duration_s) for player in self._players), return_exceptions=True)
        told.cancel()
        failed = [end for end in ends if isinstance(end, BaseException)]
        unforeseen = [end for end in failed if not isinstance(end, Unavailable)]
        for error in unforeseen:
            traceback.print_exception(error, file=sys.stderr)
        detail = {"detail": f"{len(failed)} of {len(ends)} players: {one_line(failed[0])}"} if failed else {}
        cause = UNFORESEEN if unforeseen else "stream-unavailable" if failed else "hangup"
        self._say({"type": "event", "event": "terminated", "call": name, "cause": cause, **detail})

    async def _address_of(self, host: str) -> str:
        return await self._names.address(host) if self._names else host

    async def _tell_start(self, name: str) -> None:
        await asyncio.gather(*(player.started.wait() for player in self._players))
        slowest_s = max(player.start_up_s or 0.0 for player in self._players)
        self._say({"type": "event", "event": "established", "call": name, "start_up_ms": _ms(slowest_s)})

    async def stop(self) -> list[Message]:
        """Stop watching; return what each player has to tell."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for source in self._sources:
            source.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        return [player.result() for player in self._players]


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Attend until told to stop. Raises ValueError for a wrong job."""
    lag = LoopLag()
    audience = Audience(Settings.from_job(job), say)
    say({"type": "ready"})
    await obey(audience, commands)
    say({"type": "result", "calls": [], "loop_lag_ns": lag.stop(), "players": await audience.stop()})
