"""Where the blocks of a pcapng file lie: packets as offset columns, interfaces and their statistics as values.

Knows nothing of what is inside a packet. A file that ends early or holds damage is read up to there and says so:
half a capture can prove presence, never absence. Source: draft-ietf-opsawg-pcapng, sections 3 and 4.

The content is that at opening, whatever becomes of the file: reading a mapped page of a file that somebody has cut off
kills the process (SIGBUS). So a small file is read into memory. A large one is mapped, for ten million packets are more
than a machine may have memory to spare for: the file itself where the kernel keeps writers waiting meanwhile (a lease,
fcntl(2); by default for 45 s), elsewhere a copy without a name.
"""

import fcntl
import mmap
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.space import IN_MEMORY_BYTES
from testbed.errors import TestbedError

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
STATISTICS: Final = 5
PACKET: Final = 6
_MAGIC: Final = bytes.fromhex("4d3c2b1a")
_COMMENT, _FLAGS = 1, 2
_IF_NAME, _IF_TSRESOL = 2, 9
_ISB_RECEIVED, _ISB_DROPPED = 4, 5
_HEAD_WORDS: Final = 7
"Of an Enhanced Packet Block before the packet."
_FIXED_BYTES: Final = 32
"Of an Enhanced Packet Block: everything but the packet and the options."
_OPTIONS_LOOKED_AT: Final = 4
"epb_flags is sought among the first few options of a packet block: a writer that puts more before it is not ours."
_WINDOW_BYTES: Final = 4 << 20
"Taken at a time: what is looked for in it is found in the processor's cache."
_IN_MEMORY_BYTES: Final = IN_MEMORY_BYTES
"A larger file is mapped, or its copy on the disk that it is on: made by the kernel alone, faster than by reading it."
_COPIED_BYTES: Final = 1 << 30
"By one call; what is left, by further ones."

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
Lengths = NDArray[np.int32]


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
    """Packet blocks of a pcapng file as columns; one row a packet, in file order."""

    buffer: Bytes
    "The whole file."
    interface: NDArray[np.int16]
    time_ns: NDArray[np.int64]
    start: Offsets
    "Offset of the packet's first byte in `buffer`."
    captured: Lengths
    "Bytes captured."
    length: Lengths
    "Bytes of the block."

    @property
    def options(self) -> Offsets:
        """Return the offsets of the blocks' options."""
        return self.start + (self.captured + 3 & ~3)

    @property
    def end(self) -> Offsets:
        """Return the offsets behind the options."""
        return self.start + (self.length - _FIXED_BYTES)

    def flags(self) -> NDArray[np.uint32]:
        """Return epb_flags of every packet, 0 where a packet has none."""
        words = _words(self.buffer)
        at, end, found = self.options, self.end, np.zeros(len(self.start), np.uint32)
        rows = np.arange(len(at))
        for _ in range(_OPTIONS_LOOKED_AT):
            inside = at + 8 <= end
            rows, at, end = (rows, at, end) if inside.all() else (rows[inside], at[inside], end[inside])
            option = _gathered(words, at >> 2, 2)
            head = option[:, 0]
            hit = head == (4 << 16 | _FLAGS)
            if len(hit) == len(found) and hit.all():
                return option[:, 1]
            found[rows[hit]] = option[hit, 1]
            more = ~hit & (head & 0xFFFF != 0)
            if not more.any():
                break
            rows, end = rows[more], end[more]
            at = at[more] + 4 + ((head[more] >> 16).astype(np.int64) + 3 & ~3)
        return found

    def comment(self, row: int) -> str:
        """Return the packet's comment, or an empty string."""
        for code, value in _options(self.buffer.data, int(self.options[row]), int(self.end[row])):
            if code == _COMMENT:
                return value.decode("utf-8", "replace")
        return ""


