"""Ways from party to party, leg by leg, in the article's words; and every cell of the catalogue beside its reading."""

import re
from pathlib import Path

import pytest

from testbed.catalogue import list_scenarios
from testbed.readings import Crossing, ReadLeg, Way, observed_crossing, path_word, ways
from testbed.spec.reader import read_scenario

DOCS = Path(__file__).parents[2] / "docs"
ENTRIES = list_scenarios()
LOCAL = Crossing(frozenset({"customer"}))
ER = Crossing(frozenset({"customer", "expressroute", "microsoft"}))
INTERNET = Crossing(frozenset({"internet", "microsoft"}))
HOMES = {"alice": "onprem", "dave": "online"}


def leg(from_: str, to: str, crossing: Crossing, flow: str = "media", after: str = "") -> ReadLeg:
    return ReadLeg(flow, from_, to, crossing, crossing, after)


def told(found: list[Way]) -> list[tuple[str, str, str]]:
    assert all(way.observed == way.reading and way.agrees for way in found)
    return [(way.party, way.flow, way.reading) for way in found]


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["customer"], "local"),
        (["customer", "expressroute", "microsoft"], "ER"),
        (["microsoft", "internet"], "Internet"),
        (["customer", "internet", "expressroute", "microsoft"], "ER + Internet"),
        (["microsoft"], "Microsoft"),
        (["customer", "microsoft"], "customer + Microsoft"),
        ([], "nothing seen"),
    ],
)
def test_a_path_is_named_by_the_wide_segments_it_crossed(kinds: list[str], word: str) -> None:
    assert path_word(kinds) == word


def test_a_way_goes_on_through_a_relay_to_the_other_party_and_back() -> None:
    legs = [leg("alice", "onprem-edge", LOCAL), leg("onprem-edge", "dave", INTERNET)]
    assert told(ways(legs, HOMES)) == [("alice", "media", "local → Internet"), ("dave", "media", "Internet → local")]


def test_a_relay_that_both_use_joins_no_ways() -> None:
    legs = [leg("alice", "online-edge", ER), leg("dave", "online-edge", INTERNET)]
    assert told(ways(legs, HOMES)) == [("alice", "media", "ER"), ("dave", "media", "Internet")]


def test_signaling_goes_on_behind_the_home_server_but_its_cell_ends_there() -> None:
    legs = [
        leg("alice", "onprem-front-end", LOCAL, "signaling"),
        leg("onprem-front-end", "onprem-edge", LOCAL, "signaling"),
        leg("onprem-edge", "online-front-end", ER, "signaling"),
    ]
    [way] = ways(legs, HOMES)
    assert (way.reading, way.cell) == ("local → ER", frozenset({"customer"}))
    assert [stage.end for stage in way.stages] == ["onprem-front-end", "onprem-edge", "online-front-end"]
    assert ways([legs[0], legs[2]], HOMES)[0].reading == "local → ER", "a Front End hands to its own Edge"
    [guest] = ways(legs, {"alice": None})
    assert guest.cell == {"customer", "expressroute", "microsoft"}


def test_a_way_that_comes_back_over_expressroute_has_it_twice() -> None:
    legs = [leg("dave", "online-front-end", ER, "signaling"), leg("online-front-end", "onprem-edge", ER, "signaling")]
    assert told(ways(legs, HOMES)) == [("dave", "signaling", "ER → ER")]


def test_a_proxy_is_on_the_way_to_the_home_server() -> None:
    legs = [leg("dave", "proxy", LOCAL, "signaling"), leg("proxy", "online-front-end", INTERNET, "signaling")]
    assert path_word(ways(legs, HOMES)[0].cell) == "Internet"


def test_every_leg_is_told_also_those_that_no_partys_lead_to() -> None:
    legs = [leg("alice", "onprem-front-end", LOCAL, "signaling"), leg("cdn", "origin", INTERNET, "stream")]
    assert told(ways(legs, HOMES)) == [("alice", "signaling", "local"), ("cdn", "stream", "Internet")]
    circle = [leg("a", "b", LOCAL, "dns"), leg("b", "a", ER, "dns")]
    assert told(ways(circle, {})) == [("a", "dns", "local → ER")]


def test_a_flow_that_leads_two_ways_is_told_twice() -> None:
    legs = [leg("alice", "online-edge", ER), leg("alice", "dave", LOCAL)]
    assert told(ways(legs, HOMES))[:2] == [("alice", "media", "ER"), ("alice", "media", "local")]


def test_kinds_of_media_are_one_word_and_changes_follow_each_other() -> None:
    both = [leg("alice", "online-edge", ER), leg("alice", "online-edge", INTERNET)]
    assert told(ways(both, HOMES)) == [("alice", "media", "ER + Internet")]
    moved = [leg("alice", "online-edge", ER), leg("alice", "online-edge", INTERNET, after="withdrawn")]
    assert told(ways(moved, HOMES)) == [("alice", "media", "ER then Internet")]
    same = [leg("alice", "online-edge", ER), leg("alice", "online-edge", ER, after="withdrawn")]
    assert told(ways(same, HOMES)) == [("alice", "media", "ER")]


def test_packets_that_die_are_on_no_path() -> None:
    assert observed_crossing(["customer"], "DENIED_BY_RULE").words == "dies (local)"
    assert observed_crossing(["customer"], "DELIVERED").words == "local"
    assert observed_crossing([], "NEVER_SENT").words == "nothing seen"


def test_a_way_otherwise_than_read_does_not_agree() -> None:
    [way] = ways([ReadLeg("media", "alice", "online-edge", ER, INTERNET)], {"alice": None})
    assert (way.reading, way.observed, way.agrees) == ("ER", "Internet", False)
    [way] = ways([ReadLeg("media", "alice", "online-edge", ER)], {"alice": None})
    assert (way.observed, way.agrees) == (None, None)


def test_where_a_cell_is_read_otherwise_the_scenario_names_the_contradiction() -> None:
    otherwise = {e.scenario for e in ENTRIES if any(cell.article_differs for cell in e.cells)}
    assert {"hybrid/conference-online-organiser", "cloud-connector/pstn-internal"} <= otherwise
    assert [e.scenario for e in ENTRIES if e.scenario in otherwise and not e.contradictions] == []


def test_every_cell_of_the_article_is_about_a_way_of_the_catalogue() -> None:
    assert [(e.scenario, cell) for e in ENTRIES for cell in e.cells if cell.way is None] == []


def test_contradictions_are_those_of_the_documentation() -> None:
    rows = re.findall(r"^\| (X\d+) \|.*\| ([^|]*) \|$", (DOCS / "contradictions.md").read_text(), re.MULTILINE)
    named = {e.scenario: set(e.contradictions) for e in ENTRIES}
    assert set().union(*named.values()) <= {number for number, _ in rows}
    for number, where in rows:
        before = ""
        for scenario, suffix in re.findall(r"`(?:([a-z-]+/[a-z0-9-]+)|\.\.\.(-[a-z0-9-]+))`", where):
            before = scenario or before
            assert number in named[before + suffix], (number, before + suffix)


def test_a_contradiction_is_given_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "scenarios" / "own" / "a.toml"
    path.parent.mkdir(parents=True)
    text = (DOCS.parent / "scenarios" / "online" / "p2p-internal.toml").read_text()
    path.write_text(f'contradictions = ["x1"]\n{text}')
    with pytest.raises(Exception, match=r"contradictions\.0") as raised:
        read_scenario(path)
    assert "\n" not in str(raised.value)
