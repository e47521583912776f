"""The whole catalogue, every row of the article with 10 s of media: how long it takes, and how much memory."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

DURATION_S: Final = 10
JOBS: Final = 3
"Media is mostly waiting: two cores carry three scenarios at once within their health limits."
TIME_TARGET_S: Final = 300
REPORT_TARGET_S: Final = 10
MEMORY_TARGET_GIB: Final = 4
TABLES: Final = ("online", "hybrid", "cloud-connector", "prose", "rules")
"""What the article says: its tables, its prose and its rules. The others (asymmetric routes, fallback, NAT) are no rows
of it: they are the project's own, grow with it, and would make the target mean something else."""
_SAMPLE_S: Final = 1.0


def rows() -> list[str]:
    """Return the catalogue's scenarios, without the asymmetric cases and what the project adds of its own."""
    command = [sys.executable, "-m", "testbed", "list", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return [entry["scenario"] for entry in listed if entry["table"] in TABLES]


def descendants(pid: int) -> list[int]:
    """Return *pid* and every process under it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory_kib(pid: int) -> int:
    """Return the proportional set size of *pid* and all under it: memory that processes share counts once."""
    total = 0
    for one in descendants(pid):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """Sample the memory of *pid* and all under it until left; the one number in the list is the most, in KiB."""
    peak, over = [0], threading.Event()

    def sample() -> None:
        while not over.wait(_SAMPLE_S):
            peak[0] = max(peak[0], memory_kib(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def run(scenarios: list[str], results: Path) -> tuple[dict[str, Any], int]:
    """Run *scenarios*; return their run.json and the most memory in KiB."""
    command = [sys.executable, "-m", "testbed", "run", *scenarios, "--duration", f"{DURATION_S}s", "--json"]
    command += ["--jobs", str(JOBS), "--results", str(results)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process,
        peak_memory(process.pid) as peak,
    ):
        assert process.stdout is not None
        document: dict[str, Any] = json.loads(process.stdout.read())
    return document, peak[0]


def time_report(results: Path) -> tuple[float, float]:
    """Write the report of a run again; return the seconds it took, and of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "testbed", "report", str(results)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tell(document: dict[str, Any], peak_kib: int, report_s: float, report_cpu_s: float) -> int:
    """Print how long it took and how much memory; return 1 where a target is missed or a row did not pass."""
    verdicts = Counter(scenario["verdict"] for scenario in document["scenarios"])
    media_s = sum(scenario["media_s"] for scenario in document["scenarios"])
    peak_gib = peak_kib / 2**20
    print(f"the article's rows (tables {', '.join(TABLES)}; not the project's own): ", end="")
    print(f"{len(document['scenarios'])} scenarios, --jobs {JOBS}, {len(os.sched_getaffinity(0))} cores: ", end="")
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(verdicts.items())))
    print(f"{document['took_s']:.0f} s for {media_s:.0f} s of media (target at most {TIME_TARGET_S} s)")
    print(f"report of all: {report_s:.1f} s ({report_cpu_s:.1f} s of CPU; target less than {REPORT_TARGET_S} s)")
    print(f"at most {peak_gib:.2f} GiB of memory (target less than {MEMORY_TARGET_GIB})")
    is_missed = document["took_s"] > TIME_TARGET_S or report_s >= REPORT_TARGET_S or peak_gib >= MEMORY_TARGET_GIB
    return int(is_missed or not verdicts or bool(verdicts.keys() - {"PASS", "INCONCLUSIVE"}))


def main() -> int:
    """Run, measure, print; return 1 where a target is missed."""
    with tempfile.TemporaryDirectory() as folder:
        document, peak_kib = run(rows(), Path(folder))
        report_s, report_cpu_s = time_report(Path(folder) / "latest")
    return tell(document, peak_kib, report_s, report_cpu_s)


if __name__ == "__main__":
    sys.exit(main())
