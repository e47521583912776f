"""Ways, ladder and timeline in the page: drawn from the files, and marked where packets ended."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from report_samples import P2P_INTERNAL, write_run
from story_samples import SIGNALING_WAY, call_wire, half_way_wire, write_story

from testbed.report import write_report
from testbed.report.ladder import MOST, Message, draw_ladder, messages
from testbed.report.record import ScenarioRecord, read_record
from testbed.report.story import StoryView, story_view
from testbed.report.ways import Way, hops

SVG = "{http://www.w3.org/2000/svg}"


def record_of(directory: Path, wire: Any = None) -> ScenarioRecord:
    return read_record(write_story(directory, wire)).scenarios[0]


def story_of(directory: Path, wire: Any = None) -> StoryView:
    story = story_view(record_of(directory, wire), None, "test-one")
    assert story is not None
    return story


def way_groups(story: StoryView) -> dict[tuple[str, str], ElementTree.Element]:
    root = ElementTree.fromstring(str(story.ways))
    return {(one.attrib["data-leg"], one.attrib["data-source"]): one for one in root if one.get("data-leg")}


def arrows(group: ElementTree.Element, css: str) -> int:
    return sum(one.get("class") == f"strand {css}" for one in group.iter(f"{SVG}line"))


def test_each_leg_has_both_ways_observed_and_predicted(tmp_path: Path) -> None:
    story = story_of(tmp_path)
    groups = way_groups(story)
    assert set(groups) == {(str(leg), source) for leg in range(3) for source in ("observed", "predicted")}
    observed = groups["0", "observed"]
    assert (arrows(observed, "there"), arrows(observed, "back")) == (len(SIGNALING_WAY), len(SIGNALING_WAY))
    predicted = groups["0", "predicted"]
    assert (arrows(predicted, "there"), arrows(predicted, "back")) == (len(SIGNALING_WAY), 3)
    assert [key for key, group in groups.items() if "shown" in (group.get("class") or "")] == [("0", "observed")]


def test_a_mark_stands_where_packets_ended_and_where_they_were_predicted_to(tmp_path: Path) -> None:
    groups = way_groups(story_of(tmp_path, half_way_wire()))
    for source, words in (
        ("observed", "dropped by rule invalid"),
        ("predicted", "NO_SESSION_ON_RETURN:fw-inet:invalid"),
    ):
        (mark,) = [one for one in groups["0", source].iter() if one.get("data-dropped-at")]
        assert mark.attrib["data-dropped-at"] == "fw-inet"
        assert words in (mark.findtext(f"{SVG}title") or "")


def test_a_leg_that_died_is_shown_first(tmp_path: Path) -> None:
    assert story_of(tmp_path / "dead", half_way_wire()).shown == 0
    wire = call_wire(packets=0)
    wire.drops.clear()
    assert story_of(tmp_path / "none", wire).shown == 0


def test_hops_follow_the_links_from_where_the_leg_starts(tmp_path: Path) -> None:
    plan = record_of(tmp_path).plan
    assert plan is not None
    there = Way(SIGNALING_WAY, ("alice",), None)
    assert next(hops(plan, there)) == ("alice", "core")
    back = Way(SIGNALING_WAY[::-1], ("fe",), None)
    assert list(hops(plan, back))[-1] == ("core", "alice")
    unknown_start = Way(SIGNALING_WAY[1:3], ("nobody",), None)
    assert list(hops(plan, unknown_start)) == [("core", "fw-er"), ("fw-er", "ms")]
    assert list(hops(plan, Way(("alice-core", "ms-fe"), ("alice",), None))) == [("alice", "core")]


def test_the_picture_names_its_links_and_nodes_for_the_replay(tmp_path: Path) -> None:
    text = str(story_of(tmp_path).ways)
    assert {"alice-core", "er", "ms-fe"} <= set(re.findall(r'data-link="([^"]+)"', text))
    assert {"alice", "fw-er", "fe"} <= set(re.findall(r'data-node="([^"]+)"', text))


def test_the_page_carries_the_timeline_packed_and_whole(tmp_path: Path) -> None:
    record = record_of(tmp_path)
    story = story_of(tmp_path / "again")
    data = json.loads(zlib.decompress(base64.b64decode(story.packed)))
    assert record.timeline is not None
    assert data["packets"] == record.timeline["packets"]
    ends = dict(zip(data["links"], data["nodes"], strict=True))
    assert ends["er"] == ["fw-er", "ms"]


def test_the_ladder_has_every_sip_message_with_its_addresses(tmp_path: Path) -> None:
    timeline = record_of(tmp_path).timeline
    assert timeline is not None
    told = messages(timeline)
    assert [(one.sender, one.receiver, one.words) for one in told] == [
        ("alice", "fe", "REGISTER sip:contoso.example"),
        ("fe", "alice", "200 OK"),
    ]
    text = str(story_of(tmp_path / "again").ladder)
    assert all(one.ends in text for one in told)
    assert 'role="img"' in text


def test_a_lost_message_is_marked_and_a_long_ladder_is_cut(tmp_path: Path) -> None:
    one = Message(0.0, "alice", "fe", "INVITE " + "x" * 80, "a → b", 7, lost=True)
    root = ElementTree.fromstring(draw_ladder([one] * (MOST + 5), "test/one", identity="l"))
    groups = [group for group in root if (group.get("class") or "").startswith("message")]
    assert len(groups) == MOST
    assert groups[0].get("class") == "message lost"
    shown = next(text.text for text in groups[0] if text.get("class") == "words")
    assert shown is not None
    assert shown.endswith("…")
    assert "x" * 80 in (groups[0].findtext(f"{SVG}title") or "")


def test_a_run_without_a_timeline_has_a_page_all_the_same(tmp_path: Path) -> None:
    text = write_report(write_run(tmp_path / "run", [P2P_INTERNAL])).read_text(encoding="utf-8")
    assert "<script type" not in text


def test_the_page_shows_what_is_thinned_and_what_there_is(tmp_path: Path) -> None:
    text = write_report(write_story(tmp_path, call_wire(packets=300))).read_text(encoding="utf-8")
    assert "of 600 packets drawn" in text
