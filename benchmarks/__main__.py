"""`make bench`: every benchmark, each in a process of its own; ratios against stock tools are of the same run."""

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ORDER: Final = ("build", "wire", "health_limits", "calls", "decode", "quality", "runs", "catalogue")


def main() -> int:
    """Run all benchmarks and return how many failed to run."""
    failed = 0
    for name in ORDER:
        print(f"\n== {name}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode != 0
        )
    return failed


sys.exit(main())
