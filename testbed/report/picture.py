"""The picture of a scenario, drawn from the plan and the packets: boxes for segments, solid media, dashed signaling."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from testbed.plan.model import Plan
from testbed.report import glyphs, svg
from testbed.report.drops import NodeDrops
from testbed.report.layout import Box, Layout, lay_out
from testbed.report.svg import Point
from testbed.report.traffic import LinkTraffic, Strand, Traffic
from testbed.topology import Segment

STRAND_GAP: Final = 9.0
NODE_RADIUS: Final = 19.0
ARROW: Final = 6.0
"Of a line's end that its arrow head covers."
KEY_HEIGHT: Final = 34.0
_KIND_TITLES: Final = {
    "customer": "Customer network",
    "internet": "Internet",
    "expressroute": "ExpressRoute",
    "microsoft": "Microsoft: Office 365",
    "pstn": "PSTN",
}
_TAGS: Final = {"silent": "0", "expected": "none seen", "not captured": "not captured", "down": "down"}


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
class _Line:
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

    def shortened(self, start: float, end: float) -> "_Line":
        """Return the line without so much of its beginning and its end."""
        dx, dy = math.cos(self.angle), math.sin(self.angle)
        return _Line(
            (self.start[0] + dx * start, self.start[1] + dy * start), (self.end[0] - dx * end, self.end[1] - dy * end)
        )

    def aside(self, distance: float) -> "_Line":
        x, y = self.upward
        dx, dy = x * distance, y * distance
        return _Line((self.start[0] + dx, self.start[1] + dy), (self.end[0] + dx, self.end[1] + dy))


def draw_picture(
    plan: Plan, traffic: Traffic, drops: Sequence[NodeDrops], segments: Mapping[str, Segment], *, identity: str
) -> str:
    """Return the picture as an SVG element; *identity* is its id in the page, unique there."""
    shown = _shown_nodes(plan, traffic, drops)
    links = [one.link for one in traffic.links]
    busy = frozenset(one.link.name for one in traffic.links if one.strands)
    nodes = [node for node in plan.nodes if node.name in shown]
    layout = lay_out(nodes, links, _empty_boxes(plan, traffic, shown), busy)
    height = layout.height + KEY_HEIGHT
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "picture",
            "role": "img",
            "aria-labelledby": f"{identity}-title {identity}-desc",
            "viewBox": f"0 0 {svg.number(layout.width)} {svg.number(height)}",
            "width": svg.number(layout.width),
            "height": svg.number(height),
        },
    )
    SubElement(root, "title", {"id": f"{identity}-title"}).text = f"Observed paths of {plan.scenario}"
    SubElement(root, "desc", {"id": f"{identity}-desc"}).text = describe(traffic, drops)
    for box in layout.boxes:
        _draw_box(root, box, segments, traffic)
    degrees = Counter(end.node for one in traffic.links if one.strands for end in (one.link.a, one.link.b))
    counted = _counted_links(plan, traffic)
    for one in traffic.links:
        _draw_link(root, one, layout, degrees, with_counts=one.link.name in counted)
    for node in plan.nodes:
        if node.name in layout.nodes:
            drops_here = any(drop.node == node.name for drop in drops)
            _draw_node(root, plan, node.name, layout, traffic, with_drops=drops_here)
    for drop in drops:
        if drop.node in layout.nodes:
            _draw_drop(root, drop, layout.nodes[drop.node])
    _draw_key(root, traffic, drops, layout)
    return svg.as_text(root)


def describe(traffic: Traffic, drops: Sequence[NodeDrops]) -> str:
    """Say the picture in words, for those who do not see it."""
    sentences = []
    for flow in ("signaling", "media"):
        carried = [one for one in traffic.links if any(strand.flow == flow for strand in one.strands)]
        if carried:
            names = ", ".join(_link_words(one, flow) for one in carried)
            sentences.append(f"{flow.capitalize()} was seen on {len(carried)} links: {names}.")
    silent = [one.link.name for one in traffic.links if one.state == "silent"]
    if silent:
        sentences.append(f"Silent, as they must be: {', '.join(silent)}.")
    for state, words in (("expected", "Expected, but without a packet"), ("not captured", "Not captured")):
        if names := ", ".join(one.link.name for one in traffic.links if one.state == state):
            sentences.append(f"{words}: {names}.")
    sentences += [f"{drop.node} dropped {drop.packets} packets ({drop.words})." for drop in drops]
    return " ".join(sentences) or "No packet of any leg was seen."


def _link_words(one: LinkTraffic, flow: str) -> str:
    strand = next(strand for strand in one.strands if strand.flow == flow)
    warning = ", FORBIDDEN" if strand.forbidden else ""
    return f"{one.link.name} ({strand.forward} one way, {strand.backward} back{warning})"


def _shown_nodes(plan: Plan, traffic: Traffic, drops: Sequence[NodeDrops]) -> set[str]:
    shown = {end.node for one in traffic.links for end in (one.link.a, one.link.b)}
    for role in dict.fromkeys(traffic.actors.values()):
        nodes = plan.roles.get(role, ())
        if not shown & set(nodes):
            shown |= set(nodes[:1])
    return shown | {drop.node for drop in drops}


def _counted_links(plan: Plan, traffic: Traffic) -> set[str]:
    """Return the links whose counts are written out: where segments meet, where a leg ends, where something is wrong.

    Between them the counts hardly change; writing them on every link would hide the picture. All are in its titles.
    Where a node passes on between two segments exactly what it got, the counts stand on one side of it.
    """
    segment = {node.name: node.segment for node in plan.nodes}
    told: set[tuple[str, frozenset[tuple[str, frozenset[int]]]]] = set()
    counted = set()
    for one in traffic.links:
        ends = {one.link.a.node, one.link.b.node}
        counts = frozenset((strand.flow, frozenset((strand.forward, strand.backward))) for strand in one.strands)
        wrong = any(strand.forbidden for strand in one.strands)
        if wrong or ends & set(traffic.actors):
            counted.add(one.link.name)
        elif len({segment[end] for end in ends}) > 1 and not any((end, counts) in told for end in ends):
            counted.add(one.link.name)
            told |= {(end, counts) for end in ends}
    return counted


def _empty_boxes(plan: Plan, traffic: Traffic, shown: set[str]) -> list[tuple[str, str]]:
    """Return a segment of each kind that had to stay silent and has nothing drawn in it."""
    drawn = {node.segment_kind for node in plan.nodes if node.name in shown}
    boxes = []
    for kind in traffic.silent_kinds:
        segment = next((node.segment for node in plan.nodes if node.segment_kind == kind), None)
        if segment is not None and kind not in drawn:
            boxes.append((segment, kind))
    return boxes


def _draw_box(root: Element, box: Box, segments: Mapping[str, Segment], traffic: Traffic) -> None:
    segment = segments.get(box.segment)
    title = segment.title if segment else _KIND_TITLES.get(box.kind, box.segment)
    silent = box.kind in traffic.silent_kinds
    frame = svg.group(root, f"segment {box.kind}{' silent' if silent else ''}")
    svg.rectangle(frame, box.x, box.y, box.width, box.height, "frame", 6)
    svg.text(frame, (box.x + 12, box.y + 19), title, "segment-title", "start")
    note = "silent: no packet of any leg" if silent else _KIND_TITLES.get(box.kind, box.kind)
    if box.kind in traffic.blind_kinds:
        note = "no packet seen; not all captured"
    if note != title:
        svg.text(frame, (box.x + 12, box.y + 33), note, "segment-note", "start")


def _draw_node(root: Element, plan: Plan, name: str, layout: Layout, traffic: Traffic, *, with_drops: bool) -> None:
    node = next(node for node in plan.nodes if node.name == name)
    at = layout.nodes[name]
    actor = traffic.actors.get(name)
    is_party = actor in _parties(plan) and plan.roles.get(actor or "") == (name,)
    spot = svg.group(root, "node party" if is_party else "node", f"{name}: {node.title or node.kind}")
    glyphs.draw_node(spot, node, at, is_party=is_party)
    role = actor if actor is not None and actor != name else None
    dx, dy, anchor = _free_place(name, layout, traffic, taken=[-90.0] if with_drops else [])
    lift = 11 if role and dy < 0 else 0
    svg.text(spot, (at[0] + dx, at[1] + dy - lift), name, "name", anchor)
    if role:
        svg.text(spot, (at[0] + dx, at[1] + dy - lift + 11), role, "role", anchor)


def _free_place(name: str, layout: Layout, traffic: Traffic, *, taken: list[float]) -> tuple[float, float, str]:
    """Return where a node's name goes (offset and anchor): the first place that no link, and no mark, takes."""
    here = layout.nodes[name]
    ways = list(taken)
    for one in traffic.links:
        ends = [one.link.a.node, one.link.b.node]
        if name in ends:
            there = layout.nodes[ends[1 - ends.index(name)]]
            ways.append(math.degrees(math.atan2(there[1] - here[1], there[0] - here[0])))
    free = [min((abs((way - angle + 180) % 360 - 180) for way in ways), default=180.0) for angle, _ in _NAME_PLACES]
    wide_enough = next((index for index, space in enumerate(free) if space >= 46), free.index(max(free)))
    return _NAME_PLACES[wide_enough][1]


