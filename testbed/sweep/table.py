"""The table of a sweep: a row a cell and media stream, labelled as the sweep's file calls its cells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from testbed import files
from testbed.sweep.cell import Done
from testbed.sweep.columns import Column, Kind, Row
from testbed.sweep.model import Cell

FORMAT: Final = 2
_TYPES: Final[dict[Kind, pa.DataType]] = {
    "text": pa.string(), "truth": pa.bool_(), "count": pa.int64(), "number": pa.float64(),
}  # fmt: skip


def labelled_rows(cell: Cell, done: Done, place: Path) -> list[Row]:
    """Return the table's rows of one cell, which was run in folder *place*."""
    labels = {**dict(cell.point), "seed": cell.seed, "scenario": cell.scenario, "run": str(place / done.run)}
    return [{**labels, **row} for row in done.rows]


def write_table(rows: Sequence[Row], columns: Mapping[str, Column], folder: Path) -> Path:
    """Write sweep.parquet, sweep.csv, and sweep.json about them; return the CSV. Raises OSError.

    A column's type follows from the sweep's file alone, not from what came out.
    """
    schema = pa.schema([(name, _TYPES[column.kind]) for name, column in columns.items()])
    table = pa.Table.from_pylist(rows, schema=schema)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("sweep.parquet", pq.write_table), ("sweep.csv", pa_csv.write_csv)):
        beside = folder / f".{name}.partial"
        write(table, beside)
        beside.replace(folder / name)
    told = {field.name: str(field.type) for field in schema}
    files.write_json(folder / "sweep.json", {"format": FORMAT, "rows": table.num_rows, "columns": told})
    return folder / "sweep.csv"
