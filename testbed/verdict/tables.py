"""quality.json's figures as parquet tables: one row a stream and stretch, one row a link and direction."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

Document = dict[str, Any]
_KEY: Final = (
    ("ssrc", "int64"),
    ("sender", "string"),
    ("receiver", "string"),
    ("payload_type", "int64"),
    ("media", "string"),
)
_STRETCH: Final = (("what", "string"), ("name", "string"), ("links", "string"), ("from", "string"), ("to", "string"))
_COUNTS: Final = ("packets_entered", "packets_left", "lost", "reordered")
_VALUES: Final = ("loss_ratio", "reordered_ratio", "mean_delay_change_ms", "mean_delay_change_15s_ms")
_NESTED: Final = {
    "one_way_delay_ms": ("min", "mean", "max", "median", "p90", "p95", "p99"),
    "pdv_ms": ("median", "p90", "p95", "p99"),
    "ipdv_ms": ("min", "max", "std"),
    "interarrival_jitter_ms": ("last", "mean", "max"),
    "loss_runs": ("count", "longest", "weighted_mean"),
    "burst_loss_200ms": ("ratio", "lost", "packets"),
    "loss_15s": ("ratio", "lost", "packets"),
}
_QUALITY: Final = ("mouth_to_ear_ms", "r", "mos")
_LINK: Final = (("link", "string"), ("direction", "string"), ("together_with", "string"))
_LINK_FIGURES: Final = ("packets", "lost", "delay_mean_ns", "delay_std_ns")
_TRUST: Final = (("timing_trusted", "bool"), ("capture_complete", "bool"))
"Of the run as a whole, in every row: whoever reads figures elsewhere has nothing else to tell by."


def write_tables(directory: Path, document: Document) -> None:
    """Write media_streams.parquet and links.parquet into *directory*, each in one step. Raises OSError."""
    _write(directory / "media_streams.parquet", list(_stream_rows(document)), _stream_schema())
    _write(directory / "links.parquet", list(_link_rows(document)), _link_schema())


def _stream_schema() -> Any:
    nested = [(f"{name}_{part}", "float64") for name, parts in _NESTED.items() for part in parts]
    fields = [*_KEY, *_STRETCH, *((name, "int64") for name in _COUNTS)]
    fields += [*((name, "float64") for name in _VALUES), *nested, *((name, "float64") for name in _QUALITY), *_TRUST]
    return pa.schema(fields)


def _link_schema() -> Any:
    return pa.schema([*_LINK, *((name, "int64") for name in _LINK_FIGURES), *_TRUST])


def _stream_rows(document: Document) -> Iterator[Document]:
    for stream in document["streams"]:
        whole = {"what": "end to end", "name": "end to end", **(stream["end_to_end"] or {"links": []})}
        for part in (whole, *stream["stretches"]):
            yield {
                "ssrc": stream["ssrc"],
                "sender": stream["from"],
                "receiver": stream["to"],
                "payload_type": stream["payload_type"],
                "media": stream["media"],
                **{name: part.get(name) for name, _ in _STRETCH},
                "links": " ".join(part["links"]),
                **{name: part.get(name) for name in (*_COUNTS, *_VALUES, *_QUALITY)},
                **{f"{name}_{key}": (part.get(name) or {}).get(key) for name, keys in _NESTED.items() for key in keys},
                **_trust(document),
            }


def _link_rows(document: Document) -> Iterator[Document]:
    for link, directions in document["links"].items():
        for direction, figures in directions.items():
            together = " ".join(figures.get("together_with", ())) or None
            yield {"link": link, "direction": direction, **figures, "together_with": together, **_trust(document)}


def _trust(document: Document) -> Document:
    return {"timing_trusted": document["trusted"]["timing"], "capture_complete": document["trusted"]["complete"]}


def _write(path: Path, rows: list[Document], schema: Any) -> None:
    beside = path.with_name(f".{path.name}.partial")
    try:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), beside)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
