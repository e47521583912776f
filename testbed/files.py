"""Files that are there whole or not at all: written beside, then renamed."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Put *text* at *path* in one step; what stood there stays if the disk is full. Raises OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def write_json(path: Path, document: Any) -> None:
    """Put *document* at *path* as JSON in one step. Raises OSError."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
