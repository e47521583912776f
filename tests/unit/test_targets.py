"""Targets: strictly below is met, and what cannot be told is never met."""

import json
from math import inf, nan
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from analysis_samples import MEDIA_ER, Wire, make_scenario
from quality_samples import MS, SHAPED, send, shaped_plan

from testbed.comparison import compare_runs
from testbed.errors import SpecError
from testbed.outcome import FailOn, RunOutcome, ScenarioOutcome
from testbed.targets import as_document, parse_targets, read_targets
from testbed.verdict import write_judgement
from testbed.verdict.targets import Trust, judge_targets


def judged(directory: Path, packets: int = 800, lost: tuple[int, ...] = (), er_ms: int = 10, **more: Any) -> Any:
    """Return quality.json of a run with *lost* packets on ExpressRoute."""
    wire = Wire(shaped_plan(*SHAPED))
    delays = {"alice-core": 2 * MS, "er": er_ms * MS}
    send(wire, range(packets), lambda link, n: delays.get(link, 0), lost_on=lambda n: "er" if n in lost else None)
    wire.lost = more.pop("capture_lost", {})
    wire.write(directory, make_scenario(MEDIA_ER), **more)
    write_judgement(directory)
    return json.loads((directory / "quality.json").read_text())


def row(document: Any, path: str, figure: str) -> Any:
    return next(row for row in document["targets"] if row["path"] == path and row["figure"] == figure)


CLIENT, EDGE = "client to Microsoft edge", "customer edge to Microsoft edge"


def test_microsofts_columns() -> None:
    client, edge = read_targets()
    assert [target.path for target in (client, edge)] == [CLIENT, EDGE]
    assert client.limits.model_dump() == {
        "one_way_delay_ms": 50,
        "round_trip_ms": 100,
        "burst_loss_200ms_percent": 10,
        "loss_15s_percent": 1,
        "delay_change_15s_ms": 30,
        "reordered_percent": 0.05,
    }
    assert list(edge.limits.model_dump().values()) == [30, 60, 1, 0.1, 15, 0.01]


def test_a_clean_run_meets_what_it_is_long_enough_to_tell(tmp_path: Path) -> None:
    document = judged(tmp_path)
    for figure in ("one_way_delay_ms", "burst_loss_200ms_percent", "loss_15s_percent", "delay_change_15s_ms"):
        assert row(document, CLIENT, figure)["outcome"] == "met"
    reordered = row(document, EDGE, "reordered_percent")
    assert reordered["outcome"] == "unknown"
    assert reordered["reason"] == "none of 800 packets; below 0.01 % takes more than 10,000"
    assert (
        row(document, CLIENT, "round_trip_ms")["reason"] == "no stream came back by the same links or to the same end"
    )


def test_one_lost_packet_misses_both_burst_targets(tmp_path: Path) -> None:
    document = judged(tmp_path, lost=(400,))
    client = row(document, CLIENT, "burst_loss_200ms_percent")
    assert (client["outcome"], client["observed"], client["packets"]) == ("missed", 10, 10)
    assert row(document, EDGE, "burst_loss_200ms_percent")["outcome"] == "missed"
    assert row(document, CLIENT, "loss_15s_percent")["outcome"] == "met"  # 1 of 750
    assert row(document, EDGE, "loss_15s_percent")["outcome"] == "missed"


def test_eight_lost_packets_in_fifteen_seconds_miss_one_percent_and_seven_do_not(tmp_path: Path) -> None:
    seven = judged(tmp_path / "7", lost=tuple(range(100, 800, 100)))
    eight = judged(tmp_path / "8", lost=tuple(range(20, 750, 100)))
    assert row(seven, CLIENT, "loss_15s_percent")["outcome"] == "met"
    assert row(eight, CLIENT, "loss_15s_percent")["outcome"] == "missed"


def test_a_figure_equal_to_its_limit_misses(tmp_path: Path) -> None:
    document = judged(tmp_path, er_ms=30)
    assert row(document, EDGE, "one_way_delay_ms")["observed"] == 30
    assert row(document, EDGE, "one_way_delay_ms")["outcome"] == "missed"


def test_a_stream_of_which_nothing_arrives_misses_every_loss_target(tmp_path: Path) -> None:
    document = judged(tmp_path, packets=100, lost=tuple(range(100)))  # 2 s: no whole window of 15 s
    for path in (CLIENT, EDGE):
        assert row(document, path, "burst_loss_200ms_percent")["outcome"] == "missed"
        long = row(document, path, "loss_15s_percent")
        assert (long["outcome"], long["observed"], long["reason"]) == ("missed", 100, "all 100 packets were lost")
        assert row(document, path, "one_way_delay_ms")["reason"] == "no packet passed"
    assert document["outcomes"] == {"met": 0, "missed": 4, "unknown": 8}
    assessment = document["assessment"][0]
    assert (assessment["PacketsSent"], assessment["PacketsReceived"], assessment["PacketLossRate"]) == (100, 0, 1)
    assert (assessment["From"], assessment["To"], assessment["AverageJitterInMs"]) == ("alice", "edge1", None)


