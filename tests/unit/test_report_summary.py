"""The matrix says what the packets did, and says so when that is not what the article prints."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_samples import (
    ALL,
    BROKEN,
    NOT_ANNOUNCED,
    ONWARD,
    P2P_EXTERNAL,
    P2P_INTERNAL,
    Leg,
    Sample,
    write_run,
)
from rich.console import Console

from testbed.errors import TestbedError
from testbed.report.summary import SummaryRow, broken_principles, reason_lines, summary_rows, summary_table


def row_of(tmp_path: Path, sample: Sample) -> SummaryRow:
    return summary_rows(write_run(tmp_path / "run", [sample]))[0]


def observed(row: SummaryRow) -> dict[tuple[str, str], str | None]:
    return {(cell.flow, cell.party): cell.observed for cell in row.cells}


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


def test_an_observed_path_that_is_not_as_read_disagrees(tmp_path: Path) -> None:
    row = row_of(tmp_path, NOT_ANNOUNCED)
    media, signaling = row.cell("media", "alice"), row.cell("signaling", "alice")
    assert media is not None
    assert signaling is not None
    assert (media.article, media.reading, media.observed, media.agrees) == (
        "ER",
        "ER → Microsoft",
        "Internet → Microsoft",
        False,
    )
    assert (signaling.agrees, signaling.article_differs, media.article_differs) == (True, False, False)


def test_either_of_two_paths_that_the_article_allows_may_be_read(tmp_path: Path) -> None:
    sample = replace(NOT_ANNOUNCED, article={"media": {"alice": "internet or expressroute"}})
    cell = row_of(tmp_path, sample).cell("media", "alice")
    assert cell is not None
    assert (cell.article, cell.article_differs) == ("Internet or ER", False)
    sample = replace(sample, article={"media": {"alice": "internet or local"}})
    cell = row_of(tmp_path / "other", sample).cell("media", "alice")
    assert cell is not None
    assert cell.article_differs


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
    lines = [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[2] == ["ON-1", "online/p2p-internal", "alice", "signaling", "ER", "ER", "PASS"]
    assert lines[3] == ["media", "local", "local"]
    assert ["media", "ER", "Internet", "→", "Microsoft", "(≠", "ER", "→", "Microsoft)"] in lines
    [reason] = reason_lines(rows)
    assert reason.plain.startswith(f"FAIL {NOT_ANNOUNCED.name}: ")
    assert "crossed internet" in reason.plain


def test_broken_principles_are_told_beside_the_matrix(tmp_path: Path) -> None:
    rows = summary_rows(write_run(tmp_path / "run", [P2P_INTERNAL, P2P_EXTERNAL]))
    assert broken_principles(rows).endswith(": online/p2p-external ER-")
    assert broken_principles(rows[:1]) == ""


def screen(rows: list[SummaryRow], width: int = 80) -> list[str]:
    """Return what a terminal shows of the matrix."""
    console = Console(file=io.StringIO(), width=width)
    console.print(summary_table(rows))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def test_a_scenarios_name_folds_behind_its_dashes_only(tmp_path: Path) -> None:
    long = replace(NOT_ANNOUNCED, name="asymmetric/microsoft-initiated-no-snat-remedy-route-scoping@circuit-down")
    lines = screen(summary_rows(write_run(tmp_path / "run", [long])))
    start, end = lines[1].index("Scenario"), lines[1].index("Party")
    cells = [line[start:end].strip() for line in lines[2:]]
    assert "".join(cells) == long.name
    assert all(cell[-1] in "/-@" for cell in [cell for cell in cells if cell][:-1])


def test_the_whole_catalogue_is_readable_at_80_columns(tmp_path: Path) -> None:
    lines = screen(summary_rows(write_run(tmp_path / "run", ALL)))
    assert not [line for line in lines if len(line) > 80 or "…" in line]


def test_the_article_its_reading_and_the_observed_way_stand_side_by_side(tmp_path: Path) -> None:
    row = row_of(tmp_path, ONWARD)
    signaling, media = row.cell("signaling", "alice"), row.cell("media", "alice")
    assert signaling is not None
    assert media is not None
    assert (signaling.article, signaling.article_differs, signaling.reading, signaling.observed) == (
        "ER",
        True,
        "local → ER",
        "local → ER",
    )
    assert (media.article_differs, media.reading) == (False, "ER → Microsoft")
    assert row.contradictions == ("X4",)
    lines = [line.split() for line in screen([row], 120)]
    assert lines[2][2:] == ["alice", "signaling", "≠", "ER", "local", "→", "ER", "PASS"]
    assert lines[3][0] == "X4"
    assert lines[-1][:2] == ["≠:", "read"]


def test_an_onward_leg_that_strays_is_seen_in_the_partys_row(tmp_path: Path) -> None:
    onward = replace(ONWARD.legs[1], walk="dc-edge core fw-internet ce-inet transit1 msborder ms-near ms-lan on-fe")
    cell = row_of(tmp_path, replace(ONWARD, legs=[ONWARD.legs[0], onward])).cell("signaling", "alice")
    assert cell is not None
    assert (cell.reading, cell.observed, cell.agrees) == ("local → ER", "local → Internet", False)


def test_media_that_died_has_no_path(tmp_path: Path) -> None:
    died = Leg("media", "alice", "online-edge", ["customer"], [], "alice lan-a", disposition="DENIED_BY_RULE")
    cell = row_of(tmp_path, replace(NOT_ANNOUNCED, legs=[died])).cell("media", "alice")
    assert cell is not None
    assert (cell.observed, cell.agrees) == ("dies (local)", False)


def test_what_was_not_judged_is_read_and_not_measured(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    path = directory / P2P_INTERNAL.directory / "verdict.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"legs": [], "verdict": "ERROR"}))
    cells = summary_rows(directory)[0].cells
    assert [cell.reading for cell in cells] == ["ER", "local", "ER", "local"]
    assert {(cell.observed, cell.agrees) for cell in cells} == {(None, None)}


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
