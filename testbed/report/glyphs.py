"""The signs for what stands in a picture: people, servers, routers, switches, firewalls, telephones, and marks."""

import math
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element

from testbed.plan.model import NodePlan
from testbed.report import svg
from testbed.report.svg import Point


def draw_node(parent: Element, node: NodePlan, at: Point, *, is_party: bool) -> None:
    """Draw the sign of *node* with its centre at *at*."""
    if node.segment_kind == "pstn":
        _telephone(parent, at)
    elif is_party:
        _person(parent, at)
    else:
        _SIGNS[node.kind](parent, at)


def _person(parent: Element, at: Point) -> None:
    x, y = at
    svg.path(parent, f"M{x - 13},{y + 15} a13,13 0 0 1 26,0 z", "glyph person")
    svg.circle(parent, (x, y - 6), 7.5, "glyph person")


def _telephone(parent: Element, at: Point) -> None:
    x, y = at
    svg.rectangle(parent, x - 9, y - 15, 18, 30, "glyph", 3)
    for row in range(3):
        for column in range(3):
            svg.circle(parent, (x - 4.5 + column * 4.5, y - 1 + row * 5), 1.2, "detail dot")
    svg.rectangle(parent, x - 5.5, y - 11.5, 11, 5, "detail", 1)


def _server(parent: Element, at: Point) -> None:
    x, y = at
    svg.rectangle(parent, x - 11, y - 15, 22, 30, "glyph", 2)
    for dy in (-8.5, -3.5, 1.5):
        svg.line(parent, (x - 7, y + dy), (x + 7, y + dy), "detail")
    svg.circle(parent, (x + 5.5, y + 9), 1.6, "detail dot")


def _router(parent: Element, at: Point) -> None:
    x, y = at
    svg.circle(parent, at, 13, "glyph")
    svg.path(parent, f"M{x - 7},{y - 3.5} h14 m-3.5,-3 l3.5,3 l-3.5,3", "detail")
    svg.path(parent, f"M{x + 7},{y + 3.5} h-14 m3.5,-3 l-3.5,3 l3.5,3", "detail")


def _switch(parent: Element, at: Point) -> None:
    x, y = at
    svg.rectangle(parent, x - 13, y - 7, 26, 14, "glyph", 2)
    for dx in (-7.5, -2.5, 2.5, 7.5):
        svg.rectangle(parent, x + dx - 1.5, y - 1.5, 3, 3, "detail dot")


def _firewall(parent: Element, at: Point) -> None:
    x, y = at
    svg.rectangle(parent, x - 10, y - 16, 20, 32, "glyph wall")
    for row, dy in enumerate((-16, -8, 0, 8)):
        svg.line(parent, (x - 10, y + dy), (x + 10, y + dy), "detail")
        joint = x + (-3.5 if row % 2 else 3.5)
        svg.line(parent, (joint, y + dy), (joint, y + dy + 8), "detail")


_SIGNS: Final[dict[str, Callable[[Element, Point], None]]] = {
    "host": _server,
    "router": _router,
    "switch": _switch,
    "firewall": _firewall,
}


def draw_arrow(parent: Element, tip: Point, angle: float, css: str) -> None:
    """Draw an arrow head that points along *angle* (radians)."""
    points = [tip]
    for turn in (2.72, -2.72):
        points.append((tip[0] + 8 * math.cos(angle + turn), tip[1] + 8 * math.sin(angle + turn)))
    svg.polygon(parent, points, css)


def draw_warning(parent: Element, at: Point) -> None:
    """Draw the mark of traffic that must not be here: a triangle with an exclamation mark."""
    x, y = at
    svg.polygon(parent, [(x, y - 10), (x + 10, y + 8), (x - 10, y + 8)], "mark warning")
    svg.text(parent, (x, y + 5.5), "!", "mark-sign")


def draw_drop(parent: Element, at: Point, packets: str) -> None:
    """Draw the mark of a drop, its left end at *at*: a cross and how many packets."""
    x, y = at
    svg.rectangle(parent, x, y - 7.5, 16 + 6 * len(packets), 15, "mark drop", 7.5)
    svg.path(parent, f"M{x + 5},{y - 3} l6,6 m0,-6 l-6,6", "mark-cross")
    svg.text(parent, (x + 13, y + 3.5), packets, "mark-number", "start")


def tag_size(words: str) -> tuple[float, float]:
    """Return width and height of a tag."""
    return 10 + 5.2 * len(words), 14.0


def draw_tag(parent: Element, at: Point, words: str, css: str) -> None:
    """Draw a small word in a pill on a link: 0, ?, down."""
    width, height = tag_size(words)
    svg.rectangle(parent, at[0] - width / 2, at[1] - height / 2, width, height, f"tag {css}", height / 2)
    svg.text(parent, (at[0], at[1] + 3.2), words, f"tag-word {css}")
