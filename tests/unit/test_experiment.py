"""Experiments: the sentence is computed from the table and can be false, the plot is drawn, every file is sound."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_sweep import done, figures, playing
from typer.testing import CliRunner

from testbed import cli
from testbed.errors import SpecError
from testbed.sweep import Swept, cells, plan_jobs, read_sweep
from testbed.sweep.claims import Plot, Result
from testbed.sweep.columns import number_of
from testbed.sweep.experiment import chart, conclude, conclude_sweep, exit_code, summary_lines, write_plot

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))
RESULT: dict[str, Any] = {
    "sentence": "UDP {udp:.1f} ms, TCP {tcp:.0f} ms",
    "holds": [
        {"left": "tcp", "is": ">", "right": "udp", "by": 40},
        {"left": "udp", "is": "<", "right": 32},
    ],
    "values": {
        "udp": {"column": "delay", "where": {"way": "UDP"}},
        "tcp": {"column": "delay", "of": "greatest", "where": {"way": "TCP", "up": False}},
    },
}


def row(way: str, seed: int, delay: float | None, **more: Any) -> dict[str, Any]:
    return {"way": way, "seed": seed, "loss": "1%", "delay": delay, "up": way == "UDP", "run": f"{way}-{seed}"} | more


ROWS = [
    row("UDP", 1, 20.0), row("UDP", 1, 30.0), row("UDP", 2, 31.0),
    row("TCP", 1, 90.0), row("TCP", 1, 60.0), row("TCP", 2, 80.0), row("TCP", 2, 500.0, up=True), row("TCP", 3, None),
]  # fmt: skip


def result(**changed: Any) -> Result:
    return Result.model_validate({**RESULT, **changed})


def test_the_sentence_has_the_median_of_the_repeats_each_with_its_own_number() -> None:
    outcome = conclude(result(), ROWS)
    assert outcome.repeats == {"udp": [25.0, 31.0], "tcp": [90.0, 80.0]}
    assert outcome.values == {"udp": 28.0, "tcp": 85.0}
    assert (outcome.sentence, outcome.holds, outcome.against) == ("UDP 28.0 ms, TCP 85 ms", True, ())


@pytest.mark.parametrize(
    ("false", "told"),
    [
        ({"left": "udp", "is": ">", "right": "tcp", "by": 1}, "udp > tcp by 1 is not true in every repeat: 25, 31"),
        ({"left": "tcp", "is": ">", "right": "udp", "by": 50}, "25, 31"),  # 80 to 31 is 49
        ({"left": "udp", "is": "<", "right": "tcp", "by": 50}, "udp < tcp by 50"),
        ({"left": "udp", "is": "<", "right": 31}, "udp < 31"),
        ({"left": "udp", "is": "<=", "right": 30.9}, "25, 31 against 30.9"),
        ({"left": "tcp", "is": ">", "right": 80}, "tcp > 80"),
        ({"left": "tcp", "is": ">=", "right": 81}, "tcp >= 81"),
        ({"left": "tcp", "is": "==", "right": 85}, "tcp == 85"),
    ],
)
def test_a_claim_that_any_repeat_refutes_is_said_not_to_hold(false: dict[str, Any], told: str) -> None:
    outcome = conclude(result(holds=[RESULT["holds"][0], false]), ROWS)
    assert outcome.holds is False
    assert outcome.sentence == "The claim does not hold here: UDP 28.0 ms, TCP 85 ms"
    assert len(outcome.against) == 1 and told in outcome.against[0]


@pytest.mark.parametrize(
    "true",
    [
        {"left": "tcp", "is": ">", "right": "udp", "by": 49},
        {"left": "udp", "is": "<", "right": "tcp", "by": 49},
        {"left": "udp", "is": "<=", "right": 31},
        {"left": "tcp", "is": ">=", "right": 80},
    ],
)
def test_the_margin_itself_is_enough(true: dict[str, Any]) -> None:
    assert conclude(result(holds=[true]), ROWS).holds is True


def test_equal_is_equal_in_every_repeat() -> None:
    holds = [{"left": "udp", "is": "==", "right": 0}]
    for delays, expected in (((0.0, 0.0), True), ((0.0, 1.0), False)):
        rows = [row("UDP", seed, delay) for seed, delay in enumerate(delays)]
        rows += [row("TCP", seed, 9.0) for seed in (1, 2)]
        assert conclude(result(holds=holds), rows).holds is expected


@pytest.mark.parametrize(
    ("lacking", "told"),
    [("TCP", "tcp has 0."), ("TCP-2", "tcp has 1."), ("UDP-1", "udp has 1.")],
)
def test_too_few_repeats_leave_it_open(lacking: str, told: str) -> None:
    outcome = conclude(result(), [each for each in ROWS if not each["run"].startswith(lacking)])
    assert outcome.holds is None and outcome.sentence.startswith("Cannot tell: a claim needs 2 repeats that can be")
    assert outcome.sentence.endswith(told)


@pytest.mark.parametrize(
    ("number", "expected"), [("20ms", 20.0), ("1.5s", 1500.0), ("2%", 2.0), (True, 1.0), (3, 3.0), ("", None),
                             ("UDP", None), (None, None), (float("nan"), None)],
)  # fmt: skip
def test_a_cell_is_a_number_where_it_says_one(number: object, expected: float | None) -> None:
    assert number_of(number) == expected


def test_a_plot_has_a_point_for_each_row_with_a_number_and_is_drawn(tmp_path: Path) -> None:
    plot = Plot(x="loss", y="delay", series="way", x_title="Loss, %", y_title="Delay, ms")
    rows = [row("UDP", 1, 20.0), row("TCP", 1, 90.0), row("TCP", 2, None, loss="5%")]
    drawn = chart(plot, rows, "A title")
    assert [(point["x"], point["y"], point["series"]) for point in drawn["data"]["values"]] == [
        (1.0, 20.0, "UDP"), (1.0, 90.0, "TCP"),
    ]  # fmt: skip
    assert not any("text" in layer["mark"] for layer in drawn["layer"] if layer.get("data", {}).get("values"))
    marked = chart(plot.model_copy(update={"none": "nobody was heard"}), rows, "A title")
    crosses = [point for layer in marked["layer"] for point in layer.get("data", {"values": []})["values"]]
    assert crosses == [{"x": 5.0, "y": None, "series": "TCP"}]
    assert marked["title"]["subtitle"].endswith("nobody was heard")
    names = chart(plot.model_copy(update={"x": "way"}), rows, "A title")["encoding"]["x"]
    assert (names["type"], names["sort"]) == ("nominal", ["UDP", "TCP"])
    write_plot(plot, rows, "A title", tmp_path / "plot.svg")
    svg = (tmp_path / "plot.svg").read_text()
    assert svg.startswith("<svg") and all(words in svg for words in ("A title", "Loss, %", "UDP", "TCP"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_is_sound_and_would_run(path: Path) -> None:
    sweep = read_sweep(path)
    assert sweep.title and sweep.plot and sweep.result
    points = [dict(job.cell.point) for job in plan_jobs(sweep)]
    varied = {key for point in points for key in point}
    for number in sweep.result.values.values():
        here = {column: wanted for column, wanted in number.where.items() if column in varied}
        assert any(here.items() <= point.items() for point in points), here


CASES = """
title = "Cases"
scenario = "online/p2p-internal"
repeats = 2
[cases.way.plain]
[cases.way.other]
scenario = "online/p2p-external"
changes = ["sip_t1=1s"]
[grid]
sip_t1 = ["2s", "3s"]
[plot]
x = "sip_t1"
y = "mos"
series = "way"
x_title = "T1"
y_title = "MOS"
[result]
sentence = "{plain:.1f} and {other:.1f}"
holds = [{ left = "plain", is = "<", right = "other", by = 0.5 }]
[result.values.plain]
column = "mos"
where = { way = "plain" }
[result.values.other]
column = "mos"
where = { way = "other", sip_t1 = "2s" }
"""


def case_file(folder: Path, old: str = "", new: str = "") -> Path:
    assert old in CASES
    path = folder / "cases.toml"
    path.write_text(CASES.replace(old, new) if old else CASES)
    return path


def test_cases_are_columns_of_the_table_and_are_combined_with_the_grid(tmp_path: Path) -> None:
    assert [(cell.scenario, dict(cell.point), cell.changes) for cell in cells(read_sweep(case_file(tmp_path)))][:4] == [
        ("online/p2p-internal", {"way": "plain", "sip_t1": "2s"}, ('sip_t1="2s"',)),
        ("online/p2p-internal", {"way": "plain", "sip_t1": "3s"}, ('sip_t1="3s"',)),
        ("online/p2p-external", {"way": "other", "sip_t1": "2s"}, ("sip_t1=1s", 'sip_t1="2s"')),
        ("online/p2p-external", {"way": "other", "sip_t1": "3s"}, ("sip_t1=1s", 'sip_t1="3s"')),
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("sip_t1 = [", "way = [", "'way' stands in grid and in cases"),
        ('["2s", "3s"]', "[]", "name something that varies"),
        ("[cases.way.plain]", "[cases.way.plain]\nchange = []", "cases.way.plain.change: unknown key; did you mean"),
        ("repeats = 2", "", "repeats: a claim needs 2 or more, since what came out once may be chance, not 1"),
        ('y = "mos"', 'y = "mosss"', "plot.y: no column 'mosss'; did you mean 'mos'?"),
        ('y = "mos"', 'y = "sender"', "plot.y: no numbers are in column 'sender'"),
        ('y = "mos"', 'y = "way"', "plot.y: no numbers are in column 'way'"),
        ('x = "sip_t1"', 'x = "sip_t2"', "plot.x: no column 'sip_t2'; did you mean 'sip_t1'?"),
        ('series = "way"', 'series = "ways"', "plot.series: no column 'ways'"),
        ('[result.values.plain]\ncolumn = "mos"', '[result.values.plain]\ncolumn = "mso"',
         "result.values.plain.column: no column 'mso'; did you mean 'mos'?"),
        ('[result.values.plain]\ncolumn = "mos"', '[result.values.plain]\ncolumn = "verdict"',
         "result.values.plain.column: no numbers are in column 'verdict'"),
        ('{ way = "plain" }', '{ wya = "plain" }', "result.values.plain.where: no column 'wya'; did you mean 'way'?"),
        ('{ way = "plain" }', '{ way = "plane" }', "where.way: 'plane' never stands there; did you mean 'plain'?"),
        ('{ way = "plain" }', '{ called = "yes" }', "where.called: must be true or false, as all that stands there"),
        ('{ way = "plain" }', '{ mos = true }', "where.mos: must be a number"),
        ('{ way = "plain" }', '{ way = ["plain"] }', "where.way: must be text, a number, or true or false"),
        ('holds = [{ left = "plain", is = "<", right = "other", by = 0.5 }]', "", "result.holds: missing"),
        ('[{ left = "plain", is = "<", right = "other", by = 0.5 }]', "[]",
         "result: holds: say what makes the claim true"),
        ('{ left = "plain", is = "<", right = "other", by = 0.5 }', '["plain", "<", "other"]',
         "result.holds.0: must be a table like { left = "),
        (", by = 0.5", "", "result.holds.0: two values are compared by < or > and with a margin, `by`"),
        ('is = "<"', 'is = "=="', "compared by < or > and with a margin"),
        ('is = "<"', 'is = "!"', r"result.holds.0.is: must be '<', '<=', '>', '>=' or '==', not '!'"),
        ("by = 0.5", "by = 0", "result.holds.0.by: "),
        ("by = 0.5", "by = -1", "result.holds.0.by: "),
        ("by = 0.5", "by = inf", "result.holds.0.by: "),
        ('right = "other"', "right = 3", "by: only between two values"),
        ('right = "other"', "right = true", "result.holds.0.right: must be the name of a value, or a number, not True"),
        ('right = "other"', "right = nan", "result.holds.0.right: must be the name of a value, or a number, not nan"),
        ('right = "other"', 'right = "others"', "names 'others', which is not among its values; there are: plain"),
        ("{other:.1f}", "{othre:.1f}", "names 'othre'"),
        ("{other:.1f}", "{other:.1q}", "sentence: cannot be filled in"),
    ],
)  # fmt: skip
def test_a_faulty_experiment_is_one_clear_line_before_anything_runs(
    tmp_path: Path, old: str, new: str, fault: str
) -> None:
    with pytest.raises(SpecError) as caught:
        read_sweep(case_file(tmp_path, old, new))
    assert fault in str(caught.value) and "\n" not in str(caught.value)


def finished(
    tmp_path: Path, *, late: frozenset[int] = frozenset(), fails: bool = False, key: str = "timing_trusted"
) -> Path:
    """Return the file of an experiment all of whose cells are done but those whose rig breaks; *late* are by number."""
    path, folder = case_file(tmp_path), tmp_path / "sweep-cases"
    for number, job in enumerate(plan_jobs(read_sweep(path))):
        mos = 2.0 if dict(job.cell.point)["way"] == "plain" else 4.0
        verdict = "FAIL" if fails else "PASS"
        done(job, folder, mos=9.0 if number in late else mos, verdict=verdict, **{key: number not in late})
    return path


def outcome_of(path: Path, tmp_path: Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["sweep", str(path), "--results", str(tmp_path)])
    return done.exit_code, done.output


def test_an_experiment_that_is_done_says_its_sentence_and_draws_its_plot(tmp_path: Path) -> None:
    code, text = outcome_of(finished(tmp_path), tmp_path)
    assert code == 0 and "2.0 and 4.0\n" in text
    told = json.loads((tmp_path / "sweep-cases" / "result.json").read_text())
    assert (told["holds"], told["repeats"]["plain"]) == (True, [2.0, 2.0])
    assert told["runs"] == {"done": 8, "left_out": 0, "missing": 0}
    assert "MOS" in (tmp_path / "sweep-cases" / "plot.svg").read_text()


@pytest.mark.parametrize("key", ["timing_trusted", "capture_complete"])
def test_runs_that_cannot_be_trusted_are_in_the_table_and_not_in_the_sentence(tmp_path: Path, key: str) -> None:
    code, text = outcome_of(finished(tmp_path, late=frozenset({3, 7}), key=key), tmp_path)  # other at 3 s: not asked
    assert code == 0 and "2.0 and 4.0\n" in text and "2 of 8 runs are in the table, and left out here" in text
    table = (tmp_path / "sweep-cases" / "sweep.csv").read_text()
    assert table.count("false") == 2 + table.count("FAIL") and len(table.splitlines()) == 9


def test_where_too_few_can_be_trusted_it_cannot_be_told(tmp_path: Path) -> None:
    code, text = outcome_of(finished(tmp_path, late=frozenset({2})), tmp_path)
    assert code == 3 and "Cannot tell: a claim needs 2 repeats that can be trusted, and other has 1.\n" in text


def test_where_none_can_be_trusted_no_plot_stays(tmp_path: Path) -> None:
    path = finished(tmp_path)
    assert outcome_of(path, tmp_path)[0] == 0 and (tmp_path / "sweep-cases" / "plot.svg").exists()
    code, text = outcome_of(finished(tmp_path, late=frozenset(range(8))), tmp_path)
    assert code == 3 and "8 of 8 runs" in text and "Plot: none" in text
    assert not (tmp_path / "sweep-cases" / "plot.svg").exists()


def test_a_claim_that_does_not_hold_says_which_comparison_and_exits_1(tmp_path: Path) -> None:
    path = finished(tmp_path)
    path.write_text(path.read_text().replace("by = 0.5", "by = 3"))
    code, text = outcome_of(path, tmp_path)
    assert code == 1 and "The claim does not hold here: 2.0 and 4.0\n" in text
    assert "plain < other by 3 is not true in every repeat: 2, 2 against 4, 4\n" in text


def test_calls_that_fail_may_be_what_a_claim_is_about(tmp_path: Path) -> None:
    assert outcome_of(finished(tmp_path, fails=True), tmp_path)[0] == 0


def test_a_cell_whose_rig_broke_is_named_and_exits_4_whatever_the_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished(tmp_path)
    broken = plan_jobs(read_sweep(path))[3]
    (tmp_path / "sweep-cases" / broken.folder / "cell.json").unlink()
    playing(monkeypatch, lambda job, folder: "ERROR: bird died")
    code, text = outcome_of(path, tmp_path)
    assert code == 4 and "2.0 and 4.0\n" in text
    assert "Missing, and tried again when the sweep is given again: way other, sip_t1 3s, seed 1: ERROR: bird" in text
    assert json.loads((tmp_path / "sweep-cases" / "result.json").read_text())["runs"]["missing"] == 1


@pytest.mark.parametrize(
    ("verdicts", "missing", "expected"),
    [
        (["PASS", "PASS"], [], 0),
        (["PASS", "INCONCLUSIVE"], [], 3),
        (["INCONCLUSIVE", "FAIL"], [], 1),
        (["FAIL"], ["way plain: ERROR: bird died"], 4),
        ([], ["way plain: interrupted"], 4),
    ],
)
def test_without_a_claim_the_worst_verdict_of_the_cells_is_that_of_the_sweep(
    tmp_path: Path, verdicts: list[str], missing: list[str], expected: int
) -> None:
    rows = [figures(verdict=each, reason="so it was", run=f"r{number}") for number, each in enumerate(verdicts)]
    swept = Swept(tmp_path / "sweep.csv", rows, missing)
    assert exit_code(swept, None) == expected
    bad = [f"{each}: so it was (r{number})" for number, each in enumerate(verdicts) if each != "PASS"]
    assert summary_lines(swept, None)[: len(bad)] == bad and len(summary_lines(swept, None)) == len(bad) + len(missing)


def test_a_sweep_that_claims_nothing_has_no_outcome(tmp_path: Path) -> None:
    path = case_file(tmp_path)
    path.write_text(CASES[: CASES.index("[plot]")])
    sweep = read_sweep(path)
    assert conclude_sweep(sweep, Swept(tmp_path / "sweep.csv", [], []), tmp_path) is None
    assert not (tmp_path / "result.json").exists()
