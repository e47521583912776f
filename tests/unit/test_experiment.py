"""Experiments: the sentence is computed from the table and can be false, the plot is drawn, every file is sound."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from testbed import catalogue, run
from testbed.errors import SpecError, UsageError
from testbed.sweep import cells, read_sweep
from testbed.sweep.claims import Plot, Result
from testbed.sweep.experiment import chart, conclude, conclude_sweep, number_of, write_plot

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
ROWS: list[dict[str, Any]] = [
    {"way": "UDP", "loss": "1%", "delay": 20.0, "up": True},
    {"way": "UDP", "loss": "1%", "delay": 30.0, "up": True},
    {"way": "TCP", "loss": "1%", "delay": 90.0, "up": False},
    {"way": "TCP", "loss": "5%", "delay": None, "up": None},
]
RESULT: dict[str, Any] = {
    "sentence": "UDP {udp:.1f} ms, TCP {tcp:.0f} ms",
    "holds": [["tcp", ">", "udp"], ["udp", "<", 26]],
    "values": {
        "udp": {"column": "delay", "where": {"way": "UDP"}},
        "tcp": {"column": "delay", "of": "greatest", "where": {"way": "TCP", "up": False}},
    },
}


def result(**changed: Any) -> Result:
    return Result.model_validate({**RESULT, **changed})


def test_the_sentence_has_its_numbers_from_the_table() -> None:
    outcome = conclude(result(), ROWS)
    assert (outcome.sentence, outcome.holds) == ("UDP 25.0 ms, TCP 90 ms", True)
    assert outcome.values == {"udp": 25.0, "tcp": 90.0}


@pytest.mark.parametrize("false", [["tcp", "<", "udp"], ["udp", "<", 25], ["tcp", "==", "udp"]])
def test_a_claim_that_the_table_refutes_is_said_not_to_hold(false: list[Any]) -> None:
    outcome = conclude(result(holds=[["tcp", ">", "udp"], false]), ROWS)
    assert outcome.holds is False
    assert outcome.sentence == "The claim does not hold here: UDP 25.0 ms, TCP 90 ms"


def test_a_number_that_no_row_gives_leaves_it_open() -> None:
    outcome = conclude(result(), [row for row in ROWS if row["way"] == "UDP"])
    assert (outcome.holds, outcome.sentence) == (None, "Cannot tell: no row of the table gives tcp.")


def test_a_column_that_is_not_there_names_those_that_are() -> None:
    values = {**RESULT["values"], "tcp": {"column": "dealy"}}
    with pytest.raises(UsageError, match=r"result.values.tcp: no column 'dealy'; there are delay, loss, up, way"):
        conclude(result(values=values), ROWS)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"sentence": "UDP {upd:.0f}"}, "names 'upd', which is not among its values; there are: udp, tcp"),
        ({"sentence": "UDP {udp:.0q}"}, "sentence: cannot be filled in"),
        ({"holds": [["tcp", ">", "upd"]]}, "names 'upd'"),
        ({"holds": [["tcp", "!", "udp"]]}, "holds.0.1"),
    ],
)
def test_a_faulty_result_is_told(changed: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        result(**changed)


@pytest.mark.parametrize(
    ("cell", "number"),
    [("20ms", 20.0), ("1.5s", 1500.0), ("2%", 2.0), (True, 1.0), (3, 3.0), ("", None), ("UDP", None), (None, None)],
)
def test_a_cell_is_a_number_where_it_says_one(cell: object, number: float | None) -> None:
    assert number_of(cell) == number


def test_a_plot_has_a_point_for_each_row_with_a_number_and_is_drawn(tmp_path: Path) -> None:
    plot = Plot(x="loss", y="delay", series="way", x_title="Loss, %", y_title="Delay, ms")
    drawn = chart(plot, ROWS, "A title")
    assert [(point["x"], point["y"], point["series"]) for point in drawn["data"]["values"]] == [
        (1.0, 20.0, "UDP"), (1.0, 30.0, "UDP"), (1.0, 90.0, "TCP"),
    ]  # fmt: skip
    names = chart(plot.model_copy(update={"x": "way"}), ROWS, "A title")["encoding"]["x"]
    assert (names["type"], names["sort"]) == ("nominal", ["UDP", "TCP"])
    write_plot(plot, ROWS, "A title", tmp_path / "plot.svg")
    svg = (tmp_path / "plot.svg").read_text()
    assert svg.startswith("<svg") and all(words in svg for words in ("A title", "Loss, %", "UDP", "TCP"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_is_sound_and_would_run(path: Path) -> None:
    sweep = read_sweep(path)
    assert sweep.title and sweep.plot and sweep.result and sweep.result.holds
    planned = list(cells(sweep))
    for cell in planned:
        run.read_items([catalogue.find_scenario(cell.scenario)], catalogue.parse_changes(cell.changes))
    points = [dict(cell.point) for cell in planned]
    varied = {key for point in points for key in point}
    for number in sweep.result.values.values():
        here = {column: wanted for column, wanted in number.where.items() if column in varied}
        assert any(here.items() <= point.items() for point in points), here


CASES = """
scenario = "online/p2p-internal"
[cases.way.plain]
[cases.way.other]
scenario = "online/p2p-external"
changes = ["sip_t1=1s"]
[grid]
sip_t1 = ["2s", "3s"]
[result]
sentence = "{mos:.1f}"
values.mos = { column = "mos" }
"""


def test_cases_are_columns_of_the_table_and_are_combined_with_the_grid(tmp_path: Path) -> None:
    (tmp_path / "cases.toml").write_text(CASES)
    sweep = read_sweep(tmp_path / "cases.toml")
    assert [(cell.scenario, dict(cell.point), cell.changes) for cell in cells(sweep)] == [
        ("online/p2p-internal", {"way": "plain", "sip_t1": "2s"}, ('sip_t1="2s"',)),
        ("online/p2p-internal", {"way": "plain", "sip_t1": "3s"}, ('sip_t1="3s"',)),
        ("online/p2p-external", {"way": "other", "sip_t1": "2s"}, ("sip_t1=1s", 'sip_t1="2s"')),
        ("online/p2p-external", {"way": "other", "sip_t1": "3s"}, ("sip_t1=1s", 'sip_t1="3s"')),
    ]
    for number, cell in enumerate(cells(sweep)):
        place = tmp_path / cell.folder
        place.mkdir()
        row = {**dict(cell.point), "mos": number, "run": "x", "timing_trusted": True}
        (place / "cell.json").write_text(json.dumps({"format": 1, "rows": [row]}))
    outcome = conclude_sweep(sweep, tmp_path)
    assert outcome is not None and outcome.sentence == "1.5"
    assert json.loads((tmp_path / "result.json").read_text())["values"] == {"mos": 1.5}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("sip_t1 = [", "way = [", "'way' stands in grid and in cases"),
        ('["2s", "3s"]', "[]", "name something that varies"),
        ("[cases.way.plain]", "[cases.way.plain]\nchange = []", "cases.way.plain.change: Extra inputs"),
    ],
)
def test_a_faulty_sweep_is_one_clear_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    (tmp_path / "cases.toml").write_text(CASES.replace(old, new))
    with pytest.raises(SpecError, match=fault):
        read_sweep(tmp_path / "cases.toml")
