"""Kinds of media that share one transport: one connection of aiortc (ICE, DTLS-SRTP, SCTP), offer and answer whole."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from agents import g711, ice, opus, tracks
from agents.files import FileChannel
from agents.frames import FrameSink, FrameSource
from agents.kinds import PICTURES, Codec, Kind, Mark, name_contents, with_mids
from agents.pace import FrameClock
from agents.process import Message

_VIDEO_CODEC: Final = "video/VP8"
_VIDEO_CLOCK_HZ: Final = 90_000
_CLOCK_HZ: Final[Mapping[Codec, int]] = {"PCMU": g711.SAMPLE_RATE_HZ, "opus": opus.CLOCK_HZ}
_FRAME_TICKS: Final[Mapping[Codec, int]] = {"PCMU": g711.FRAME_SAMPLES, "opus": opus.FRAME_TICKS}
_EVERY_FRAMES: Final[Mapping[Kind, int]] = {"video": 5, "application-sharing": 10}
"Audio frames from one picture to the next: ten pictures a second, of slides five."
_GATHER_LIMIT_S: Final = 2.5
"STUN and TURN have then asked three times (after 0, 0.5 and 1.5 s)."
_PATIENCE_S: Final = 0.5
"Longer than the checks of all other pairs take to be sent, 20 ms apart, and answered."
_PERMIT_LIMIT_S: Final = 0.4
"A relay that has just given an allocation answers in a round trip."
_CLOSE_LIMIT_S: Final = 0.3
_REPORT_POLL_S: Final = 0.1


class MediaFailed(Exception):
    """No media: *cause* is the word that events tell (ice-failed, dtls-failed, no-media, no-candidates ...)."""

    def __init__(self, cause: str, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else cause)
        self.cause, self.detail = cause, detail


@dataclass(frozen=True, slots=True)
class PictureEnd:
    """One end of a stream of pictures: what it sends, and who takes what comes."""

    source: tracks.PictureSource = lambda number: None
    sink: tracks.PictureSink = lambda frame: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What an agent sends of each kind of media, and who takes what it receives."""

    clock: FrameClock
    source: FrameSource
    "Gives the mu-law frame to send at each tick of *clock*."
    sink: FrameSink
    "Takes decoded audio as it arrives."
    opus: FrameSource | None = None
    "Gives the same in Opus; None: it is not spoken here."
    pictures: Mapping[Kind, PictureEnd] = field(default_factory=dict)
    "A kind that is not in it sends nothing and looks at nothing."
    files: FileChannel = field(default_factory=FileChannel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How an agent reaches the network."""

    address: str | None = None
    "The one to gather host candidates on; None: every address of the node."
    relay: ice.TurnServer | None = None
    relay_only: bool = False
    "Use relayed candidates only."
    marks: Mapping[Kind, Mark] = field(default_factory=dict)
    "Ports and DSCP by kind; media that share a transport have those of the first."


class MediaConnection:
    """One transport and the kinds of media on it. `offer` and `accept`, or `answer`; then `connected`; then `close`."""

    def __init__(self, kinds: Sequence[Kind], ends: Ends, access: Access, codec: Codec = "PCMU") -> None:
        """*kinds* in the order of `agents.kinds.KINDS`, at least one; with several, they are bundled.

        Raises MediaFailed("bad-sdp") where audio is to be in a *codec* that is not spoken here.
        """
        source = ends.source if codec == "PCMU" else ends.opus
        if source is None:
            raise MediaFailed("bad-sdp", f"audio in {codec}, which is not spoken here")
        self.kinds = tuple(kinds)
        self._ends, self._access, self._codec, self._audio_source = ends, access, codec, source
        self._pair: Message | None = None
        self._is_closed = False
        self._state_changed = asyncio.Event()
        self._consumers: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self.first_media_ns: int | None = None
        "time.time_ns() of the first audio that came out of the jitter buffer."
        self.has_lost_consent = False
        "Whether ICE gave the selected pair up, because the other end no longer answers its checks (RFC 7675)."
        self.last_media_s: float | None = None
        "Event loop's time of the last audio."
        self._connection = RTCPeerConnection(
            RTCConfiguration(
                # An empty list, not None: for None aiortc would ask a STUN server on the Internet.
                iceServers=access.relay.ice_servers() if access.relay else [],
                iceTransportPolicy=RTCIceTransportPolicy.RELAY if access.relay_only else RTCIceTransportPolicy.ALL,
                bundlePolicy=RTCBundlePolicy.MAX_BUNDLE,
            )
        )
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("track", self._on_track)
        self._transceivers: dict[Kind, Any] = {}
        for kind in self.kinds:
            self._add(kind)
        transport = self._ice_transport
        ice.confine(
            transport,
            address=access.address,
            gather_limit_s=_GATHER_LIMIT_S,
            mark=access.marks.get(self.kinds[0]),
        )
        ice.put_two_relays_last(transport, patience_s=_PATIENCE_S)
        ice.prefer_direct(transport, patience_s=_PATIENCE_S)
        ice.repeat_triggered_checks(transport)
        ice.watch_consent(transport, self._lose_consent)
        if access.relay is not None:
            ice.trust_relay(transport, access.relay)

    def _add(self, kind: Kind) -> None:
        if kind == "file-transfer":
            self._ends.files.attach(self._connection)
            return
        if kind == "audio":
            ticks = _FRAME_TICKS[self._codec]
            track: Any = tracks.EncodedAudioTrack(self._ends.clock, self._audio_source, frame_ticks=ticks)
        else:
            source = self._ends.pictures.get(kind, PictureEnd()).source
            track = tracks.EncodedPictureTrack(self._ends.clock, source, every_frames=_EVERY_FRAMES[kind])
        transceiver = self._connection.addTransceiver(track)
        codecs = RTCRtpSender.getCapabilities(track.kind).codecs
        wanted = f"audio/{self._codec}" if kind == "audio" else _VIDEO_CODEC
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType.lower() == wanted.lower()])
        if kind == "audio":
            tracks.speak(transceiver.sender)
        self._transceivers[kind] = transceiver

    @property
    def _ice_transport(self) -> Any:
        shared = next(iter(self._transceivers.values()), None)
        return (shared.receiver.transport if shared is not None else self._connection.sctp.transport).transport

    async def offer(self) -> str:
        """Gather all candidates and return the offer; raise MediaFailed("no-candidates") if there is none."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._local_sdp()

    async def accept(self, answer: str) -> None:
        """Take the other side's answer to `offer`; raise MediaFailed("bad-sdp") where it does not fit.

        aioice nominates aggressively, so that the two ends may select different pairs, unless it takes the other side
        for an ICE Lite one: then it nominates one pair, as RFC 8445 section 8.1.1 has it, and does nothing else
        differently.
        """
        answer = with_mids(answer, self._connection.localDescription.sdp)
        await self._take("answer", answer.replace("\nm=", "\na=ice-lite\r\nm=", 1))

    async def answer(self, offer: str) -> str:
        """Gather all candidates and return the answer to *offer*; raise MediaFailed (bad-sdp, no-candidates)."""
        await self._take("offer", offer)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        await ice.permit_peers(self._ice_transport, limit_s=_PERMIT_LIMIT_S)
        return self._local_sdp()

    async def _take(self, which: str, sdp: str) -> None:
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=which))
        except Exception as error:  # aiortc's parser raises whatever its first wrong assumption raises
            raise MediaFailed("bad-sdp", " ".join(str(error).split())) from error

    def _local_sdp(self) -> str:
        if not ice.candidates(self._ice_transport)[0]:
            raise MediaFailed("no-candidates")
        return name_contents(self._connection.localDescription.sdp, self.kinds)

    def _on_state(self) -> None:
        self._state_changed.set()

    def _on_track(self, track: Any) -> None:
        kind = next(kind for kind, each in self._transceivers.items() if each.receiver.track is track)
        if kind == "audio":
            tracks.hear(self._transceivers[kind].receiver, self._take_audio)
            return
        sink = self._ends.pictures.get(kind, PictureEnd()).sink
        self._consumers.append(asyncio.create_task(tracks.watch(track, sink)))

    def _take_audio(self, samples: g711.Samples) -> None:
        self.last_media_s = asyncio.get_running_loop().time()
        if self.first_media_ns is None:
            self.first_media_ns = time.time_ns()
            self._heard.set()
        self._ends.sink(samples)

    def selected_pair(self) -> Message | None:
        """The selected pair; the last one if it is lost, None before there was one."""
        self._pair = ice.selected_pair(self._ice_transport) or self._pair
        return self._pair

    async def connected(self, *, limit_s: float) -> None:
        """Wait for ICE and DTLS; raise MediaFailed (ice-failed, dtls-failed) if they fail or take over *limit_s*."""
        try:
            async with asyncio.timeout(limit_s):
                while self._connection.connectionState != "connected":
                    if self._connection.connectionState in ("failed", "closed"):
                        raise self._failure("given up")
                    self._state_changed.clear()
                    await self._state_changed.wait()
        except TimeoutError:
            raise self._failure(f"not connected within {limit_s:.1f} s") from None

    def _failure(self, detail: str) -> MediaFailed:
        is_connected = self._ice_transport.state == "completed"
        return MediaFailed("dtls-failed" if is_connected else "ice-failed", detail)

    async def heard(self, *, limit_s: float) -> None:
        """Wait for the first audio of the other side; raise MediaFailed("no-media")."""
        try:
            async with asyncio.timeout(limit_s):
                await self._heard.wait()
        except TimeoutError:
            raise MediaFailed("no-media", f"nothing heard within {limit_s:.1f} s") from None

    async def is_heard(self, *, limit_s: float) -> None:
        """Wait for the RTCP report that the other side receives our audio; raise MediaFailed("no-media")."""
        try:
            async with asyncio.timeout(limit_s):
                while not (await self._statistics("audio")).get("remote-inbound-rtp"):  # noqa: ASYNC110  no event
                    await asyncio.sleep(_REPORT_POLL_S)
        except TimeoutError:
            raise MediaFailed("no-media", f"no receiver report within {limit_s:.1f} s") from None

    def _lose_consent(self) -> None:
        self.has_lost_consent = True
        self._state_changed.set()

    async def silent(self, *, for_s: float) -> None:
        """Wait until no audio of the other side has been heard for *for_s*."""
        loop = asyncio.get_running_loop()
        earliest_s = due_s = loop.time() + for_s
        while (left_s := due_s - loop.time()) > 0:
            await asyncio.sleep(left_s)
            due_s = max(earliest_s, (self.last_media_s or 0) + for_s)

    async def lost(self) -> None:
        """Wait until a connection that was up no longer is (DTLS closed by the other side, or consent expired)."""
        while self._connection.connectionState == "connected" and not self.has_lost_consent:
            self._state_changed.clear()
            await self._state_changed.wait()

    async def _statistics(self, kind: Kind) -> dict[str, Any]:
        transceiver = self._transceivers[kind]
        reports = [await transceiver.sender.getStats(), await transceiver.receiver.getStats()]
        return {each.type: each for report in reports for each in report.values()}

    async def result(self, kind: Kind) -> Message:
        """Return what was measured of *kind*; values nobody measured are None. Call it before `close`."""
        local, remote = ice.candidates(self._ice_transport)
        told = {"local_candidates": local, "remote_candidates": remote, "selected_pair": self.selected_pair()}
        return told | await self._rtp_result(kind) if kind in self._transceivers else told

    async def _rtp_result(self, kind: Kind) -> Message:
        known = await self._statistics(kind)
        outbound, inbound, report = (known.get(f"{which}-rtp") for which in ("outbound", "inbound", "remote-inbound"))
        rtt_s = report.roundTripTime if report else None
        clock_hz = _VIDEO_CLOCK_HZ if kind in PICTURES else _CLOCK_HZ[self._codec]
        return {
            "rtp": {
                "sent": outbound.packetsSent if outbound else 0,
                "received": inbound.packetsReceived if inbound else 0,
                "lost": inbound.packetsLost if inbound else None,
                "interarrival_jitter_ms": inbound.jitter * 1000 / clock_hz if inbound else None,
            },
            "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
        }

    async def close(self) -> None:
        """Give everything back. A relay that no longer answers is not waited for longer than 0.3 s."""
        if self._is_closed:
            return
        self._is_closed = True
        closing = asyncio.create_task(self._connection.close())
        await asyncio.wait([closing], timeout=_CLOSE_LIMIT_S)
        for task in (closing, *self._consumers):
            task.cancel()
        await asyncio.gather(closing, *self._consumers, return_exceptions=True)
