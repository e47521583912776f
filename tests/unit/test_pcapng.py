"""The pcapng writer: blocks as the draft says, and a file that stays whole when the disk is full."""

import errno
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.emulation import pcapng
from testbed.emulation.pcapng import INBOUND, LINKTYPE_ETHERNET, LINKTYPE_RAW, OUTBOUND, Writer

NOON_NS = 1_700_000_000_123_456_789


def blocks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a little-endian pcapng file into (type, body), checking both lengths of every block."""
    at = 0
    while at < len(content):
        kind, total = struct.unpack_from("<II", content, at)
        assert total % 4 == 0 and struct.unpack_from("<I", content, at + total - 4) == (total,)
        yield kind, content[at + 8 : at + total - 4]
        at += total
    assert at == len(content)


def options(body: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        code, length = struct.unpack_from("<HH", body, at)
        if code == 0:
            assert at + 4 == len(body)
            return found
        found[code] = body[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)
    assert not body
    return found


@given(st.binary(max_size=2000), st.integers(0, 2**63), st.sampled_from([0, 1, 2]), st.text(max_size=50))
def test_a_packet_block_holds_the_packet_its_time_direction_and_comment(
    packet: bytes, time_ns: int, direction: int, comment: str
) -> None:
    block = pcapng.packet_block(7, time_ns, packet, direction=direction, comment=comment)  # type: ignore[arg-type]
    ((kind, body),) = blocks(block)
    interface, high, low, captured, original = struct.unpack_from("<IIIII", body)
    assert (kind, interface, high << 32 | low) == (6, 7, time_ns)
    assert captured == original == len(packet)
    assert body[20 : 20 + captured] == packet
    has = options(body[20 + (captured + 3 & ~3) :])
    assert has.get(1, b"").decode() == comment
    assert has.get(2, bytes(4)) == struct.pack("<I", direction)


def test_an_interface_has_its_name_description_and_nanoseconds() -> None:
    ((kind, body),) = blocks(pcapng.interface_block("isp-er", "isp -> er (expressroute)", LINKTYPE_RAW))
    assert (kind, struct.unpack_from("<HHI", body)) == (1, (101, 0, 262144))
    assert options(body[8:]) == {2: b"isp-er", 3: b"isp -> er (expressroute)", 9: b"\x09"}


def test_statistics_tell_received_and_dropped() -> None:
    ((kind, body),) = blocks(pcapng.statistics_block(3, started_ns=1, ended_ns=2 << 32, received=10, dropped=4))
    has = options(body[12:])
    assert (kind, struct.unpack_from("<III", body)) == (5, (3, 2, 0))
    assert (has[4], has[5]) == (struct.pack("<Q", 10), struct.pack("<Q", 4))


def test_a_file_has_section_interfaces_packets_and_statistics_in_order(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.pcapng")
    first, second = (writer.add_interface(x, "", LINKTYPE_ETHERNET) for x in ("one", "two"))
    writer.add_packet(second, NOON_NS, b"\x01" * 61, direction=OUTBOUND)
    writer.close(started_ns=1, ended_ns=2, kernel_dropped=[0, 5])
    written = list(blocks((tmp_path / "a.pcapng").read_bytes()))
    assert [kind for kind, _ in written] == [0x0A0D0D0A, 1, 1, 6, 5, 5]
    assert (writer.written, writer.lost, writer.fault) == ([0, 1], [0, 0], None)
    assert options(written[-1][1][12:])[5] == struct.pack("<Q", 5)
    assert (first, second) == (0, 1)


def full_after(size_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file full once *size_bytes* are written, in the middle of a block if need be."""
    real, room = os.write, [size_bytes]

    def write(fd: int, content: memoryview) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = real(fd, content[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)


def test_on_a_full_disk_the_file_ends_with_a_whole_block_and_the_rest_counts_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path / "a.pcapng")
    link = writer.add_interface("one", "", LINKTYPE_ETHERNET)
    writer.add_packet(link, NOON_NS, bytes(100))
    writer.flush()
    full_after(250, monkeypatch)  # one block of 144 bytes and a part of the next
    for _ in range(3):
        writer.add_packet(link, NOON_NS, bytes(100))
    writer.flush()
    writer.add_packet(link, NOON_NS, bytes(100))
    writer.close(started_ns=1, ended_ns=2, kernel_dropped=[0])
    assert [kind for kind, _ in blocks((tmp_path / "a.pcapng").read_bytes())] == [0x0A0D0D0A, 1, 6, 6]
    assert (writer.written, writer.lost) == ([2], [3])
    assert writer.fault is not None and "No space left on device" in writer.fault and "\n" not in writer.fault


def test_a_full_disk_is_noticed_at_the_very_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "a.pcapng")
    writer.add_interface("one", "", LINKTYPE_ETHERNET)
    writer.flush()
    full_after(10, monkeypatch)
    writer.close(started_ns=1, ended_ns=2, kernel_dropped=[0])
    assert [kind for kind, _ in blocks((tmp_path / "a.pcapng").read_bytes())] == [0x0A0D0D0A, 1]
    assert writer.fault is not None


@pytest.mark.interop
@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_shows_interface_names_directions_and_comments(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a.pcapng")
    packet = bytes.fromhex("4500001c0001000040116ecf0a0000010a000002") + struct.pack("!HHHH", 1, 2, 8, 0)
    for name in ("fw-er", "fw-internet"):
        writer.add_interface(name, f"dropped by {name}", LINKTYPE_RAW)
    writer.add_packet(0, NOON_NS, packet, direction=INBOUND, comment="rule=default hook=FORWARD in=a out=b")
    writer.add_packet(1, NOON_NS + 1, packet, comment="rule=invalid hook=FORWARD in=a out=b")
    writer.close(started_ns=NOON_NS, ended_ns=NOON_NS + 2, kernel_dropped=[0, 0])
    fields = ("frame.interface_name", "frame.packet_flags_direction", "frame.comment", "frame.time_epoch")
    shown = subprocess.run(
        ["tshark", "-r", tmp_path / "a.pcapng", "-T", "fields", *(x for f in fields for x in ("-e", f))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.splitlines() == [
        "fw-er\t0x00000001\trule=default hook=FORWARD in=a out=b\t1700000000.123456789",
        "fw-internet\t\trule=invalid hook=FORWARD in=a out=b\t1700000000.123456790",
    ]
    assert "cut short" not in shown.stderr and "damaged" not in shown.stderr
