"""The example of docs/scenarios.md in a world, by the page's command: it passes, and its controls are red."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from docs_example import COMMANDS, write_example

pytestmark = pytest.mark.emulation


def test_the_pages_example_passes_and_its_controls_come_out_as_they_say(tmp_path: Path) -> None:
    write_example(tmp_path)
    (command,) = [command for command in COMMANDS if command.startswith("testbed run ")]
    ran = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert ran.returncode == 0, ran.stderr
    told = {one["name"].partition("@")[2]: one for one in json.loads(ran.stdout)["scenarios"]}
    assert told.pop("")["verdict"] == "PASS"
    verdicts = sorted(one["verdict"] for one in told.values())
    assert verdicts == ["FAIL", "FAIL", "INCONCLUSIVE"]
