"""A capture too large for memory is analysed in parts, with columns in files: to the same result."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_samples import MEDIA_ER, SIGNALING_ER, Wire, make_scenario, media_by_er, relayed_call, signaling_by_er
from quality_samples import MS, SHAPED, send, shaped_plan

from testbed.analysis import grouping, paths, read_run, space
from testbed.analysis.quality import measure
from testbed.analysis.space import Space
from testbed.verdict import judge

LARGE = 100


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    wire = Wire(shaped_plan(*SHAPED))
    signaling_by_er(wire)
    send(wire, range(200), lambda link, n: MS + n % 7 * MS, lost_on=lambda n: "er" if n % 50 == 7 else None)
    for sequence in range(20):
        media_by_er(wire, sequence=sequence)
        relayed_call(wire, relays=1 + sequence % 2, sequence=100 + sequence)
    return wire.write(tmp_path / "run", make_scenario(MEDIA_ER, SIGNALING_ER))


def analysed(directory: Path) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    run = read_run(directory)
    columns = (run.walks.rows, run.walks.hop, run.walks.starts, run.walks.walk)
    return judge(directory), measure(run), [run.walks.walks, *(column.tolist() for column in columns)]


def test_parts_and_files_give_the_result_of_a_whole_in_memory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysed(directory)
    assert len(read_run(directory).packets) > 10 * LARGE
    monkeypatch.setattr(space, "IN_MEMORY_ROWS", LARGE)
    monkeypatch.setattr(paths, "ROWS_AT_ONCE", LARGE)
    parts, add = [], grouping.Grouping.add

    def add_and_note(self: grouping.Grouping, part: Any) -> None:
        parts.append(part)
        add(self, part)

    monkeypatch.setattr(grouping.Grouping, "add", add_and_note)
    files = sorted(directory.iterdir())
    assert analysed(directory) == whole
    assert len(parts) > 10
    assert sorted(directory.iterdir()) == files, "columns' files have no names"


def test_what_is_let_go_is_still_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "IN_MEMORY_ROWS", LARGE)
    here = Space(tmp_path)
    column = here.zeros(1_000_000, np.int64)
    assert not column.any()
    column[:] = np.arange(len(column))
    here.forget()
    assert (column == np.arange(len(column))).all()
    assert here.longer(column, column[:2])[-3:].tolist() == [len(column) - 1, 0, 1]


def test_without_room_for_a_file_columns_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(space, "IN_MEMORY_ROWS", LARGE)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    column = Space(tmp_path).zeros(1000, np.int32)
    column += 1
    assert int(column.sum()) == 1000
