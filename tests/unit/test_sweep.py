"""Sweeps: the grid's cells, what is done is not done again and never taken for another's, and the table."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import testbed.sweep
from testbed.errors import SpecError
from testbed.spec.places import root
from testbed.sweep import Swept, cells, plan_jobs, read_sweep, run_sweep
from testbed.sweep.cell import Done, Job, read_done
from testbed.sweep.columns import FIGURES, are_figures, read_figures
from testbed.sweep.identity import cell_identity, code_digest

FILE = """
scenario = "online/p2p-external"
duration = "2s"
repeats = 2
seed = 7
[grid]
"links.transit1-msborder.shape.loss" = ["0%", "1%"]
change = ["", "conditions/lte"]
"""
NAMED = """
scenario = "online/p2p-internal"
[cases.way.plain]
[cases.way.slow]
changes = ["sip_t1=1s"]
"""


def sweep_file(folder: Path, text: str = FILE) -> Path:
    path = folder / "grid.toml"
    path.write_text(text)
    return path


def figures(**known: Any) -> dict[str, Any]:
    """Return a row as a run gives it, with nothing measured but what is *known*."""
    passed = {"verdict": "PASS", "reason": "all well", "timing_trusted": True, "capture_complete": True}
    return dict.fromkeys(FIGURES) | passed | known


def done(job: Job, folder: Path, **known: Any) -> None:
    place = folder / job.folder
    place.mkdir(parents=True, exist_ok=True)
    text = Done(run="2026-1/s", rows=(figures(**known),)).model_dump_json()
    (place / "cell.json").write_text(text)


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def folders(path: Path) -> list[str]:
    return [job.folder for job in plan_jobs(read_sweep(path))]


def playing(monkeypatch: pytest.MonkeyPatch, play: Callable[[Job, Path], str]) -> list[str]:
    """Have cells played by *play*, and return whom it played."""
    played: list[str] = []

    def run_here(waiting: list[Job], folder: Path, jobs: int) -> Any:
        for job in waiting:
            played.append(job.cell.name)
            yield job, play(job, folder)

    monkeypatch.setattr(testbed.sweep, "run_here", run_here)
    return played


def test_a_grid_has_every_combination_as_often_as_asked_with_seeds_of_their_own(tmp_path: Path) -> None:
    planned = list(cells(read_sweep(sweep_file(tmp_path))))
    assert [cell.seed for cell in planned] == [7] * 4 + [8] * 4
    assert [cell.changes for cell in planned[:4]] == [
        ('links.transit1-msborder.shape.loss="0%"',),
        ('links.transit1-msborder.shape.loss="0%"', "conditions/lte"),
        ('links.transit1-msborder.shape.loss="1%"',),
        ('links.transit1-msborder.shape.loss="1%"', "conditions/lte"),
    ]
    assert len(set(folders(tmp_path / "grid.toml"))) == 8


def test_what_would_come_out_otherwise_is_another_cell(tmp_path: Path) -> None:
    one = set(folders(sweep_file(tmp_path)))
    for old, new in (('"2s"', '"3s"'), ("seed = 7", "seed = 9"), ("p2p-external", "p2p-federated")):
        assert one.isdisjoint(folders(sweep_file(tmp_path, FILE.replace(old, new)))), new
    other = set(folders(sweep_file(tmp_path, FILE.replace("lte", "dsl"))))
    assert len(one & other) == 4
    # a sweep that is made larger keeps what it has
    assert one < set(folders(sweep_file(tmp_path, FILE.replace("repeats = 2", "repeats = 3"))))


@pytest.mark.parametrize(
    ("edited", "old", "new"),
    [
        (
            "scenarios/fallback/tcp-443.toml",
            "remove = [",
            'set = { "links.alice-lan-a.shape.delay" = "9ms" }\nremove = [',
        ),
        ("scenarios/fallback/udp.toml", "title", 'sip_t1 = "1s"\ntitle'),
        ("topologies/contoso.toml", 'delay = "', 'delay = "1'),
        ("topologies/conditions/lte.toml", 'delay = "', 'delay = "1'),
    ],
    ids=["scenario", "scenario that it extends", "topology", "condition"],
)
def test_a_file_that_a_cell_comes_from_is_in_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edited: str, old: str, new: str
) -> None:
    for name in ("scenarios", "topologies"):
        shutil.copytree(root() / name, tmp_path / name)
    monkeypatch.setenv("TESTBED_ROOT", str(tmp_path))
    monkeypatch.setattr("testbed.conditions.condition_change.__defaults__", (tmp_path / "topologies" / "conditions",))
    text = NAMED.replace("online/p2p-internal", "fallback/tcp-443").replace("sip_t1=1s", "conditions/lte")
    path = sweep_file(tmp_path, text.replace("[cases.way.plain]\n", ""))
    before = folders(path)
    assert folders(path) == before
    file = tmp_path / edited
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    assert set(before).isdisjoint(folders(path))


def test_the_code_is_in_what_a_cell_is() -> None:
    def identity(code: str) -> str:
        return cell_identity("spec", duration_ns=1, seed=1, code=code)

    assert identity(code_digest()) == identity(code_digest()) != identity("another version")


def test_a_sweep_that_is_done_runs_nothing_and_writes_its_table_again(tmp_path: Path) -> None:
    sweep, folder = read_sweep(sweep_file(tmp_path)), tmp_path / "out"
    told: list[str] = []
    for number, job in enumerate(plan_jobs(sweep)):
        done(job, folder, mos=4.0 + number / 100)
    swept = run_sweep(sweep, folder, jobs=2, told=told.append)
    assert told == ["8 cells, 8 of them done before"]
    rows = rows_of(swept.table)
    assert [float(row["mos"]) for row in rows] == [4.0 + n / 100 for n in range(8)]
    assert rows[0]["run"] == str(folder / plan_jobs(sweep)[0].folder / "2026-1" / "s")
    assert pq.read_table(swept.table.with_suffix(".parquet")).num_rows == 8
    assert swept.missing == []


def test_a_case_that_is_called_otherwise_now_has_its_new_name_in_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for number, job in enumerate(plan_jobs(read_sweep(sweep_file(tmp_path, NAMED)))):
        done(job, folder, mos=number)
    renamed = read_sweep(sweep_file(tmp_path, NAMED.replace("way", "signaling").replace("slow", "late")))
    rows = rows_of(run_sweep(renamed, folder, told=print).table)
    assert [(row["signaling"], row["mos"]) for row in rows] == [("plain", "0"), ("late", "1")]


def test_cases_that_are_the_same_are_run_once_and_each_has_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(job: Job, folder: Path) -> str:
        done(job, folder, mos=4.0)
        return "PASS"

    played, told = playing(monkeypatch, play), list[str]()
    sweep = read_sweep(sweep_file(tmp_path, NAMED.replace("sip_t1=1s", "sip_t1=500ms")))
    rows = rows_of(run_sweep(sweep, tmp_path / "out", told=told.append).table)
    assert played == ["way plain, seed 1"]
    assert told[0] == "1 cells (1 more are the same as another), 0 of them done before"
    assert [row["way"] for row in rows] == ["plain", "slow"] and rows[0]["run"] == rows[1]["run"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:40],
        lambda text: "",
        lambda text: "{}",
        lambda text: text.replace('"format":2', '"format":1'),
        lambda text: text.replace('"mos":', '"moss":'),
        lambda text: text.replace('"mos":4.0', '"mos":"high"'),
        lambda text: '{"format": 2, "run": "x", "rows": []}',
    ],
)
def test_a_damaged_cell_is_said_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[str], str]
) -> None:
    def play(job: Job, folder: Path) -> str:
        done(job, folder, mos=3.0)
        return "PASS"

    played, told, folder = playing(monkeypatch, play), list[str](), tmp_path / "out"
    sweep = read_sweep(sweep_file(tmp_path, NAMED))
    for job in plan_jobs(sweep):
        done(job, folder, mos=4.0)
    file = folder / plan_jobs(sweep)[1].folder / "cell.json"
    file.write_text(damage(file.read_text()))
    rows = rows_of(run_sweep(sweep, folder, told=told.append).table)
    assert played == ["way slow, seed 1"] and f"{file} is damaged: its cell is run again" in told
    assert [row["mos"] for row in rows] == ["4", "3"]


def test_a_cell_whose_rig_broke_is_missing_with_its_reason_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(job: Job, folder: Path) -> str:
        if "slow" in job.cell.name:
            return "ERROR: bird died"
        done(job, folder)
        return "PASS"

    played, sweep = playing(monkeypatch, play), read_sweep(sweep_file(tmp_path, NAMED))
    swept = run_sweep(sweep, tmp_path / "out", told=print)
    assert swept.missing == ["way slow, seed 1: ERROR: bird died"] and len(swept.rows) == 1
    run_sweep(sweep, tmp_path / "out", told=print)
    assert played == ["way plain, seed 1", "way slow, seed 1", "way slow, seed 1"]


def test_a_tables_types_follow_from_the_file_alone(tmp_path: Path) -> None:
    sweep, folder = read_sweep(sweep_file(tmp_path)), tmp_path / "out"
    swept = run_nothing(sweep, folder)
    nothing = pq.read_schema(swept.table.with_suffix(".parquet"))
    done(plan_jobs(sweep)[0], folder, packets=3, mos=4)
    something = pq.read_schema(run_nothing(sweep, folder).table.with_suffix(".parquet"))
    assert nothing == something and str(something.field("mos").type) == "double"
    told = json.loads((folder / "sweep.json").read_text())
    assert told["format"] == 2 and told["rows"] == 1
    assert told["columns"] == {field.name: str(field.type) for field in something}


def run_nothing(sweep: Any, folder: Path) -> Swept:
    with pytest.MonkeyPatch.context() as patch:
        playing(patch, lambda job, folder: "ERROR: not now")
        return run_sweep(sweep, folder, told=print)


def test_a_cells_rows_are_its_streams_and_one_without_media_has_a_row_too(tmp_path: Path) -> None:
    whole = {"packets_entered": 9, "lost": 1, "loss_ratio": 1 / 9, "one_way_delay_ms": {"median": 20.0, "p90": None}}
    streams = [{"from": "alice", "to": "carol", "end_to_end": whole}, {"from": "carol", "to": None, "end_to_end": None}]
    (tmp_path / "verdict.json").write_text('{"verdict": "FAIL", "reason": "bob was silent"}')
    for told, expected in ((streams, [("alice", 20.0), ("carol", None)]), ([], [(None, None)])):
        document = {"trusted": {"timing": False, "complete": True}, "streams": told}
        (tmp_path / "quality.json").write_text(json.dumps(document))
        rows = read_figures(tmp_path)
        assert [(row["sender"], row["one_way_delay_ms_median"]) for row in rows] == expected
        assert all(row["verdict"] == "FAIL" and row["timing_trusted"] is False for row in rows)
        assert all(map(are_figures, rows)) and rows[0]["reason"] == "bob was silent"


def test_a_player_that_never_began_shows_beside_stalls_that_it_could_not_have(tmp_path: Path) -> None:
    players = {"bob": [{"stalls": 2, "played_s": 9.0}, {"stalls": 0, "played_s": 0.0}]}
    checks = [{"check": "playing", "observed": players}]
    (tmp_path / "verdict.json").write_text(json.dumps({"verdict": "FAIL", "reason": "", "checks": checks}))
    trusted = {"timing": True, "complete": True}
    (tmp_path / "quality.json").write_text(json.dumps({"trusted": trusted, "streams": []}))
    (row,) = read_figures(tmp_path)
    assert (row["stalls"], row["played_s"]) == (2, 0.0)


def test_what_is_not_there_is_not_done(tmp_path: Path) -> None:
    assert read_done(tmp_path) is None


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("repeats", "repeat", "repeat: unknown key; did you mean 'repeats'"),
        ("[grid]", "[grid.deeper]", "grid.deeper"),
        ('"2s"', '"soon"', "duration: must be a number with a unit"),
        ("seed = 7", "seed = true", "seed: must be a whole number, not True"),
        ('"0%", "1%"', '0, "1%"', "'links.transit1-msborder.shape.loss': values of several kinds"),
        ('"0%", "1%"', '"0%", "0%"', "a value stands there twice"),
        ('"0%", "1%"', "0.1, nan", "must be text, a number, or true or false"),
        ('"0%", "1%"', '["0%"], "1%"', "must be text, a number, or true or false"),
        ("change = ", "seed = ", "'seed' is a column that every sweep's table has; choose another name"),
        ("[grid]", "[cases.scenario.a]\n[grid]", "'scenario' is a column that every sweep's table has"),
        ("[grid]", "[cases.verdict.a]\n[grid]", "'verdict' is a column that every sweep's table has"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    with pytest.raises(SpecError, match=fault) as caught:
        read_sweep(sweep_file(tmp_path, FILE.replace(old, new)))
    assert "\n" not in str(caught.value) and "Input should" not in str(caught.value)


def test_a_cell_that_cannot_be_is_told_before_any_runs(tmp_path: Path) -> None:
    text = FILE.replace("transit1-msborder", "nowhere")
    with pytest.raises(SpecError, match="there is no 'nowhere' in links"):
        run_sweep(read_sweep(sweep_file(tmp_path, text)), tmp_path / "out", jobs=1, told=print)
    assert not (tmp_path / "out").exists()
