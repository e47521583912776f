"""The media of a telephone call: plain RTP, with the same face as `agents.media.MediaSession`."""

import asyncio
from collections.abc import Callable

from agents import rtp
from agents.connection import MediaFailed
from agents.frames import FrameSource
from agents.kinds import Kind, Mark
from agents.pace import FrameClock
from agents.process import Message
from agents.sockets import marked


class PlainSession:
    """One PCMU stream both ways. Use `offer` then `accept`, or `answer`; at the end `result` and `close`."""

    def __init__(
        self,
        address: str,
        *,
        clock: FrameClock,
        source: FrameSource,
        sink: Callable[[bytes], None],
        mark: Mark | None = None,
    ) -> None:
        """*sink* takes each mu-law payload as it arrives; *mark* says which port and DSCP the socket has."""
        self._mark = mark
        self._address, self._clock, self._source, self._sink = address, clock, source, sink
        self._stream: rtp.PlainRtpStream | None = None
        self._remote: tuple[str, int] | None = None

    async def _open(self) -> str:
        with marked(self._mark):
            self._stream = await rtp.PlainRtpStream.open(
                self._address, clock=self._clock, source=self._source, sink=self._sink
            )
        return rtp.write_sdp(self._address, self._stream.port)

    async def offer(self) -> str:
        """Bind a port and return the offer."""
        return await self._open()

    async def accept(self, answer: str) -> None:
        """Take the other side's answer and start sending; raise MediaFailed("bad-sdp")."""
        assert self._stream is not None
        try:
            self._remote = rtp.read_sdp(answer)
        except ValueError as error:
            raise MediaFailed("bad-sdp", str(error)) from None
        self._stream.start(self._remote)

    async def answer(self, offer: str) -> str:
        """Bind a port, start sending, and return the answer to *offer*; raise MediaFailed("bad-sdp")."""
        sdp = await self._open()
        await self.accept(offer)
        return sdp

    @property
    def is_open(self) -> bool:
        """Whether there is anything to measure."""
        return self._stream is not None

    @property
    def has_lost_consent(self) -> bool:
        """Plain RTP asks for no consent."""
        return False

    def selected_pair(self) -> Message | None:
        """Plain RTP knows no candidates."""
        return None

    async def connected(self, *, limit_s: float) -> None:
        """Nothing is to be connected: addresses come from the SDP."""

    async def heard(self, *, limit_s: float) -> None:
        """Wait for the first packet of the other side; raise MediaFailed("no-media")."""
        assert self._stream is not None
        try:
            async with asyncio.timeout(limit_s):
                await self._stream.first_packet.wait()
        except TimeoutError:
            raise MediaFailed("no-media", f"no RTP within {limit_s:.1f} s") from None

    async def is_heard(self, *, limit_s: float) -> None:
        """Plain RTP without RTCP cannot know; the other end tells by its own `media` event."""

    async def lost(self) -> None:
        """Never returns: without RTCP silence has no name."""
        await asyncio.Event().wait()

    async def settled(self, *, limit_s: float) -> None:
        """A telephone sends nothing that must be whole."""

    def failures(self) -> dict[Kind, str]:
        """A telephone has no other kinds of media."""
        return {}

    async def result(self) -> Message:
        """Return what was measured; without RTCP there is no RTT."""
        assert self._stream is not None
        statistics = self._stream.statistics
        return {
            "local_address": f"{self._address}:{self._stream.port}",
            "remote_address": "{}:{}".format(*self._remote) if self._remote else None,
            "rtp": {
                "sent": self._stream.sent,
                "received": statistics.received,
                "lost": statistics.lost if statistics.received else None,
                "interarrival_jitter_ms": statistics.interarrival_jitter_ms,
            },
            "rtt_ms": None,
        }

    async def close(self) -> None:
        """Stop and give the port back."""
        if self._stream is not None:
            await self._stream.close()
            self._stream = None
