"""The published JSON Schemas of what a run leaves, from the models that the page reads it by.

`python -m testbed.report.schema` writes them anew; a test fails while the committed ones are old.
"""

import json
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.report.file_part import FilePart
from testbed.report.quality_file import QualityFile
from testbed.report.record import RunFile, VerdictFile
from testbed.verdict.principles import OUTCOMES, PRINCIPLES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "schema" / "results"
_TITLES: Final[dict[type[FilePart], str]] = {
    RunFile: "run.json: a run and its scenarios",
    VerdictFile: "verdict.json: the judgement of one scenario",
    QualityFile: "quality.json: the figures of one scenario's media",
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each file, by its name; keys that a schema does not name may be there."""
    found = {
        title.partition(":")[0]: {"$schema": DIALECT, **model.model_json_schema(by_alias=True), "title": title}
        for model, title in _TITLES.items()
    }
    described = found["verdict.json"]["$defs"]["PrincipleJudged"]["properties"]
    described["principle"]["enum"] = list(PRINCIPLES)
    described["outcome"]["enum"] = list(OUTCOMES)
    return found


def schema_text(schema: dict[str, Any]) -> str:
    """Return a schema as it is committed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        files.write_text(FOLDER / name, schema_text(schema))
