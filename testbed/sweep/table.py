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
        **_of_parties(verdict, quality),
    }
    return [{**common, **_figures(stream)} for stream in quality["streams"]] or [{**common, **_figures({})}]


def _of_parties(verdict: Json, quality: Json) -> Json:
    """Return how far the parties came: what holds for a cell as a whole."""
    seen = {check["check"]: check["observed"] for check in verdict.get("checks", [])}
    told = list((seen.get("signed-in") or {}).values())
    players = [player for each in (seen.get("playing") or {}).values() for player in each]
    times: dict[str, list[float]] = {
        name: [each[name] for each in quality.get("timings", []) if each.get(name) is not None]
        for name in ("registration_ms", "setup_ms")
    }
    return {
        "signed_in": sum(each == "ready" for each in told) / len(told) if told else None,
        "failure": next((each for each in told if each not in (None, "ready")), None),
        "registration_ms": max(times["registration_ms"], default=None),
        "called": bool(times["setup_ms"]),
        "setup_ms": max(times["setup_ms"], default=None),
        "stalls": sum(player.get("stalls") or 0 for player in players) if players else None,
        "played_s": min((player.get("played_s") or 0.0 for player in players), default=None),
    }


def _figures(stream: Json) -> Json:
    whole = stream.get("end_to_end") or {}
    delay, jitter = whole.get("one_way_delay_ms") or {}, whole.get("interarrival_jitter_ms") or {}
    return {
        "sender": stream.get("from"),
        "receiver": stream.get("to"),
        "packets": whole.get("packets_entered"),
        "lost": whole.get("lost"),
        "loss_ratio": whole.get("loss_ratio"),
        "loss_percent": None if whole.get("loss_ratio") is None else whole["loss_ratio"] * 100,
        "one_way_delay_ms_median": delay.get("median"),
        "one_way_delay_ms_p90": delay.get("p90"),
        "one_way_delay_ms_p99": delay.get("p99"),
        "mean_delay_change_ms": whole.get("mean_delay_change_ms"),
        "interarrival_jitter_ms_mean": jitter.get("mean"),
        "r": whole.get("r"),
        "mos": whole.get("mos"),
    }


def done_rows(planned: Sequence[Cell], folder: Path) -> list[Json]:
    """Return the rows of all cells that are done. Raises OSError."""
    done = (folder / cell.folder / CELL_FILE for cell in planned)
    return [row for path in done if path.exists() for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]


def write_table(planned: Sequence[Cell], folder: Path) -> Path:
    """Write sweep.parquet and sweep.csv of all cells that are done; return the CSV. Raises OSError."""
    rows = done_rows(planned, folder)
    table = pa.Table.from_pylist(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("sweep.parquet", pq.write_table), ("sweep.csv", pa_csv.write_csv)):
        beside = folder / f".{name}.partial"
        write(table, beside)
        beside.replace(folder / name)
    return folder / "sweep.csv"
