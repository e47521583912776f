"""The published JSON Schemas of topology and scenario files, for editors that complete and check TOML.

`python -m testbed.spec.schema` writes them anew; a test fails while the committed ones are old.
"""

import json
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from testbed.scenario import Scenario
from testbed.topology import Table, Topology
from testbed.units import format_duration, format_rate, format_ratio

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY: Final = Path(__file__).resolve().parents[2] / "docs" / "schema"
_NUMBER: Final = r"^\d+(\.\d+)? *"
_WRITTEN: Final = {
    format_duration: _NUMBER + "(ns|us|ms|s|min)$",
    format_rate: _NUMBER + "(bit|kbit|Mbit|Gbit)$",
    format_ratio: _NUMBER + "%$",
}
"How quantities with a unit look in files, by what writes them."
_FILLED_IN: Final = {"Node": "segment", "Link": "segment", "Announcement": "prefix"}
"Fields that the reader fills in where the file leaves them out."

Schema = dict[str, Any]


class _AsWritten(GenerateJsonSchema):
    """Describes quantities as the text that stands in files, not as the numbers that the code holds."""

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:
        pattern = _WRITTEN.get(schema.get("function"))
        return {"type": "string", "pattern": pattern} if pattern else super().ser_schema(schema)

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])  # TOML has no null: a key is left out instead

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if described.get("default") is None or isinstance(described["default"], dict):
            described.pop("default", None)  # a table that is left out stays out; its own fields tell their defaults
        return described

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        described = super().dict_schema(schema)
        if "patternProperties" in described:
            described["additionalProperties"] = False
        return described


def topology_schema() -> Schema:
    """Return the JSON Schema of a file below topologies/, be it an assembly, a segment or both in one."""
    schema = _schema_of(Topology, "Topology or segment file")
    for table, field in _FILLED_IN.items():
        schema["$defs"][table]["required"].remove(field)
    properties = schema["properties"]
    properties["segment"] = properties.pop("segments")
    properties["includes"] = {
        "type": "array",
        "items": {"type": "string"},
        "description": "Segment files that make up the assembly, beside this one.",
    }
    properties["endpoints"] = {
        "type": "string",
        "description": "JSON file in the format of the Office 365 IP address and URL web service, beside this one.",
    }
    del schema["$defs"]["Endpoint"]  # a file of its own
    del schema["required"]  # an assembly has a name and a title, a segment file neither
    return schema


def scenario_schema() -> Schema:
    """Return the JSON Schema of a file below scenarios/."""
    schema = _schema_of(Scenario, "Scenario file")
    required = [name for name in schema.pop("required") if name != "id"]  # the file's place says it
    schema |= {"if": {"required": ["extends"]}, "else": {"required": required}}
    return schema


def _schema_of(model: type[Table], title: str) -> Schema:
    schema = model.model_json_schema(by_alias=True, mode="serialization", schema_generator=_AsWritten)
    return {"$schema": DIALECT, **schema, "title": title}


def schema_texts() -> dict[str, str]:
    """Return the content of each schema file by its name."""
    schemas = {"topology.json": topology_schema(), "scenario.json": scenario_schema()}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def write_schemas(directory: Path = DIRECTORY) -> list[Path]:
    """Write the schema files into *directory* and return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in schema_texts().items():
        (directory / name).write_text(text, encoding="utf-8")
    return [directory / name for name in schema_texts()]


if __name__ == "__main__":
    write_schemas()
