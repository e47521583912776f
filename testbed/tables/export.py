"""Write a run's tables for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from testbed import files
from testbed.errors import UsageError
from testbed.tables.schema import FORMAT
from testbed.tables.tables import TABLES, RunTables

Format = Literal["csv", "parquet"]


def export(run: RunTables, folder: Path, *, tables: Sequence[str] = (), form: Format = "csv") -> list[Path]:
    """Write *tables* (all, if none is named) into *folder*; return the files. Raise UsageError for an unknown table.

    Beside them tables.json tells the format's version (docs/tables.md), and what each has: rows, columns, their types.
    """
    for name in tables:
        if name not in TABLES:
            raise UsageError(f"--table: must be one of {', '.join(TABLES)}, not {name}")
    folder.mkdir(parents=True, exist_ok=True)
    written, told = [], {}
    for name in tables or TABLES:
        table, path = getattr(run, name), folder / f"{name}.{form}"
        beside = path.with_name(f".{path.name}.partial")
        if form == "csv":
            table.to_csv(beside, index=False)
        else:
            table.to_parquet(beside, index=False)
        beside.replace(path)
        written.append(path)
        columns = {column: str(kind) for column, kind in table.dtypes.items()}
        told[name] = {"file": path.name, "rows": len(table), "columns": columns}
    files.write_json(folder / "tables.json", {"format": FORMAT, "tables": told})
    return [*written, folder / "tables.json"]
