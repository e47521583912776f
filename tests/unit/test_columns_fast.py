"""The shortcuts of the vectorised analysis give what the plain way gives."""

import struct
from pathlib import Path

import numpy as np
import pytest
from capture_bytes import ip_packet, packet_block, pcapng, rtp
from hypothesis import given
from hypothesis import strategies as st

from testbed.analysis.demux import Reader, Sources
from testbed.analysis.grouping import order_of
from testbed.analysis.identity import mix
from testbed.analysis.packets import decode
from testbed.analysis.quality.figures import Passage, neighbours, passage_figures, percentiles, worst_window
from testbed.analysis.sightings import Register

OUT = b"\x02\x00\x04\x00\x02\x00\x00\x00"
NAME_RESOLUTION = struct.pack("<IIII", 4, 16, 0, 16)


def frame(payload: bytes) -> bytes:
    return bytes(12) + b"\x08\x00" + ip_packet(("10.0.0.1", 9), ("10.0.0.2", 9), payload)


def test_a_packet_that_carries_what_looks_like_a_packet_block_is_one_packet(tmp_path: Path) -> None:
    inside = packet_block(0, 99, frame(b"not a frame of its own"), OUT)
    payloads = [b"before", *(bytes(pad) + inside for pad in range(4)), b"behind"]
    blocks = b"".join(packet_block(0, n, frame(payload), OUT) for n, payload in enumerate(payloads))
    (tmp_path / "c.pcapng").write_bytes(pcapng(["a-b"], blocks))
    packets = decode(tmp_path / "c.pcapng")
    assert [packets.payload(row) for row in range(len(packets))] == payloads
    assert packets.time_ns.tolist() == [0, 1, 2, 3, 4, 5]


def test_other_blocks_between_packets_are_passed_over(tmp_path: Path) -> None:
    one, other = (packet_block(0, n, frame(rtp(n)), OUT) for n in (1, 2))
    content = NAME_RESOLUTION + one + NAME_RESOLUTION * 2 + other + one + NAME_RESOLUTION
    (tmp_path / "c.pcapng").write_bytes(pcapng(["a-b"], content))
    packets = decode(tmp_path / "c.pcapng")
    assert (packets.sequence.tolist(), packets.damage) == ([1, 2, 1], None)


@pytest.mark.parametrize(("at", "value", "damage"), [(4, 13, "a block of 13"), (20, 9999, "contradicts itself")])
def test_a_damaged_block_ends_the_reading_and_is_named(tmp_path: Path, at: int, value: int, damage: str) -> None:
    first, second = (packet_block(0, n, frame(rtp(n)), OUT) for n in (1, 2))
    broken = bytearray(second)
    broken[at : at + 4] = struct.pack("<I", value)
    (tmp_path / "c.pcapng").write_bytes(pcapng(["a-b"], first + bytes(broken) + first))
    packets = decode(tmp_path / "c.pcapng")
    assert len(packets) == 1 and packets.damage is not None and damage in packets.damage


def test_bytes_behind_the_end_are_zeros() -> None:
    read = Reader(np.arange(1, 41, dtype=np.uint8))
    rows = read.rows(np.array([0, 36, 38, 40, 50]), 4)
    assert rows.u32(0).tolist() == [0x01020304, 0x25262728, 0x27280000, 0, 0]
    assert Reader(np.array([7], np.uint8)).rows(np.array([0, 1]), 4).u16(0).tolist() == [0x0700, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_rows_are_in_order_of_identity_time_and_file(pairs: list[tuple[int, int]]) -> None:
    # Identities that differ in their lowest bits alone are the ones that the shortcut cannot tell apart.
    identity = np.array([one for one, _ in pairs], np.uint64)
    time_ns = np.array([time for _, time in pairs], np.int64)
    expected = np.lexsort((np.arange(len(pairs)), time_ns, identity))
    assert order_of(identity, time_ns)[0].tolist() == expected.tolist()
    hashed = mix(identity)
    order, _ = order_of(hashed, time_ns)
    assert order.tolist() == np.lexsort((np.arange(len(pairs)), time_ns, hashed)).tolist()


@given(st.lists(st.integers(0, 4), max_size=30))
def test_flows_are_numbered_in_order_of_their_hashes_and_known_by_their_first_row(values: list[int]) -> None:
    register, lots = Register(), np.array_split(np.array(values, np.uint64), 3)
    begins = np.cumsum([0, *map(len, lots)]).tolist()
    numbers = [
        register.numbers(lot, np.arange(begin, begin + len(lot))) for begin, lot in zip(begins, lots, strict=False)
    ]
    known = sorted(set(values))
    assert [known[place] for place in register.order()[np.concatenate(numbers)].tolist()] == values
    assert register.first_rows() == [values.index(value) for value in known]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=2, max_size=40), st.integers(1, 100))
def test_no_window_that_begins_at_any_moment_is_worse_than_the_worst(
    packets: list[tuple[int, int]], width_ns: int
) -> None:
    at_ns = np.cumsum(np.array([gap for gap, _ in packets], np.int64))
    values = np.array([value for _, value in packets])
    begin_ns, end_ns = int(at_ns[0]), int(at_ns[-1]) + 7
    means = []
    for start_ns in range(begin_ns, end_ns - width_ns + 1):
        held = values[(at_ns >= start_ns) & (at_ns < start_ns + width_ns)]
        means += [held.mean()] if len(held) else []
    worst = worst_window(at_ns, values, width_ns, (begin_ns, end_ns))
    assert (worst is None) == (not means)
    if worst is not None:
        assert worst.mean == max(means)
        inside = (at_ns >= worst.begin_ns) & (at_ns < worst.begin_ns + width_ns)
        assert np.flatnonzero(inside).tolist() == list(range(worst.first, worst.behind))
        assert begin_ns <= worst.begin_ns <= end_ns - width_ns


@pytest.mark.parametrize("lots", [1, 2, 6])
def test_sources_with_one_sequence_number_are_alone_unless_they_are_expected(lots: int) -> None:
    ssrc = np.array([5, 6, 7, 6, 7, 0xFFFFFFFF], np.uint32)
    sequence = np.array([1, 2, 4, 3, 4, 65535], np.uint16)
    sources = Sources()
    for some, numbers in zip(np.array_split(ssrc, lots), np.array_split(sequence, lots), strict=True):
        sources.add(some, numbers)
    assert sources.lone(()).tolist() == [5, 7, 0xFFFFFFFF]
    assert sources.lone({7, 0xFFFFFFFF}).tolist() == [5]


@given(st.lists(st.floats(0, 1e4), min_size=100, max_size=300))
def test_percentiles_are_those_of_numpy_to_the_last_bit(values: list[float]) -> None:
    delays = np.array(values)
    missing: dict[str, str] = {}
    assert (
        list(percentiles(len(delays), neighbours(delays), "delay", missing).values())
        == np.percentile(delays, (50, 90, 95, 99)).tolist()
    )
    entered = np.zeros(len(delays), np.int64)
    passage = Passage(entered, (delays * 1e6).astype(np.int64), delays < 0, np.arange(len(delays)))
    told = passage_figures(passage)["pdv_ms"]
    pdv = passage.delay_ms - passage.delay_ms.min()
    assert list(told.values()) == np.percentile(pdv, (50, 90, 95, 99)).tolist() and not missing
