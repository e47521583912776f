"""The picture of a scenario, drawn from the plan and the packets: boxes for segments, solid media, dashed signaling."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from testbed.plan.model import Plan
from testbed.report import glyphs, places, svg
from testbed.report.drops import NodeDrops
from testbed.report.layout import Layout, lay_out
from testbed.report.scene import NODE_RADIUS, Line, draw_box, draw_named_node
from testbed.report.svg import Point
from testbed.report.traffic import LinkTraffic, Strand, Traffic
from testbed.topology import Segment

STRAND_GAP: Final = 9.0
ARROW: Final = 6.0
"Of a line's end that its arrow head covers."
KEY_HEIGHT: Final = 34.0
_TAGS: Final = {"silent": "0", "expected": "none seen", "not captured": "not captured", "down": "down"}


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
        draw_box(root, box, segments, traffic.silent_kinds, traffic.blind_kinds)
    degrees = Counter(end.node for one in traffic.links if one.strands for end in (one.link.a, one.link.b))
    counted = _counted_links(plan, traffic)
    spots = [_draw_link(root, one, layout, degrees, with_counts=one.link.name in counted) for one in traffic.links]
    for node in plan.nodes:
        if node.name in layout.nodes:
            drops_here = any(drop.node == node.name for drop in drops)
            draw_named_node(root, plan, node.name, layout, links, traffic.actors, with_mark=drops_here)
    signs = [places.Rectangle.around(at, *places.SIGN) for at in layout.nodes.values()]
    taken = [*places.words_in(root), *signs]
    for one, spot in zip(traffic.links, spots, strict=True):
        _draw_tag(spot, one, layout, taken)
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


def _draw_link(
    root: Element, one: LinkTraffic, layout: Layout, degrees: Mapping[str, int], *, with_counts: bool
) -> Element:
    line = _line(one, layout)
    parts = [f"{strand.flow}: {_counts(strand, one)}" for strand in one.strands] or [one.state]
    spot = svg.group(root, f"link {one.state.replace(' ', '-')}", f"{one.link.name}: {'; '.join(parts)}")
    if not one.strands:
        svg.line(spot, line.start, line.end, "cable")
        return spot
    share = _count_place(one, line, degrees)
    for index, strand in enumerate(one.strands):
        offset = STRAND_GAP * ((len(one.strands) - 1) / 2 - index)
        _draw_strand(spot, strand, line.aside(offset))
        if with_counts:
            _draw_counts(spot, strand, line.aside(offset), share, above=strand.flow == "signaling")
    return spot


def _line(one: LinkTraffic, layout: Layout) -> Line:
    ends = Line(layout.nodes[one.link.a.node], layout.nodes[one.link.b.node])
    return ends.shortened(NODE_RADIUS, NODE_RADIUS)


def _draw_tag(spot: Element, one: LinkTraffic, layout: Layout, taken: Sequence[places.Rectangle]) -> None:
    """Say on a link without packets of any leg what that means, where it hides nothing that is *taken*."""
    if not one.strands:
        words = f"{one.captured} captured" if one.state == "not judged" else _TAGS[one.state]
        at = places.free_place(_line(one, layout), glyphs.tag_size(words), taken)
        glyphs.draw_tag(spot, at, words, one.state.replace(" ", "-"))


def _count_place(one: LinkTraffic, line: Line, degrees: Mapping[str, int]) -> float:
    """Return how far along a link its counts stand: half-way, or, where slanted links meet, nearer the quieter end."""
    a, b = degrees[one.link.a.node], degrees[one.link.b.node]
    if abs(math.sin(line.angle)) < 0.08 or abs(math.cos(line.angle)) < 0.08 or a == b:
        return 0.5
    return 0.22 if a < b else 0.78


def _draw_strand(spot: Element, strand: Strand, line: Line) -> None:
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


def _draw_counts(spot: Element, strand: Strand, line: Line, share: float, *, above: bool) -> None:
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