class CaptureFile:
    """A pcapng file, gone through once from beginning to end by `parts`.

    Raise CaptureError when there is nothing to read; `damage` notes where it breaks off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interfaces: list[CaptureInterface] = []
        "Complete, with their statistics, once `parts` has ended."
        self.damage: str | None = None
        "Why reading stopped before the end of the file; None for a whole file."
        self._map, self.buffer = _content(path)
        self._raw = self.buffer.data
        if len(self._raw) < 28 or self._raw[:4] != SECTION.to_bytes(4, "big"):
            raise CaptureError(f"{path}: is not a pcapng file ({len(self._raw)} bytes)")
        if self._raw[8:12] != _MAGIC:
            raise CaptureError(f"{path}: is a big-endian pcapng file; this testbed writes and reads little-endian ones")

    def parts(self) -> Iterator[Blocks]:
        """Yield the packets of one window of the file after the other; its pages are let go then.

        Raise CaptureError for a file that has no interface.
        """
        words, at = _words(self.buffer), 0
        last = len(self.buffer) - 12 >> 2
        while at <= last and self.damage is None:
            begin, behind = at, min(at + (_WINDOW_BYTES >> 2), last + 1)
            found, at = self._walk(words, at, behind)
            if len(found.at) and len((part := self._columns(found)).start):
                yield part
            self._forget(4 * begin, 4 * at)
        if self.damage is None and 4 * at != len(self.buffer):
            self._cut_off(at)
        if not self.interfaces:
            raise CaptureError(f"{self.path}: describes no interface{f'; {self.damage}' if self.damage else ''}")

    def _cut_off(self, at: int) -> None:
        self.damage = f"cut off at byte {4 * at} of {len(self.buffer)}, inside a block"

    def _forget(self, begin: int, behind: int) -> None:
        """Let the whole pages between two offsets go from memory; whoever reads there again gets them from the file."""
        first = begin & ~(mmap.PAGESIZE - 1)
        if self._map is not None and (size := behind - first & ~(mmap.PAGESIZE - 1)):
            self._map.madvise(mmap.MADV_DONTNEED, first, size)

    def _walk(self, words: NDArray[np.uint32], at: int, behind: int) -> tuple["_Heads", int]:
        """Return the packet blocks that begin from *at* up to *behind*, and where the next one begins.

        What looks like packet blocks is found all at once; then only where they do not follow each other is looked at.
        """
        looks = _likely_packets(words, at, behind)
        breaks = np.append(np.flatnonzero(looks.following[:-1] != looks.at[1:]), len(looks.at) - 1)
        found: list[slice] = []
        while at < behind and self.damage is None:
            first = int(np.searchsorted(looks.at, at))
            if first < len(looks.at) and looks.at[first] == at:
                last = int(breaks[np.searchsorted(breaks, first)])
                found.append(slice(first, last + 1))
                at = int(looks.following[last])
            elif (length := self._take_other(words, at)) is not None:
                at += length >> 2
            else:
                break
        return looks[found[0] if len(found) == 1 else np.r_[(*found, slice(0))]], at

    def _take_other(self, words: NDArray[np.uint32], at: int) -> int | None:
        """Take a block that is not a sound packet block; return its length, or None, with `damage` set."""
        kind, length, offset = int(words[at]), int(words[at + 1]), 4 * at
        if length < 12 or length & 3:
            self.damage = f"damaged at byte {offset}: a block of {length} bytes"
        elif offset + length > len(self.buffer):
            self._cut_off(at)
        elif kind == PACKET:
            self.damage = f"damaged at byte {offset}: a packet block that contradicts itself"
        elif kind == SECTION and offset:
            raise CaptureError(f"{self.path}: has more than one section (byte {offset})")
        elif kind == INTERFACE:
            self.interfaces.append(_describe(self.path, self._raw, offset, offset + length - 4))
        elif kind == STATISTICS:
            number = int(words[at + 2])
            if number < len(self.interfaces):
                described = self.interfaces[number]
                self.interfaces[number] = _with_statistics(described, self._raw, offset, offset + length - 4)
        return length if self.damage is None else None

    def _columns(self, heads: "_Heads") -> Blocks:
        if (bad := heads.words[:, 2] >= len(self.interfaces)).any():
            first = int(np.argmax(bad))
            self.damage = f"damaged at byte {4 * int(heads.at[first])}: a packet of an interface that is not described"
            heads = heads[:first]
        _, length, number, high, low, captured, _ = heads.words.T
        tick_ns = np.array([interface.tick_ns for interface in self.interfaces] or [1], np.int64)
        ticks = high.astype(np.int64) << 32 | low
        return Blocks(
            buffer=self.buffer,
            interface=number.astype(np.int16),
            time_ns=ticks * tick_ns[number] if len(set(tick_ns.tolist())) > 1 else ticks * tick_ns[0],
            start=4 * heads.at + 4 * _HEAD_WORDS,
            captured=captured.astype(np.int32),
            length=length.astype(np.int32),
        )


def _content(path: Path) -> tuple[mmap.mmap | None, Bytes]:
    """Return what the file holds now, and its mapping where it is large; raise CaptureError."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            mapped = _mapped(file.fileno(), path.parent) if size > _IN_MEMORY_BYTES else None
            return mapped, _in_memory(file, size) if mapped is None else np.frombuffer(mapped, np.uint8)
    except OSError as error:
        raise CaptureError(f"{path}: cannot be read: {error.strerror}") from error


