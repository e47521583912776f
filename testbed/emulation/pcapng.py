"""Write pcapng files (draft-ietf-opsawg-pcapng): sections, interfaces, packets with a direction and a comment.

The blocks are pure functions; `Writer` keeps a file whole: it always ends at the end of a block, even on a full disk.
"""

import os
import struct
from pathlib import Path
from typing import Final, Literal

LINKTYPE_ETHERNET: Final = 1
LINKTYPE_RAW: Final = 101
INBOUND: Final = 1
"epb_flags bits 0-1: the packet was received at the capture point."
OUTBOUND: Final = 2
"epb_flags bits 0-1: the packet was sent at the capture point."
SNAP_LENGTH: Final = 262_144

_SECTION, _INTERFACE, _PACKET, _STATISTICS = 0x0A0D0D0A, 1, 6, 5
_COMMENT, _PACKET_FLAGS = 1, 2
_SHB_OS, _SHB_APPLICATION = 3, 4
_IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 2, 3, 9
_ISB_START, _ISB_END, _ISB_RECEIVED, _ISB_DROPPED = 2, 3, 4, 5
_NANOSECONDS: Final = b"\x09"
_END_OF_OPTIONS: Final = bytes(4)
_BUFFER_BYTES: Final = 1 << 20

_packet_head: Final = struct.Struct("<IIIIIII")
_option_head: Final = struct.Struct("<HH")
_length: Final = struct.Struct("<I")
_FLAGS_OPTION: Final = {d: _option_head.pack(_PACKET_FLAGS, 4) + _length.pack(d) for d in (0, INBOUND, OUTBOUND)}


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 4)


def _option(code: int, content: bytes) -> bytes:
    return _option_head.pack(code, len(content)) + _padded(content)


def _block(kind: int, body: bytes) -> bytes:
    total = _length.pack(len(body) + 12)
    return _length.pack(kind) + total + body + total


def section_block(application: str, system: str) -> bytes:
    """Return a Section Header Block (little-endian, version 1.0, length not given)."""
    options = _option(_SHB_OS, system.encode()) + _option(_SHB_APPLICATION, application.encode()) + _END_OF_OPTIONS
    return _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def interface_block(name: str, description: str, link_type: int) -> bytes:
    """Return an Interface Description Block; times are in nanoseconds. Interfaces are numbered as written, from 0."""
    options = _option(_IF_NAME, name.encode()) + _option(_IF_DESCRIPTION, description.encode())
    options += _option(_IF_TSRESOL, _NANOSECONDS) + _END_OF_OPTIONS
    return _block(_INTERFACE, struct.pack("<HHI", link_type, 0, SNAP_LENGTH) + options)


def packet_block(
    interface: int, time_ns: int, packet: bytes, *, direction: Literal[0, 1, 2] = 0, comment: str = ""
) -> bytes:
    """Return an Enhanced Packet Block of a whole packet; *direction* is INBOUND, OUTBOUND or 0 for not known."""
    size = len(packet)
    options = _FLAGS_OPTION[direction] if direction else b""
    if comment:
        options = _option(_COMMENT, comment.encode()) + options
    if options:
        options += _END_OF_OPTIONS
    padding = -size % 4
    total = 32 + size + padding + len(options)
    head = _packet_head.pack(_PACKET, total, interface, time_ns >> 32, time_ns & 0xFFFFFFFF, size, size)
    return b"".join((head, packet, bytes(padding), options, _length.pack(total)))


def statistics_block(interface: int, *, started_ns: int, ended_ns: int, received: int, dropped: int) -> bytes:
    """Return an Interface Statistics Block: of *received* packets, *dropped* are not in the file."""

    def time(at_ns: int) -> bytes:
        return struct.pack("<II", at_ns >> 32, at_ns & 0xFFFFFFFF)

    options = _option(_ISB_START, time(started_ns)) + _option(_ISB_END, time(ended_ns))
    options += _option(_ISB_RECEIVED, struct.pack("<Q", received)) + _option(_ISB_DROPPED, struct.pack("<Q", dropped))
    return _block(_STATISTICS, struct.pack("<I", interface) + time(ended_ns) + options + _END_OF_OPTIONS)


class Writer:
    """A pcapng file being written, with a buffer of 1 MiB.

    When a write fails (disk full) the file is cut back to the end of its last whole block, `fault` says why, and every
    packet that did not get in, then or later, is counted as lost, per interface.
    """

    def __init__(self, path: Path, *, application: str = "callflow-testbed", system: str = "Linux") -> None:
        self.path = path
        self.fault: str | None = None
        "Why the file is incomplete, in one line; None while it is whole."
        self.written: list[int] = []
        "Packets given to the kernel, per interface."
        self.lost: list[int] = []
        "Packets that could not be written, per interface."
        self._buffer = bytearray(section_block(application, system))
        self._blocks: list[tuple[int, int | None]] = [(len(self._buffer), None)]
        "Where each block in the buffer ends, and the interface if it is a packet."
        self._whole_bytes = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def add_interface(self, name: str, description: str, link_type: int) -> int:
        """Describe an interface and return its number."""
        self._append(interface_block(name, description, link_type), None)
        self.written.append(0)
        self.lost.append(0)
        return len(self.written) - 1

    def add_packet(
        self, interface: int, time_ns: int, packet: bytes, *, direction: Literal[0, 1, 2] = 0, comment: str = ""
    ) -> None:
        """Append a packet."""
        if self.fault is not None:
            self.lost[interface] += 1
            return
        self._append(packet_block(interface, time_ns, packet, direction=direction, comment=comment), interface)
        if len(self._buffer) >= _BUFFER_BYTES:
            self.flush()

    def _append(self, block: bytes, interface: int | None) -> None:
        self._buffer += block
        self._blocks.append((len(self._buffer), interface))

    def flush(self) -> None:
        """Give the kernel what is buffered."""
        if not self._buffer:
            return
        done = 0
        try:
            with memoryview(self._buffer) as rest:
                while self.fault is None and done < len(rest):
                    done += os.write(self._fd, rest[done:])
        except OSError as error:
            self.fault = f"{self.path}: {error.strerror}: the capture is incomplete from here on"
        self._settle(done)

    def _settle(self, done: int) -> None:
        """Count what the first *done* bytes of the buffer hold whole, cut off the part of a block, and begin anew."""
        whole = 0
        for end, interface in self._blocks:
            if end <= done:
                whole = end
            if interface is not None:
                counts = self.written if end <= done else self.lost
                counts[interface] += 1
        self._whole_bytes += whole
        if whole != done:
            os.ftruncate(self._fd, self._whole_bytes)
        self._buffer.clear()
        self._blocks.clear()

    def close(self, *, started_ns: int, ended_ns: int, kernel_dropped: list[int]) -> None:
        """Write what is left and each interface's statistics; *kernel_dropped* adds to what the file itself lost."""
        self.flush()
        for interface, (written, lost) in enumerate(zip(self.written, self.lost, strict=True)):
            dropped = lost + kernel_dropped[interface]
            block = statistics_block(
                interface, started_ns=started_ns, ended_ns=ended_ns, received=written + dropped, dropped=dropped
            )
            self._append(block, None)
        self.flush()
        os.close(self._fd)
