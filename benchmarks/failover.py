"""What changes during a call do to its audio, with their spread: every such scenario run again and again.

`python -m benchmarks.failover [--runs 10] [--jobs 1] [NAME ...]`; names are parts of scenario ids, all without any.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from testbed import catalogue
from testbed.spec.reader import read_scenario

Figures = dict[str, list[float | None]]


def scenarios(parts: list[str]) -> list[str]:
    """Return the scenarios in which something changes during a call."""
    found = (read_scenario(path) for path in catalogue.choose(table="asymmetric"))
    return [each.id for each in found if each.during and (not parts or any(part in each.id for part in parts))]


def run_once(names: list[str], results: Path, jobs: int) -> None:
    """Run *names* into *results*; verdicts are read from there."""
    command = [sys.executable, "-m", "testbed", "run", *names, "--duration", "3s", "--jobs", str(jobs)]
    subprocess.run([*command, "--results", str(results)], check=False, capture_output=True)


def figures(verdict: dict[str, Any]) -> dict[str, float | None]:
    """Return the figures of a verdict's checks `during`, by name; None for what did not happen."""
    found: dict[str, float | None] = {}
    checks = [check for check in verdict["checks"] if check["check"] == "during" and check["observed"]]
    for number, check in enumerate(checks, 1):
        observed, lead = check["observed"], f"{number}. " if len(checks) > 1 else ""
        found[f"{lead}routes settled"] = observed["settled_ms"]
        for title, audio in observed["audio"].items():
            found |= {f"{lead}{title}: {key}": audio[key] for key in ("first_lost_ms", "silence_ms", "lost")}
            found[f"{lead}{title}: ways"] = len(audio["ways"])
        for agent, told in observed["agents"].items():
            found |= {f"{lead}{agent}: {key}": value for key, value in told.items()}
    return found


def main() -> None:
    """Run, and print a Markdown table of each scenario's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--results", type=Path, help="keep the runs here, and count those that are there already")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results: Path = given.results or Path(folder)
        for _ in range(given.runs):
            run_once(scenarios(given.names), results, given.jobs)
        tell(results)


def tell(results: Path) -> None:
    """Print the spread of every figure over all runs below *results* in which the rig kept time."""
    seen: defaultdict[str, Figures] = defaultdict(lambda: defaultdict(list))
    verdicts: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted(results.glob("[0-9]*/*/verdict.json")):
        verdict = json.loads(path.read_text())
        if verdict["health"].get("timing_degraded", True):
            verdicts[verdict["scenario"]].append("left out, because the rig was late")
            continue
        verdicts[verdict["scenario"]].append(verdict["verdict"])
        for name, value in figures(verdict).items():
            seen[verdict["scenario"]][name].append(value)
    for scenario in sorted(verdicts):
        table = seen[scenario]
        counts = ", ".join(f"{verdicts[scenario].count(each)} {each}" for each in dict.fromkeys(verdicts[scenario]))
        print(f"\n{scenario}: {counts}\n\n| figure | median | least | greatest | runs |\n|---|---|---|---|---|")
        for name, values in table.items():
            there = [value for value in values if value is not None]
            spread = f"{median(there):.0f} | {min(there):.0f} | {max(there):.0f}" if there else "never | |"
            print(f"| {name} | {spread} | {len(there)} of {len(values)} |")


if __name__ == "__main__":
    main()
