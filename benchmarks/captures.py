"""Captures for the benchmarks, as large as asked for: G.711 in RTP, each packet seen on every link of a chain."""

import struct
from pathlib import Path
from typing import Final

import numpy as np

_SIZES: Final = 7
"Sequence number modulo this: bytes that a payload has over 160, so that blocks are not all of one size."
_SEQUENCES: Final = 200 * _SIZES
"Written at a time; the next lot is the same but for times and numbers."
_SPACING_NS: Final = 20_000_000
_BEGIN_NS: Final = 1_700_000_000_000_000_000
_PACKET_AT, _RTP_AT = 28, 28 + 14 + 20 + 8


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def _packet(sequence: int, link: int) -> bytes:
    """Return the block of a packet whose time and numbers are left to be filled in."""
    payload = bytes(160 + sequence % _SIZES)
    data = bytes(12) + b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0xB8, 40 + len(payload), 0, 0x4000, 64, 17, 0)
    data += bytes((10, 0, 0, 1, 10, 0, 0, 2)) + struct.pack(">HHHH", 40000, 40002, 20 + len(payload), 0)
    data += struct.pack(">BBHII", 0x80, 0, 0, 0, 7) + payload
    entry = struct.pack("<IIIII", link, 0, 0, len(data), len(data))
    return _block(6, entry + data + bytes(-len(data) % 4) + _option(2, struct.pack("<I", 2)) + bytes(4))


def write_capture(path: Path, packets: int, links: int = 10) -> None:
    """Write a capture of *packets* frames, each packet on *links* links, 1 ms apart."""
    with path.open("wb") as file:
        file.write(_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
        for link in range(links):
            name = _option(2, b"link%d" % link) + _option(9, b"\x09")
            file.write(_block(1, struct.pack("<HHI", 1, 0, 0) + name + bytes(4)))
        blocks = [_packet(number // links, number % links) for number in range(_SEQUENCES * links)]
        content = np.frombuffer(b"".join(blocks), np.uint8).copy()
        at = np.cumsum([0, *map(len, blocks)])
        for first in range(0, packets, len(blocks)):
            number = np.arange(first, min(packets, first + len(blocks)))
            sequence, hop = np.divmod(number, links)
            time_ns = _BEGIN_NS + sequence * _SPACING_NS + hop * 1_000_000
            for value, kind, offset in (
                (time_ns >> 32, "<u4", 12),
                (time_ns & 0xFFFFFFFF, "<u4", 16),
                (sequence & 0xFFFF, ">u2", _RTP_AT + 2),
                (sequence * 160 & 0xFFFFFFFF, ">u4", _RTP_AT + 4),
            ):
                field = value.astype(kind).view(np.uint8).reshape(len(number), -1)
                for column, byte in enumerate(field.T):
                    content[at[: len(number)] + offset + column] = byte
            file.write(content[: at[len(number)]].data)
