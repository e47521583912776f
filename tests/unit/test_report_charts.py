"""Charts: specifications that Vega-Lite takes, data where there is some, the library packed whole and kept."""

import base64
import json
import re
import zlib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from quality_samples import MS, SHAPED, send, shaped_plan
from report_samples import P2P_INTERNAL, write_run
from story_samples import call_wire, write_story

from testbed import catalogue, run
from testbed.errors import MissingTool
from testbed.report import charts, write_report
from testbed.report.record import read_record
from testbed.report.spread import spreads

POINTS: dict[str, list[dict[str, Any]]] = {
    "delay": [{"stream": "a → b", "t": t / 10, "v": 20 + t} for t in range(9)],
    "jitter": [{"stream": "a → b", "t": t / 10, "v": 2, "what": "interarrival jitter"} for t in range(9)],
    "loss": [{"stream": "a → b", "t": t / 10, "v": 0, "packets": 10} for t in range(9)],
    "distribution": [{"stream": "a → b", "segment": "internet", "ms": v, "share": v / 9} for v in range(10)],
}
TARGETS = [{"limit": 50, "words": "Microsoft: p90 below 50"}]


@pytest.mark.parametrize("name", list(charts.charts()))
def test_every_chart_is_drawn_with_its_data_and_its_target(name: str) -> None:
    spec = {**charts.charts()[name], "datasets": {"points": POINTS[name], "targets": TARGETS}}
    picture = vl_convert.vegalite_to_svg(spec)
    assert "var(--" in picture
    assert ("p90 below 50" in picture) == (name != "distribution")
    assert ("internet" if name == "distribution" else "a → b") in picture


def test_the_chart_of_delays_has_a_row_a_stream() -> None:
    point = {"min": 1, "p25": 2, "median": 3, "p75": 4, "p95": 5, "max": 9}
    values = [{"stream": f"online/p2p-internal: {name}", **point} for name in ("a → b", "b → a")]
    picture = vl_convert.vegalite_to_svg({**charts.box_chart(), "datasets": {"points": values}})
    assert "online/p2p-internal: a → b" in picture
    assert "online/p2p-internal: b → a" in picture


def test_every_chart_has_a_title_in_words() -> None:
    assert [name for name, _ in charts.CHART_TITLES] == list(charts.charts())


def test_the_library_is_put_together_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    charts.packed_library.cache_clear()
    packed = charts.packed_library()
    code = zlib.decompress(base64.b64decode(packed)).decode()
    assert "window.vegaEmbed=" in code
    assert len(packed) < 500_000
    (kept,) = (tmp_path / "testbed").iterdir()
    assert kept.read_text() == packed
    charts.packed_library.cache_clear()
    monkeypatch.setattr(charts, "_pack_library", lambda: pytest.fail("put together again"))
    assert charts.packed_library() == packed
    charts.packed_library.cache_clear()


def test_the_page_has_the_library_and_the_figures_only_where_there_is_something_to_chart(tmp_path: Path) -> None:
    text = write_report(write_story(tmp_path / "one", call_wire(packets=60))).read_text(encoding="utf-8")
    assert "data-chart-library>" in text
    found = re.search(r'<script type="application/json">(.*?)</script>', text)
    assert found
    assert {point["stream"] for point in json.loads(found[1])} <= {f"test/one: {one}" for one in STREAMS}
    without = write_report(write_run(tmp_path / "other", [P2P_INTERNAL])).read_text(encoding="utf-8")
    assert "data-chart-library>" not in without


STREAMS = ("alice → carol", "carol → alice")


def test_figures_that_are_not_to_be_trusted_say_so_beside_the_others(tmp_path: Path) -> None:
    wire = call_wire(packets=0)
    wire.plan = shaped_plan(*SHAPED)
    send(wire, range(30), lambda link, number: 10 * MS if link == "er" else 0)
    (spread,) = spreads(read_record(write_story(tmp_path / "good", wire)))
    assert spread.trusted
    assert spread.median == pytest.approx(10, abs=0.1)
    wire.lost["inet"] = 4
    (spread,) = spreads(read_record(write_story(tmp_path / "gaps", wire)))
    assert not spread.trusted
    assert "not trusted" in str(spread.as_point()["stream"])


def test_without_the_library_a_run_says_so_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(charts, "version", absent)
    items = run.read_items([catalogue.find_scenario("online/p2p-internal")])
    with pytest.raises(MissingTool, match=r"vl-convert-python.* is not installed; mend: python -m pip install") as told:
        run.run_items(items, run.Options(results=tmp_path, duration_ns=10**9), lambda name, event: None)
    assert "\n" not in str(told.value) and told.value.exit_code == 4 and not list(tmp_path.iterdir())