def _parties(plan: Plan) -> set[str]:
    return {job.name for job in plan.jobs if job.stage == "party"}


def _draw_link(
    root: Element, one: LinkTraffic, layout: Layout, degrees: Mapping[str, int], *, with_counts: bool
) -> None:
    a, b = layout.nodes[one.link.a.node], layout.nodes[one.link.b.node]
    line = _Line(a, b).shortened(NODE_RADIUS, NODE_RADIUS)
    parts = [f"{strand.flow}: {_counts(strand, one)}" for strand in one.strands] or [one.state]
    spot = svg.group(root, f"link {one.state.replace(' ', '-')}", f"{one.link.name}: {'; '.join(parts)}")
    if not one.strands:
        svg.line(spot, line.start, line.end, "cable")
        words = f"{one.captured} captured" if one.state == "not judged" else _TAGS[one.state]
        glyphs.draw_tag(spot, line.middle, words, one.state.replace(" ", "-"))
        return
    share = _count_place(one, line, degrees)
    for index, strand in enumerate(one.strands):
        offset = STRAND_GAP * ((len(one.strands) - 1) / 2 - index)
        _draw_strand(spot, strand, line.aside(offset))
        if with_counts:
            _draw_counts(spot, strand, line.aside(offset), share, above=strand.flow == "signaling")


