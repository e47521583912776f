"""What a scenario costs on top of its media time, and what running two at once gains."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, Final

DURATION_S: Final = 10
OVERHEAD_TARGET_S: Final = 4.0
SPEED_UP_TARGET: Final = 1.6


def run_table(results: Path, jobs: int) -> dict[str, Any]:
    """Run the Online table and return its run.json, with how long all of it took in `took_s`."""
    command = [sys.executable, "-m", "testbed", "run", "--table", "online", "--duration", f"{DURATION_S}s"]
    command += ["--jobs", str(jobs), "--results", str(results), "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode not in (0, 3):
        raise SystemExit(f"the Online table did not pass: {answer.stderr.strip()[-2000:]}")
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def tell(one: dict[str, Any], two: dict[str, Any]) -> int:
    """Print what the table's run.json with one job and with two say; return 1 where a target is missed."""
    overheads_s = [scenario["overhead_s"] for scenario in one["scenarios"]]
    print(f"overhead per scenario: median {median(overheads_s):.2f} s, worst {max(overheads_s):.2f} s", end="")
    print(f" (target of the median: at most {OVERHEAD_TARGET_S:g} s)")
    ratio = one["took_s"] / two["took_s"]
    print(f"--jobs 1: {one['took_s']:.1f} s; --jobs 2: {two['took_s']:.1f} s: {ratio:.2f} times", end="")
    print(f" (target at least {SPEED_UP_TARGET:g})")
    return int(median(overheads_s) > OVERHEAD_TARGET_S or ratio < SPEED_UP_TARGET)


def main() -> int:
    """Run the table both ways, print; return 1 where a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (run_table(Path(folder) / f"jobs{jobs}", jobs) for jobs in (1, 2))
    return tell(one, two)


if __name__ == "__main__":
    sys.exit(main())
