"""Where things stand in a picture: a box for each segment, layers of nodes in it. Deterministic; in SVG units.

Customer networks stand on the left, ExpressRoute and the Internet between, Microsoft on the right, as the article draws
them. In the boxes at the sides, layers count the links from the way out; in the middle ones, from side to side.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Final, Literal

from testbed.plan.model import LinkPlan, NodePlan

Side = Literal["left", "middle", "right"]

LAYER: Final = 92.0
"Between layers in a box."
ROW: Final = 76.0
"Between nodes of one layer."
PADDING: Final = 46.0
"From a node's centre to the side of its box."
HEADROOM: Final = 68.0
"From a box's top, over its title, to its first row."
FOOTROOM: Final = 46.0
GAP: Final = 86.0
"Between columns of boxes: room for the counts of the links that cross."
STACK_GAP: Final = 26.0
MARGIN: Final = 8.0
EMPTY_BOX: Final = (190.0, 70.0)
"Width and height of a box in which nothing is drawn."

IDLE_WEIGHT: Final = 0.2
"How much a silent link's slant counts against that of one that carries packets."
UNUSUAL: Final = 60.0
"Slant worth suffering to keep the usual order of boxes, so that pictures look alike."

_SIDES: Final[dict[str, Side]] = {
    "customer": "left",
    "expressroute": "middle",
    "internet": "middle",
    "microsoft": "right",
}
_ORDER: Final = ("customer", "expressroute", "internet", "microsoft", "pstn")


@dataclass(slots=True)
class Box:
    """A segment."""

    segment: str
    kind: str
    side: Side
    layers: list[list[str]]
    "Nodes, by column from left to right."
    x: float = 0.0
    y: float = 0.0
    width: float = EMPTY_BOX[0]
    height: float = EMPTY_BOX[1]


@dataclass(frozen=True, slots=True)
class Layout:
    """A picture's geometry."""

    boxes: tuple[Box, ...]
    nodes: dict[str, tuple[float, float]]
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class _Graph:
    nodes: Mapping[str, NodePlan]
    neighbours: Mapping[str, tuple[str, ...]]
    sides: Mapping[str, Side]
    "Side of each segment."
    order: Mapping[str, int]
    busy: frozenset[str]
    "Nodes with a link that carries something."

    def outward(self, name: str) -> set[Side]:
        """Return the sides to which a node has a link that leaves its segment."""
        own = self.nodes[name].segment
        segments = {self.nodes[other].segment for other in self.neighbours[name]} - {own}
        return {self.sides[segment] for segment in segments}

    def depths(self, start: Iterable[str], within: set[str]) -> dict[str, int]:
        """Return how many links each node of *within* is from the nearest of *start*."""
        depth = dict.fromkeys(start, 0)
        queue = deque(depth)
        while queue:
            node = queue.popleft()
            for other in self.neighbours[node]:
                if other in within and other not in depth:
                    depth[other] = depth[node] + 1
                    queue.append(other)
        return depth


def lay_out(
    nodes: Sequence[NodePlan],
    links: Sequence[LinkPlan],
    empty: Sequence[tuple[str, str]] = (),
    busy: frozenset[str] = frozenset(),
) -> Layout:
    """Place *nodes*, among them all ends of *links*, in boxes.

    *empty* are segments (name, kind) drawn without nodes; *busy* are links that carry something: they are kept level.
    """
    graph = _graph(nodes, links, busy)
    boxes = [_box(segment, graph) for segment in dict.fromkeys(node.segment for node in nodes)]
    boxes += [Box(segment, kind, _SIDES.get(kind, "right"), []) for segment, kind in empty]
    boxes.sort(key=lambda box: _ORDER.index(box.kind))
    layout = _finish(boxes, _best_rows(boxes, links, graph, busy))
    for name, node in graph.nodes.items():
        if node.segment_kind == "pstn" and graph.neighbours[name]:
            # Straight below whatever leads to it; its box is as wide as the column.
            beside = [layout.nodes[other][0] for other in graph.neighbours[name]]
            layout.nodes[name] = (sum(beside) / len(beside), layout.nodes[name][1])
    return layout


