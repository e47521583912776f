"""The published JSON Schemas: current, taking every file there is, refusing misspelt ones."""

import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from spec_samples import CLOUD, OFFICE, SCENARIO

from testbed.spec.schema import DIRECTORY, scenario_schema, schema_texts, topology_schema, write_schemas

REPOSITORY = Path(__file__).resolve().parents[2]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def faults(value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield where *value* breaks *schema*: the part of JSON Schema 2020-12 that the published ones use."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    if (kind := schema.get("type")) and not isinstance(value, _TYPES[kind]):
        yield f"{at}: no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: none of {schema['enum']}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at}: not {schema['pattern']}"
    if isinstance(value, list):
        items = [*schema.get("prefixItems", []), *([schema.get("items", {})] * len(value))]
        for place, (one, below) in enumerate(zip(value, items, strict=False)):
            yield from faults(one, below, whole, f"{at}.{place}")
    if isinstance(value, dict):
        yield from (f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, one in value.items():
            yield from _field_faults(name, one, schema, whole, f"{at}.{name}")


def _field_faults(name: str, value: Any, schema: dict[str, Any], whole: dict[str, Any], at: str) -> Iterator[str]:
    below = schema.get("properties", {}).get(name)
    for pattern, other in schema.get("patternProperties", {}).items():
        below = other if re.search(pattern, name) else below
    below = schema.get("additionalProperties", True) if below is None else below
    if below is False:
        yield f"{at}: unknown key"
    elif isinstance(below, dict):
        yield from faults(value, below, whole, at)


def test_the_committed_schemas_are_current() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.glob("*.json")}
    assert committed == schema_texts(), "write them anew: python -m testbed.spec.schema"


def test_writing_gives_the_files_and_a_stale_one_is_seen(tmp_path: Path) -> None:
    paths = write_schemas(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} == schema_texts()
    paths[0].write_text("{}")
    assert {path.name: path.read_text(encoding="utf-8") for path in paths} != schema_texts()


@pytest.mark.parametrize("path", sorted((REPOSITORY / "topologies").glob("*.toml")), ids=lambda path: path.stem)
def test_every_topology_file_keeps_to_the_schema(path: Path) -> None:
    schema = topology_schema()
    assert not list(faults(tomllib.loads(path.read_text(encoding="utf-8")), schema, schema))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scenarios").rglob("*.toml")), ids=lambda path: path.stem)
def test_every_scenario_file_keeps_to_the_schema(path: Path) -> None:
    schema = scenario_schema()
    assert not list(faults(tomllib.loads(path.read_text(encoding="utf-8")), schema, schema))


@pytest.mark.parametrize(
    ("text", "old", "new", "fault"),
    [
        (OFFICE, 'kind = "switch"', 'kynd = "switch"', ".nodes.lan: kind is missing"),
        (OFFICE, "[nodes.lan]", "[nodes.Lan]", ".nodes.Lan: unknown key"),
        (OFFICE, "[nodes.lan]", "[node.lan]", ".node: unknown key"),
        (OFFICE, 'ends = ["ann", "lan"]', 'ends = ["ann", 1]', ".links.ann-lan.ends.1: no string"),
        (OFFICE, "[links.r1-fw1]", "[links.r1-fw1]\nshape.delay = 5", ".links.r1-fw1.shape.delay: no string"),
        (OFFICE, "[links.r1-fw1]", '[links.r1-fw1]\nshape.rate = "5"', ".links.r1-fw1.shape.rate: not "),
        (CLOUD, 'kind = "microsoft"', 'kind = "azure"', ".segment.cloud.kind: none of "),
    ],
)
def test_the_topology_schema_refuses(text: str, old: str, new: str, fault: str) -> None:
    schema = topology_schema()
    assert not list(faults(tomllib.loads(text), schema, schema))
    found = list(faults(tomllib.loads(text.replace(old, new)), schema, schema))
    assert any(one.startswith(fault) for one in found), found


def test_the_scenario_schema_refuses_and_needs_no_id() -> None:
    schema = scenario_schema()
    document = tomllib.loads(SCENARIO)
    assert not list(faults(document, schema, schema))
    wrong = deepcopy(document)
    wrong["legs"][0]["flow"] = "medium"
    del wrong["topology"]
    assert [fault.partition(":")[0] for fault in faults(wrong, schema, schema)] == ["", ".legs.0.flow"]


def test_a_rule_is_written_with_from_as_in_the_files() -> None:
    assert "from" in topology_schema()["$defs"]["FirewallRule"]["required"]
