"""The media of one call over ICE and DTLS: all kinds on one transport (bundled), or each on one of its own."""

import asyncio
from collections.abc import Sequence
from typing import Final

from agents.connection import Access, Ends, MediaConnection, MediaFailed, PictureEnd
from agents.kinds import Codec, Kind, codec_of, is_bundled, join, kinds_of, split
from agents.process import Message

__all__ = ["Access", "Ends", "MediaFailed", "MediaSession", "PictureEnd"]

_OTHERS_LIMIT_S: Final = 3.0
"How long the other kinds may take once audio is up; all began together, so what takes longer is blocked."


class MediaSession:
    """The media of one call: `offer` and `accept`, or `answer`; then `connected`; at the end `result` and `close`.

    Audio carries the call: without it there is none. Another kind that cannot be set up is told by `failures`.
    """

    def __init__(self, ends: Ends, access: Access, *, bundled: bool = True, codec: Codec = "PCMU") -> None:
        """With *bundled* false each kind of media has a transport of its own. Who answers does as the offer says."""
        self._ends, self._access, self._bundled, self._codec = ends, access, bundled, codec
        self._connections: list[MediaConnection] = []
        self._failures: dict[Kind, str] = {}
        self._is_closed = False

    async def offer(self, kinds: Sequence[Kind] = ("audio",)) -> str:
        """Gather all candidates and return the offer; raise MediaFailed("no-candidates") if there is none."""
        self._open(kinds)
        offers = await asyncio.gather(*(each.offer() for each in self._connections))
        return self._whole(kinds, offers)

    async def accept(self, answer: str) -> None:
        """Take the other side's answer to `offer`; raise MediaFailed("bad-sdp") where it does not fit."""
        parts = [answer] if self._bundled else split(answer, mid="0")  # which is what each connection calls its own
        if len(parts) != len(self._connections):
            raise MediaFailed("bad-sdp", f"{len(self._connections)} kinds of media offered, {len(parts)} answered")
        await asyncio.gather(*(each.accept(part) for each, part in zip(self._connections, parts, strict=True)))

    async def answer(self, offer: str) -> str:
        """Gather all candidates and return the answer to *offer*; raise MediaFailed (bad-sdp, no-candidates)."""
        try:
            kinds = kinds_of(offer)
        except ValueError as problem:
            raise MediaFailed("bad-sdp", str(problem)) from None
        self._bundled, self._codec = is_bundled(offer), codec_of(offer)
        self._open(kinds)
        parts = [offer] if self._bundled else split(offer)
        answers = await asyncio.gather(
            *(each.answer(part) for each, part in zip(self._connections, parts, strict=True))
        )
        return self._whole(kinds, answers)

    def _open(self, kinds: Sequence[Kind]) -> None:
        if not kinds:
            raise MediaFailed("bad-sdp", "no media offered")
        shared = [tuple(kinds)] if self._bundled else [(kind,) for kind in kinds]
        self._connections = [MediaConnection(each, self._ends, self._access, self._codec) for each in shared]

    def _whole(self, kinds: Sequence[Kind], descriptions: Sequence[str]) -> str:
        return descriptions[0] if self._bundled else join(dict(zip(kinds, descriptions, strict=True)))

    def _of(self, kind: Kind) -> MediaConnection:
        return next((each for each in self._connections if kind in each.kinds), self._connections[0])

    @property
    def is_open(self) -> bool:
        """Whether there is anything to measure: from the offer or answer on, until `close`."""
        return bool(self._connections) and not self._is_closed

    def selected_pair(self) -> Message | None:
        """The selected pair of the audio; the last one if it is lost, None before there was one."""
        return self._of("audio").selected_pair()

    def failures(self) -> dict[Kind, str]:
        """Return the kinds besides audio that could not be set up, and the cause of each."""
        return dict(self._failures)

    async def connected(self, *, limit_s: float) -> None:
        """Wait for audio, then for the other kinds; raise MediaFailed (ice-failed, dtls-failed) if audio fails."""
        audio = self._of("audio")
        await audio.connected(limit_s=limit_s)
        others = [each for each in self._connections if each is not audio]
        await asyncio.gather(*(self._other_connected(each, min(limit_s, _OTHERS_LIMIT_S)) for each in others))

    async def _other_connected(self, connection: MediaConnection, limit_s: float) -> None:
        try:
            await connection.connected(limit_s=limit_s)
        except MediaFailed as failure:
            self._failures |= dict.fromkeys(connection.kinds, failure.cause)

    async def heard(self, *, limit_s: float) -> None:
        """Wait for the first audio of the other side; raise MediaFailed("no-media")."""
        await self._of("audio").heard(limit_s=limit_s)

    async def is_heard(self, *, limit_s: float) -> None:
        """Wait for the RTCP report that the other side receives our audio; raise MediaFailed("no-media")."""
        await self._of("audio").is_heard(limit_s=limit_s)

    async def lost(self) -> None:
        """Wait until the audio's connection, which was up, no longer is."""
        await self._of("audio").lost()

    @property
    def has_lost_consent(self) -> bool:
        """Whether ICE gave the audio's pair up, because the other end no longer answers its checks (RFC 7675)."""
        return self._of("audio").has_lost_consent

    async def silent(self, *, for_s: float) -> None:
        """Wait until no audio of the other side has been heard for *for_s*."""
        await self._of("audio").silent(for_s=for_s)

    async def settled(self, *, limit_s: float) -> None:
        """Wait until what was given to be sent whole (files) is on its way, or *limit_s* is over."""
        await self._ends.files.sent(limit_s=limit_s)

    async def result(self) -> Message:
        """Return what was measured of audio, and under `media` of each kind. Call it before `close`."""
        media = {kind: await each.result(kind) for each in self._connections for kind in each.kinds}
        if "file-transfer" in media:
            media["file-transfer"] |= self._ends.files.result()
        for kind, cause in self._failures.items():
            media[kind]["failed"] = cause
        audio = media.get("audio") or await self._connections[0].result(self._connections[0].kinds[0])
        return {**audio, "media": {kind: _short(told) for kind, told in media.items()}}

    async def close(self) -> None:
        """Give everything back."""
        self._is_closed = True
        await asyncio.gather(*(each.close() for each in self._connections))


def _short(told: Message) -> Message:
    """Leave out the candidates: those of audio are told, and the others differ in their ports."""
    return {key: value for key, value in told.items() if not key.endswith("_candidates")}
