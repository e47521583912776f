"""Sweeps: the grid's cells, what is done is not done again, and the table."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from testbed.errors import SpecError
from testbed.sweep import Cell, cells, read_sweep, run_sweep
from testbed.sweep.table import cell_rows

FILE = """
scenario = "online/p2p-external"
duration = "2s"
repeats = 2
seed = 7
[grid]
"links.transit1-msborder.shape.loss" = ["0%", "1%"]
change = ["", "conditions/lte"]
"""


def sweep_file(folder: Path, text: str = FILE) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def done(cell: Cell, folder: Path, mos: float) -> None:
    place = folder / cell.folder
    place.mkdir(parents=True)
    rows = [{**dict(cell.point), "seed": cell.seed, "mos": mos}]
    (place / "cell.json").write_text(json.dumps({"format": 1, "rows": rows}))


def test_a_grid_has_every_combination_as_often_as_asked_with_seeds_of_their_own(tmp_path: Path) -> None:
    planned = list(cells(read_sweep(sweep_file(tmp_path))))
    assert [cell.seed for cell in planned] == [7] * 4 + [8] * 4
    assert [cell.changes for cell in planned[:4]] == [
        ('links.transit1-msborder.shape.loss="0%"',),
        ('links.transit1-msborder.shape.loss="0%"', "conditions/lte"),
        ('links.transit1-msborder.shape.loss="1%"',),
        ('links.transit1-msborder.shape.loss="1%"', "conditions/lte"),
    ]
    assert len({cell.folder for cell in planned}) == 8


def test_what_would_come_out_otherwise_is_another_cell(tmp_path: Path) -> None:
    one = {cell.folder for cell in cells(read_sweep(sweep_file(tmp_path)))}
    for old, new in (('"2s"', '"3s"'), ("lte", "dsl"), ("p2p-external", "p2p-internal")):
        other = {cell.folder for cell in cells(read_sweep(sweep_file(tmp_path, FILE.replace(old, new))))}
        assert other != one
    more = {cell.folder for cell in cells(read_sweep(sweep_file(tmp_path, FILE.replace("repeats = 2", "repeats = 3"))))}
    assert one < more  # a sweep that is made larger keeps what it has


def test_a_sweep_that_is_done_runs_nothing_and_writes_its_table_again(tmp_path: Path) -> None:
    sweep, folder = read_sweep(sweep_file(tmp_path)), tmp_path / "out"
    told: list[str] = []
    for number, cell in enumerate(cells(sweep)):
        done(cell, folder, 4.0 + number / 100)
    table = run_sweep(sweep, folder, jobs=2, told=told.append)
    assert told == ["8 cells, 8 of them done before"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mos"]) for row in rows] == [4.0 + n / 100 for n in range(8)]
    assert pq.read_table(table.with_suffix(".parquet")).num_rows == 8


def test_a_cells_rows_are_its_streams_and_one_without_media_has_a_row_too(tmp_path: Path) -> None:
    cell = next(cells(read_sweep(sweep_file(tmp_path))))
    whole = {"packets_entered": 9, "lost": 1, "loss_ratio": 1 / 9, "one_way_delay_ms": {"median": 20.0, "p90": None}}
    streams = [{"from": "alice", "to": "carol", "end_to_end": whole}, {"from": "carol", "to": None, "end_to_end": None}]
    (tmp_path / "verdict.json").write_text('{"verdict": "FAIL"}')
    for told, expected in ((streams, [("alice", 20.0), ("carol", None)]), ([], [(None, None)])):
        document = {"trusted": {"timing": False}, "streams": told}
        (tmp_path / "quality.json").write_text(json.dumps(document))
        rows = cell_rows(cell, tmp_path)
        assert [(row["sender"], row["one_way_delay_ms_median"]) for row in rows] == expected
        assert all(row["verdict"] == "FAIL" and row["timing_trusted"] is False for row in rows)
        assert rows[0]["links.transit1-msborder.shape.loss"] == "0%"


def test_a_player_that_never_began_shows_beside_stalls_that_it_could_not_have(tmp_path: Path) -> None:
    cell = next(cells(read_sweep(sweep_file(tmp_path))))
    players = {"bob": [{"stalls": 2, "played_s": 9.0}, {"stalls": 0, "played_s": 0.0}]}
    checks = [{"check": "playing", "observed": players}]
    (tmp_path / "verdict.json").write_text(json.dumps({"verdict": "FAIL", "checks": checks}))
    (tmp_path / "quality.json").write_text(json.dumps({"trusted": {"timing": True}, "streams": []}))
    (row,) = cell_rows(cell, tmp_path)
    assert (row["stalls"], row["played_s"]) == (2, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("repeats", "repeat", "repeat: Extra inputs"),
        ("[grid]", "[grid.deeper]", "grid.deeper"),
        ('"2s"', '"soon"', "duration"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        read_sweep(sweep_file(tmp_path, FILE.replace(old, new)))


def test_a_cell_that_cannot_be_is_told_before_any_runs(tmp_path: Path) -> None:
    text = FILE.replace("transit1-msborder", "nowhere")
    with pytest.raises(SpecError, match="there is no 'nowhere' in links"):
        run_sweep(read_sweep(sweep_file(tmp_path, text)), tmp_path / "out", jobs=1, told=print)
    assert not (tmp_path / "out").exists()
