"""Seeded mutations of the network, each probed by real packets: every way and every end must be as predicted.

A handful here; `make mutations` tries a hundred (MUTATIONS=n: n of them).
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.emulation.tools import sealed
from testbed.emulation.world import world_environment

from .comparison import disagreements

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("MUTATIONS", "6"))
A_WORLD = 25
"How many are tried in one world, so that a capture stays small."


def run_world(directory: Path, first: int, count: int) -> None:
    """Play mutations *first* to *first* + *count* - 1 in a fresh world, into *directory*."""
    program = [sys.executable, "-P", "-m", "tests.emulation.mutation_world", str(directory), str(first), str(count)]
    done = subprocess.run(
        sealed(*program, more=("--ipc", "--uts")), capture_output=True, text=True, timeout=120 + 10 * count,
        check=False, cwd=ROOT, env=world_environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def seeds(count: int) -> Sequence[tuple[int, int]]:
    return [(first, min(A_WORLD, count - first)) for first in range(0, count, A_WORLD)]


@pytest.mark.parametrize(("first", "count"), seeds(COUNT))
def test_packets_go_and_end_as_predicted_after_every_mutation(first: int, count: int, tmp_path: Path) -> None:
    run_world(tmp_path, first, count)
    found = [str(each) for each in disagreements(tmp_path)]
    assert not found, "\n".join(found)


def test_a_prediction_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    run_world(tmp_path, 0, 1)
    assert not list(disagreements(tmp_path))
    path = tmp_path / "mutations.json"
    told = json.loads(path.read_text())
    told[0]["change"] = {"set": {"links.ce-er-er-pe1.up": False}, "remove": ["firewalls.fw-er.rules.turn"]}
    path.write_text(json.dumps(told))
    found = "\n".join(map(str, disagreements(tmp_path)))
    assert "fw-er:default (DENIED_BY_RULE:fw-er:default)" in found
    assert "ce-er-er-pe2" in found
