"""What changed between two runs: verdicts, paths, and figures that differ by more than their spread."""

from testbed.comparison.compare import compare_runs
from testbed.comparison.model import Comparison

__all__ = ["Comparison", "compare_runs"]