def _best_rows(boxes: list[Box], links: Sequence[LinkPlan], graph: _Graph, busy: frozenset[str]) -> dict[str, float]:
    """Put *boxes* in the order, within each column, that keeps links between them levellest; return each node's y."""
    between = [link for link in links if graph.nodes[link.a.node].segment != graph.nodes[link.b.node].segment]
    best: tuple[float, tuple[Box, ...]] | None = None
    columns = [[box for box in boxes if box.side == side] for side in ("left", "middle", "right")]
    for turned, order in enumerate(product(*(permutations(column) for column in columns))):
        stacked = tuple(box for column in order for box in column)
        y = _rows(stacked, graph)
        slant = sum(
            abs(y[link.a.node] - y[link.b.node]) * (1 if link.name in busy else IDLE_WEIGHT) for link in between
        )
        cost = slant + (UNUSUAL if turned else 0)
        if best is None or cost < best[0]:
            best = (cost, stacked)
    assert best is not None  # permutations of nothing are one empty order
    boxes[:] = best[1]
    return _rows(boxes, graph)


def _graph(nodes: Sequence[NodePlan], links: Sequence[LinkPlan], busy: frozenset[str]) -> _Graph:
    neighbours: dict[str, list[str]] = {node.name: [] for node in nodes}
    for link in links:
        neighbours[link.a.node].append(link.b.node)
        neighbours[link.b.node].append(link.a.node)
    by_name = {node.name: node for node in nodes}
    sides: dict[str, Side] = {node.segment: _SIDES.get(node.segment_kind, "right") for node in nodes}
    for node in nodes:
        # A telephone network stands with whoever's gateway leads to it.
        if node.segment_kind == "pstn" and any(
            by_name[other].segment_kind == "customer" for other in neighbours[node.name]
        ):
            sides[node.segment] = "left"
    order = {node.name: index for index, node in enumerate(nodes)}
    busy_nodes = frozenset(end.node for link in links if link.name in busy for end in (link.a, link.b))
    return _Graph(by_name, {name: tuple(others) for name, others in neighbours.items()}, sides, order, busy_nodes)


def _box(segment: str, graph: _Graph) -> Box:
    inside = [name for name, node in graph.nodes.items() if node.segment == segment]
    side = graph.sides[segment]
    column = _middle_columns(inside, graph) if side == "middle" else _side_columns(inside, graph)
    layers: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for name in inside:
        layers[column[name]].append(name)
    if side == "left":
        layers.reverse()
    return Box(segment, graph.nodes[inside[0]].segment_kind, side, layers)


def _side_columns(inside: list[str], graph: _Graph) -> dict[str, int]:
    """Count layers from the way out of the segment; what hangs together with no way out starts at its first node."""
    within = set(inside)
    own = graph.sides[graph.nodes[inside[0]].segment]
    depth = graph.depths([name for name in inside if graph.outward(name) - {own}], within)
    while rest := [name for name in inside if name not in depth]:
        depth |= graph.depths(rest[:1], within)
    return depth


def _middle_columns(inside: list[str], graph: _Graph) -> dict[str, int]:
    """Order nodes from left to right by how much nearer they are to the left than to the right.

    Where ways lead out on one side alone, what hangs on each of them stands below it.
    """
    within = set(inside)
    left = graph.depths([name for name in inside if "left" in graph.outward(name)], within)
    right = graph.depths([name for name in inside if "right" in graph.outward(name)], within)
    if not left or not right:
        return _branches(inside, graph)
    far = len(inside)
    lean = {name: left.get(name, far) - right.get(name, far) for name in inside}
    # More than three columns would push the sides apart: what lies between the outermost stands in the middle.
    ranks = sorted(set(lean.values()))
    return {
        name: ranks.index(value) if len(ranks) <= 3 else (0 if value == ranks[0] else 2 if value == ranks[-1] else 1)
        for name, value in lean.items()
    }


def _branches(inside: list[str], graph: _Graph) -> dict[str, int]:
    """Give each way out a column, three at most, and with it what is nearest to it."""
    ways_out = [name for name in inside if graph.outward(name)] or inside[:1]
    depths = [graph.depths([way], set(inside) - {*ways_out} | {way}) for way in ways_out]
    nearest = {name: min(range(len(ways_out)), key=lambda way: depths[way].get(name, len(inside))) for name in inside}
    return {name: min(column, 2) for name, column in nearest.items()}


def _rows(boxes: Sequence[Box], graph: _Graph) -> dict[str, float]:
    y: dict[str, float] = {}
    top = 0.0
    for box in (box for box in boxes if box.side == "middle"):
        top = _stack_middle(box, top, graph, y)
    for side in ("left", "right"):
        bottom: float | None = None
        for box in (box for box in boxes if box.side == side):
            bottom = _stack_side(box, bottom, graph, y)
    return y


