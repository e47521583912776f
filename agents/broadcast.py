"""Meeting Broadcast's encoder and origin: takes part in a conference, cuts what it hears into segments, serves them.

Job: `{"name", "address", "uri", "conference": {"server": {"address", "port", "transport"}, "target"}, "origin": a job
of `agents.stock` (a web server whose folder www it fills), "playlist": path below www, "tones"?, "setup_limit_ns"?}`.
It is ready once it hears the conference and the web server serves.
"""

import asyncio
import time
from collections import deque
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from agents import g711, hls
from agents.call import Call
from agents.child import serve_until_told
from agents.client import Client, Settings
from agents.frames import FrameQueue
from agents.pace import FrameClock, LoopLag
from agents.process import Commands, Message, Say
from agents.stock import Settings as StockSettings
from agents.stock import StockProgram, stop_command
from agents.tone import Listener

SEGMENT_S: Final = 1
_SEGMENT_FRAMES: Final = SEGMENT_S * 1_000_000_000 // g711.FRAME_NS
_SEGMENTS_LISTED: Final = 6
_SEGMENTS_KEPT: Final = 12
"Longer than they are listed, for whoever asks late (RFC 8216 section 6.2.2)."
_SAMPLE_BYTES: Final = 2
_UNHEARD_HZ: Final = 250
"Of the tone that a client plays, and the encoder does not."
_WHOLE_MEETING_NS: Final = 24 * 3600 * 1_000_000_000
WEB_ROOT: Final = "www"


class Publisher:
    """Turns sound into segments and keeps the playlist of the newest."""

    def __init__(self, playlist: Path) -> None:
        """*playlist* is the file's path; segments go beside it."""
        self._playlist = playlist
        playlist.parent.mkdir(parents=True, exist_ok=True)
        self._queue = FrameQueue(g711.FRAME_SAMPLES * _SAMPLE_BYTES)
        self._frames: list[bytes] = []
        self._began_ns = 0
        self._listed: deque[hls.Segment] = deque(maxlen=_SEGMENTS_LISTED)
        self.published = 0
        "Segments so far."
        self.silent_frames = 0
        "Frames for which the conference had sent nothing in time."

    def hear(self, samples: g711.Samples) -> None:
        """Take in what the conference plays."""
        self._queue.put(samples.tobytes())

    async def run(self, clock: FrameClock) -> None:
        """Publish a segment a second until cancelled."""
        frame = clock.current()
        while True:
            frame = await clock.next_after(frame)
            self.tick(time.time_ns())

    def tick(self, now_ns: int) -> None:
        """Take the frame that is due; write a segment when it is whole."""
        self._began_ns = self._began_ns or now_ns
        heard = self._queue.pop()
        self.silent_frames += heard is None
        self._frames.append(g711.SILENCE if heard is None else g711.encode(np.frombuffer(heard, np.int16)))
        if len(self._frames) == _SEGMENT_FRAMES:
            self._publish()

    def _publish(self) -> None:
        name = f"{self.published}{hls.SEGMENT_SUFFIX}"
        self._write(name, hls.write_segment(b"".join(self._frames)))
        self._listed.append(hls.Segment(self.published, name, float(SEGMENT_S), self._began_ns))
        self._write(self._playlist.name, hls.write_playlist(tuple(self._listed), target_s=SEGMENT_S).encode())
        old = self.published - _SEGMENTS_KEPT
        self._playlist.with_name(f"{old}{hls.SEGMENT_SUFFIX}").unlink(missing_ok=True)
        self.published += 1
        self._frames, self._began_ns = [], 0

    def result(self) -> Message:
        """Return what was published."""
        return {"segments": self.published, "silent_frames": self.silent_frames}

    def _write(self, name: str, data: bytes) -> None:
        """Write a file so that nobody reads half of it."""
        new = self._playlist.with_name(f".{name}")
        new.write_bytes(data)
        new.rename(self._playlist.with_name(name))


class _Ear(Listener):
    """A listener that hands on what it hears."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__()
        self._publisher = publisher

    def hear(self, samples: g711.Samples) -> None:
        """Take in the next samples."""
        super().hear(samples)
        self._publisher.hear(samples)


class Encoder(Client):
    """A silent participant of the conference, who publishes what it hears."""

    def __init__(self, settings: Settings, say: Say, publisher: Publisher) -> None:
        super().__init__(settings, self._told)
        self._tell, self._publisher = say, publisher
        self._heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def _told(self, message: Message) -> None:
        self._tell(message)
        if self._heard.done():
            return
        if message.get("event") == "media":
            self._heard.set_result(None)
        elif message.get("event") == "terminated":
            self._heard.set_exception(NotInConference(str(message.get("cause"))))

    def _new_call(self, name: str | None, peer: str) -> Call:
        call = super()._new_call(name, peer)
        call.listener = _Ear(self._publisher)
        return call

    def _source(self, frame: int) -> bytes:
        return g711.SILENCE

    async def join(self, target: str) -> None:
        """Call the conference *target*; return when it is heard. Raises NotInConference."""
        self.call({"call": "broadcast", "target": target, "media": ["audio"], "duration_ns": _WHOLE_MEETING_NS})
        await self._heard


class NotInConference(Exception):
    """The encoder's call failed; the message is the cause, as `terminated` tells it."""


async def main(job: Message, commands: Commands, say: Say) -> None:
    """Broadcast until told to stop. Raises ChildFailure, NotInConference, ValueError for a wrong job."""
    lag = LoopLag()
    try:
        conference, path = job["conference"], PurePosixPath(job["playlist"])
        settings = Settings.from_job({**job, "server": conference["server"], "guest": True, "tone_hz": _UNHEARD_HZ})
        web_server = StockProgram(StockSettings.from_job(job["origin"]))
    except KeyError as missing:
        raise ValueError(f"a broadcast's job needs the key {missing}") from None
    publisher = Publisher(web_server.home / WEB_ROOT / path)
    encoder = Encoder(settings, say, publisher)
    publishing: asyncio.Task[None] | None = None
    try:
        await asyncio.gather(web_server.start(), encoder.sign_in())
        await encoder.join(str(conference["target"]))
        publishing = asyncio.create_task(publisher.run(FrameClock()))
        say({"type": "ready"})
        await serve_until_told(web_server.child, _publish_until(publishing, commands))
    finally:
        if publishing is not None:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
        await encoder.sign_out()
        await web_server.stop()
    say({"type": "result", "calls": [], "loop_lag_ns": lag.stop(), "stream": publisher.result()})


async def _publish_until(publishing: asyncio.Task[None], commands: Commands) -> None:
    """Return when told to stop; raise what broke the publisher, if anything does before."""
    told = asyncio.ensure_future(stop_command(commands))
    try:
        await asyncio.wait({publishing, told}, return_when=asyncio.FIRST_COMPLETED)
        if publishing.done():
            publishing.result()
    finally:
        told.cancel()
