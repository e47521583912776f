"""Quantities as people write them ("20ms", "10Mbit", "1%") and as the code holds them (ns, bit/s, ratio)."""

import re
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer

_DURATION_NS: Final = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000}
_RATE_BPS: Final = {"bit": 1, "kbit": 1_000, "Mbit": 1_000_000, "Gbit": 1_000_000_000}
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z%]+)")


def _parse(text: object, units: dict[str, int], example: str) -> int:
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] not in units:
        raise ValueError(f"must be a number with a unit ({', '.join(units)}) like {example!r}, not {text!r}")
    return round(float(match[1]) * units[match[2]])


def parse_duration_ns(text: object) -> int:
    """Turn "20ms" into 20,000,000 nanoseconds; raise ValueError for anything without a known unit."""
    return _parse(text, _DURATION_NS, "20ms")


def parse_rate_bps(text: object) -> int:
    """Turn "10Mbit" into 10,000,000 bits a second; raise ValueError for anything without a known unit."""
    return _parse(text, _RATE_BPS, "10Mbit")


def parse_ratio(text: object) -> float:
    """Turn "1.5%" into 0.015; raise ValueError unless it is a percentage from 0 % to 100 %."""
    match = _QUANTITY.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or match[2] != "%" or float(match[1]) > 100:
        raise ValueError(f"must be a percentage from '0%' to '100%' like '1.5%', not {text!r}")
    return float(match[1]) / 100


def _format(value: float, units: dict[str, int]) -> str:
    unit, factor = max(
        ((u, f) for u, f in units.items() if value >= f), key=lambda x: x[1], default=next(iter(units.items()))
    )
    return f"{value / factor:.9g}{unit}"


def format_duration(duration_ns: int) -> str:
    """Write nanoseconds as people do: 20_000_000 is "20ms"."""
    return _format(duration_ns, {u: f for u, f in _DURATION_NS.items() if u != "min"})


def format_rate(rate_bps: int) -> str:
    """Write bits a second as people do: 10_000_000 is "10Mbit"."""
    return _format(rate_bps, _RATE_BPS)


def format_ratio(ratio: float) -> str:
    """Write a ratio as a percentage: 0.015 is "1.5%"."""
    return f"{ratio * 100:.9g}%"


Duration = Annotated[int, BeforeValidator(parse_duration_ns), PlainSerializer(format_duration, return_type=str)]
"A length of time, held in nanoseconds, written 20ms in files."
Rate = Annotated[int, BeforeValidator(parse_rate_bps), PlainSerializer(format_rate, return_type=str)]
"A bit rate of whole IP packets, held in bit/s, written 10Mbit in files."
Ratio = Annotated[float, BeforeValidator(parse_ratio), PlainSerializer(format_ratio, return_type=str)]
"A share, held from 0 to 1, written 1.5% in files."