def test_a_stream_that_dies_before_microsoft_misses_the_part_it_was_on(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(100), lambda link, n: 0, lost_on=lambda n: "alice-core")
    wire.write(tmp_path, make_scenario(MEDIA_ER))
    write_judgement(tmp_path)
    document = json.loads((tmp_path / "quality.json").read_text())
    assert row(document, CLIENT, "burst_loss_200ms_percent")["outcome"] == "missed"
    assert not [one for one in document["targets"] if one["path"] == EDGE]  # none got to the customer's edge


def test_a_dead_stream_differs_from_one_that_arrived(tmp_path: Path) -> None:
    judged(tmp_path / "before", packets=100)
    judged(tmp_path / "after", packets=100, lost=tuple(range(100)))
    found = compare_runs(tmp_path / "before", tmp_path / "after")
    lost = [one for one in found.scenarios[0].figures if (one.what, one.name) == ("end to end", "audio")]
    assert [(one.before, one.after, one.is_different) for one in lost if one.figure == "lost"] == [(0, 100, True)]
    missed = [change.what for change in found.scenarios[0].told if change.kind == "target"]
    assert missed and all("loss" in what for what in missed)
    assert not [note for note in found.scenarios[0].notes if "chance" in note]


def test_a_gap_in_a_capture_may_hide_that_a_stream_arrived(tmp_path: Path) -> None:
    document = judged(tmp_path, packets=100, lost=tuple(range(100)), capture_lost={"ms-edge1": 3})
    stream = document["streams"][0]
    assert (stream["end_to_end"], stream["lost_where"], document["outcomes"]["missed"]) == (None, [], 0)
    assert stream["note"] == "no capture shows its whole way: there is nothing to measure against"
    assert document["assessment"][0]["PacketLossRate"] is None


def part(links: str, delay_ms: float, path: str = CLIENT) -> Any:
    """Return a part of a stream's way, its links by their first letters, with a p90."""
    ends = {"from": f"node-{links[0]}", "to": f"node-{links[-1]}"}
    return {"what": "path", "name": path, "links": list(links), **ends, "one_way_delay_ms": {"p90": delay_ms}}


def stream(sender: str, receiver: str, media: str, *parts: Any) -> Any:
    return {"ssrc": 1, "from": sender, "to": receiver, "media": media, "stretches": parts, "end_to_end": None}


@pytest.mark.parametrize(
    ("others", "observed"),
    [
        ([stream("b", "a", "video", part("ml", 3)), stream("b", "a", "audio", part("ml", 5))], 15),
        ([stream("b", "c", "audio", part("ml", 3)), stream("b", "a", "audio", part("ml", 5))], 15),
        ([stream("b", "a", "video", part("ml", 3)), stream("b", "a", "audio", part("kl", 5))], 15),  # asymmetric
        ([stream("b", "a", "audio", part("kn", 5)), stream("b", "a", "video", part("ml", 3))], 13),
        ([stream("b", "a", "audio", part("kn", 5))], None),  # neither its links nor one of its ends
        ([], None),
    ],
)
def test_a_round_trip_comes_back_as_the_same_media_between_the_same_ends(others: Any, observed: float | None) -> None:
    there = stream("a", "b", "audio", part("lm", 10))
    limits = {"targets": [{"name": "mine", "path": CLIENT, "limits": {"round_trip_ms": 50}}]}
    rows = judge_targets(parse_targets(limits, "x"), [there, *others], Trust(late=(), incomplete={}))
    assert rows[0]["observed"] == observed
    assert rows[0]["outcome"] == ("unknown" if observed is None else "met")


def test_a_late_rig_tells_nothing(tmp_path: Path) -> None:
    wire = {"lateness_ns": {"p50": 1, "p99": 20_000_000, "max": 30_000_000}}
    document = judged(tmp_path, lost=(400,), health={"wire": wire, "agents": {}})
    assert document["outcomes"]["met"] == document["outcomes"]["missed"] == 0
    assert document["trusted"]["timing"] is False
    assert "wire lateness p99 is 20.0 ms" in row(document, CLIENT, "one_way_delay_ms")["reason"]


def test_a_capture_with_gaps_tells_nothing_of_its_link(tmp_path: Path) -> None:
    document = judged(tmp_path, capture_lost={"er": 3})
    assert row(document, EDGE, "burst_loss_200ms_percent")["reason"] == "capture of er lost 3 packets"


