"""The page stands alone, hides nothing, invents nothing, and can be read by everyone."""

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_samples import ALL, BROKEN, NOT_ANNOUNCED, ONWARD, P2P_EXTERNAL, P2P_INTERNAL, UNCAPTURED, Sample, write_run

import testbed.report
from testbed.errors import TestbedError
from testbed.report import write_report
from testbed.report.words import facts, measured, moment, plain, shape_words
from testbed.topology import LinkShape

VOID = {"meta", "br", "link", "img", "hr", "input"}
STYLE = Path(testbed.report.__file__).parent / "templates" / "palette.css"


class Page(HTMLParser):
    """Elements of a page with their attributes, and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tmp_path: Path, *samples: Sample) -> str:
    return write_report(write_run(tmp_path / "run", samples)).read_text(encoding="utf-8")


def test_tags_match_and_ids_are_unique(tmp_path: Path) -> None:
    page = Page(page_of(tmp_path, *ALL))
    assert page.open == []
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert ids.most_common(1)[0][1] == 1


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    text = page_of(tmp_path, *ALL)
    page = Page(text)
    assert not page.all("link") + page.all("img") + page.all("iframe")
    assert not [attributes for _, attributes in page.elements if "src" in attributes]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_link_leads_to_the_page_itself_or_a_file_of_the_run(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", ALL)
    page = Page(write_report(directory).read_text(encoding="utf-8"))
    ids = {attributes.get("id") for _, attributes in page.elements}
    for anchor in page.all("a"):
        address = anchor["href"] or ""
        if address.startswith("#"):
            assert address[1:] in ids
        else:
            assert (directory / address.replace("%40", "@")).is_file()


def test_the_page_has_landmarks_and_headings_in_order(tmp_path: Path) -> None:
    page = Page(page_of(tmp_path, *ALL))
    assert [len(page.all(tag)) for tag in ("header", "main", "footer", "h1")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_header_cell_says_its_scope(tmp_path: Path) -> None:
    page = Page(page_of(tmp_path, *ALL))
    assert all(attributes.get("scope") for attributes in page.all("th"))


def test_what_scrolls_can_be_reached_by_keyboard(tmp_path: Path) -> None:
    scrolling = [a for _, a in Page(page_of(tmp_path, *ALL)).elements if a.get("class") == "scroll"]
    assert scrolling
    assert all(a.get("tabindex") == "0" and (a.get("aria-label") or a.get("aria-labelledby")) for a in scrolling)


def test_markup_in_a_reason_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    text = page_of(tmp_path, replace(NOT_ANNOUNCED, reason="<script>alert(1)</script>", title="a & <b>"))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a &amp; &lt;b&gt;" in text


def test_verdicts_are_told_by_word_and_sign(tmp_path: Path) -> None:
    text = page_of(tmp_path, *ALL)
    for sign, word in (("✓", "PASS"), ("✕", "FAIL"), ("?", "INCONCLUSIVE"), ("!", "ERROR")):
        assert f'<span aria-hidden="true">{sign}</span> {word}' in text


def test_a_red_scenario_is_open_and_a_green_one_closed(tmp_path: Path) -> None:
    details = Page(page_of(tmp_path, P2P_INTERNAL, NOT_ANNOUNCED)).all("details")
    is_open = {one["id"]: "open" in one for one in details if one.get("class") == "scenario"}
    assert is_open == {"online-p2p-internal": False, "online-conference-internal-not-announced": True}


def test_the_first_difference_from_the_prediction_is_marked_once(tmp_path: Path) -> None:
    text = page_of(tmp_path, NOT_ANNOUNCED)
    assert text.count("first difference from the prediction") == 1
    row = text.split("first difference from the prediction")[0].rsplit("<tr", 1)[1]
    assert "core-fw-er" in row
    assert "first difference" not in page_of(tmp_path / "2", P2P_INTERNAL)


def test_the_change_that_was_applied_is_told(tmp_path: Path) -> None:
    assert "removed <code>announcements.o365-er</code>" in page_of(tmp_path, NOT_ANNOUNCED)


def test_a_negative_control_tells_whether_it_turned_red_for_the_right_reason(tmp_path: Path) -> None:
    page = page_of(tmp_path, NOT_ANNOUNCED)
    assert "<strong>it does.</strong>" in page
    assert "<br><span>as its file says</span>" in page
    for index, wrong in enumerate((replace(NOT_ANNOUNCED, reason="timeout"), replace(NOT_ANNOUNCED, verdict="PASS"))):
        page = page_of(tmp_path / str(index), wrong)
        assert "it does not." in page
        assert '<br><span class="differs">not as its file says</span>' in page
        assert "1 otherwise than its file says" in page
    assert "egative control" not in page_of(tmp_path / "green", P2P_INTERNAL)


def test_the_head_counts_scenarios_by_verdict_and_controls_by_their_file(tmp_path: Path) -> None:
    page = " ".join(page_of(tmp_path, P2P_INTERNAL, NOT_ANNOUNCED).split())
    head = page[page.index("<h1>") : page.index('<dl class="dateline"')]
    assert "1 scenario:" in head and "FAIL" not in head
    assert '1 negative control: <span class="tally">all as their files say</span>' in head


def test_a_degraded_run_says_so_and_why(tmp_path: Path) -> None:
    text = page_of(tmp_path, UNCAPTURED)
    assert "Degraded." in text
    assert "wire lateness p99 7.2 ms is over 5 ms" in text
    assert "Degraded." not in page_of(tmp_path / "2", P2P_INTERNAL)


def test_a_broken_scenario_has_a_reason_and_no_picture(tmp_path: Path) -> None:
    text = page_of(tmp_path, BROKEN)
    assert "turnserver ended with status 255" in text
    assert "No picture: there is no manifest" in text
    assert "<svg" not in text
    assert "not measured" in text


def test_drops_that_nobody_could_see_are_not_called_none(tmp_path: Path) -> None:
    assert "Drops at the firewalls: not measured." in page_of(tmp_path, replace(P2P_INTERNAL, drops=None))
    assert "No firewall dropped a packet." in page_of(tmp_path / "2", P2P_INTERNAL)


def test_a_run_without_scenarios_still_gives_a_page(tmp_path: Path) -> None:
    assert "0 scenarios" in page_of(tmp_path)


def test_the_page_says_that_it_reproduces_history(tmp_path: Path) -> None:
    assert "retired on 31 July 2021" in page_of(tmp_path, P2P_INTERNAL)


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", ALL)
    first = write_report(directory).read_bytes()
    assert write_report(directory).read_bytes() == first


def test_events_are_listed_in_time_and_a_cut_last_line_is_left_out(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    line = {"type": "agent", "agent": "alice", "line": "event", "event": "established", "call": "c1", "t_ns": 5}
    later = {**line, "event": "terminated", "t_ns": 1_500_000_005}
    lines = [json.dumps(line), json.dumps(later), '{"type": "agent", "age']
    (directory / P2P_INTERNAL.directory / "events.jsonl").write_text("\n".join(lines))
    text = write_report(directory).read_text()
    assert "established: call c1" in text
    assert ">1.500</td><td>alice</td><td>terminated: call c1" in text


def test_a_broken_line_before_the_last_is_an_error(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    (directory / P2P_INTERNAL.directory / "events.jsonl").write_text('{"type":\n{}\n')
    with pytest.raises(TestbedError, match=r"events\.jsonl: line 1: not JSON"):
        write_report(directory)


def test_achieved_shapes_stand_beside_configured_ones(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    assert "<td>delay 9ms, jitter 1ms (normal), DSCP set to 0</td><td>not measured</td>" in _one_line(directory)
    constants = dict.fromkeys(("r_default", "equipment_impairment", "loss_robustness", "burst_ratio"), 1.0)
    link = {"packets": 5, "lost": 0, "delay_mean_ns": 9_200_000, "delay_std_ns": 1_000}
    quality: dict[str, Any] = {
        **{name: [] for name in ("streams", "timings", "targets", "assessment")},
        "format": 1,
        "scenario": "online/p2p-internal",
        "trusted": {"timing": True, "complete": True, "reasons": []},
        "links": {"ce-inet-transit1": {"forward": link}},
        "rtt_told_by_agents": None,
        "e_model": {**constants, "dejitter_buffer_ms": 40.0},
        "outcomes": {},
    }
    (directory / P2P_INTERNAL.directory / "quality.json").write_text(json.dumps(quality))
    achieved = "packets: 5; lost: 0; delay mean: 9.2 ms; delay std: 1 µs"
    assert f"<td>delay 9ms, jitter 1ms (normal), DSCP set to 0</td><td>{achieved}</td>" in _one_line(directory)


def _one_line(directory: Path) -> str:
    return write_report(directory).read_text(encoding="utf-8").replace("\n", "")


def test_missing_numbers_are_never_zero() -> None:
    assert (measured(None), measured(0), measured(12345), measured(1.25)) == ("not measured", "0", "12,345", "1.2")
    assert (plain(None), plain(0), plain(False), plain([])) == ("not measured", "0", "no", "none")
    assert moment(None) == "not measured"


def test_facts_carry_the_unit_of_their_name() -> None:
    document = {
        "wire": {"lateness_ns": {"p99": 7_213_456}},
        "memory_bytes": 8 << 30,
        "phases": {"call_ns": 2_500_000_000},
    }
    assert facts(document) == (("wire lateness p99", "7.21 ms"), ("memory", "8.0 GiB"), ("phases call", "2.500 s"))


def test_what_is_empty_is_none_in_words() -> None:
    assert (plain({}), plain([]), plain(None)) == ("none", "none", "not measured")
    assert plain({"wire": {}, "agents": {"alice": 1}}) == "wire: none; agents alice: 1"
    assert facts({}) == ()


def test_the_matrix_sets_article_reading_and_observation_side_by_side(tmp_path: Path) -> None:
    page = " ".join(page_of(tmp_path, ONWARD).split())
    _, cell, reading, observed = page.split('<td class="flow-name">signaling</td>')[1].split("<td", 4)[:4]
    assert "≠" in cell and cell.endswith("</span></span>ER</td> ")
    assert "<b>local</b>" in reading and "onprem-front-end" in reading and "<b>ER</b>" in reading
    assert observed.strip() == 'class="">local → ER</td>'
    assert '<span class="small">X4</span>' in page
    stray = replace(P2P_INTERNAL, contradictions=["X1"], article={"media": {"alice": "expressroute"}})
    assert "read otherwise: </span></span>ER" in page_of(tmp_path / "stray", stray)
    assert "not as read: </span>Internet" in page_of(tmp_path / "red", NOT_ANNOUNCED)


def test_relays_of_a_row_without_a_call_are_not_asked_about(tmp_path: Path) -> None:
    page = page_of(tmp_path, replace(P2P_INTERNAL, checks=[]))
    assert page.count(">—</td>\n") == 2
    assert ">nothing seen</td>" not in page


def test_the_matrix_shows_relays_and_the_pair_whether_asked_for_or_not(tmp_path: Path) -> None:
    page = page_of(tmp_path, P2P_EXTERNAL, P2P_INTERNAL, BROKEN)
    for cell in ("2", "alice relay (on-edge1) – carol relay (on-edge2)", "0", "alice host – bob host", "not measured"):
        assert f">{cell}</td>" in page, cell
    unseen = replace(P2P_EXTERNAL, checks=[{**check, "observed": None} for check in P2P_EXTERNAL.checks])
    assert page_of(tmp_path / "unseen", unseen).count(">nothing seen</td>") == 4


def test_a_run_that_was_planned_and_not_judged_has_a_page_without_picture(tmp_path: Path) -> None:
    page = page_of(tmp_path, replace(P2P_EXTERNAL, legs=[], drops={}, verdict="ERROR", reason="the capture died"))
    assert "No picture: no leg was judged" in page and "the capture died" in page


def test_of_several_predicted_paths_the_one_that_was_taken_is_shown(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    (manifest,) = directory.glob("*/manifest.json")
    document = json.loads(manifest.read_text())
    signaling = document["plan"]["predicted"][0]
    links = signaling["forward"][:-1]
    document["plan"]["predicted"].insert(0, {**signaling, "forward": links, "return_": links[::-1]})
    manifest.write_text(json.dumps(document))
    page = write_report(directory).read_text(encoding="utf-8")
    assert page.count("or 1 other path") == 1
    assert "first difference from the prediction" not in page


def test_a_shape_says_only_what_it_does() -> None:
    assert shape_words(LinkShape()) == "unshaped"
    assert shape_words(LinkShape(delay="20ms", rate="2Mbit", loss="1%")) == "delay 20ms, loss 1%, rate 2Mbit"  # type: ignore[arg-type]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _themes() -> dict[str, dict[str, str]]:
    style = STYLE.read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block)) for block in style.split(":root {")[1:3])
    return {"light": light, "dark": {**light, **dark}}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(theme: str) -> None:
    colours = _themes()[theme]
    inks = ("ink", "soft", "link", "media", "signaling", "bad", "good", "doubt", "broken")
    grounds = ("paper", "raised", "customer", "internet", "expressroute", "microsoft", "pstn")
    low = {
        (ink, ground): round(contrast, 2)
        for ink in inks
        for ground in grounds
        if (contrast := _contrast(colours[ink], colours[ground])) < 4.5
    }
    assert not low
    assert _contrast(colours["on-mark"], colours["bad"]) >= 4.5


def test_every_cell_of_the_principles_leads_to_its_evidence(tmp_path: Path) -> None:
    text = page_of(tmp_path, *ALL)
    cells = [one for one in Page(text).all("a") if "data-evidence" in one]
    assert [cell["href"] for cell in cells] == [f"#online-p2p-external-{name}" for name in ("p3", "p4", "er-not-used")]
    ids = {attributes.get("id") for _, attributes in Page(text).elements}
    assert all((cell["href"] or "")[1:] in ids for cell in cells)
    assert "frame 17 on er-pe1-msee1" in text
    assert "P1 (no conference)" in text


def test_a_run_without_principles_has_no_table_of_them(tmp_path: Path) -> None:
    assert 'id="principles"' not in page_of(tmp_path, P2P_INTERNAL)


def test_a_leg_that_must_cross_a_link_says_which(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [P2P_EXTERNAL])
    (verdict,) = run.glob("*/verdict.json")
    told = json.loads(verdict.read_text(encoding="utf-8"))
    told["legs"][0]["expected"]["over"] = ["ms-near-ms-far"]
    verdict.write_text(json.dumps(told), encoding="utf-8")
    assert "<br>over ms-near-ms-far</td>" in write_report(run).read_text(encoding="utf-8")
