"""Reads a TOML file, with one clear line for whatever stops it."""

import tomllib
from pathlib import Path

from testbed.errors import SpecError
from testbed.spec.faults import path_source
from testbed.topology import Document


def read_document(path: Path) -> Document:
    """Return a TOML file's content; raise SpecError if it cannot be read, is not UTF-8 or is not TOML."""
    source = path_source(path)
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SpecError(source, "", f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SpecError(source, "", f"is not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}") from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(source, "", f"is not TOML: {error}") from None
    except RecursionError:
        raise SpecError(source, "", "is not TOML: nested too deeply") from None
