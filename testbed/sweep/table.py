"""The table of a sweep: a row a cell and media stream, from what each cell's run left."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from testbed.sweep.model import Cell

CELL_FILE = "cell.json"
"In a cell's folder: it is done, and this is what came out."
Json = dict[str, Any]


def cell_rows(cell: Cell, place: Path) -> list[Json]:
    """Return the table's rows of one cell: one a media stream, or a single one where there was no media."""
    verdict = json.loads((place / "verdict.json").read_text(encoding="utf-8"))
    quality = json.loads((place / "quality.json").read_text(encoding="utf-8"))
    common = {
        **dict(cell.point),
        "seed": cell.seed,
        "scenario": cell.scenario,
        "run": str(place),
        "verdict": verdict["verdict"],
        "timing_trusted": quality["trusted"]["timing"],
    }
    return [{**common, **_figures(stream)} for stream in quality["streams"]] or [{**common, **_figures({})}]


def _figures(stream: Json) -> Json:
    whole = stream.get("end_to_end") or {}
    delay, jitter = whole.get("one_way_delay_ms") or {}, whole.get("interarrival_jitter_ms") or {}
    return {
        "sender": stream.get("from"),
        "receiver": stream.get("to"),
        "packets": whole.get("packets_entered"),
        "lost": whole.get("lost"),
        "loss_ratio": whole.get("loss_ratio"),
        "one_way_delay_ms_median": delay.get("median"),
        "one_way_delay_ms_p90": delay.get("p90"),
        "mean_delay_change_ms": whole.get("mean_delay_change_ms"),
        "interarrival_jitter_ms_mean": jitter.get("mean"),
        "r": whole.get("r"),
        "mos": whole.get("mos"),
    }


def write_table(planned: Sequence[Cell], folder: Path) -> Path:
    """Write sweep.parquet and sweep.csv of all cells that are done; return the CSV. Raises OSError."""
    done = (folder / cell.folder / CELL_FILE for cell in planned)
    rows = [row for path in done if path.exists() for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    table = pa.Table.from_pylist(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("sweep.parquet", pq.write_table), ("sweep.csv", pa_csv.write_csv)):
        beside = folder / f".{name}.partial"
        write(table, beside)
        beside.replace(folder / name)
    return folder / "sweep.csv"
