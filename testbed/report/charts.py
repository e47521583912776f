"""Charts of the page: Vega-Lite specifications, and the library itself, packed so that the page needs nothing else.

The page fills in the data and draws when a scenario is looked at. Colours are the page's own variables, so that charts
follow its theme and its print.
"""

import base64
import os
import zlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from testbed import files
from testbed.errors import MissingTool

Spec = dict[str, Any]
_PACKAGE: Final = "vl-convert-python"
SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
WIDTH: Final = 430
HEIGHT: Final = 150
STREAM_COLOURS: Final = tuple(f"var(--stream{number})" for number in range(1, 7))
KIND_COLOURS: Final = {
    "customer": "var(--stream4)",
    "internet": "var(--stream1)",
    "expressroute": "var(--stream3)",
    "microsoft": "var(--stream2)",
}
CHART_TITLES: Final = (
    ("delay", "One-way delay over time"),
    ("jitter", "Jitter over time"),
    ("loss", "Loss over time"),
    ("distribution", "Distribution of the delay on each segment"),
)
"Charts of a scenario, and what they show in words."
_DASHES: Final = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])
_TIME: Final = {"field": "t", "type": "quantitative", "title": "Seconds of the stream", "scale": {"nice": False}}


def chart_config() -> Spec:
    """Return what all charts have in common."""
    words = {"labelColor": "var(--soft)", "titleColor": "var(--soft)", "labelFontSize": 10.5, "titleFontSize": 10.5}
    return {
        "background": None,
        "font": "Inter, Segoe UI, Helvetica Neue, Arial, DejaVu Sans, sans-serif",
        "view": {"stroke": None},
        "axis": {**words, "gridColor": "var(--hair)", "domainColor": "var(--rule)", "tickColor": "var(--rule)"},
        "legend": {**words, "orient": "bottom", "title": None, "symbolStrokeWidth": 2.5, "labelLimit": 260},
        "title": {"color": "var(--ink)", "fontSize": 12, "anchor": "start", "fontWeight": 600},
        "line": {"strokeWidth": 1.4},
    }


def charts() -> dict[str, Spec]:
    """Return the charts of a scenario; the page gives them their `points` and `targets`."""
    return {
        "delay": _over_time("One-way delay", "ms", [_lines("v")], with_targets=True),
        "jitter": _over_time(
            "Jitter: mean delay change (Microsoft’s) and interarrival jitter (RFC 3550, thin)",
            "ms",
            [_lines("v", "datum.what == 'mean delay change'"), _lines("v", "datum.what == 'interarrival jitter'", 0.7)],
            with_targets=True,
        ),
        "loss": _over_time("Loss per window", "%", [_bars()], with_targets=True),
        "distribution": _distribution(),
    }


def box_chart() -> Spec:
    """Return the chart of all scenarios: the spread of each stream's end-to-end delay."""
    row = {"field": "stream", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 420}}
    at = {"type": "quantitative", "title": "One-way delay end to end, ms"}
    tip = [
        {"field": name, "type": "quantitative", "title": name} for name in ("min", "p25", "median", "p75", "p95", "max")
    ]
    tooltip = [{"field": "stream", "type": "nominal"}, *tip]
    return {
        "$schema": SCHEMA,
        "width": 620,
        "height": {"step": 17},
        "data": {"name": "points"},
        "config": chart_config(),
        "layer": [
            {
                "mark": {"type": "rule", "color": "var(--soft)"},
                "encoding": {"y": row, "x": {"field": "min", **at}, "x2": {"field": "p95"}},
            },
            {
                "mark": {"type": "bar", "height": 9, "color": "var(--stream1)"},
                "encoding": {"y": row, "x": {"field": "p25", **at}, "x2": {"field": "p75"}, "tooltip": tooltip},
            },
            {
                "mark": {"type": "tick", "color": "var(--ink)", "thickness": 2, "size": 13},
                "encoding": {"y": row, "x": {"field": "median", **at}},
            },
            {
                "mark": {"type": "point", "color": "var(--soft)", "size": 12},
                "encoding": {"y": row, "x": {"field": "max", **at}},
            },
        ],
    }


