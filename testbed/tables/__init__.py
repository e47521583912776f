"""A run as pandas DataFrames, for notebooks and exports. Columns and units: docs/tables.md.

import testbed
run = testbed.read_run("results/latest")
run.media_streams.groupby("name").one_way_delay_ms_p90.max()
"""

from testbed.tables.schema import FORMAT
from testbed.tables.tables import TABLES, RunTables, read_run

__all__ = ["FORMAT", "TABLES", "RunTables", "read_run"]
