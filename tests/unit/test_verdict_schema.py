"""The published schemas of a run's files are current, and name every key that such a file has."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import Wire
from quality_samples import SHAPED, send, shaped_plan
from story_samples import half_way_wire, write_story

from testbed.errors import TestbedError
from testbed.report import write_report
from testbed.report.schema import FOLDER, schema_text, schemas


def unnamed(value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str = "") -> list[str]:
    """Return keys of *value* that *schema* does not name."""
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            schema = whole["$defs"][option["$ref"].rpartition("/")[2]]
        elif option.get("type") in ("array", "object"):
            schema = option
    if isinstance(value, list):
        return [name for one in value for name in unnamed(one, schema.get("items", {}), whole, at)]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    found = [f"{at}.{name}" for name in value if name not in schema["properties"]]
    for name, described in schema["properties"].items():
        found += unnamed(value.get(name), described, whole, f"{at}.{name}")
    return found


@pytest.mark.parametrize(("name", "schema"), schemas().items())
def test_the_committed_schemas_are_current(name: str, schema: dict[str, Any]) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == schema_text(schema), "run: python -m testbed.report.schema"


def test_there_is_a_schema_for_each_committed_one() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(schemas())


@pytest.mark.parametrize(
    ("name", "place"), [("run.json", ""), ("verdict.json", "test-one"), ("quality.json", "test-one")]
)
def test_every_key_of_a_file_is_in_its_schema(name: str, place: str, tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(60), lambda link, number: 10_000_000 if link == "er" else 0)
    write_story(tmp_path, wire)
    document, schema = json.loads((tmp_path / place / name).read_text()), schemas()[name]
    assert unnamed(document, schema, schema) == []
    assert unnamed({**document, "new": 1}, schema, schema)[:1] == [".new"]


def test_figures_that_the_schema_forbids_are_told_in_one_line(tmp_path: Path) -> None:
    write_story(tmp_path, half_way_wire())
    path = tmp_path / "test-one" / "quality.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "streams": 3}))
    with pytest.raises(TestbedError, match=r"quality\.json: streams: Input should be a valid tuple"):
        write_report(tmp_path)


def test_outcomes_and_principles_are_closed_lists() -> None:
    described = schemas()["verdict.json"]["$defs"]["PrincipleJudged"]["properties"]
    assert "broken" in described["outcome"]["enum"]
    assert described["principle"]["enum"][-2:] == ["ER+", "ER-"]