def _over_time(title: str, unit: str, marks: list[Spec], *, with_targets: bool) -> Spec:
    value = {"type": "quantitative", "title": unit, "scale": {"zero": True}}
    lines: list[Spec] = [
        {
            "data": {"name": "targets"},
            "mark": {"type": "rule", "color": "var(--bad)", "strokeDash": [4, 3]},
            "encoding": {"y": {"field": "limit", **value}},
        },
        {
            "data": {"name": "targets"},
            "mark": {
                "type": "text",
                "align": "right",
                "baseline": "bottom",
                "dy": -2,
                "color": "var(--bad)",
                "fontSize": 10,
            },
            "encoding": {"y": {"field": "limit", **value}, "x": {"value": WIDTH}, "text": {"field": "words"}},
        },
    ]
    for mark in marks:
        mark["encoding"]["y"] |= value
    return {
        "$schema": SCHEMA,
        "title": title,
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"name": "points"},
        "config": chart_config(),
        "layer": marks + (lines if with_targets else []),
    }


def _by_stream() -> Spec:
    # Streams differ in their dashes too: colour alone must tell nothing.
    return {
        "color": {"field": "stream", "type": "nominal", "sort": None, "scale": {"range": list(STREAM_COLOURS)}},
        "strokeDash": {"field": "stream", "type": "nominal", "sort": None, "scale": {"range": list(_DASHES)}},
    }


def _lines(field: str, condition: str = "", width: float = 1.4) -> Spec:
    kept = {"transform": [{"filter": condition}]} if condition else {}
    return {
        **kept,
        "mark": {"type": "line", "strokeWidth": width, "clip": True},
        "encoding": {"x": _TIME, "y": {"field": field}, **_by_stream()},
    }


def _bars() -> Spec:
    return {
        "mark": {"type": "line", "interpolate": "step"},
        "encoding": {"x": _TIME, "y": {"field": "v"}, **_by_stream()},
    }


def _distribution() -> Spec:
    kinds = {"domain": list(KIND_COLOURS), "range": list(KIND_COLOURS.values())}
    return {
        "$schema": SCHEMA,
        "title": "One-way delay on each segment: share of packets not above",
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"name": "points"},
        "config": chart_config(),
        "mark": {"type": "line", "interpolate": "linear"},
        "encoding": {
            "x": {"field": "ms", "type": "quantitative", "title": "ms", "scale": {"zero": True}},
            "y": {"field": "share", "type": "quantitative", "title": None, "axis": {"format": "%", "tickCount": 4}},
            "color": {"field": "segment", "type": "nominal", "scale": kinds},
            "strokeDash": {"field": "segment", "type": "nominal", "scale": {**kinds, "range": list(_DASHES[:4])}},
            "detail": {"field": "stream", "type": "nominal"},
            "order": {"field": "share", "type": "quantitative"},
        },
    }


@cache
def packed_library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, deflated, in base64. Raises MissingTool.

    vl-convert puts it together in seconds: it is kept in the user's cache directory, by version.
    """
    place = _cache_directory() / f"vega-{library_version()}.b64"
    try:
        return place.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        packed = _pack_library()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(place, packed)
    except OSError:
        pass  # nothing can be kept there: the next report puts it together again
    return packed


def library_version() -> str:
    """Return the version of what the library comes from; raise MissingTool where that is not installed."""
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        what = f"the Python package {_PACKAGE}, which draws the report's charts, is not installed"
        raise MissingTool(what, f"python -m pip install {_PACKAGE} in the environment of the testbed") from None


def _pack_library() -> str:
    import vl_convert  # 80 MB, needed once

    # In a function of its own: the library's names are not the page's.
    code = "(() => {" + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;") + "})();"
    return base64.b64encode(zlib.compress(code.encode(), 9)).decode("ascii")


def _cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "testbed"
