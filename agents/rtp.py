"""Plain RTP (RFC 3550) with G.711 mu-law (RFC 3551) and its SDP: how a gateway talks to a telephone."""

import asyncio
import re
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, cast

from agents import g711
from agents.frames import FrameSource
from agents.pace import FrameClock

PCMU: Final = 0
"Static payload type (RFC 3551 table 4)."
_HEADER: Final = struct.Struct("!BBHII")
_VERSION_2: Final = 0x80


@dataclass(frozen=True, slots=True)
class Packet:
    """One RTP packet without padding."""

    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    payload_type: int = PCMU
    marker: bool = False

    def to_bytes(self) -> bytes:
        """Return the packet as RFC 3550 section 5.1 lays it out, without CSRC and extension."""
        second = self.marker << 7 | self.payload_type
        return _HEADER.pack(_VERSION_2, second, self.sequence_number, self.timestamp, self.ssrc) + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a packet; raise ValueError where it is not RTP version 2, or cut short."""
        if len(data) < _HEADER.size or data[0] >> 6 != 2:
            raise ValueError("not RTP version 2")
        first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
        start = _HEADER.size + 4 * (first & 15)
        if first & 0x10:
            if len(data) < start + 4:
                raise ValueError("RTP header extension cut short")
            start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if start > end:
            raise ValueError("RTP packet cut short")
        return cls(sequence_number, timestamp, ssrc, data[start:end], second & 0x7F, bool(second & 0x80))


class StreamStatistics:
    """What a receiver knows about one stream (RFC 3550 section 6.4.1, appendices A.3 and A.8)."""

    def __init__(self, *, clock_rate_hz: int = g711.SAMPLE_RATE_HZ) -> None:
        self._clock_rate_hz = clock_rate_hz
        self.received = 0
        self._base: int | None = None
        self._highest = 0
        self._transit_ns: int | None = None
        self._timestamp = 0
        self._jitter_ns = 0.0

    def observe(self, *, arrival_ns: int, sequence_number: int, timestamp: int) -> None:
        """Take in one packet, in the order of arrival."""
        if self._base is None:
            self._base = self._highest = sequence_number
            self._timestamp = timestamp
        self._highest = max(self._highest, self._unwrap(self._highest, sequence_number, 16))
        self._timestamp = self._unwrap(self._timestamp, timestamp, 32)
        transit_ns = arrival_ns - self._timestamp * 1_000_000_000 // self._clock_rate_hz
        if self._transit_ns is not None:
            self._jitter_ns += (abs(transit_ns - self._transit_ns) - self._jitter_ns) / 16
        self._transit_ns = transit_ns
        self.received += 1

    @staticmethod
    def _unwrap(near: int, value: int, bits: int) -> int:
        half = 1 << (bits - 1)
        return near + ((value - near + half) % (1 << bits)) - half

    @property
    def lost(self) -> int:
        """Expected less received; negative with duplicates."""
        return 0 if self._base is None else self._highest - self._base + 1 - self.received

    @property
    def interarrival_jitter_ms(self) -> float | None:
        """None before the second packet."""
        return self._jitter_ns / 1e6 if self.received > 1 else None


class PlainRtpStream(asyncio.DatagramProtocol):
    """One audio stream, both ways, on a UDP port of its own."""

    def __init__(self, *, clock: FrameClock, source: FrameSource, sink: Callable[[bytes], None]) -> None:
        self._clock, self._source, self._sink = clock, source, sink
        self._transport: asyncio.DatagramTransport | None = None
        self._sending: asyncio.Task[None] | None = None
        self._ssrc = secrets.randbits(32)
        self._remote_ssrc: int | None = None
        self.sent = 0
        self.statistics = StreamStatistics()
        self.first_packet = asyncio.Event()
        "Set when the first packet of the other side has come."

    @classmethod
    async def open(cls, address: str, *, clock: FrameClock, source: FrameSource, sink: Callable[[bytes], None]) -> Self:
        """Bind a free port of *address*; *sink* takes each mu-law payload as it arrives."""
        _, stream = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(clock=clock, source=source, sink=sink), local_addr=(address, 0)
        )
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket (asyncio calls this)."""
        # Not isinstance: before Python 3.12 asyncio's own datagram transport is none by inheritance.
        self._transport = cast(asyncio.DatagramTransport, transport)

    @property
    def port(self) -> int:
        """UDP port bound."""
        assert self._transport is not None
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    def start(self, remote: tuple[str, int]) -> None:
        """Send to *remote*, a frame every 20 ms, until `close`."""
        self._sending = asyncio.create_task(self._send(remote))

    async def _send(self, remote: tuple[str, int]) -> None:
        assert self._transport is not None
        first = frame = self._clock.current()
        first_sequence, first_timestamp = secrets.randbits(15), secrets.randbits(32)
        while True:
            frame = await self._clock.next_after(frame)
            packet = Packet(
                sequence_number=(first_sequence + self.sent) % (1 << 16),
                timestamp=(first_timestamp + (frame - first) * g711.FRAME_SAMPLES) % (1 << 32),
                ssrc=self._ssrc,
                payload=self._source(frame),
                marker=self.sent == 0,
            )
            self._transport.sendto(packet.to_bytes(), remote)
            self.sent += 1

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Count and pass on one packet; anything that is not a packet of the one stream is left aside."""
        try:
            packet = Packet.from_bytes(data)
        except ValueError:
            return
        if self._remote_ssrc is None:
            self._remote_ssrc = packet.ssrc
        if packet.payload_type != PCMU or packet.ssrc != self._remote_ssrc:
            return
        self.statistics.observe(
            arrival_ns=time.time_ns(), sequence_number=packet.sequence_number, timestamp=packet.timestamp
        )
        self.first_packet.set()
        self._sink(packet.payload)

    async def close(self) -> None:
        """Stop sending and give the port back; does nothing the second time."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        if self._transport is not None:
            self._transport.close()


def write_sdp(address: str, port: int) -> str:
    """Return an offer or answer of one PCMU stream (RFC 4566, RFC 3264)."""
    session = secrets.randbits(31)
    lines = [
        "v=0",
        f"o=- {session} {session} IN IP4 {address}",
        "s=-",
        f"c=IN IP4 {address}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {PCMU}",
        f"a=rtpmap:{PCMU} PCMU/{g711.SAMPLE_RATE_HZ}",
        "a=ptime:20",
        "a=sendrecv",
    ]
    return "\r\n".join(lines) + "\r\n"


def read_sdp(text: str) -> tuple[str, int]:
    """Return where *text* wants its PCMU audio sent; raise ValueError where it takes none."""
    audio = re.search(r"^m=audio (\d+)(?:/\d+)? RTP/AVP ([\d ]+)\r?$", text, re.MULTILINE)
    if audio is None or str(PCMU) not in audio[2].split() or audio[1] == "0":
        raise ValueError("the SDP offers no PCMU audio over RTP/AVP")
    section = text[audio.end() :].split("\nm=", 1)[0]
    connection = re.search(r"^c=IN IP4 (\S+)", section, re.MULTILINE) or re.search(
        r"^c=IN IP4 (\S+)", text, re.MULTILINE
    )
    if connection is None:
        raise ValueError("the SDP has no IPv4 connection address")
    return connection[1], int(audio[1])
