"""What a stream is measured on: its links, its segments, and the parts that targets speak of."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from testbed.analysis.quality.streams import Stretch, Way, smallest_stretches
from testbed.analysis.quality.streams import stretch as cut

_MICROSOFT: Final = "microsoft"
_OUTSIDE: Final = ("expressroute", "internet")


def extents(ways: Sequence[Way]) -> Iterator[tuple[str, str, Stretch]]:
    """Yield what, name and extent of everything a stream is measured on; a part that two ways share comes once."""
    seen = set()
    for way in ways:
        for what, name, part in (*_links(way), *_segments(way), *_paths(way)):
            if (what, part.links) not in seen:
                seen.add((what, part.links))
                yield what, name, part


def _links(way: Way) -> Iterator[tuple[str, str, Stretch]]:
    for part in smallest_stretches(way):
        yield "link", " + ".join(part.links), part


def _segments(way: Way) -> Iterator[tuple[str, str, Stretch]]:
    for kind, first, behind in _runs([direction.segment_kind for direction in way.directions]):
        yield "segment", str(kind), cut(way, first, behind, holds_end=way.died_in == kind)


def _paths(way: Way) -> Iterator[tuple[str, str, Stretch]]:
    """Yield the parts that Microsoft's targets speak of, in whichever direction the stream passes them.

    Where packets died, the part that they were on ends there.
    """
    seen = [direction.segment_kind for direction in way.directions]
    kinds = seen if way.arrives else [*seen, way.bound_for]
    if _MICROSOFT not in kinds:
        return
    for is_microsoft, first, behind in _runs([kind == _MICROSOFT for kind in kinds]):
        if is_microsoft or not (first == 0 or behind == len(kinds)):
            continue
        behind = min(behind, len(seen))
        if first == behind:
            continue
        yield "path", "client to Microsoft edge", cut(way, first, behind, holds_end=way.died_in != _MICROSOFT)
        outside = [at for at in range(first, behind) if kinds[at] in _OUTSIDE]
        if "customer" in kinds[first:behind] and outside:
            yield (
                "path",
                "customer edge to Microsoft edge",
                cut(way, outside[0], outside[-1] + 1, holds_end=way.died_in in _OUTSIDE),
            )


def _runs(values: Sequence[object]) -> Iterator[tuple[object, int, int]]:
    """Yield each value with the extent of its run."""
    first = 0
    for value, run in groupby(values):
        behind = first + len(list(run))
        yield value, first, behind
        first = behind