def _mapped(descriptor: int, folder: Path) -> mmap.mmap | None:
    """Return a mapping of the file, or of a copy that lies in *folder* without a name and is gone with the mapping.

    None where there can be neither: nothing may be written there, the disk is full, or the file has just been emptied.
    """
    try:
        if _keeps_writers_out(descriptor):
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        with tempfile.TemporaryFile(dir=folder) as copy:
            at = 0
            while sent := os.sendfile(copy.fileno(), descriptor, at, _COPIED_BYTES):
                at += sent
            return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None


def _keeps_writers_out(descriptor: int) -> bool:
    """Take a lease on the file for as long as it is open or mapped; return whether there is one.

    There is none on a file of somebody else's, on one open for writing, and on file systems that know no leases.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)  # to be told of a writer by what everyone ignores
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:
        return False
    return True


def _in_memory(file: FileIO, size: int) -> Bytes:
    """Return the first *size* bytes of a file, or as many as there still are."""
    read, filled = np.empty(size, np.uint8), 0  # np.fromfile takes twice the time
    while filled < size and (more := file.readinto(read.data[filled:])):
        filled += more
    read.flags.writeable = False
    return read[:filled]


@dataclass(frozen=True, slots=True)
class _Heads:
    """The beginnings of what looks like packet blocks; offsets count words."""

    at: Offsets
    following: Offsets
    "Behind their ends."
    words: NDArray[np.uint32]
    "One row a block: type, length, interface, time (high, low), bytes captured, bytes that the packet had."

    def __getitem__(self, some: slice | Offsets) -> "_Heads":
        return _Heads(self.at[some], self.following[some], self.words[some])


def _likely_packets(words: NDArray[np.uint32], at: int, behind: int) -> _Heads:
    """Return where sound packet blocks seem to begin."""
    looks = np.flatnonzero(words[at:behind] == PACKET) + at
    looks = looks[: np.searchsorted(looks, len(words) - (_FIXED_BYTES >> 2), "right")]
    heads = _gathered(words, looks, _HEAD_WORDS)
    length, captured = heads[:, 1], heads[:, 5]
    following = looks + (length >> 2)
    room = np.maximum(length, _FIXED_BYTES) - np.uint32(_FIXED_BYTES)
    sound = (length & 3 == 0) & (length >= _FIXED_BYTES) & (captured <= room) & (following <= len(words))
    sound &= words[np.minimum(following, len(words)) - 1] == length
    found = _Heads(looks, following, heads)
    return found if sound.all() else found[np.flatnonzero(sound)]


def _gathered(words: NDArray[np.uint32], at: Offsets, count: int) -> NDArray[np.uint32]:
    """Return *count* words from each offset, one row each: one copy a row, where each word alone would be one."""
    if not len(at):
        return np.zeros((0, count), np.uint32)
    rows = np.ndarray((len(words) - count + 1,), f"V{4 * count}", words.data, 0, (4,))[at]
    return rows.view("<u4").reshape(-1, count)


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