def _stack_middle(box: Box, top: float, graph: _Graph, y: dict[str, float]) -> float:
    """Place a middle box below *top*: the nodes that lead out first, what hangs on them below."""
    inside = [name for layer in box.layers for name in layer]
    depth = graph.depths([name for name in inside if graph.outward(name)] or inside[:1], set(inside))
    sides = {side for name in inside for side in graph.outward(name) if side != "middle"}
    rows = 0
    for column, layer in enumerate(box.layers):
        # Ways out on one side alone would lead through one another: the farther begins the higher.
        lower = column if sides == {"right"} else len(box.layers) - 1 - column if sides == {"left"} else 0
        row = -1
        for name in sorted(layer, key=lambda name: (depth.get(name, len(inside)), graph.order[name])):
            row = max(row + 1, min(depth.get(name, 0), len(inside)) + lower)
            y[name] = top + HEADROOM + row * ROW
        rows = max(rows, row + 1)
    box.y = top
    box.height = HEADROOM + (rows - 1) * ROW + FOOTROOM if rows else EMPTY_BOX[1]
    return box.y + box.height + STACK_GAP


def _stack_side(box: Box, above: float | None, graph: _Graph, y: dict[str, float]) -> float:
    """Place a side box level with what it is linked to, but below *above*; return its lower edge."""
    if not box.layers:
        box.y = (above + STACK_GAP) if above is not None else 0.0
        return box.y + box.height
    for layer in box.layers if box.side == "right" else reversed(box.layers):
        wish = {name: _wish(name, layer, graph, y) for name in layer}
        # What is busy in a lower box stands on top, where the way to the middle is shortest.
        lower = above is not None
        layer.sort(key=lambda name: (lower and name not in graph.busy, wish[name], graph.order[name]))
        y |= _spread(layer, wish)
    inside = [name for layer in box.layers for name in layer]
    box.y = min(y[name] for name in inside) - HEADROOM
    if above is not None and box.y < above + STACK_GAP:
        shift = above + STACK_GAP - box.y
        box.y += shift
        for name in inside:
            y[name] += shift
    box.height = max(y[name] for name in inside) + FOOTROOM - box.y
    return box.y + box.height


def _wish(name: str, layer: list[str], graph: _Graph, y: dict[str, float]) -> float:
    placed = [y[other] for other in graph.neighbours[name] if other in y and other not in layer]
    return sum(placed) / len(placed) if placed else 0.0


def _spread(layer: list[str], wish: dict[str, float]) -> dict[str, float]:
    """Give each node, in order, its wish or the next free row, then shift all so that the wishes are met on average."""
    places: list[float] = []
    for name in layer:
        places.append(wish[name] if not places else max(wish[name], places[-1] + ROW))
    shift = sum(wish[name] for name in layer) / len(layer) - sum(places) / len(places)
    return {name: place + shift for name, place in zip(layer, places, strict=True)}


def _finish(boxes: list[Box], y: dict[str, float]) -> Layout:
    """Give columns their x and a common top, and move everything into the picture."""
    top = min(box.y for box in boxes)
    for side in ("left", "middle", "right"):
        if first := min((box for box in boxes if box.side == side), key=lambda box: box.y, default=None):
            first.height += first.y - top if first.layers else 0
            first.y = top
    lift = MARGIN - min(box.y for box in boxes)
    x = MARGIN
    nodes: dict[str, tuple[float, float]] = {}
    for side in ("left", "middle", "right"):
        column = [box for box in boxes if box.side == side]
        if not column:
            continue
        for box in column:
            box.width = max(EMPTY_BOX[0], 2 * PADDING + (len(box.layers) - 1) * LAYER)
        width = max(box.width for box in column)
        for box in column:
            indent = (width - 2 * PADDING - (len(box.layers) - 1) * LAYER) / 2 if box.layers else 0.0
            if side != "middle" and box.layers:
                # The way out stays at the edge that faces the middle.
                indent = width - 2 * PADDING - (len(box.layers) - 1) * LAYER if side == "left" else 0.0
            box.x, box.width, box.y = x, width, box.y + lift
            for index, layer in enumerate(box.layers):
                for name in layer:
                    nodes[name] = (x + PADDING + indent + index * LAYER, y[name] + lift)
        x += width + GAP
    return Layout(tuple(boxes), nodes, x - GAP + MARGIN, max(box.y + box.height for box in boxes) + MARGIN)
