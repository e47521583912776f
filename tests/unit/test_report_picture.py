"""The picture follows the plan and the packets: nothing is drawn that was not there, nothing red is hidden."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_samples import (
    ALL,
    ASYMMETRIC,
    FEDERATED,
    NOT_ANNOUNCED,
    P2P_EXTERNAL,
    P2P_INTERNAL,
    UNCAPTURED,
    Sample,
    write_run,
)

from testbed.catalogue import find_scenario
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.report.drops import node_drops
from testbed.report.layout import lay_out
from testbed.report.picture import draw_picture
from testbed.report.places import Rectangle, free_place, words_in
from testbed.report.record import ScenarioRecord, read_record
from testbed.report.scene import Line
from testbed.report.traffic import LinkTraffic, Strand, scenario_traffic
from testbed.spec.reader import read_spec

DRAWN = [sample for sample in ALL if sample.manifest]


def record_of(tmp_path: Path, sample: Sample) -> ScenarioRecord:
    return read_record(write_run(tmp_path / "run", [sample])).scenarios[0]


def plan_of(record: ScenarioRecord) -> Plan:
    assert record.plan is not None
    return record.plan


def links_of(tmp_path: Path, sample: Sample) -> dict[str, LinkTraffic]:
    record = record_of(tmp_path, sample)
    return {one.link.name: one for one in scenario_traffic(record, plan_of(record)).links}


def strand_of(link: LinkTraffic, flow: str) -> Strand:
    return next(strand for strand in link.strands if strand.flow == flow)


def picture_of(tmp_path: Path, sample: Sample) -> ElementTree.Element:
    record = record_of(tmp_path, sample)
    plan = plan_of(record)
    traffic = scenario_traffic(record, plan)
    return ElementTree.fromstring(
        draw_picture(plan, traffic, node_drops(record.verdict) or (), record.segments, identity="p").replace(
            ' xmlns="http://www.w3.org/2000/svg"', ""
        )
    )


def group_titles(picture: ElementTree.Element, css: str) -> list[str]:
    groups = [group for group in picture.iter("g") if css in group.get("class", "").split()]
    return [title.text or "" for group in groups for title in group.findall("title")]


def test_forward_on_a_link_is_away_from_where_the_leg_starts(tmp_path: Path) -> None:
    links = links_of(tmp_path, NOT_ANNOUNCED)
    # alice is end A of her own link, and msborder end A of the one that leads on.
    assert (strand_of(links["alice-lan-a"], "media").forward, strand_of(links["alice-lan-a"], "media").backward) == (
        750,
        748,
    )
    # site-a is end A here, though packets come from lan-a.
    backwards = strand_of(links["site-a-lan-a"], "media")
    assert (backwards.forward, backwards.backward) == (748, 750)


def test_answers_on_another_way_are_drawn_one_way_and_marked(tmp_path: Path) -> None:
    links = links_of(tmp_path, ASYMMETRIC)
    out, back = strand_of(links["ce-er-er-pe1"], "signaling"), strand_of(links["ce-inet-transit1"], "signaling")
    assert (out.forward, out.backward, out.forbidden) == (6, 0, False)
    # ce-inet is end A, and the answers come from transit1.
    assert (back.forward, back.backward, back.forbidden) == (0, 6, True)


def test_packets_on_a_forbidden_link_get_a_mark_beside_the_colour(tmp_path: Path) -> None:
    picture = picture_of(tmp_path, NOT_ANNOUNCED)
    marked = [
        group.findtext("title") or ""
        for group in picture.iter("g")
        if any("warning" in shape.get("class", "") for shape in group.findall("polygon"))
    ]
    assert [title.split(":")[0] for title in marked if title] == ["ce-inet-transit1", "transit1-msborder"]
    assert "FORBIDDEN" in (picture.findtext("desc") or "")


def test_a_right_path_has_no_warning_mark(tmp_path: Path) -> None:
    picture = picture_of(tmp_path, P2P_INTERNAL)
    assert not [shape for shape in picture.iter("polygon") if "warning" in shape.get("class", "")]


def test_another_customers_network_is_forbidden_too(tmp_path: Path) -> None:
    leg = replace(FEDERATED.legs[2], walk="alice lan-a site-a core fw-er ce-er er-pe1 msee1 fab-er-pe1 fab-ce-er")
    links = links_of(tmp_path, replace(FEDERATED, legs=[replace(leg, walk=f"{leg.walk} fab-fw-er", verdict="FAIL")]))
    assert strand_of(links["fab-fw-er-fab-ce-er"], "media").forbidden
    assert not strand_of(links["alice-lan-a"], "media").forbidden


def test_a_leg_that_says_only_where_it_must_never_be_is_marked_there(tmp_path: Path) -> None:
    links = links_of(tmp_path, replace(NOT_ANNOUNCED, legs=[replace(NOT_ANNOUNCED.legs[1], crosses=[])]))
    assert strand_of(links["ce-inet-transit1"], "media").forbidden
    assert not strand_of(links["alice-lan-a"], "media").forbidden


def test_drops_of_a_run_that_could_not_be_judged_are_unknown(tmp_path: Path) -> None:
    unjudged = replace(P2P_INTERNAL, verdict="ERROR", drops={})
    assert node_drops(record_of(tmp_path / "1", unjudged).verdict) is None
    assert node_drops(record_of(tmp_path / "2", P2P_INTERNAL).verdict) == ()
    assert node_drops(None) is None


def test_the_way_that_must_stay_silent_is_drawn_silent(tmp_path: Path) -> None:
    links = links_of(tmp_path, P2P_INTERNAL)
    states = {name: links[name].state for name in ("ce-inet-transit1", "transit1-msborder", "core-fw-internet")}
    assert set(states.values()) == {"silent"}
    assert "silent: no packet of any leg" in [
        text.text for text in picture_of(tmp_path / "2", P2P_INTERNAL).iter("text")
    ]


def test_a_link_that_was_not_captured_is_never_called_silent(tmp_path: Path) -> None:
    assert links_of(tmp_path, UNCAPTURED)["ce-inet-transit1"].state == "not captured"
    words = [text.text for text in picture_of(tmp_path / "2", UNCAPTURED).iter("text")]
    assert "not captured" in words
    assert "no packet seen; not all captured" in words
    assert "silent: no packet of any leg" not in words


def test_a_predicted_link_without_a_packet_is_shown_as_missing(tmp_path: Path) -> None:
    leg = replace(NOT_ANNOUNCED.legs[1], packets=(0, 0))
    links = links_of(tmp_path, replace(NOT_ANNOUNCED, legs=[leg]))
    assert links["ce-er-er-pe1"].state == "expected"
    assert not links["ce-er-er-pe1"].strands


def test_a_drop_is_marked_at_its_firewall_with_its_rules(tmp_path: Path) -> None:
    titles = group_titles(picture_of(tmp_path, P2P_EXTERNAL), "drop-mark")
    assert titles == [
        "fw-internet dropped 9 packets (rule default: 9)",
        "hotel-nat dropped 6 packets (rule default: 5, rule invalid: 1)",
    ]


def test_a_telephone_that_takes_part_is_drawn_with_what_was_captured_on_its_link(tmp_path: Path) -> None:
    link = links_of(tmp_path, UNCAPTURED)["on-med-phone"]
    assert (link.state, link.captured, link.strands) == ("not judged", 10, ())
    assert "10 captured" in [text.text for text in picture_of(tmp_path / "2", UNCAPTURED).iter("text")]
    blind = replace(UNCAPTURED, uncaptured=["on-med-phone"])
    assert links_of(tmp_path / "3", blind)["on-med-phone"].state == "not captured"


def test_a_trunk_whose_gateway_runs_nothing_is_not_drawn(tmp_path: Path) -> None:
    record = record_of(tmp_path, UNCAPTURED)
    plan = plan_of(record)
    idle = plan.model_copy(update={"jobs": tuple(job for job in plan.jobs if job.name != "on-med")})
    drawn = [{one.link.name for one in scenario_traffic(record, each).links} for each in (plan, idle)]
    assert ["on-med-phone" in names for names in drawn] == [True, False]


def test_only_what_takes_part_is_drawn(tmp_path: Path) -> None:
    names = [title.split(":")[0] for title in group_titles(picture_of(tmp_path, P2P_INTERNAL), "node")]
    assert {"alice", "bob", "core", "on-fe", "fw-internet"} <= set(names)
    assert not {"carol", "dave", "on-conf", "phone", "tail-fw"} & set(names)


@pytest.mark.parametrize("sample", DRAWN, ids=lambda sample: sample.row)
def test_boxes_hold_their_nodes_and_do_not_overlap(tmp_path: Path, sample: Sample) -> None:
    record = record_of(tmp_path, sample)
    plan = plan_of(record)
    links = [one.link for one in scenario_traffic(record, plan).links]
    shown = {end.node for link in links for end in (link.a, link.b)}
    layout = lay_out([node for node in plan.nodes if node.name in shown], links, [("pstn", "pstn")])
    for node in plan.nodes:
        if node.name in shown:
            box = next(box for box in layout.boxes if box.segment == node.segment)
            x, y = layout.nodes[node.name]
            assert box.x < x < box.x + box.width
            assert box.y < y < box.y + box.height
    for index, one in enumerate(layout.boxes):
        assert one.x >= 0
        assert one.y >= 0
        assert one.x + one.width <= layout.width
        assert one.y + one.height <= layout.height
        for other in layout.boxes[index + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = one.y + one.height <= other.y or other.y + other.height <= one.y
            assert apart_x or apart_y, (one.segment, other.segment)
    places = [(round(x), round(y)) for x, y in layout.nodes.values()]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("sample", DRAWN, ids=lambda sample: sample.row)
def test_the_same_directory_gives_the_same_picture(tmp_path: Path, sample: Sample) -> None:
    one, other = picture_of(tmp_path / "1", sample), picture_of(tmp_path / "2", sample)
    assert ElementTree.tostring(one) == ElementTree.tostring(other)


def test_a_picture_has_a_name_and_a_description(tmp_path: Path) -> None:
    picture = picture_of(tmp_path, P2P_INTERNAL)
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby") == "p-title p-desc"
    description = picture.findtext("desc") or ""
    assert "Media was seen on 6 links: alice-lan-a (750 one way, 748 back)" in description
    assert "Silent, as they must be: " in description


def test_two_networks_that_hang_on_the_internet_stand_side_by_side() -> None:
    plan = make_plan(read_spec(find_scenario("nat/symmetric-symmetric")), duration_ns=1, seed=1)
    shown = ("carol", "hotel-lan", "hotel-nat", "transit1", "grace", "home-nat", "transit2", "msborder")
    nodes = [node for node in plan.nodes if node.name in shown]
    links = [link for link in plan.links if {link.a.node, link.b.node} <= {*shown}]
    at = lay_out(nodes, links).nodes
    for behind in (("carol", "hotel-nat", "transit1"), ("grace", "home-nat", "transit2")):
        assert len({at[name][0] for name in behind}) == 1
    assert at["carol"][0] != at["grace"][0]
    assert at["transit1"][1] < at["transit2"][1], "the way from the first to Microsoft would lead through the second"


def hidden(picture: ElementTree.Element, *, in_the_middle: bool = False) -> float:
    """Return how much of the words in a picture its tags hide, or would hide in the middle of their links."""
    words, area = list(words_in(picture)), 0.0
    for link in (group for group in picture.iter("g") if "link" in group.get("class", "").split()):
        tag, cable = link.find("rect"), link.find("line")
        if tag is not None and cable is not None:
            x, y, width, height = (float(tag.get(key, 0)) for key in ("x", "y", "width", "height"))
            x1, y1, x2, y2 = (float(cable.get(key, 0)) for key in ("x1", "y1", "x2", "y2"))
            middle = ((x1 + x2) / 2, (y1 + y2) / 2) if in_the_middle else (x + width / 2, y + height / 2)
            mine = Rectangle.around(middle, width / 2, height / 2)
            area += sum(mine.overlap(other) for other in words)
    return area


@pytest.mark.parametrize("sample", [P2P_EXTERNAL, NOT_ANNOUNCED, FEDERATED], ids=lambda sample: sample.row)
def test_a_tag_on_a_link_hides_no_words(tmp_path: Path, sample: Sample) -> None:
    record = record_of(tmp_path, sample)
    plan = plan_of(record)
    traffic = scenario_traffic(record, plan)
    missing = tuple(
        replace(one, strands=(), state="expected") if one.link.segment_kind == "microsoft" else one
        for one in traffic.links
    )
    drawn = draw_picture(plan, replace(traffic, links=missing), (), record.segments, identity="p")
    picture = ElementTree.fromstring(drawn.replace(' xmlns="http://www.w3.org/2000/svg"', ""))
    assert "none seen" in [text.text for text in picture.iter("text")]
    assert hidden(picture) == 0
    assert hidden(picture, in_the_middle=True) > 0


def test_a_tag_without_a_free_place_hides_as_little_as_it_can() -> None:
    line = Line((0.0, 0.0), (100.0, 0.0))
    assert free_place(line, (20, 14), []) == (50.0, 0.0)
    left_half = Rectangle(0, -5, 60, 5)
    assert free_place(line, (20, 14), [left_half]) == (72.0, 0.0)
    assert free_place(line, (20, 14), [Rectangle(0, -5, 75, 5), Rectangle(75, -1, 100, 1)]) == (82.0, 0.0)
