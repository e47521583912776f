"""The wire's compiled core decides, draws and counts as `wire` does, to the last bit."""

import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.emulation import wire_core
from testbed.emulation.wire import LatenessHistogram, LinkDirection, bleach_dscp
from testbed.emulation.wire_core import Core, Direction, Health
from testbed.topology import LinkShape

MS = 1_000_000
has_compiler = any(shutil.which(name) for name in ("cc", "gcc", "clang"))
pytestmark = pytest.mark.skipif(not has_compiler, reason="there is no C compiler: the wire is Python's here")


@pytest.fixture(scope="module")
def core() -> Core:
    return Core()  # `make setup` built it: it fails where that did not


def milliseconds(most: int) -> st.SearchStrategy[str]:
    return st.integers(0, most).map(lambda ms: f"{ms}ms")


def percent(most: int) -> st.SearchStrategy[str]:
    return st.integers(0, most).map(lambda share: f"{share}%")


shapes = st.fixed_dictionaries(
    {
        "delay": milliseconds(50),
        "jitter": milliseconds(20),
        "jitter_distribution": st.sampled_from(["normal", "uniform", "pareto"]),
        "loss": percent(30),
        "reorder": percent(30),
        "duplicate": percent(30),
        "queue_packets": st.integers(1, 40),
    },
    optional={
        "rate": st.sampled_from(["100kbit", "1Mbit", "10Mbit"]),
        "burst_loss": st.fixed_dictionaries({"enter": percent(20), "leave": percent(60), "loss": percent(100)}),
    },
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 1 << 30), st.lists(st.tuples(milliseconds(9), st.integers(20, 1500)), max_size=80))
def test_both_cores_treat_every_packet_alike(
    core: Core, written: dict[str, Any], seed: int, packets: list[tuple[str, int]]
) -> None:
    shape = LinkShape.model_validate(written)
    ours, compiled = LinkDirection(shape, Random(seed)), Direction.of(shape, Random(seed))
    now_ns = 1_790_000_000_123_456_789
    due: list[int] = []
    for gap, size in packets:
        now_ns += int(gap.removesuffix("ms")) * MS
        for _ in [at for at in due if at <= now_ns]:
            ours.leave()
            core.leave(compiled)
        due = [at for at in due if at > now_ns]
        expected = ours.admit(now_ns, size)
        assert core.admit(compiled, now_ns, size) == expected
        due += expected
    assert compiled.counters() == ours.counters()
    assert compiled.class_drops() == ours.class_drops() == {}


classes = st.lists(
    st.fixed_dictionaries(
        {"queue_packets": st.integers(1, 9)}, optional={"rate": st.sampled_from(["50kbit", "300kbit", "2Mbit"])}
    ),
    min_size=1,
    max_size=7,
)
marked = st.lists(st.tuples(st.integers(0, 9_000), st.integers(20, 1500), st.integers(0, 9)), max_size=120)


@settings(max_examples=80, deadline=None)
@given(shapes, classes, st.integers(0, 1 << 30), marked)
def test_both_cores_give_every_turn_alike(
    core: Core,
    written: dict[str, Any],
    queues: list[dict[str, Any]],
    seed: int,
    packets: list[tuple[int, int, int]],
) -> None:
    sorted_by = [{**queue, "dscp": [index]} for index, queue in enumerate(queues)]
    shape = LinkShape.model_validate({"rate": "1Mbit", **written, "classes": sorted_by})
    ours, compiled = LinkDirection(shape, Random(seed)), Direction.of(shape, Random(seed))
    now_ns, due, served = 1_790_000_000_123_456_789, list[tuple[int, int]](), list[int]()

    def pass_time(until_ns: int) -> None:
        while (turn_ns := ours.turn_ns()) is not None and turn_ns <= until_ns:
            assert core.turn_ns(compiled) == turn_ns
            expected = ours.take()
            assert core.take(compiled) == expected
            due.append(expected[:2])
            served.append(expected[2])
        for _, index in [each for each in due if each[0] <= until_ns]:
            ours.leave(index)
            core.leave(compiled, index)
        due[:] = [each for each in due if each[0] > until_ns]

    for number, (gap_us, size, mark) in enumerate(packets, 1):
        now_ns += gap_us * 1000
        pass_time(now_ns)
        assert core.admit(compiled, now_ns, size, mark, number) == ours.admit(now_ns, size, mark, number) == ()
    pass_time(1 << 62)
    assert core.turn_ns(compiled) is ours.turn_ns() is None
    counted = ours.counters()
    assert compiled.counters() == counted
    assert compiled.class_drops() == ours.class_drops()
    assert sum(ours.class_drops().values()) == counted["queue_drops"]
    assert (
        len(served)
        == counted["sent"]
        == counted["received"] + counted["duplicated"] - counted["lost"] - (counted["queue_drops"])
    )


@pytest.mark.parametrize("distribution", ["normal", "uniform", "pareto"])
def test_thousands_of_draws_stay_in_step(core: Core, distribution: str) -> None:
    shape = LinkShape.model_validate(
        {"delay": "50ms", "jitter": "5ms", "jitter_distribution": distribution, "loss": "2%"}
    )
    ours, compiled = LinkDirection(shape, Random("1 link forward")), Direction.of(shape, Random("1 link forward"))
    for n in range(5_000):  # several times the generator's 624 words
        assert core.admit(compiled, n * 20 * MS, 200) == ours.admit(n * 20 * MS, 200)


def test_another_seed_is_another_fate(core: Core) -> None:
    shape = LinkShape.model_validate({"loss": "50%"})
    one, other = (Direction.of(shape, Random(seed)) for seed in (1, 2))
    assert [core.admit(one, n, 99) for n in range(64)] != [core.admit(other, n, 99) for n in range(64)]


@given(st.binary(min_size=0, max_size=60), st.booleans())
def test_both_bleach_alike(core: Core, content: bytes, is_ipv4: bool) -> None:
    frame = content[:12] + b"\x08\x00" + content[12:] if is_ipv4 else content
    assert core.bleach_dscp(frame) == bleach_dscp(frame)


@given(st.lists(st.integers(-5, 1 << 40), max_size=50))
def test_both_count_lateness_alike(core: Core, late_ns: list[int]) -> None:
    health, ours = Health(), LatenessHistogram()
    for late in late_ns:
        core.count_lateness(health, late)
        ours.add(late)
    assert health.lateness().summary() == ours.summary()
    assert health.lateness().count == len(late_ns)


def test_a_library_that_is_not_ours_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libwire_core.so").write_bytes(b"not a library")
    for path in (tmp_path / "libwire_core.so", tmp_path / "missing.so"):
        with pytest.raises(OSError):
            Core(path)
    monkeypatch.setattr(wire_core, "_VERSION", -1)
    with pytest.raises(OSError, match="other sources; run `make setup`"):
        Core()
    assert wire_core.load() is None
