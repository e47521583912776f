"""What a run is shown as: page, pictures, matrix and JUnit. Pure: reads a results directory, writes `report.html`."""

from testbed.report.page import write_report

__all__ = ["write_report"]