def _count_place(one: LinkTraffic, line: _Line, degrees: Mapping[str, int]) -> float:
    """Return how far along a link its counts stand: half-way, or, where slanted links meet, nearer the quieter end."""
    a, b = degrees[one.link.a.node], degrees[one.link.b.node]
    if abs(math.sin(line.angle)) < 0.08 or abs(math.cos(line.angle)) < 0.08 or a == b:
        return 0.5
    return 0.22 if a < b else 0.78


def _draw_strand(spot: Element, strand: Strand, line: _Line) -> None:
    css = f"strand {strand.flow}{' forbidden' if strand.forbidden else ''}"
    ahead, back = strand.forward or not strand.directed, strand.backward or not strand.directed
    shaft = line.shortened(ARROW if back else 0, ARROW if ahead else 0)
    svg.line(spot, shaft.start, shaft.end, css)
    if ahead:
        glyphs.draw_arrow(spot, line.end, line.angle, f"head {css}")
    if back:
        glyphs.draw_arrow(spot, line.start, line.angle + math.pi, f"head {css}")
    if strand.forbidden:
        glyphs.draw_warning(spot, line.middle)


def _draw_counts(spot: Element, strand: Strand, line: _Line, share: float, *, above: bool) -> None:
    up = line.upward
    side = 1 if above else -1
    reach = 20 if strand.forbidden else 8
    place = line.at(share)
    x, y = place[0] + side * up[0] * reach, place[1] + side * up[1] * reach
    anchor = "middle" if abs(up[0]) < 0.6 else ("start" if side * up[0] > 0 else "end")
    ahead, back = _arrows(line.angle)
    words = [f"{ahead}{strand.forward}", f"{back}{strand.backward}"] if strand.directed else [f"↔{strand.forward}"]
    words.sort(key=lambda word: word[0] in "←↑")
    first = y - 11 * (len(words) - 1) + 1 if above else y + 7
    if abs(up[0]) >= 0.6:
        first = y - 1 if len(words) > 1 else y + 4
    css = f"count {strand.flow}{' forbidden' if strand.forbidden else ''}"
    for row, word in enumerate(words):
        svg.text(spot, (x, first + 11 * row), word, css, anchor)


