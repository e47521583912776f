"""A capture that somebody cuts off while it is read: what was there at opening is read, or the cut is told."""

import errno
import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from capture_bytes import channel_data, ip_packet, option, packet_block, pcapng, rtp

from testbed.analysis import pcapng as reader
from testbed.analysis.packets import decode
from testbed.analysis.pcapng import CaptureError, CaptureFile

PACKETS = 40_000
"More than what is looked at in one go: the file is read in several."
IN_MEMORY = pytest.mark.parametrize("in_memory_bytes", [1 << 30, 0], ids=["in memory", "by a copy"])


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    head = bytes(12) + b"\x08\x00"
    blocks = [
        packet_block(0, 10**18 + n, head + ip_packet(("10.0.0.1", 5000), ("10.0.0.2", 3478), channel_data(rtp(n))), OUT)
        for n in range(PACKETS)
    ]
    path = tmp_path / "capture.pcapng"
    path.write_bytes(pcapng(["er"], b"".join(blocks)))
    return path


OUT = option(2, b"\x02\x00\x00\x00")


@pytest.fixture
def without_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read as on a file system that knows no leases (NFS, a folder of a virtual machine's host)."""

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(fcntl, "fcntl", refuse)


def test_who_wants_to_write_to_a_large_file_that_is_mapped_has_to_wait(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "sendfile", None)  # nothing is copied
    packets = decode(capture)
    with pytest.raises(BlockingIOError):
        os.open(capture, os.O_WRONLY | os.O_NONBLOCK)
    assert packets.inner(PACKETS - 1) == rtp(PACKETS - 1)
    del packets
    os.truncate(capture, 100)


def test_of_a_large_file_that_is_being_written_what_there_was_is_read(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", 0)
    with capture.open("r+b") as writer:
        packets = decode(capture)
        writer.truncate(0)
    assert (len(packets), packets.damage, packets.inner(PACKETS - 1)) == (PACKETS, None, rtp(PACKETS - 1))


@IN_MEMORY
@pytest.mark.usefixtures("without_leases")
def test_what_is_cut_off_after_opening_is_read_all_the_same(
    capture: Path, monkeypatch: pytest.MonkeyPatch, in_memory_bytes: int
) -> None:
    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", in_memory_bytes)
    file = CaptureFile(capture)
    parts = file.parts()
    counted = len(next(parts).start)
    assert counted < PACKETS
    os.truncate(capture, 0)
    counted += sum(len(part.start) for part in parts)
    assert (counted, file.damage, file.interfaces[0].dropped) == (PACKETS, None, 0)
    assert int(file.buffer.sum()) > 0  # every page of it


@IN_MEMORY
@pytest.mark.usefixtures("without_leases")
def test_packets_can_be_looked_at_long_after_the_file_is_gone(
    capture: Path, monkeypatch: pytest.MonkeyPatch, in_memory_bytes: int
) -> None:
    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", in_memory_bytes)
    packets = decode(capture)
    os.truncate(capture, 100)
    assert packets.inner(PACKETS - 1) == rtp(PACKETS - 1)
    assert os.listdir(capture.parent) == [capture.name]  # noqa: PTH208


def test_what_is_cut_off_while_it_is_read_in_is_told(capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, whole = np.empty, capture.stat().st_size

    def cut_and_make(*arguments: Any) -> Any:
        os.truncate(capture, whole // 2 + 1)
        monkeypatch.setattr(np, "empty", make)
        return make(*arguments)

    monkeypatch.setattr(np, "empty", cut_and_make)
    packets = decode(capture)
    assert PACKETS // 3 < len(packets) < PACKETS
    assert packets.damage is not None and packets.damage.startswith("cut off at byte")


@pytest.mark.usefixtures("without_leases")
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_large_file_without_room_for_its_copy_is_read_into_memory(
    capture: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "sendfile", full)
    packets = decode(capture)
    os.truncate(capture, 100)
    assert (len(packets), packets.damage, packets.inner(PACKETS - 1)) == (PACKETS, None, rtp(PACKETS - 1))


@pytest.mark.usefixtures("without_leases")
def test_a_large_file_emptied_while_it_is_copied_is_one_clear_line(
    capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.TemporaryFile

    def empty_and_make(**options: Any) -> Any:
        os.truncate(capture, 0)
        return make(**options)

    monkeypatch.setattr(reader, "_IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", empty_and_make)
    with pytest.raises(CaptureError, match=r"capture\.pcapng: is not a pcapng file \(0 bytes\)$"):
        CaptureFile(capture)
