"""Facts from a run directory: packets, their ways, drops, messages. Pure: no kernel, no processes, no opinion."""

from testbed.analysis.run import Run, RunError, read_run

__all__ = ["Run", "RunError", "read_run"]
