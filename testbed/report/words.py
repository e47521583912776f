"""Values of the files as people read them."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from testbed.report.record import Document
from testbed.topology import LinkShape
from testbed.units import format_duration, format_rate, format_ratio


def measured(value: Any) -> str:
    """Write a number, or that there is none: missing is never 0."""
    if value is None:
        return "not measured"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def moment(iso: str | None) -> str:
    """Write an ISO 8601 time as people do; what is none is left as it stands."""
    try:
        parsed = datetime.fromisoformat(iso or "")
    except ValueError:
        return iso or "not measured"
    return parsed.strftime("%-d %B %Y, %H:%M:%S ") + (parsed.tzname() or "")


def facts(document: Document) -> tuple[tuple[str, str], ...]:
    """Flatten a document to names and words: {"wire": {"p99_ns": 1000000}} gives ("wire p99", "1ms")."""
    return tuple(fact for name, value in document.items() for fact in _flatten(name, value))


def plain(value: Any) -> str:
    """Write a value of a JSON file as people do; None is "not measured"."""
    if value is None:
        return "not measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(one) for one in value) or "none"
    if isinstance(value, dict):
        return "; ".join(f"{name}: {words}" for name, words in facts(value)) if value else "none"
    return str(value)


def shape_words(shape: LinkShape) -> str:
    """Say what a shape does, leaving out what it does not do."""
    words = []
    if shape.delay or shape.jitter:
        words.append(f"delay {format_duration(shape.delay)}")
    if shape.jitter:
        words.append(f"jitter {format_duration(shape.jitter)} ({shape.jitter_distribution})")
    for name, ratio in (("loss", shape.loss), ("reorder", shape.reorder), ("duplicate", shape.duplicate)):
        if ratio:
            words.append(f"{name} {format_ratio(ratio)}")
    if shape.burst_loss:
        burst = shape.burst_loss
        words.append(f"burst loss (enter {format_ratio(burst.enter)}, leave {format_ratio(burst.leave)})")
    if shape.rate is not None:
        words.append(f"rate {format_rate(shape.rate)}")
    if shape.dscp == "bleach":
        words.append("DSCP set to 0")
    return ", ".join(words) or "unshaped"


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(f"{name} {key}".strip(), inner)
        return
    in_ns = "_ns" in name
    words = name.replace("_ns", "").replace("_bytes", "").replace("_", " ")
    if isinstance(value, int | float) and not isinstance(value, bool) and in_ns:
        yield words, _duration_words(value)
    elif isinstance(value, int) and name.endswith("_bytes"):
        yield words, f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.1f} MiB"
    else:
        yield words, plain(value)


def _duration_words(duration_ns: float) -> str:
    """Write a measured time with three figures: more are noise."""
    if duration_ns >= 1e9:
        return f"{duration_ns / 1e9:.3f} s"
    factor, unit = (1e6, "ms") if duration_ns >= 1e6 else (1e3, "µs") if duration_ns >= 1e3 else (1, "ns")
    return f"{duration_ns / factor:.3g} {unit}"
