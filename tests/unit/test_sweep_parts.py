"""How a sweep's cells are run elsewhere: what travels, what is refused, and what a dead process costs."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sweep import sweep_file
from typer.testing import CliRunner

from testbed import cli, run
from testbed.errors import MissingTool, RigError, UsageError
from testbed.sweep import cells, cluster, read_sweep
from testbed.sweep.cell import Job, Played
from testbed.sweep.identity import code_digest
from testbed.sweep.local import run_here
from testbed.sweep.parcel import Parcel, play_away, unpack


class Deadly:
    """What kills the process that it gets to."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)


def job(tmp_path: Path, item: Any = None) -> Job:
    return Job(next(cells(read_sweep(sweep_file(tmp_path)))), item, "0123")


def test_a_parcel_is_unpacked_where_it_belongs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(job: Job, results: Path) -> Played:
        place = results / "2026-1"
        (place / "a-b").mkdir(parents=True)
        (place / "a-b" / "capture.pcapng").write_bytes(b"packets" * 999)
        (results / "latest").symlink_to(place)
        return Played("PASS", "all well", place, "a-b")

    monkeypatch.setattr("testbed.sweep.parcel.play", play)
    parcel = play_away(job(tmp_path), code_digest(), tmp_path)
    assert len(parcel.files["a-b/capture.pcapng"]) < 999
    played = unpack(parcel, tmp_path / "here")
    assert (played.verdict, played.reason, played.scenario) == ("PASS", "all well", "a-b")
    assert (played.run / played.scenario / "capture.pcapng").read_bytes() == b"packets" * 999
    assert played.run.parent == tmp_path / "here"


@pytest.mark.parametrize("name", ["../beside", "/etc/hosts", "a/../../b"])
def test_a_file_that_would_lie_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RigError, match="outside of the results"):
        unpack(Parcel(Played("PASS", "", Path("r"), "s"), {name: b""}), tmp_path)


def test_a_worker_with_other_code_runs_nothing(tmp_path: Path) -> None:
    parcel = play_away(job(tmp_path), "another digest", tmp_path)
    assert parcel.played.verdict == "ERROR" and "another version" in parcel.played.reason and not parcel.files


def test_what_is_wrong_with_a_worker_is_its_cells_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(job: Job, results: Path) -> Played:
        raise MissingTool("bird is not installed", "apt-get install bird2")

    monkeypatch.setattr("testbed.sweep.parcel.play", play)
    parcel = play_away(job(tmp_path), code_digest(), tmp_path)
    assert parcel.played.reason == "bird is not installed; mend: apt-get install bird2"


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("nonsense", "no address of a Dask scheduler; an address is like tcp://"),
        ("http://127.0.0.1:80", "no address of a Dask scheduler"),
        ("tcp://127.0.0.1:9", "no Dask scheduler answers there"),
    ],
)
def test_a_wrong_address_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, fault: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_LIMIT_S", 1.5)
    with pytest.raises(UsageError, match=fault) as caught:
        list(cluster.run_there([job(tmp_path)], tmp_path, address))
    assert str(caught.value).startswith(f"--scheduler {address}: ") and "\n" not in str(caught.value)


def test_jobs_and_a_scheduler_do_not_go_together(tmp_path: Path) -> None:
    arguments = ["sweep", str(sweep_file(tmp_path)), "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2"]
    error = CliRunner().invoke(cli.app, arguments).exception
    assert isinstance(error, UsageError) and "--jobs is about this machine" in str(error)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "testbed.sweep.cluster")
    with pytest.raises(MissingTool, match=r"the package distributed is not installed.*mend: python -m pip install"):
        import testbed.sweep.cluster  # noqa: F401


def test_a_cells_process_that_dies_takes_no_other_with_it(tmp_path: Path) -> None:
    deadly, sound = Deadly(), run.Item("x", None)  # type: ignore[arg-type]
    done = run_here([job(tmp_path, deadly), job(tmp_path, deadly)], tmp_path, 1)
    assert [verdict for _, verdict in done] == ["ERROR: its process was killed"] * 2
    with pytest.raises(AttributeError):
        list(run_here([job(tmp_path, sound)], tmp_path, 1))
