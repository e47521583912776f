"""The published JSON Schema of verdict.json, from the model that the page reads it by.

`python -m testbed.report.schema` writes it anew; a test fails while the committed one is old.
"""

import json
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.report.record import VerdictFile
from testbed.verdict.principles import OUTCOMES, PRINCIPLES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "schema" / "results" / "verdict.json"


def verdict_schema() -> dict[str, Any]:
    """Return the JSON Schema of verdict.json; keys that it does not name may be there."""
    schema = VerdictFile.model_json_schema(by_alias=True)
    described = schema["$defs"]["PrincipleJudged"]["properties"]
    described["principle"]["enum"] = list(PRINCIPLES)
    described["outcome"]["enum"] = list(OUTCOMES)
    return {"$schema": DIALECT, **schema, "title": "verdict.json: the judgement of one scenario"}


def schema_text() -> str:
    """Return the schema as it is committed."""
    return json.dumps(verdict_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    files.write_text(PATH, schema_text())
