"""The published schema of verdict.json is current, and names every key that a verdict has."""

import json
from pathlib import Path
from typing import Any

from story_samples import half_way_wire, write_story

from testbed.report.schema import PATH, schema_text, verdict_schema


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


def test_the_committed_schema_is_current() -> None:
    assert PATH.read_text(encoding="utf-8") == schema_text(), "run: python -m testbed.report.schema"


def test_every_key_of_a_verdict_is_in_the_schema(tmp_path: Path) -> None:
    write_story(tmp_path, half_way_wire())
    verdict = json.loads((tmp_path / "test-one" / "verdict.json").read_text())
    schema = verdict_schema()
    assert unnamed(verdict, schema, schema) == []
    assert unnamed({**verdict, "new": 1}, schema, schema)[:1] == [".new"]


def test_outcomes_and_principles_are_closed_lists() -> None:
    described = verdict_schema()["$defs"]["PrincipleJudged"]["properties"]
    assert "broken" in described["outcome"]["enum"]
    assert described["principle"]["enum"][-2:] == ["ER+", "ER-"]
