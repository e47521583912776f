"""`make bench`: every benchmark, each in a process of its own; ratios against stock tools are of the same run."""

import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ORDER: Final = ("build", "wire", "health_limits", "calls", "decode", "quality", "runs", "catalogue")


def main() -> int:
    """Run all benchmarks, and return how many missed a target or failed to run."""
    failed = []
    for name in ORDER:
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode:
            failed.append(name)
    print(f"\nmissed a target or failed: {', '.join(failed) or 'none'}")
    return len(failed)


sys.exit(main())
