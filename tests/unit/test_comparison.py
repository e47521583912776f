"""Comparing two runs: what differs is named, on the right link, and chance is not taken for a difference."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from testbed.comparison import compare_runs
from testbed.comparison.page import write_page
from testbed.comparison.spread import Delays, chance_of_losses
from testbed.comparison.text import comparison_lines
from testbed.errors import UsageError

LINKS = ("alice-core", "er", "ms-edge1")


def stretch(name: str, delays_ms: list[float], lost: int = 0, together: float = 1) -> dict[str, Any]:
    """Return a stretch as quality.json has it."""
    ordered = sorted(delays_ms)
    told = {"median": ordered[len(ordered) // 2], "p90": ordered[int(0.9 * len(ordered))]}
    count = len(delays_ms)
    return {
        "what": "link",
        "name": name,
        "from": name,
        "to": "next",
        "problem": None,
        "packets_entered": count + lost,
        "packets_left": count,
        "lost": lost,
        "loss_runs": {"count": lost / together, "longest": together, "weighted_mean": together} if lost else None,
        "one_way_delay_ms": told,
    }


def leg(**changed: Any) -> dict[str, Any]:
    seen = {"forward": ["alice-core", "er"], "return": ["er", "alice-core"]}
    parts = {"flow": "media", "from": "alice", "to": "edge", "verdict": "PASS", "disposition": "DELIVERED"}
    return {**parts, "observed": seen, "predicted": {"agrees": True, "alternatives": 1}, **changed}


def write(
    directory: Path,
    *,
    seed: int = 1,
    extra_ms: dict[str, float] | None = None,
    lost: dict[str, int] | None = None,
    together: float = 1,
    legs: tuple[dict[str, Any], ...] = (),
    verdict: str = "PASS",
    timing: bool = True,
    topology: dict[str, Any] | None = None,
) -> Path:
    """Write as much of a run as is compared."""
    random = Random(seed)
    parts, whole = [], [0.0] * 250
    for name in LINKS:
        delays = [5 + (extra_ms or {}).get(name, 0) + abs(random.gauss(0, 0.3)) for _ in whole]
        whole = [sum(both) for both in zip(whole, delays, strict=True)]
        parts.append(stretch(name, delays, (lost or {}).get(name, 0), together))
    stream = {"from": "alice", "to": "edge", "end_to_end": stretch("whole", whole), "stretches": parts}
    place = directory / "a-b"
    place.mkdir(parents=True)
    entry = {"name": "a/b", "scenario": "a/b", "directory": "a-b"}
    documents: dict[Path, Any] = {
        directory / "run.json": {"format": 1, "scenarios": [entry]},
        place / "manifest.json": {"scenario": "a/b", "in_force": {}, "topology": topology or {}, "seed": 1},
        place / "verdict.json": {
            "verdict": verdict,
            "reason": "why",
            "legs": list(legs or (leg(),)),
            "health": {"wire": {"lateness_ns": {"p99": 200_000 if timing else 10_500_000}}},
        },
        place / "quality.json": {"streams": [stream], "trusted": {"timing": timing, "complete": True, "reasons": []}},
    }
    for path, document in documents.items():
        path.write_text(json.dumps(document))
    return directory


def lines(before: Path, after: Path) -> str:
    return "\n".join(comparison_lines(compare_runs(before, after)))


def test_two_runs_of_the_same_are_no_difference_whatever_the_seed(tmp_path: Path) -> None:
    first = write(tmp_path / "first", seed=0)
    for seed in range(1, 40):
        found = compare_runs(first, write(tmp_path / str(seed), seed=seed))
        assert not found.is_different, comparison_lines(found)
        assert len(found.scenarios[0].figures) == 3 * (len(LINKS) + 1)
    assert comparison_lines(found, only_changes=True) == ["no difference"]


def test_twenty_milliseconds_more_on_one_link_are_that_link_and_what_the_call_felt(tmp_path: Path) -> None:
    before = write(tmp_path / "before", topology={"links": {"er": {"delay": 5}}})
    after = write(tmp_path / "after", seed=2, extra_ms={"er": 20}, topology={"links": {"er": {"delay": 25}}})
    (one,) = compare_runs(before, after).scenarios
    assert [(f.what, f.name, f.figure) for f in one.different_figures] == [
        ("end to end", "end to end", "median delay"),
        ("link", "er", "median delay"),
    ]
    assert round(one.different_figures[1].after - one.different_figures[1].before) == 20
    assert [(c.what, c.before, c.after) for c in one.configured] == [("topology.links.er.delay", "5", "25")]
    assert "link er, er -> next: median delay" in lines(before, after)


@pytest.mark.parametrize(("more_ms", "different"), [(0.5, False), (5.0, True)])
def test_less_than_the_rig_itself_moves_is_no_difference(tmp_path: Path, more_ms: float, different: bool) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", extra_ms={"er": more_ms})
    assert compare_runs(*pair).is_different is different


def test_a_wide_spread_takes_a_greater_difference() -> None:
    narrow, wide = Delays(250, 20, 0.5), Delays(250, 20, 30)
    assert narrow.median_needs_ms(narrow) == 1.0 and wide.median_needs_ms(wide) > 10
    assert Delays(25_000, 20, 30).median_needs_ms(wide) < wide.median_needs_ms(wide)


@pytest.mark.parametrize(
    ("lost", "packets", "chance"),
    [((0, 0), (9, 9), 1.0), ((1, 0), (1, 1), 1.0), ((3, 1), (4, 4), 0.4857142857), ((10, 0), (10, 10), 1.0825e-05)],
)
def test_losses_are_compared_by_fishers_exact_test(
    lost: tuple[int, int], packets: tuple[int, int], chance: float
) -> None:
    assert chance_of_losses(lost, packets) == pytest.approx(chance, rel=1e-4)


@pytest.mark.parametrize(
    ("lost", "together", "different"), [(1, 1, False), (40, 1, True), (40, 1.5, True), (40, 40, False)]
)
def test_a_lost_packet_and_one_outage_are_chance_and_many_losses_are_not(
    tmp_path: Path, lost: int, together: float, different: bool
) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", lost={"er": lost}, together=together)
    (one,) = compare_runs(*pair).scenarios
    assert [f.name for f in one.different_figures] == (["er"] if different else [])
    outage = "link er, er -> next: 0 packets lost before and 40 after, some 40 one after the other"
    assert [note.split(":")[0] + ":" + note.split(":")[1] for note in one.notes] == ([outage] if together == 40 else [])


def test_a_verdict_a_way_and_an_end_that_changed_are_told(tmp_path: Path) -> None:
    dead = leg(disposition="HALF_SEEN_FLOW", observed={"forward": ["alice-core"], "return": []})
    told = lines(write(tmp_path / "a"), write(tmp_path / "b", verdict="FAIL", legs=(dead,)))
    assert "verdict: PASS (why) -> FAIL (why)" in told
    assert "media alice -> edge: disposition: DELIVERED -> HALF_SEEN_FLOW" in told
    assert "media alice -> edge: way back: er alice-core -> nothing seen" in told


def test_another_of_several_predicted_ways_is_ices_choice_and_no_difference(tmp_path: Path) -> None:
    either = {"agrees": True, "alternatives": 2}
    before = write(tmp_path / "a", legs=(leg(predicted=either),))
    after = write(tmp_path / "b", legs=(leg(predicted=either, observed={"forward": ["inet"], "return": ["inet"]}),))
    found = compare_runs(before, after)
    assert not found.is_different and "ICE chooses" in found.scenarios[0].notes[0]


@pytest.mark.parametrize(("more_ms", "different"), [(9, False), (20, True)])
def test_where_the_rig_was_too_slow_a_delay_must_differ_by_more_than_its_lateness(
    tmp_path: Path, more_ms: float, different: bool
) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", extra_ms={"er": more_ms}, timing=False)
    (one,) = compare_runs(*pair).scenarios
    assert one.is_different is different and {f.figure for f in one.figures} == {"lost", "median delay"}
    assert "the rig was too slow in the run after: median delays count from 10.5 ms on" in lines(*pair)


def test_scenarios_of_one_run_alone_are_a_difference_and_single_scenarios_compare(tmp_path: Path) -> None:
    before, after = write(tmp_path / "a"), write(tmp_path / "b")
    run = json.loads((after / "run.json").read_text())
    run["scenarios"][0]["name"] = "a/b@control"
    (after / "run.json").write_text(json.dumps(run))
    found = compare_runs(before, after)
    assert (found.only_before, found.only_after, found.is_different) == (("a/b",), ("a/b@control",), True)
    assert [one.scenario for one in compare_runs(before / "a-b", after / "a-b").scenarios] == ["a/b"]


def test_the_page_tells_the_same_and_escapes(tmp_path: Path) -> None:
    odd = leg(disposition="<b>")
    found = compare_runs(write(tmp_path / "a"), write(tmp_path / "b", legs=(odd,), extra_ms={"er": 9}))
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;" in page and "<h1>Different</h1>" in page and "http" not in page
    assert json.loads(json.dumps(found.as_json()))["is_different"] is True


def test_what_is_no_results_directory_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a results directory"):
        compare_runs(tmp_path, tmp_path)
