"""The matrix says what the packets did, and says so when that is not what the article prints."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import (
    BROKEN,
    NOT_ANNOUNCED,
    P2P_EXTERNAL,
    P2P_INTERNAL,
    Leg,
    Sample,
    write_run,
)
from rich.console import Console

from testbed.errors import TestbedError
from testbed.report.summary import SummaryRow, broken_principles, path_word, reason_lines, summary_rows, summary_table


def row_of(tmp_path: Path, sample: Sample) -> SummaryRow:
    return summary_rows(write_run(tmp_path / "run", [sample]))[0]


def observed(row: SummaryRow) -> dict[tuple[str, str], str | None]:
    return {(cell.flow, cell.party): cell.observed for cell in row.cells}


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        (["customer"], "local"),
        (["customer", "expressroute", "microsoft"], "ER"),
        (["microsoft", "internet"], "Internet"),
        (["customer", "internet", "expressroute", "microsoft"], "ER + Internet"),
        (["microsoft"], "microsoft"),
        ([], "nothing seen"),
    ],
)
def test_a_path_is_named_by_the_wide_segments_it_crossed(kinds: list[str], word: str) -> None:
    assert path_word(kinds) == word


def test_each_party_has_its_own_path(tmp_path: Path) -> None:
    assert observed(row_of(tmp_path, P2P_EXTERNAL)) == {
        ("signaling", "alice"): "ER",
        ("media", "alice"): "ER",
        ("signaling", "carol"): "Internet",
        ("media", "carol"): "Internet",
    }


def test_media_between_two_parties_is_the_path_of_both(tmp_path: Path) -> None:
    cells = observed(row_of(tmp_path, P2P_INTERNAL))
    assert cells["media", "alice"] == cells["media", "bob"] == "local"


def test_an_observed_path_that_is_not_the_articles_disagrees(tmp_path: Path) -> None:
    row = row_of(tmp_path, NOT_ANNOUNCED)
    media, signaling = row.cell("media", "alice"), row.cell("signaling", "alice")
    assert media is not None
    assert signaling is not None
    assert (media.article, media.observed, media.agrees) == ("ER", "Internet", False)
    assert signaling.agrees is True


def test_either_of_two_paths_the_article_allows_agrees(tmp_path: Path) -> None:
    sample = replace(NOT_ANNOUNCED, article={"media": {"alice": "internet or expressroute"}})
    cell = row_of(tmp_path, sample).cell("media", "alice")
    assert cell is not None
    assert (cell.article, cell.agrees) == ("Internet or ER", True)


def test_a_leg_without_packets_is_nothing_seen_and_not_local(tmp_path: Path) -> None:
    silent = Leg("media", "alice", "online-edge", ["customer"], [], "alice lan-a", packets=(0, 0), verdict="FAIL")
    assert observed(row_of(tmp_path, replace(NOT_ANNOUNCED, legs=[silent])))["media", "alice"] == "nothing seen"


def test_a_link_that_is_listed_without_packets_was_not_crossed(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    path = directory / P2P_INTERNAL.directory / "verdict.json"
    verdict = json.loads(path.read_text())
    idle = {"link": "ce-inet-transit1", "segment": "internet", "packets_forward": 0, "packets_return": 0}
    for leg in verdict["legs"]:
        leg["observed"]["links"].append(idle)
    path.write_text(json.dumps(verdict))
    assert set(observed(summary_rows(directory)[0]).values()) == {"ER", "local"}


def test_a_cell_of_the_article_that_no_leg_judged_has_no_observation(tmp_path: Path) -> None:
    cell = row_of(tmp_path, replace(NOT_ANNOUNCED, legs=[])).cell("media", "alice")
    assert cell is not None
    assert (cell.article, cell.observed, cell.agrees) == ("ER", None, None)


def test_a_broken_scenario_keeps_its_row_with_its_reason(tmp_path: Path) -> None:
    row = row_of(tmp_path, BROKEN)
    assert (row.row, row.verdict, row.cells) == ("ON-5", "ERROR", ())
    assert "turnserver ended" in row.reason


def test_the_terminal_table_tells_what_differs_and_why(tmp_path: Path) -> None:
    rows = summary_rows(write_run(tmp_path / "run", [P2P_INTERNAL, NOT_ANNOUNCED]))
    console = Console(file=io.StringIO(), width=200)
    console.print(summary_table(rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "alice: Internet (≠ ER)" in text
    assert "alice: ER (ER)" in text
    [reason] = reason_lines(rows)
    assert reason.plain.startswith(f"FAIL {NOT_ANNOUNCED.name}: ")
    assert "crossed internet" in reason.plain


def test_broken_principles_are_told_beside_the_matrix(tmp_path: Path) -> None:
    rows = summary_rows(write_run(tmp_path / "run", [P2P_INTERNAL, P2P_EXTERNAL]))
    assert broken_principles(rows).endswith(": online/p2p-external ER-")
    assert broken_principles(rows[:1]) == ""


def test_a_scenarios_name_folds_behind_its_dashes_only(tmp_path: Path) -> None:
    long = replace(NOT_ANNOUNCED, name="asymmetric/microsoft-initiated-no-snat-remedy-route-scoping@circuit-down")
    console = Console(file=io.StringIO(), width=80)
    console.print(summary_table(summary_rows(write_run(tmp_path / "run", [long]))))
    cells = [line.split("│")[2].strip() for line in console.file.getvalue().splitlines() if "│" in line]  # type: ignore[attr-defined]
    assert "".join(cells) == long.name
    assert all(cell[-1] in "/-@" for cell in [cell for cell in cells if cell][:-1])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "must be one JSON object, not list"),
        ('{"format": 1, "run": "r"}', "scenarios: Field required"),
        ('{"format": 2, "run": "r", "scenarios": []}', "this version reads format 1"),
    ],
)
def test_a_run_file_that_cannot_be_used_gives_one_clear_line(tmp_path: Path, content: str | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(TestbedError) as raised:
        summary_rows(tmp_path)
    assert problem in str(raised.value)
    assert "run.json" in str(raised.value)
    assert "\n" not in str(raised.value)