def _arrows(angle: float) -> tuple[str, str]:
    """Return the arrows for forward and back along a line, right or left unless it is steep."""
    if abs(math.cos(angle)) >= 0.5:
        return ("→", "←") if math.cos(angle) > 0 else ("←", "→")
    return ("↓", "↑") if math.sin(angle) > 0 else ("↑", "↓")


def _counts(strand: Strand, one: LinkTraffic) -> str:
    if not strand.directed:
        return f"{strand.forward} packets, way not told"
    a, b = one.link.a.node, one.link.b.node
    return f"{strand.forward} packets {a} to {b}, {strand.backward} {b} to {a}{', forbidden here' * strand.forbidden}"


def _draw_drop(root: Element, drop: NodeDrops, at: Point) -> None:
    spot = svg.group(root, "drop-mark", f"{drop.node} dropped {drop.packets} packets ({drop.words})")
    glyphs.draw_drop(spot, (at[0] + 7, at[1] - 18), str(drop.packets))


def _draw_key(root: Element, traffic: Traffic, drops: Sequence[NodeDrops], layout: Layout) -> None:
    """Explain, below the picture, the signs that occur in it."""
    key = svg.group(root, "key")
    x, y = 14.0, layout.height + 16
    strands = [strand for one in traffic.links for strand in one.strands]
    for flow, words in (("media", "media"), ("signaling", "signaling")):
        if any(strand.flow == flow for strand in strands):
            svg.line(key, (x, y), (x + 34, y), f"strand {flow}")
            glyphs.draw_arrow(key, (x + 38, y), 0, f"head strand {flow}")
            x = _key_words(key, (x + 46, y), f"{words}, packets each way")
    if any(strand.flow not in ("media", "signaling") for strand in strands):
        svg.line(key, (x, y), (x + 34, y), "strand")
        x = _key_words(key, (x + 46, y), "other traffic")
    if any(strand.forbidden for strand in strands):
        glyphs.draw_warning(key, (x + 10, y))
        x = _key_words(key, (x + 26, y), "must not be here")
    if any(one.state == "silent" for one in traffic.links):
        glyphs.draw_tag(key, (x + 8, y), "0", "silent")
        x = _key_words(key, (x + 22, y), "watched and silent")
    if drops:
        glyphs.draw_drop(key, (x, y), "n")
        _key_words(key, (x + 30, y), "n packets dropped by the firewall's rules")


def _key_words(key: Element, place: Point, words: str) -> float:
    svg.text(key, (place[0], place[1] + 4), words, "key-words", "start")
    return place[0] + 6.2 * len(words) + 22
