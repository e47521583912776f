"""One media session: ICE, DTLS-SRTP and RTP by aiortc; offer and answer whole (no trickle), as SIP carries them."""

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any, Final, Literal

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from agents import g711, ice, tracks
from agents.frames import FrameSink, FrameSource
from agents.pace import FrameClock
from agents.process import Message

Kind = Literal["audio", "video"]
_CODEC: Final = {"audio": "audio/PCMU", "video": "video/VP8"}
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


class MediaSession:
    """The media of one call: `offer` and `accept`, or `answer`; then `connected`; at the end `result` and `close`."""

    def __init__(
        self,
        *,
        clock: FrameClock,
        source: FrameSource,
        sink: FrameSink,
        address: str | None = None,
        relay: ice.TurnServer | None = None,
        relay_only: bool = False,
        bundled: bool = True,
        picture_source: tracks.PictureSource | None = None,
        picture_sink: tracks.PictureSink | None = None,
    ) -> None:
        """*source* gives the mu-law frame to send at each tick of *clock*; *sink* takes decoded audio as it arrives.

        *address* is the one to gather host candidates on; without it every address of the node. *relay_only* uses only
        relayed candidates. With *bundled* false each kind of media has a transport of its own.
        """
        self._clock, self._source, self._sink = clock, source, sink
        self._picture_source, self._picture_sink = picture_source, picture_sink
        self._pictures_sent = self._pictures_received = 0
        self._bundled = bundled
        self._address, self._relay, self._relay_only = address, relay, relay_only
        self._pair: Message | None = None
        self._is_closed = False
        self._connection: Any = None
        self._state_changed = asyncio.Event()
        self._consumers: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self.first_media_ns: int | None = None
        "time.time_ns() of the first audio that came out of the jitter buffer."

    async def offer(self, kinds: Sequence[Kind] = ("audio",)) -> str:
        """Gather all candidates and return the offer; raise MediaFailed("no-candidates") if there is none."""
        self._open(RTCBundlePolicy.MAX_BUNDLE if self._bundled else RTCBundlePolicy.MAX_COMPAT)
        self._add(kinds)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._local_sdp()

    async def accept(self, answer: str) -> None:
        """Take the other side's answer to `offer`; raise MediaFailed("bad-sdp") where it does not fit.

        aioice nominates aggressively, so that the two ends may select different pairs, unless it takes the other side
        for an ICE Lite one: then it nominates one pair, as RFC 8445 section 8.1.1 has it, and does nothing else
        differently.
        """
        await self._take("answer", answer.replace("\nm=", "\na=ice-lite\r\nm=", 1))

    async def answer(self, offer: str) -> str:
        """Gather all candidates and return the answer to *offer*; raise MediaFailed (bad-sdp, no-candidates)."""
        kinds: list[Kind] = re.findall(r"^m=(audio|video) ", offer, re.MULTILINE)
        self._bundled = "a=group:BUNDLE" in offer
        self._open(RTCBundlePolicy.BALANCED)  # aiortc drops the transports it does not need when it reads the group
        self._add(kinds)
        await self._take("offer", offer)
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        await asyncio.gather(*(ice.permit_peers(t, limit_s=_PERMIT_LIMIT_S) for t in self._ice_transports()))
        return self._local_sdp()

    def _open(self, bundle_policy: Any) -> None:
        self._connection = RTCPeerConnection(
            RTCConfiguration(
                # An empty list, not None: for None aiortc would ask a STUN server on the Internet.
                iceServers=self._relay.ice_servers() if self._relay else [],
                iceTransportPolicy=RTCIceTransportPolicy.RELAY if self._relay_only else RTCIceTransportPolicy.ALL,
                bundlePolicy=bundle_policy,
            )
        )
        self._connection.on("connectionstatechange", self._on_state)
        self._connection.on("track", self._on_track)

    def _add(self, kinds: Sequence[Kind]) -> None:
        for kind in kinds:
            track = (
                tracks.EncodedAudioTrack(self._clock, self._source)
                if kind == "audio"
                else tracks.PictureTrack(self._clock, self._next_picture)
            )
            transceiver = self._connection.addTransceiver(track)
            codecs = RTCRtpSender.getCapabilities(kind).codecs
            transceiver.setCodecPreferences([c for c in codecs if c.mimeType == _CODEC[kind]])
        if self._address is not None:
            for transport in self._ice_transports():
                ice.confine(transport, address=self._address, gather_limit_s=_GATHER_LIMIT_S)
                ice.put_two_relays_last(transport, patience_s=_PATIENCE_S)
                ice.repeat_triggered_checks(transport)
        if self._relay is not None:
            for transport in self._ice_transports():
                ice.trust_relay(transport, self._relay)

    async def _take(self, kind: str, sdp: str) -> None:
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        except Exception as error:  # aiortc's parser raises whatever its first wrong assumption raises
            raise MediaFailed("bad-sdp", " ".join(str(error).split())) from error

    def _local_sdp(self) -> str:
        if not any(ice.candidates(transport)[0] for transport in self._ice_transports()):
            raise MediaFailed("no-candidates")
        sdp: str = self._connection.localDescription.sdp
        # aiortc always writes the group; without it the other side keeps the transports apart (RFC 9143 section 7.3.1).
        return sdp if self._bundled else re.sub(r"^a=group:BUNDLE[^\n]*\n", "", sdp, flags=re.MULTILINE)

    def _ice_transports(self) -> list[Any]:
        found = [t.receiver.transport.transport for t in self._connection.getTransceivers()]
        return list(dict.fromkeys(found))

    def _on_state(self) -> None:
        self._state_changed.set()

    def _on_track(self, track: Any) -> None:
        consumer = (
            tracks.hear(track, self._take_audio) if track.kind == "audio" else tracks.watch(track, self._take_picture)
        )
        self._consumers.append(asyncio.create_task(consumer))

    def _take_audio(self, samples: g711.Samples) -> None:
        if self.first_media_ns is None:
            self.first_media_ns = time.time_ns()
            self._heard.set()
        self._sink(samples)

    def _next_picture(self) -> Any:
        self._pictures_sent += 1
        return self._picture_source() if self._picture_source else tracks.picture(self._pictures_sent)

    def _take_picture(self, frame: Any) -> None:
        self._pictures_received += 1
        if self._picture_sink is not None:
            self._picture_sink(frame)

    @property
    def has_relay_candidate(self) -> bool:
        """Whether gathering gave a relayed candidate."""
        return any(c["type"] == "relay" for t in self._ice_transports() for c in ice.candidates(t)[0])

    @property
    def is_open(self) -> bool:
        """Whether there is anything to measure: from the offer or answer on, until `close`."""
        return self._connection is not None and not self._is_closed

    def selected_pair(self) -> Message | None:
        """The selected pair of the first kind of media; the last one if it is lost, None before there was one."""
        self._pair = ice.selected_pair(self._ice_transports()[0]) or self._pair
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
        is_connected = all(t.state == "completed" for t in self._ice_transports())
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
                while not (await self._statistics()).get("remote-inbound-rtp"):  # noqa: ASYNC110  aiortc has no event
                    await asyncio.sleep(_REPORT_POLL_S)
        except TimeoutError:
            raise MediaFailed("no-media", f"no receiver report within {limit_s:.1f} s") from None

    async def lost(self) -> None:
        """Wait until a session that was connected no longer is (DTLS closed by the other side, or consent expired)."""
        while self._connection.connectionState == "connected":
            self._state_changed.clear()
            await self._state_changed.wait()

    async def _statistics(self, kind: Kind = "audio") -> dict[str, Any]:
        report = await self._connection.getStats()
        return {s.type: s for s in report.values() if getattr(s, "kind", None) == kind}

    async def result(self) -> Message:
        """Return what the session measured; values nobody measured are None. Call it before `close`."""
        local, remote = ice.candidates(self._ice_transports()[0])
        audio = await self._statistics()
        outbound, inbound = audio.get("outbound-rtp"), audio.get("inbound-rtp")
        report = audio.get("remote-inbound-rtp")
        rtt_s = report.roundTripTime if report else None
        return {
            "local_candidates": local,
            "remote_candidates": remote,
            "selected_pair": self.selected_pair(),
            "rtp": {
                "sent": outbound.packetsSent if outbound else 0,
                "received": inbound.packetsReceived if inbound else 0,
                "lost": inbound.packetsLost if inbound else None,
                "interarrival_jitter_ms": inbound.jitter * 1000 / g711.SAMPLE_RATE_HZ if inbound else None,
            },
            "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
            **({"video": self._video_result()} if self._pictures_sent or self._pictures_received else {}),
        }

    def _video_result(self) -> Message:
        transports = self._ice_transports()
        return {
            "pictures_sent": self._pictures_sent,
            "pictures_received": self._pictures_received,
            "selected_pair": ice.selected_pair(transports[-1]),
        }

    async def close(self) -> None:
        """Give everything back. A relay that no longer answers is not waited for longer than 0.3 s."""
        if self._connection is None or self._is_closed:
            return
        self._is_closed = True
        closing = asyncio.create_task(self._connection.close())
        await asyncio.wait([closing], timeout=_CLOSE_LIMIT_S)
        for task in (closing, *self._consumers):
            task.cancel()
        await asyncio.gather(closing, *self._consumers, return_exceptions=True)