def test_a_file_of_ones_own_stands_beside(tmp_path: Path) -> None:
    own = parse_targets({"targets": [{"name": "mine", "path": "expressroute", "limits": {"one_way_delay_ms": 9}}]}, "x")
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(100), lambda link, n: 10 * MS if link == "er" else 0)
    wire.write(tmp_path, make_scenario(MEDIA_ER))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"targets": as_document(own)}))
    assert write_judgement(tmp_path)["targets"]["missed"] == 1
    document = json.loads((tmp_path / "quality.json").read_text())
    assert row(document, "expressroute", "one_way_delay_ms")["target"] == "mine"


def targets_of(limits: Any, path: str = "internet") -> Any:
    return {"targets": [{"name": "a", "path": path, "limits": limits}]}


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({}, "targets: missing"),
        ({"targets": []}, r"own.toml: has no \[\[targets\]\]"),
        (targets_of({"loss_15s_percent": 1}, path="moon"), "targets.0.path: must be 'client to Microsoft edge'"),
        (targets_of({"delay": 3}), "targets.0.limits.delay: unknown key; .*allowed: burst_loss_200ms_percent"),
        (targets_of({}), "targets.0.limits: must have one figure at least: one_way_delay_ms, round_trip_ms"),
        (targets_of({"round_trip_ms": 0}), "targets.0.limits.round_trip_ms: .*greater than 0, not 0"),
        (targets_of({"round_trip_ms": inf}), "targets.0.limits.round_trip_ms: .*finite number, not inf"),
        (targets_of({"one_way_delay_ms": nan}), "targets.0.limits.one_way_delay_ms: .*, not nan"),
        (targets_of({"loss_15s_percent": inf}), "targets.0.limits.loss_15s_percent: .*equal to 100, not inf"),
        (targets_of({"reordered_percent": 101}), "targets.0.limits.reordered_percent: .*equal to 100, not 101"),
    ],
)
def test_bad_targets_get_one_line(document: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as error:
        parse_targets(document, "own.toml")
    assert "\n" not in str(error.value)


TARGETS, PRINCIPLES = FailOn.TARGETS, FailOn.PRINCIPLES


@pytest.mark.parametrize(
    ("fail_on", "missed", "broken", "code"),
    [
        ((TARGETS,), 1, (), 1),
        ((TARGETS,), 0, ("P3",), 0),
        ((PRINCIPLES,), 1, (), 0),
        ((PRINCIPLES,), 0, ("P3",), 1),
        ((TARGETS, PRINCIPLES), 0, ("P3",), 1),
        ((), 1, ("P3",), 0),
    ],
)
def test_missed_targets_and_broken_principles_count_only_where_asked(
    tmp_path: Path, fail_on: tuple[FailOn, ...], missed: int, broken: tuple[str, ...], code: int
) -> None:
    one = ScenarioOutcome(
        name="a",
        scenario="a",
        row="",
        verdict="PASS",
        reason="",
        directory="a",
        duration_s=1,
        media_s=1,
        targets={"met": 3, "missed": missed, "unknown": 2},
        broken=broken,
    )
    assert RunOutcome(tmp_path, fail_on=frozenset(fail_on), scenarios=[one]).exit_code == code


def test_tables_hold_a_row_for_every_stretch(tmp_path: Path) -> None:
    document = judged(tmp_path, packets=100)
    table = pq.read_table(tmp_path / "media_streams.parquet").to_pylist()
    assert len(table) == 1 + len(document["streams"][0]["stretches"])
    assert table[0]["what"] == "end to end"
    assert table[0]["one_way_delay_ms_p99"] == 12
    assert table[0]["loss_15s_ratio"] is None
    links = pq.read_table(tmp_path / "links.parquet").to_pylist()
    assert {"er", "alice-core"} <= {one["link"] for one in links}


def test_an_unreadable_run_keeps_no_figures_of_before(tmp_path: Path) -> None:
    judged(tmp_path, packets=100)
    (tmp_path / "capture.pcapng").unlink()
    verdict = write_judgement(tmp_path)
    assert (verdict["verdict"], verdict["targets"]) == ("ERROR", None)
    assert not list(tmp_path.glob("*.parquet")) and not (tmp_path / "quality.json").exists()


def test_a_run_whose_rig_broke_has_no_figures(tmp_path: Path) -> None:
    judged(tmp_path, packets=100)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"fault": "the wire died"}))
    verdict = write_judgement(tmp_path)
    assert (verdict["verdict"], verdict["reason"], verdict["targets"]) == ("ERROR", "the wire died", None)
    assert not (tmp_path / "quality.json").exists()


def test_targets_in_a_manifest_that_are_no_targets_are_told(tmp_path: Path) -> None:
    judged(tmp_path, packets=100)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"targets": {"targets": 3}}))
    verdict = write_judgement(tmp_path)
    assert verdict["verdict"] == "ERROR"
    assert "cannot be measured" in verdict["reason"]
