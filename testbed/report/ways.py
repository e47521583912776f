"""The ways of single legs over the topology, there and back in two colours, as observed and as predicted.

All are drawn into one picture, each in a group of its own; the page shows one at a time. Links and nodes carry their
names as `data-link` and `data-node`, so that a replay can move packets along them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from xml.etree.ElementTree import Element, SubElement

from testbed.plan.model import Plan, PredictedPath
from testbed.report import glyphs, svg
from testbed.report.layout import Layout, lay_out
from testbed.report.record import Document
from testbed.report.scene import NODE_RADIUS, Line, draw_box, draw_named_node
from testbed.topology import Segment

Source = Literal["observed", "predicted"]
ASIDE: Final = 4.5
"How far the two directions lie from a link's middle."
HEAD: Final = 6.0
KEY_HEIGHT: Final = 34.0


@dataclass(frozen=True, slots=True)
class End:
    """Where packets of one direction ended that did not arrive."""

    node: str
    words: str
    packets: int | None = None
    "How many; None of a prediction."


@dataclass(frozen=True, slots=True)
class Way:
    """One direction of a leg: links in the order of travel, from the node it starts at."""

    links: tuple[str, ...]
    start: tuple[str, ...]
    "Nodes of the role that it starts from."
    end: End | None


@dataclass(frozen=True, slots=True)
class LegWays:
    """One leg, both directions; None for a direction in which nothing went, or nothing was predicted."""

    title: str
    observed: tuple[Way | None, Way | None]
    predicted: tuple[Way | None, Way | None]

    def of(self, source: Source) -> tuple[Way | None, Way | None]:
        """Return the ways there and back."""
        return self.observed if source == "observed" else self.predicted

    @property
    def died(self) -> bool:
        """Whether packets of either direction ended on the way."""
        return any(way is not None and way.end is not None for way in self.observed)


def observed_way(told: Document | None, start: tuple[str, ...]) -> Way | None:
    """Return one direction as timeline.json tells it."""
    if told is None:
        return None
    end, at = None, told["end"]
    if at is not None:
        how = f"dropped by rule {at['rule']}" if at["rule"] else "not seen again"
        words = f"{at['node']}: {at['packets']} packets {how} (first frame {at['frame']})"
        end = End(at["node"], words, at["packets"])
    return Way(tuple(told["links"]), start, end)


def predicted_way(path: PredictedPath, plan: Plan, *, back: bool) -> Way | None:
    """Return one direction as it was predicted."""
    links, told = (path.return_, path.return_end) if back else (path.forward, path.forward_end)
    start = plan.roles.get(path.to if back else path.from_, ())
    if not links:
        return None
    disposition, _, where = told.partition(":")
    end = End(where.partition(":")[0], told) if where and disposition != "DELIVERED" else None
    return Way(links, start, end)


def draw_ways(
    plan: Plan,
    legs: Sequence[LegWays],
    segments: Mapping[str, Segment],
    actors: Mapping[str, str],
    more_links: set[str],
    *,
    identity: str,
    shown: int,
) -> str:
    """Return the picture as an SVG element; leg number *shown* is visible as observed, all others are hidden."""
    ways = [way for leg in legs for way in (*leg.observed, *leg.predicted) if way is not None]
    names = {name for way in ways for name in way.links} | more_links
    links = [link for link in plan.links if link.name in names]
    ends = {end.node for link in links for end in (link.a, link.b)}
    nodes = [node for node in plan.nodes if node.name in ends]
    layout = lay_out(nodes, links, busy=frozenset(names))
    root = _root(plan, legs, layout, identity)
    for box in layout.boxes:
        draw_box(root, box, segments)
    for link in links:
        line = _line(layout, link.a.node, link.b.node)
        cable = svg.group(root, "wire", link.name)
        cable.set("data-link", link.name)
        svg.line(cable, line.start, line.end, "cable")
        svg.line(cable, line.start, line.end, "touch")
    marked = {way.end.node for way in ways if way.end is not None}
    for node in nodes:
        before = len(root)
        draw_named_node(root, plan, node.name, layout, links, actors, with_mark=node.name in marked)
        root[before].set("data-node", node.name)
    for number, leg in enumerate(legs):
        for source in ("observed", "predicted"):
            css = f"way {source}{' shown' if (number, source) == (shown, 'observed') else ''}"
            group = svg.group(root, css, f"{leg.title}, {source}: {_words(leg, source)}")
            group.set("data-leg", str(number))
            group.set("data-source", source)
            _draw_leg(group, plan, leg, source, layout)
    _draw_key(root, layout, has_ends=bool(marked))
    return svg.as_text(root)


def _root(plan: Plan, legs: Sequence[LegWays], layout: Layout, identity: str) -> Element:
    height = layout.height + KEY_HEIGHT
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "picture ways",
            "role": "group",
            "aria-labelledby": f"{identity}-title {identity}-desc",
            "viewBox": f"0 0 {svg.number(layout.width)} {svg.number(height)}",
            "width": svg.number(layout.width),
            "height": svg.number(height),
        },
    )
    SubElement(root, "title", {"id": f"{identity}-title"}).text = f"Ways of the legs of {plan.scenario}"
    told = [f"{leg.title}, observed: {_words(leg, 'observed')}; predicted: {_words(leg, 'predicted')}." for leg in legs]
    SubElement(root, "desc", {"id": f"{identity}-desc"}).text = " ".join(told)
    return root


def _words(leg: LegWays, source: Source) -> str:
    there, back = leg.of(source)
    return "; ".join(_way_words(way, name) for way, name in ((there, "there"), (back, "back")))


def _way_words(way: Way | None, name: str) -> str:
    if way is None:
        return f"{name}: nothing"
    end = f", ended at {way.end.words}" if way.end else ""
    return f"{name} over {', '.join(way.links)}{end}"


def _line(layout: Layout, a: str, b: str) -> Line:
    return Line(layout.nodes[a], layout.nodes[b]).shortened(NODE_RADIUS, NODE_RADIUS)


def hops(plan: Plan, way: Way) -> Iterator[tuple[str, str]]:
    """Yield the nodes at the two ends of each link of *way*, in the order of travel, as far as it hangs together."""
    links = {link.name: link for link in plan.links}
    first = links.get(way.links[0]) if way.links else None
    if first is None:
        return
    ends = first.a.node, first.b.node
    here = next((node for node in ends if node in way.start), None)
    if here is None:
        second = links.get(way.links[1]) if len(way.links) > 1 else None
        onward = {second.a.node, second.b.node} if second else set()
        here = ends[0] if ends[1] in onward or not onward else ends[1]
    for name in way.links:
        link = links.get(name)
        if link is None or here not in (link.a.node, link.b.node):
            return
        there = link.b.node if here == link.a.node else link.a.node
        yield here, there
        here = there


def _draw_leg(group: Element, plan: Plan, leg: LegWays, source: Source, layout: Layout) -> None:
    for way, css in zip(leg.of(source), ("there", "back"), strict=True):
        if way is None:
            continue
        side = ASIDE if css == "there" else -ASIDE
        for here, there in hops(plan, way):
            line = _line(layout, here, there).aside(side)
            shaft = line.shortened(0, HEAD)
            svg.line(group, shaft.start, shaft.end, f"strand {css}")
            glyphs.draw_arrow(group, line.end, line.angle, f"head {css}")
        if way.end is not None and way.end.node in layout.nodes:
            x, y = layout.nodes[way.end.node]
            mark = svg.group(group, "drop-mark", way.end.words)
            mark.set("data-dropped-at", way.end.node)
            glyphs.draw_drop(mark, (x + 7, y - 18), "" if way.end.packets is None else str(way.end.packets))


def _draw_key(root: Element, layout: Layout, *, has_ends: bool) -> None:
    key = svg.group(root, "key")
    x, y = 14.0, layout.height + 16
    for css, words in (("there", "there: from the leg’s first end"), ("back", "back")):
        svg.line(key, (x, y), (x + 34, y), f"strand {css}")
        glyphs.draw_arrow(key, (x + 38, y), 0, f"head {css}")
        svg.text(key, (x + 46, y + 4), words, "key-words", "start")
        x += 46 + 6.2 * len(words) + 22
    if has_ends:
        glyphs.draw_drop(key, (x, y), "n")
        svg.text(key, (x + 30, y + 4), "n packets ended here", "key-words", "start")
