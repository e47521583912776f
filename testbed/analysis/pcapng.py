"""Where the blocks of a pcapng file lie: packets as offset columns, interfaces and their statistics as values.

Knows nothing of what is inside a packet. A file that ends early or holds damage is read up to there and says so:
half a capture can prove presence, never absence. Source: draft-ietf-opsawg-pcapng, sections 3 and 4.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
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
_ALIKE: Final = 8
"So many blocks of one length in a row are taken for the beginning of a run."
_RUN: Final = 1 << 14
"Blocks of a run looked at in one go."
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
    _raw: memoryview = field(default=memoryview(b""), repr=False)

    def part(self, first: int, behind: int) -> "Blocks":
        """Return packets *first* up to *behind*, of the same buffer."""
        columns = ("interface", "time_ns", "start", "captured", "options", "end")
        return replace(self, **{name: getattr(self, name)[first:behind] for name in columns})

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
    buffer = _read_padded(path)
    raw = buffer.data[:-PADDING]
    if len(raw) < 28 or raw[:4] != SECTION.to_bytes(4, "big"):
        raise CaptureError(f"{path}: is not a pcapng file ({len(raw)} bytes)")
    if raw[8:12] != _MAGIC:
        raise CaptureError(f"{path}: is a big-endian pcapng file; this testbed writes and reads little-endian ones")
    found, other, damage = _walk(raw)
    interfaces = _interfaces(path, raw, other)
    return _columns(path, buffer, raw, found, interfaces, damage)


def _read_padded(path: Path) -> Bytes:
    """Return the file with PADDING zero bytes behind it, held once."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            buffer = np.zeros(size + PADDING, np.uint8)
            done = 0
            while done < size and (count := file.readinto(buffer.data[done:size])):
                done += count
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from error
    return buffer[: done + PADDING]


def _walk(raw: memoryview) -> tuple[Offsets, list[tuple[int, int, int]], str | None]:
    """Return offsets of packet blocks, (type, offset, length) of the others, and why the walk stopped early."""
    size = len(raw)
    words = raw[: size & ~3].cast("I")
    last = size - 12 >> 2
    found: list[Offsets] = []
    packets: list[int] = []
    other: list[tuple[int, int, int]] = []
    add = packets.append
    at, before, alike = 0, 0, 0
    while at <= last:
        length = words[at + 1]
        if length < 12 or length & 3:
            return _offsets(found, packets), other, f"damaged at byte {4 * at}: a block of {length} bytes"
        if 4 * at + length > size:
            break
        if words[at] != PACKET:
            other.append((words[at], 4 * at, length))
            alike = 0
        else:
            add(at)
            alike = alike + 1 if length == before else 0
            before = length
        at += length >> 2
        if alike == _ALIKE:
            run = _equal_blocks(raw, at, length)
            found += [np.array(packets, np.int64), run]
            packets.clear()
            at += len(run) * (length >> 2)
            alike = 0
    whole = 4 * at == size
    return _offsets(found, packets), other, None if whole else f"cut off at byte {4 * at} of {size}, inside a block"


def _equal_blocks(raw: memoryview, at: int, length: int) -> Offsets:
    """Return where packet blocks of *length* bytes stand, one behind the other, from word *at* on.

    A stream's packets are all of one size, so long captures have many such runs: they are found without a step each.
    """
    count = min((len(raw) - 4 * at) // length, _RUN)
    if not count:
        return np.zeros(0, np.int64)
    heads: NDArray[np.uint32] = np.ndarray((count, 2), "<u4", raw, 4 * at, (length, 4))
    same = (heads[:, 0] == PACKET) & (heads[:, 1] == length)
    run = count if same.all() else int(np.argmin(same))
    return at + np.arange(run, dtype=np.int64) * (length >> 2)


def _offsets(found: list[Offsets], rest: list[int]) -> Offsets:
    return np.concatenate([*found, np.array(rest, np.int64)]) * 4


def _interfaces(path: Path, raw: memoryview, other: list[tuple[int, int, int]]) -> tuple[CaptureInterface, ...]:
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


def _describe(path: Path, raw: memoryview, offset: int, end: int) -> CaptureInterface:
    name, resolution = "", 6
    for code, value in _options(raw, offset + 16, end):
        if code == _IF_NAME:
            name = value.decode("utf-8", "replace")
        elif code == _IF_TSRESOL and value:
            resolution = value[0]
    if resolution > 9:
        raise CaptureError(f"{path}: interface {name!r} counts time in units this testbed does not read ({resolution})")
    return CaptureInterface(name, int.from_bytes(raw[offset + 8 : offset + 10], "little"), int(10 ** (9 - resolution)))


def _with_statistics(interface: CaptureInterface, raw: memoryview, offset: int, end: int) -> CaptureInterface:
    counts = {code: int.from_bytes(value, "little") for code, value in _options(raw, offset + 20, end)}
    return CaptureInterface(
        interface.name, interface.link_type, interface.tick_ns, counts.get(_ISB_RECEIVED), counts.get(_ISB_DROPPED)
    )


def _options(raw: memoryview, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        code = int.from_bytes(raw[at : at + 2], "little")
        length = int.from_bytes(raw[at + 2 : at + 4], "little")
        if code == 0 or at + 4 + length > end:
            return
        yield code, raw[at + 4 : at + 4 + length].tobytes()
        at += 4 + (length + 3 & ~3)


def _words(buffer: Bytes) -> NDArray[np.uint32]:
    return buffer[: len(buffer) & ~3].view("<u4")


def _columns(
    path: Path,
    buffer: Bytes,
    raw: memoryview,
    at: Offsets,
    interfaces: tuple[CaptureInterface, ...],
    damage: str | None,
) -> Blocks:
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
