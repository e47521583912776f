"""A run's JSON files, held to the form that they must have; a fault is one line: file, key, and what mends it."""

import json
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from testbed.errors import UsageError

Document = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)
_WRITTEN_BY_ANALYSE: Final = (
    "verdict.json",
    "quality.json",
    "timeline.json",
    "media_streams.parquet",
    "links.parquet",
)


def mend(path: Path) -> str:
    """Return what brings *path* back, as the end of a sentence."""
    if path.name in _WRITTEN_BY_ANALYSE:
        return f"`testbed analyse {path.parent}` writes it anew"
    return "only a new run writes it"


def read_text(path: Path) -> str:
    """Return a file's text. Raise UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(f"{path}: cannot be read: {reason}; {mend(path)}") from None


def read_json(path: Path) -> Document:
    """Return a file that holds one JSON object. Raise UsageError."""
    try:
        document = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}; {mend(path)}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: must be one JSON object, not {type(document).__name__}; {mend(path)}")
    return document


def read_document(path: Path, model: type[BaseModel]) -> Document:
    """Return a file as it stands, once it has the form of *model*. Raise UsageError."""
    document = read_json(path)
    validated(path, "", document, model)
    return document


def read_model(path: Path, model: type[Model]) -> Model:
    """Return a file as *model*. Raise UsageError."""
    return validated(path, "", read_json(path), model)


def validated(path: Path, key: str, document: object, model: type[Model]) -> Model:
    """Return *document*, found at *key* of *path*, as *model*. Raise UsageError."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ([key] if key else []) + list(first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}; {mend(path)}") from None
