"""The page on the catalogue: a paragraph and a picture a row, from runs that passed; and the one that is committed."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_samples import NOT_ANNOUNCED, P2P_EXTERNAL, P2P_INTERNAL, write_run

from testbed.catalogue import list_scenarios
from testbed.errors import UsageError
from testbed.report.catalogue_page import write_catalogue_page

DOCS = Path(__file__).parents[2] / "docs"


def test_each_scenario_has_a_paragraph_and_a_picture_that_stands_alone_and_a_control_has_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [P2P_EXTERNAL, P2P_INTERNAL, NOT_ANNOUNCED])
    write_catalogue_page(tmp_path / "docs", [run])
    text = (tmp_path / "docs" / "catalogue.md").read_text(encoding="utf-8")
    assert text.index("### ON-1: ") < text.index("### ON-2: ")
    assert "Signaling: alice ER, carol Internet; Media: alice ER, carol Internet." in text
    picture = (tmp_path / "docs" / "pictures" / "online-p2p-external.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(picture)
    assert NOT_ANNOUNCED.row not in text
    variables = set(re.findall(r"var\((--[a-z]+)\)", picture))
    assert all(f"{name}:" in picture for name in variables)


def test_the_last_run_of_a_scenario_counts_and_old_pictures_go(tmp_path: Path) -> None:
    first, last = write_run(tmp_path / "a", [P2P_EXTERNAL]), write_run(tmp_path / "b", [P2P_EXTERNAL])
    old = tmp_path / "docs" / "pictures" / "gone.svg"
    old.parent.mkdir(parents=True)
    old.write_text("<svg/>")
    write_catalogue_page(tmp_path / "docs", [first, last])
    assert not old.exists()
    assert (tmp_path / "docs" / "catalogue.md").read_text().count("### ON-2") == 1


def test_a_run_that_failed_is_no_catalogue(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [replace(NOT_ANNOUNCED, controls=None)])
    with pytest.raises(UsageError, match="ended FAIL: a catalogue shows what passes"):
        write_catalogue_page(tmp_path / "docs", [run])


def test_the_committed_page_shows_every_scenario_and_pictures_that_exist() -> None:
    text = (DOCS / "catalogue.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert shown
    assert sorted(shown) == sorted(f"pictures/{path.name}" for path in (DOCS / "pictures").glob("*.svg"))
    told = re.findall(r"^`([a-z0-9/-]+)`\.", text, re.MULTILINE)
    assert sorted(told) == sorted(entry.scenario for entry in list_scenarios())
