"""Where the blocks of a pcapng file lie: packets as offset columns, interfaces and their statistics as values.

Knows nothing of what is inside a packet. A file that ends early or holds damage is read up to there and says so:
half a capture can prove presence, never absence. Source: draft-ietf-opsawg-pcapng, sections 3 and 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TestbedError

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
STATISTICS: Final = 5
PACKET: Final = 6
_MAGIC: Final = bytes.fromhex("4d3c2b1a")
_COMMENT, _FLAGS = 1, 2
_IF_NAME, _IF_TSRESOL = 2, 9
_ISB_RECEIVED, _ISB_DROPPED = 4, 5
_FIXED_BYTES: Final = 32
"Of an Enhanced Packet Block: everything but the packet and the options."
_OPTIONS_LOOKED_AT: Final = 4
"epb_flags is sought among the first few options of a packet block: a writer that puts more before it is not ours."
PADDING: Final = 128
"Zero bytes after the file in `Blocks.buffer`, so that a gather just behind the last packet stays inside."

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class CaptureError(TestbedError):
    """A capture file cannot be read at all: missing, empty, or not pcapng as `testbed.emulation.capture` writes it."""


@dataclass(frozen=True, slots=True)
class CaptureInterface:
    """One Interface Description Block, with its statistics where the file has them."""

    name: str
    link_type: int
    tick_ns: int
    "Nanoseconds a timestamp tick."
    received: int | None = None
    "isb_ifrecv; None where there is no Interface Statistics Block, so the capture was not ended properly."
    dropped: int | None = None
    "isb_ifdrop."


@dataclass(frozen=True, slots=True)
class Blocks:
    """A pcapng file, taken apart into columns; one row a packet, in file order."""

    buffer: Bytes
    interfaces: tuple[CaptureInterface, ...]
    interface: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    start: Offsets
    "Offset of the packet's first byte in `buffer`."
    captured: NDArray[np.int64]
    "Bytes captured."
    options: Offsets
    "Offset of the block's options."
    end: Offsets
    "Offset behind the options."
    damage: str | None = None
    "Why reading stopped before the end of the file; None for a whole file."
    _raw: bytes = field(default=b"", repr=False)

    def flags(self) -> NDArray[np.int64]:
        """Return epb_flags of every packet, 0 where a packet has none."""
        words = _words(self.buffer)
        at, found = self.options.copy(), np.zeros(len(self.start), np.int64)
        for _ in range(_OPTIONS_LOOKED_AT):
            inside = at + 4 <= self.end
            head = np.where(inside, words[np.where(inside, at, 0) >> 2], 0).astype(np.int64)
            code, length = head & 0xFFFF, head >> 16
            hit = inside & (code == _FLAGS) & (length == 4)
            found = np.where(hit, words[np.where(hit, at + 4, 0) >> 2].astype(np.int64), found)
            at = np.where(inside & (code != 0), at + 4 + (length + 3 & ~3), self.end)
        return found

    def comment(self, row: int) -> str:
        """Return the packet's comment, or an empty string."""
        for code, value in _options(self._raw, int(self.options[row]), int(self.end[row])):
            if code == _COMMENT:
                return value.decode("utf-8", "replace")
        return ""


