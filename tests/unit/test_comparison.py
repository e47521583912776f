"""Comparing two runs: what differs is named, on the right link, and chance is not taken for a difference."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from comparison_samples import LINKS, check, leg, principle, target, timings, write

from testbed.comparison import compare_runs
from testbed.comparison.model import Kind
from testbed.comparison.page import write_page
from testbed.comparison.spread import Delays, chance_of_losses
from testbed.comparison.text import comparison_lines
from testbed.errors import UsageError

COUNTS = {"lost", "reordered", "lost in the worst 15 s"}


def lines(before: Path, after: Path) -> str:
    return "\n".join(comparison_lines(compare_runs(before, after)))


def test_two_runs_of_the_same_are_no_difference_whatever_the_seed(tmp_path: Path) -> None:
    first = write(tmp_path / "first", seed=0)
    for seed in range(1, 40):
        found = compare_runs(first, write(tmp_path / str(seed), seed=seed))
        assert not found.is_different, comparison_lines(found)
        assert len(found.scenarios[0].figures) == 5 * len(LINKS) + 9 + 7  # links, end to end, timings
    assert comparison_lines(found, only_changes=True) == ["no difference"]


def test_twenty_milliseconds_more_on_one_link_are_that_link_and_what_the_call_felt(tmp_path: Path) -> None:
    before = write(tmp_path / "before", topology={"links": {"er": {"delay": 5}}})
    after = write(tmp_path / "after", seed=2, extra_ms={"er": 20}, topology={"links": {"er": {"delay": 25}}})
    (one,) = compare_runs(before, after).scenarios
    assert [(f.what, f.name, f.figure) for f in one.different_figures] == [
        ("end to end", "audio", "median delay"),
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
    assert one.is_different is different and {f.figure for f in one.figures} == {*COUNTS, "median delay"}
    assert "the rig was too slow in the run after: median delays count from 10.5 ms on" in lines(*pair)


def different(before: Path, after: Path) -> set[tuple[str, str]]:
    (one,) = compare_runs(before, after).scenarios
    assert not one.told
    return {(figure.name, figure.figure) for figure in one.different_figures}


def told(before: Path, after: Path) -> list[tuple[str, str, str, str]]:
    (one,) = compare_runs(before, after).scenarios
    assert not one.different_figures
    return [(change.kind, change.what, change.before, change.after) for change in one.told]


def test_ten_milliseconds_of_jitter_on_one_link_are_that_link_and_the_receivers_jitter(tmp_path: Path) -> None:
    found = different(write(tmp_path / "a", extra_ms={"er": 40}), write(tmp_path / "b", jitter_ms={"er": 10}))
    assert found == {
        ("er", "mean delay change"),
        ("er", "p90 less median"),
        ("audio", "mean delay change"),
        ("audio", "mean delay change in the worst 15 s"),
        ("audio", "interarrival jitter"),
        ("audio", "p90 less median"),
    }


def test_jitter_alike_is_no_difference_whatever_the_seed(tmp_path: Path) -> None:
    first = write(tmp_path / "first", jitter_ms={"er": 10})
    for seed in range(2, 30):
        assert not different(first, write(tmp_path / str(seed), seed=seed, jitter_ms={"er": 10}))


@pytest.mark.parametrize(("packets", "found"), [(3, False), (38, True)])
def test_five_percent_of_packets_reordered_are_a_difference_and_a_few_are_not(
    tmp_path: Path, packets: int, found: bool
) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", reordered={"er": packets, "": packets})
    assert different(*pair) == ({("er", "reordered"), ("audio", "reordered")} if found else set())


def test_as_many_losses_in_a_row_as_there_were_alone_are_a_difference(tmp_path: Path) -> None:
    alone = write(tmp_path / "a", lost={"er": 30})
    assert different(alone, write(tmp_path / "b", lost={"er": 30}, together=5)) == {("er", "lost right after another")}


def test_more_losses_in_the_worst_quarter_of_a_minute_are_a_difference(tmp_path: Path) -> None:
    windows = [{"ratio": 0.0, "lost": lost, "packets": 750, "from_ns": 0, "windows": 900} for lost in (3, 60)]
    pair = (write(tmp_path / str(w["lost"]), whole={"loss_15s": w}) for w in windows)
    assert different(*pair) == {("audio", "lost in the worst 15 s")}


@pytest.mark.parametrize(("mos", "found"), [(4.35, False), (1.5, True)])
def test_a_worse_rating_is_a_difference_beyond_what_a_loss_or_two_make(tmp_path: Path, mos: float, found: bool) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", whole={"mos": mos})
    assert different(*pair) == ({("audio", "MOS")} if found else set())


@pytest.mark.parametrize("name", ["registration", "post-dial delay", "setup", "bye", "TURN allocation"])
def test_what_takes_so_much_longer_that_no_agent_was_held_up_for_it_is_a_difference(tmp_path: Path, name: str) -> None:
    key = {"post-dial delay": "post_dial_delay_ms", "TURN allocation": "turn_allocate_ms"}.get(name, f"{name}_ms")
    before = write(tmp_path / "a")
    assert different(before, write(tmp_path / "b", waited=timings(**{key: 2 * timings()[key] + 200}))) == {
        ("alice", name)
    }
    assert not different(before, write(tmp_path / "c", waited=timings(**{key: timings()[key] + 60})))


def test_a_setup_twice_as_long_is_a_difference_unless_agents_were_held_up_for_as_long(tmp_path: Path) -> None:
    slow = timings(setup_ms=600)
    assert different(write(tmp_path / "a"), write(tmp_path / "b", waited=slow)) == {("alice", "setup")}
    busy = write(tmp_path / "c", waited=slow, held_up_ms=100)
    assert not different(tmp_path / "a", busy)
    assert "alice: setup 300 ms -> 600 ms (+300; spread " in lines(tmp_path / "a", tmp_path / "b")


def test_where_links_lose_packets_a_retransmission_is_no_difference(tmp_path: Path) -> None:
    lossy = {"links": {"er": {"shape": {"loss": "1%", "burst_loss": None}}}}
    seen = leg(observed={**leg()["observed"], "links": [{"link": "er"}]})
    before = write(tmp_path / "a", topology=lossy, legs=(seen,))
    again = write(tmp_path / "b", topology=lossy, legs=(seen,), waited=timings(setup_ms=1800))
    assert not different(before, again)
    later = write(tmp_path / "c", topology=lossy, legs=(seen,), waited=timings(setup_ms=9000))
    assert different(before, later) == {("alice", "setup")}
    hopeless = {"links": {"er": {"shape": {"loss": "0%", "burst_loss": {"enter": 0.5, "leave": 0.5, "loss": 1.0}}}}}
    (one,) = compare_runs(before, write(tmp_path / "d", topology=hopeless, legs=(seen,))).scenarios
    assert any("timings are not compared" in note for note in one.not_compared)


def test_what_a_party_no_longer_waits_for_is_one_line(tmp_path: Path) -> None:
    gone = write(tmp_path / "b", waited=timings(setup_ms=None, post_dial_delay_ms=None, bye_ms=None))
    assert told(write(tmp_path / "a"), gone) == [
        ("timing", "alice waited for", "post-dial delay 100 ms setup 300 ms", "no other")
    ]


@pytest.mark.parametrize(("silence_ms", "found"), [(900.0, False), (9000.0, True)])
def test_a_longer_silence_after_a_change_during_the_call_is_a_difference(
    tmp_path: Path, silence_ms: float, found: bool
) -> None:
    pair = [
        write(tmp_path / str(each), checks=(check("during", {"audio": {"alice -> bob": {"silence_ms": each}}}),))
        for each in (700.0, silence_ms)
    ]
    assert different(*pair) == ({("change 1", "silence")} if found else set())


def test_a_target_missed_because_delays_grew_is_told(tmp_path: Path) -> None:
    before = write(tmp_path / "a", targets=(target("met", 16),))
    after = write(tmp_path / "b", extra_ms={"er": 40}, targets=(target("missed", 56),))
    (one,) = compare_runs(before, after).scenarios
    assert [(change.kind, change.before, change.after) for change in one.told] == [
        ("target", "met (16, limit 50)", "missed (56, limit 50)")
    ]


def test_a_target_missed_because_of_one_packet_is_chance_and_of_many_is_told(tmp_path: Path) -> None:
    name = "burst_loss_200ms_percent"
    before = write(tmp_path / "a", targets=(target("met", 0, name, 10),))
    after = write(tmp_path / "b", lost={"": 1}, targets=(target("missed", 10, name, 10),))
    (one,) = compare_runs(before, after).scenarios
    assert not one.is_different and "by no more than chance explains: target ours" in one.notes[0]
    worse = write(tmp_path / "c", lost={"": 50}, targets=(target("missed", 30, name, 10),))
    (one,) = compare_runs(before, worse).scenarios
    assert [change.kind for change in one.told] == ["target"]


def test_an_equal_figure_judged_otherwise_is_told_and_one_that_was_not_judged_is_not(tmp_path: Path) -> None:
    before = write(tmp_path / "a", targets=(target("met", 16),))
    assert told(before, write(tmp_path / "b", targets=(target("missed", 16, limit=10),)))[0][0] == "target"
    assert not told(before, write(tmp_path / "c", targets=(target("unknown", 16),)))


def test_legs_checks_principles_streams_and_links_that_came_or_went_are_told(tmp_path: Path) -> None:
    more = (leg(), leg(media="video"))
    before = write(
        tmp_path / "a",
        legs=more,
        checks=(check("audio"), check("relays", {"alice -> bob": [1]})),
        principles=(principle("holds"),),
    )
    after = write(
        tmp_path / "b",
        checks=(check("audio", verdict="FAIL"), check("relays", {"alice -> bob": [2]})),
        principles=(principle("broken"),),
        stream={"to": None, "end_to_end": None},
        links=LINKS[:2],
    )
    assert told(before, after) == [
        ("leg", "leg video alice -> edge", "PASS, DELIVERED", "not there"),
        ("check", "check audio", "PASS (because)", "FAIL (because)"),
        ("check", "relays alice -> bob", "1", "2"),
        ("stream", "stream audio alice -> edge", "arrived", "not there"),
        ("stream", "stream audio alice -> nobody", "not there", "arrived nowhere"),
        ("principle", "principle P1", "holds", "broken (seen)"),
        ("link", "links with media", "ms-edge1", "no other"),
    ]


def test_a_principle_that_an_incomplete_capture_does_not_tell_is_a_note(tmp_path: Path) -> None:
    before = write(tmp_path / "a", principles=(principle("holds"),))
    after = write(tmp_path / "b", principles=(principle("cannot tell"),), complete=False)
    assert not told(before, after)
    (one,) = compare_runs(before, after).scenarios
    assert "a capture is incomplete" in one.notes[0] and "losses, reordering, MOS" in one.not_compared[0]
    assert not COUNTS & {figure.figure for figure in one.figures}


def test_times_that_are_not_trusted_are_not_compared_and_that_is_said(tmp_path: Path) -> None:
    slow = write(
        tmp_path / "b",
        timing=False,
        jitter_ms={"er": 1},
        waited=timings(setup_ms=5000),
        whole={"mos": 1.0},
        targets=(target("missed", 99),),
    )
    before = write(tmp_path / "a", extra_ms={"er": 4}, targets=(target("met", 19),))
    assert not compare_runs(before, slow).is_different
    baseline = comparison_lines(compare_runs(before, slow), only_changes=True)
    assert baseline[0] == "no difference" and "1 of 1 scenarios" in baseline[1]
    assert "spreads, jitter, MOS, timings and targets of delay are not compared" in lines(before, slow)


def test_of_a_run_whose_rig_broke_no_more_than_that_is_told(tmp_path: Path) -> None:
    broken = write(tmp_path / "b", verdict="ERROR", legs=(leg(verdict="FAIL"),), waited=timings(setup_ms=9000))
    assert told(write(tmp_path / "a"), broken) == [("verdict", "verdict", "PASS (why)", "ERROR (why)")]
    for name in ("verdict.json", "manifest.json", "quality.json"):
        (broken / "a-b" / name).unlink()
    assert told(tmp_path / "a", broken)[0][3].startswith("ERROR")


def test_what_differs_at_one_place_is_one_line_and_the_call_comes_before_the_links(tmp_path: Path) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", jitter_ms={"er": 10}, waited=timings(setup_ms=3000))
    shown = [line.split(":")[0].strip() for line in lines(*pair).splitlines()[1:]]
    assert shown == ["end to end, alice -> edge (audio)", "alice", "link er, er -> next"]


def test_every_key_of_the_json_is_described(tmp_path: Path) -> None:
    pair = write(tmp_path / "a"), write(tmp_path / "b", extra_ms={"er": 9}, verdict="FAIL", topology={"x": 1})
    document = compare_runs(*pair).as_json()
    page = (Path(__file__).parents[2] / "results" / "README.md").read_text(encoding="utf-8")
    described = page.split("### compare --json")[1].split("\n## ")[0]
    version = re.search(r"`format` \| (\d+)", described)
    assert version and document["format"] == int(version[1])
    (scenario,) = document["scenarios"]
    for part in (document, scenario, scenario["told"][0], scenario["figures"][0]):
        assert not [key for key in part if f"`{key}`" not in described and f"`{key}[]`" not in described]
    kinds = {change["kind"] for change in (*scenario["told"], *scenario["configured"])}
    assert kinds == {"verdict", "configured"} and all(f"`{kind}`" in described for kind in get_args(Kind))


def test_scenarios_of_one_run_alone_are_a_difference_and_single_scenarios_compare(tmp_path: Path) -> None:
    before, after = write(tmp_path / "a"), write(tmp_path / "b")
    assert not compare_runs(before, after).is_different
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
