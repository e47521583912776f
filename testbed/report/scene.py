"""What every picture of a topology is made of: boxes for segments, nodes with names, lines between their signs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from testbed.plan.model import LinkPlan, Plan
from testbed.report import glyphs, svg
from testbed.report.layout import Box, Layout
from testbed.report.svg import Point
from testbed.topology import Segment

NODE_RADIUS: Final = 19.0
_KIND_TITLES: Final = {
    "customer": "Customer network",
    "internet": "Internet",
    "expressroute": "ExpressRoute",
    "microsoft": "Microsoft: Office 365",
    "pstn": "PSTN",
}
_NAME_PLACES: Final[tuple[tuple[float, tuple[float, float, str]], ...]] = (
    (90, (0, 28, "middle")),
    (60, (-4, 28, "start")),
    (120, (4, 28, "end")),
    (-90, (0, -20, "middle")),
    (0, (20, 4, "start")),
    (180, (-20, 4, "end")),
)
"Angle as seen from a node (degrees, downward is 90), and offset and anchor of a name put there; best first."


@dataclass(frozen=True, slots=True)
class Line:
    """A link's place between the signs at its ends."""

    start: Point
    end: Point

    @property
    def angle(self) -> float:
        return math.atan2(self.end[1] - self.start[1], self.end[0] - self.start[0])

    @property
    def middle(self) -> Point:
        return self.at(0.5)

    def at(self, share: float) -> Point:
        """Return the point that lies this share of the way along."""
        (x, y), (to_x, to_y) = self.start, self.end
        return x + (to_x - x) * share, y + (to_y - y) * share

    @property
    def upward(self) -> Point:
        """The unit vector across the line that points up (or, beside an upright line, to the right)."""
        x, y = math.sin(self.angle), -math.cos(self.angle)
        return (x, y) if (-round(y, 6), x) > (0, 0) else (-x, -y)

    def shortened(self, start: float, end: float) -> "Line":
        """Return the line without so much of its beginning and its end."""
        dx, dy = math.cos(self.angle), math.sin(self.angle)
        return Line(
            (self.start[0] + dx * start, self.start[1] + dy * start), (self.end[0] - dx * end, self.end[1] - dy * end)
        )

    def aside(self, distance: float) -> "Line":
        x, y = self.upward
        dx, dy = x * distance, y * distance
        return Line((self.start[0] + dx, self.start[1] + dy), (self.end[0] + dx, self.end[1] + dy))


def draw_box(
    root: Element,
    box: Box,
    segments: Mapping[str, Segment],
    silent_kinds: Sequence[str] = (),
    blind_kinds: Sequence[str] = (),
) -> None:
    """Draw a segment; of *silent_kinds* nothing was seen, and of *blind_kinds* not everything was watched."""
    segment = segments.get(box.segment)
    title = segment.title if segment else _KIND_TITLES.get(box.kind, box.segment)
    silent = box.kind in silent_kinds
    frame = svg.group(root, f"segment {box.kind}{' silent' if silent else ''}")
    svg.rectangle(frame, box.x, box.y, box.width, box.height, "frame", 6)
    svg.text(frame, (box.x + 12, box.y + 19), title, "segment-title", "start")
    note = "silent: no packet of any leg" if silent else _KIND_TITLES.get(box.kind, box.kind)
    if box.kind in blind_kinds:
        note = "no packet seen; not all captured"
    if note != title:
        svg.text(frame, (box.x + 12, box.y + 33), note, "segment-note", "start")


def draw_named_node(
    root: Element,
    plan: Plan,
    name: str,
    layout: Layout,
    links: Sequence[LinkPlan],
    actors: Mapping[str, str],
    *,
    with_mark: bool,
) -> None:
    """Draw a node with its name and, where it is not the same, its role; *with_mark* leaves room for one above it."""
    node = next(node for node in plan.nodes if node.name == name)
    at = layout.nodes[name]
    actor = actors.get(name)
    is_party = actor in _parties(plan) and plan.roles.get(actor or "") == (name,)
    spot = svg.group(root, "node party" if is_party else "node", f"{name}: {node.title or node.kind}")
    glyphs.draw_node(spot, node, at, is_party=is_party)
    role = actor if actor is not None and actor != name else None
    dx, dy, anchor = _free_place(name, layout, links, taken=[-90.0] if with_mark else [])
    lift = 11 if role and dy < 0 else 0
    svg.text(spot, (at[0] + dx, at[1] + dy - lift), name, "name", anchor)
    if role:
        svg.text(spot, (at[0] + dx, at[1] + dy - lift + 11), role, "role", anchor)


def _free_place(
    name: str, layout: Layout, links: Sequence[LinkPlan], *, taken: list[float]
) -> tuple[float, float, str]:
    """Return where a node's name goes (offset and anchor): the first place that no link, and no mark, takes."""
    here = layout.nodes[name]
    ways = list(taken)
    for link in links:
        ends = [link.a.node, link.b.node]
        if name in ends:
            there = layout.nodes[ends[1 - ends.index(name)]]
            ways.append(math.degrees(math.atan2(there[1] - here[1], there[0] - here[0])))
    free = [min((abs((way - angle + 180) % 360 - 180) for way in ways), default=180.0) for angle, _ in _NAME_PLACES]
    wide_enough = next((index for index, space in enumerate(free) if space >= 46), free.index(max(free)))
    return _NAME_PLACES[wide_enough][1]


def _parties(plan: Plan) -> set[str]:
    return {job.name for job in plan.jobs if job.stage == "party"}