def read_blocks(path: Path) -> Blocks:
    """Read *path*; raise CaptureError when there is nothing to read, note in `damage` where it breaks off."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) < 28 or raw[:4] != SECTION.to_bytes(4, "big"):
        raise CaptureError(f"{path}: is not a pcapng file ({len(raw)} bytes)")
    if raw[8:12] != _MAGIC:
        raise CaptureError(f"{path}: is a big-endian pcapng file; this testbed writes and reads little-endian ones")
    found, other, damage = _walk(raw)
    interfaces = _interfaces(path, raw, other)
    return _columns(path, raw, np.array(found, np.int64), interfaces, damage)


def _walk(raw: bytes) -> tuple[list[int], list[tuple[int, int, int]], str | None]:
    """Return offsets of packet blocks, (type, offset, length) of the others, and why the walk stopped early."""
    unpack = Struct("<II").unpack_from
    packets: list[int] = []
    other: list[tuple[int, int, int]] = []
    add = packets.append
    offset, size = 0, len(raw)
    while offset + 12 <= size:
        kind, length = unpack(raw, offset)
        if length < 12 or length & 3:
            return packets, other, f"damaged at byte {offset}: a block of {length} bytes"
        if offset + length > size:
            break
        if kind == PACKET:
            add(offset)
        else:
            other.append((kind, offset, length))
        offset += length
    return packets, other, None if offset == size else f"cut off at byte {offset} of {size}, inside a block"


def _interfaces(path: Path, raw: bytes, other: list[tuple[int, int, int]]) -> tuple[CaptureInterface, ...]:
    described: list[CaptureInterface] = []
    for kind, offset, length in other:
        end = offset + length - 4
        if kind == SECTION and offset:
            raise CaptureError(f"{path}: has more than one section (byte {offset})")
        if kind == INTERFACE:
            described.append(_describe(path, raw, offset, end))
        elif kind == STATISTICS:
            number = int.from_bytes(raw[offset + 8 : offset + 12], "little")
            if number < len(described):
                described[number] = _with_statistics(described[number], raw, offset, end)
    return tuple(described)


def _describe(path: Path, raw: bytes, offset: int, end: int) -> CaptureInterface:
    name, resolution = "", 6
    for code, value in _options(raw, offset + 16, end):
        if code == _IF_NAME:
            name = value.decode("utf-8", "replace")
        elif code == _IF_TSRESOL and value:
            resolution = value[0]
    if resolution > 9:
        raise CaptureError(f"{path}: interface {name!r} counts time in units this testbed does not read ({resolution})")
    return CaptureInterface(name, int.from_bytes(raw[offset + 8 : offset + 10], "little"), int(10 ** (9 - resolution)))


def _with_statistics(interface: CaptureInterface, raw: bytes, offset: int, end: int) -> CaptureInterface:
    counts = {code: int.from_bytes(value, "little") for code, value in _options(raw, offset + 20, end)}
    return CaptureInterface(
        interface.name, interface.link_type, interface.tick_ns, counts.get(_ISB_RECEIVED), counts.get(_ISB_DROPPED)
    )


def _options(raw: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        code = int.from_bytes(raw[at : at + 2], "little")
        length = int.from_bytes(raw[at + 2 : at + 4], "little")
        if code == 0 or at + 4 + length > end:
            return
        yield code, raw[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)


def _words(buffer: Bytes) -> NDArray[np.uint32]:
    return buffer[: len(buffer) & ~3].view("<u4")


def _columns(
    path: Path, raw: bytes, at: Offsets, interfaces: tuple[CaptureInterface, ...], damage: str | None
) -> Blocks:
    buffer = np.frombuffer(raw + bytes(PADDING), np.uint8)
    words = _words(buffer)
    index = at >> 2
    length = words[index + 1].astype(np.int64)
    number, captured = words[index + 2].astype(np.int64), words[index + 5].astype(np.int64)
    bad = (words[(at + length >> 2) - 1] != length) | (captured + _FIXED_BYTES > length) | (number >= len(interfaces))
    if bad.any():
        first = int(np.argmax(bad))
        damage = f"damaged at byte {int(at[first])}: packet block {first + 1} contradicts itself"
        at, index, length = at[:first], index[:first], length[:first]
        number, captured = number[:first], captured[:first]
    if not interfaces:
        raise CaptureError(f"{path}: describes no interface{f'; {damage}' if damage else ''}")
    ticks = words[index + 3].astype(np.int64) << 32 | words[index + 4].astype(np.int64)
    tick_ns = np.array([interface.tick_ns for interface in interfaces], np.int64)
    return Blocks(
        buffer=buffer,
        interfaces=interfaces,
        interface=number,
        time_ns=ticks * tick_ns[number],
        start=at + 28,
        captured=captured,
        options=at + 28 + (captured + 3 & ~3),
        end=at + length - 4,
        damage=damage,
        _raw=raw,
    )
