"""The two ends of the calls of `benchmarks.calls`: one process each, which holds all calls of its side.

Ours are the connections that the agents of a scenario have; stock ones are aiortc's as its documentation shows them, an
RTCPeerConnection a call with the encoder and the decoder that aiortc brings.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaBlackhole
from aiortc.mediastreams import AudioStreamTrack

from agents.connection import Access, Ends, MediaConnection
from agents.pace import FrameClock, LoopLag
from agents.tone import Listener, tone_frames

AT_ONCE: Final = 8
"Calls that one side sets up at a time."
SETTLE_S: Final = 2.0
"From the last call's connection until anything counts: what setting up left behind has been worked off by then."


class End(Protocol):
    """One end of one call."""

    async def offer(self) -> str: ...
    async def answer(self, offer: str) -> str: ...
    async def accept(self, answer: str) -> None: ...
    async def connected(self) -> None: ...
    async def received(self) -> int: ...


class OurEnd:
    """An agent's connection: a tone that is encoded already, and a listener to what comes."""

    _frames: tuple[bytes, ...] = ()
    _clock: FrameClock

    def __init__(self, address: str, limit_s: float) -> None:
        if not OurEnd._frames:
            OurEnd._frames, OurEnd._clock = tone_frames(400), FrameClock()
        self.listener = Listener()
        ends = Ends(clock=self._clock, source=lambda n: self._frames[n % len(self._frames)], sink=self.listener.hear)
        self._connection = MediaConnection(("audio",), ends, Access(address=address))
        self.offer, self.answer, self.accept = (
            self._connection.offer, self._connection.answer, self._connection.accept,
        )  # fmt: skip
        self._limit_s = limit_s

    async def connected(self) -> None:
        await self._connection.connected(limit_s=self._limit_s)

    async def received(self) -> int:
        return int((await self._connection.result("audio"))["rtp"]["received"])


class StockEnd:
    """aiortc as it is, with the codec that ours has."""

    def __init__(self, address: str, limit_s: float) -> None:
        self._limit_s = limit_s
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._sink = MediaBlackhole()
        self._connection.on("track", self._sink.addTrack)
        self._transceiver = self._connection.addTransceiver(AudioStreamTrack())
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        self._transceiver.setCodecPreferences([c for c in codecs if c.mimeType == "audio/PCMU"])

    async def offer(self) -> str:
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def answer(self, offer: str) -> str:
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        await self._sink.start()
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
        await self._sink.start()

    async def connected(self) -> None:
        async with asyncio.timeout(self._limit_s):
            while self._connection.connectionState != "connected":  # noqa: ASYNC110  as aiortc's examples do
                await asyncio.sleep(0.05)

    async def received(self) -> int:
        reports = (await self._transceiver.receiver.getStats()).values()
        return sum(report.packetsReceived for report in reports if report.type == "inbound-rtp")


ENDS: Final[dict[str, Callable[[str, float], End]]] = {"ours": OurEnd, "stock": StockEnd}


@dataclass(frozen=True, slots=True)
class Side:
    """What one process is to do."""

    which: str
    "A key of ENDS."
    address: str
    calls: int
    seconds: float
    setup_limit_s: float


async def in_turn(work: Iterable[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Do it all, AT_ONCE at a time; return the results in order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def do(one: Callable[[], Awaitable[Any]]) -> Any:
        async with room:
            return await one()

    return await asyncio.gather(*map(do, work))


async def play(side: Side, peer: Connection, *, is_caller: bool) -> dict[str, Any]:
    """Set all calls up, let them run, and return how this side did while all were up."""
    ends = [ENDS[side.which](side.address, side.setup_limit_s) for _ in range(side.calls)]
    if is_caller:
        await asyncio.to_thread(peer.send, await in_turn([end.offer for end in ends]))
        answers = await asyncio.to_thread(peer.recv)
        await in_turn([partial(e.accept, a) for e, a in zip(ends, answers, strict=True)])
    else:
        offers = await asyncio.to_thread(peer.recv)
        answers = await in_turn([partial(e.answer, o) for e, o in zip(ends, offers, strict=True)])
        await asyncio.to_thread(peer.send, answers)
    await asyncio.gather(*(end.connected() for end in ends))
    await asyncio.to_thread(peer.send, "up")
    await asyncio.to_thread(peer.recv)
    gc.collect()
    gc.freeze()
    await asyncio.sleep(SETTLE_S)
    return await measure(ends, side.seconds)


async def measure(ends: list[End], seconds: float) -> dict[str, Any]:
    """Count what arrives for so long, and how late the event loop runs meanwhile."""
    lag = LoopLag()
    began, cpu_began, before = time.monotonic(), time.process_time(), [await end.received() for end in ends]
    await asyncio.sleep(seconds)
    after = [await end.received() for end in ends]
    took, cpu = time.monotonic() - began, time.process_time() - cpu_began
    return {
        "loop_lag_ns": lag.stop(),
        "expected": took * 50,
        "received": sorted(b - a for a, b in zip(before, after, strict=True)),
        "cpu_ratio": cpu / took,
        "cpu_us": cpu * 1e6 / max(1, sum(after) - sum(before)),
    }
