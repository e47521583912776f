"""A mark is held against what the links before it do to it, as far as they were seen."""

from types import SimpleNamespace
from typing import Any

import pytest

from testbed.verdict.marking import _unlike_configured


def link(treatment: str) -> SimpleNamespace:
    shape = SimpleNamespace(dscp=treatment)
    return SimpleNamespace(shape_forward=shape, shape_return=shape)


RUN: Any = SimpleNamespace(
    network=SimpleNamespace(links={"a-b": link("keep"), "b-c": link("bleach"), "c-d": link("keep")})
)


def walk(*marks: int | None) -> Any:
    """A walk a - b - c - d with the DSCP found on each link; None where the link was not captured."""
    ends = [("a-b", "a", "b"), ("b-c", "b", "c"), ("c-d", "c", "d")]
    steps, gaps = [], []
    for (name, source, target), mark in zip(ends, marks, strict=True):
        if mark is None:
            gaps.append((source, target))
            continue
        hop = SimpleNamespace(link=name, source=source, forward=True)
        flow = SimpleNamespace(dscp=mark, protocol=17)
        steps.append(SimpleNamespace(hop=hop, flow=flow, packets=5, first_frame=1))
    return SimpleNamespace(steps=steps, gaps=tuple(gaps), nodes=("a", "b", "c", "d"), media="audio")


@pytest.mark.parametrize(
    ("marks", "fault"),
    [
        ((46, 46, 0), ""),
        ((46, 46, 46), "DSCP 46, not 0"),
        ((46, 0, 0), "DSCP 0, not 46"),
        ((0, 0, 0), "DSCP 0, not 46"),
        ((46, None, 0), ""),
    ],
)
def test_a_mark_is_what_the_links_before_made_of_it(marks: tuple[int | None, ...], fault: str) -> None:
    found = list(_unlike_configured(RUN, walk(*marks), 46))
    assert len(found) == bool(fault)
    assert fault in "".join(found)
