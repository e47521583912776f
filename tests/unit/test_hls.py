"""A live stream: playlist and segments written and read, what the encoder publishes, and how a player copes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import attendee, g711, hls, tone
from agents.broadcast import Publisher

SECOND_NS = 1_000_000_000
BEGAN_NS = 1_800_000_000_250_000_000
FRAME_NS = g711.FRAME_NS
PLAYLIST = "/live/index.m3u8"


def segment(number: int) -> hls.Segment:
    return hls.Segment(number, f"{number}.au", 1.0, BEGAN_NS + number * SECOND_NS)


def test_a_playlist_is_read_as_it_was_written() -> None:
    listed = (segment(7), segment(8))
    text = hls.write_playlist(listed, target_s=1)
    assert text.startswith("#EXTM3U\n") and "#EXT-X-MEDIA-SEQUENCE:7\n" in text
    assert hls.read_playlist(text) == (1, listed)
    assert hls.read_playlist(hls.write_playlist((), target_s=1)) == (1, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<html>", "does not begin with #EXTM3U"),
        ("#EXTM3U\n#EXTINF:1,\n1.au\n", "has no #EXT-X-TARGETDURATION"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:1\n1.au\n", "'1.au' has no #EXTINF"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:one\n", "has '#EXT-X-TARGETDURATION:one': invalid"),
    ],
)
def test_a_playlist_that_is_none_is_told(text: str, problem: str) -> None:
    with pytest.raises(hls.BadStream, match=problem):
        hls.read_playlist(text)


def test_a_segment_is_an_au_file() -> None:
    sound = bytes(range(256)) * 3
    data = hls.write_segment(sound)
    assert data[:4] == b".snd" and hls.read_segment(data) == sound
    with pytest.raises(hls.BadStream, match="cut off: 700 of 792 bytes"):
        hls.read_segment(data[:700])
    with pytest.raises(hls.BadStream, match="no mu-law sound"):
        hls.read_segment(b"RIFF" + data[4:])
    with pytest.raises(hls.BadStream, match="of 3 bytes is no sound"):
        hls.read_segment(b"abc")


def hear(publisher: Publisher, *, frames: int, first: int = 0) -> None:
    """Play *frames* of a tone of 400 Hz to the publisher, in time."""
    played = np.resize(tone.tone(400), frames * g711.FRAME_SAMPLES)
    for number in range(frames):
        at = number * g711.FRAME_SAMPLES
        publisher.hear(played[at : at + g711.FRAME_SAMPLES])
        publisher.tick(BEGAN_NS + (first + number) * FRAME_NS)


def test_every_second_becomes_a_segment(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "index.m3u8")
    hear(publisher, frames=49)
    assert list(tmp_path.iterdir()) == []
    hear(publisher, frames=52, first=49)
    assert publisher.result() == {"segments": 2, "silent_frames": 1}  # the queue waits for a second frame at first
    _, listed = hls.read_playlist((tmp_path / "index.m3u8").read_text())
    assert [each.uri for each in listed] == ["0.au", "1.au"]
    assert [each.began_ns for each in listed] == [BEGAN_NS, BEGAN_NS + SECOND_NS]
    listener = tone.Listener()
    listener.hear(g711.decode(hls.read_segment((tmp_path / "1.au").read_bytes())))
    assert list(listener.tones()) == [400]


def test_what_the_conference_does_not_send_in_time_is_silence(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "index.m3u8")
    for number in range(50):
        publisher.tick(BEGAN_NS + number * FRAME_NS)
    assert publisher.result() == {"segments": 1, "silent_frames": 50}
    assert set(hls.read_segment((tmp_path / "0.au").read_bytes())) == {0xFF}


def test_old_segments_leave_the_playlist_first_and_then_the_disk(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path / "index.m3u8")
    hear(publisher, frames=50 * 20)
    _, listed = hls.read_playlist((tmp_path / "index.m3u8").read_text())
    assert [each.number for each in listed] == list(range(14, 20))
    assert sorted(int(path.stem) for path in tmp_path.glob("*.au")) == list(range(8, 20))


class Station:
    """A web server with a stream whose segments a test adds one by one."""

    def __init__(self) -> None:
        self.segments: list[int] = []
        self.asked: list[str] = []
        self._news = asyncio.Condition()
        self.status = 200
        self._sound = hls.write_segment(b"".join(tone.tone_frames(400)))

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
                async with self._news:
                    self.asked.append(path)
                    self._news.notify_all()
                status, body = self._answer(path)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def until_asked(self, path: str, times: int = 1) -> None:
        """Wait until *path* has been asked for so often."""
        async with self._news:
            await self._news.wait_for(lambda: self.asked.count(path) >= times)

    def _answer(self, path: str) -> tuple[int, bytes]:
        if self.status != 200:
            return self.status, b""
        if path.endswith(".au"):
            return 200, self._sound
        if not self.segments:
            return 404, b"not yet"
        return 200, hls.write_playlist([segment(number) for number in self.segments], target_s=1).encode()


@asynccontextmanager
async def station() -> AsyncIterator[tuple[Station, str]]:
    served = Station()
    server = await asyncio.start_server(served.take, "127.0.0.1", 0)
    try:
        yield served, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/live/index.m3u8"
    finally:
        server.close()
        await asyncio.sleep(0)


async def watch(url: str, *, duration_s: float = 2.0, limit_s: float = 5.0, viewers: int = 1) -> list[dict[str, Any]]:
    """Let the agent watch *url*; return what it said."""
    said: list[dict[str, Any]] = []
    over = asyncio.Event()

    def say(message: dict[str, Any]) -> None:
        said.append(json.loads(json.dumps(message)))
        if message.get("event") == "terminated":
            over.set()

    async def commands() -> AsyncIterator[dict[str, Any]]:
        yield {"do": "call", "call": "broadcast-bob", "target": url, "duration_ns": int(duration_s * 1e9)}
        await over.wait()
        yield {"do": "stop"}

    job = {
        "name": "bob", "address": "127.0.0.1", "viewers": viewers, "buffer_ns": 2 * SECOND_NS,
        "setup_limit_ns": int(limit_s * 1e9), "tones": {"alice": 400},
    }  # fmt: skip
    await attendee.main(job, commands(), say)
    return said


def test_players_take_the_newest_segments_and_hear_the_speaker() -> None:
    async def scene() -> None:
        async with station() as (served, url):
            served.segments = [3, 4, 5, 6]
            said = await watch(url, viewers=2)
            assert [line.get("event") for line in said[1:-1]] == ["calling", "established", "terminated"]
            assert said[-2]["cause"] == "hangup"
            for player in said[-1]["players"]:
                assert (player["segments"], player["played_s"], player["stalls"]) == (2, 2.0, 0)
                assert player["audio"]["tone_hz"]["alice"] > -25
                assert player["buffer_ms"] == {"min": 0.0, "mean": 500.0, "max": 1000.0}
            assert {path for path in served.asked if path.endswith(".au")} == {"/live/5.au", "/live/6.au"}

    asyncio.run(scene())


def test_a_player_waits_for_a_stream_that_is_not_there_yet_and_stalls_where_it_breaks_off() -> None:
    async def scene() -> None:
        async with station() as (served, url):
            watching = asyncio.create_task(watch(url, duration_s=3.0))
            await served.until_asked(PLAYLIST)
            served.segments = [0, 1]
            await served.until_asked("/live/1.au")
            # Twice a second at most: so its two seconds are over by then.
            await served.until_asked(PLAYLIST, times=served.asked.count(PLAYLIST) + 5)
            served.segments = [0, 1, 2, 3]
            (player,) = (await watching)[-1]["players"]
            assert (player["segments"], player["stalls"]) == (4, 1)
            assert player["stalled_ms"] > 200
            assert player["failures"] == ["the server has no such playlist"]

    asyncio.run(scene())


def test_a_stream_that_never_comes_is_told() -> None:
    async def scene() -> None:
        async with station() as (served, url):
            said = await watch(url, limit_s=0.3)
            assert (said[-2]["cause"], said[-2]["detail"]) == (
                "stream-unavailable",
                "1 of 1 players: Unavailable: the server has no such playlist",
            )
            served.status = 502
            said = await watch(url, limit_s=0.3)
            assert said[-2]["detail"].endswith("GET /live/index.m3u8: status 502")

    asyncio.run(scene())


def test_a_job_that_lacks_a_key_is_told() -> None:
    with pytest.raises(ValueError, match="an attendee's job needs the key 'viewers'"):
        attendee.Settings.from_job({"name": "bob", "address": "127.0.0.1"})
