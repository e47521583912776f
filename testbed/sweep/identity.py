"""What a cell is: everything that would change what comes out of it, so that no result is taken for another's."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final

import testbed
from testbed.spec import Spec

_CODE: Final = ("testbed/**/*.py", "testbed/**/*.c", "agents/**/*.py")


@cache
def code_digest() -> str:
    """Return a digest of this project's code as it is installed here: equal digests, equal runs."""
    root, digest = Path(testbed.__file__).parents[1], hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in root.glob(pattern)):
        digest.update(f"{path.relative_to(root)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def spec_digest(spec: Spec) -> str:
    """Return a digest of a scenario and its topology as they are after all changes, whatever files they came from."""
    parts = (spec.scenario, spec.topology, *spec.phases)
    told = json.dumps([part.model_dump(mode="json", by_alias=True) for part in parts])
    return hashlib.sha256(told.encode()).hexdigest()


def cell_identity(spec: str, *, duration_ns: int, seed: int, code: str) -> str:
    """Return the name of a cell's folder; *spec* and *code* are digests."""
    return hashlib.sha256(json.dumps([spec, duration_ns, seed, code]).encode()).hexdigest()[:16]
