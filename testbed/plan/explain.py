"""Predictions in words: each leg hop by hop, forward beside return, with the first hop where they differ marked."""

from collections.abc import Sequence
from itertools import zip_longest

from testbed.plan.model import LinkPlan, Plan, PredictedPath

MARK = "≠"
"Stands before the first hop where forward and return differ."


def explain_lines(plan: Plan) -> list[str]:
    """Return the predicted paths of every leg as plain lines, an empty one between legs."""
    links = {link.name: link for link in plan.links}
    lines: list[str] = []
    for leg in dict.fromkeys(path.leg for path in plan.predicted):
        lines += [*([""] if lines else []), "{} {} -> {}".format(leg[3] or leg[0], *leg[1:3])]
        for number, path in enumerate(plan.predictions(*leg)):
            lines += _path_lines(path, plan, links, lead="or " if number else "")
    return lines


def first_difference(path: PredictedPath) -> int | None:
    """Return the place of the first hop, from the leg's `from`, where forward and return differ, or None."""
    return _difference(path.forward, path.return_[::-1])


def _difference(one: Sequence[str], other: Sequence[str]) -> int | None:
    pairs = enumerate(zip_longest(one, other))
    return next((place for place, (here, there) in pairs if here != there), None)


def _path_lines(path: PredictedPath, plan: Plan, links: dict[str, LinkPlan], lead: str) -> list[str]:
    lines = [f"  {lead}{path.note}"] if lead or path.note else []
    starts, ends = (plan.roles.get(name, (name,)) for name in (path.from_, path.to))
    there = _hops(path.forward, links, starts)
    back = _hops(path.return_, links, ends)
    if is_incomplete(path):
        # An answer that is lost on its way leaves the forward path where it first differs, seen from the far end.
        leaves = _difference(path.return_, path.forward[::-1][: len(path.return_)])
        return [
            *lines,
            *_one_way("forward", there, path.forward_end),
            *_one_way("return", back, path.return_end, leaves),
        ]
    return [*lines, *_side_by_side(path, there, back[::-1])]


def is_incomplete(path: PredictedPath) -> bool:
    """Whether a direction does not arrive, so that its hops cannot be laid beside the other's."""
    return not (path.forward_end == path.return_end == "DELIVERED")


def _side_by_side(path: PredictedPath, there: Sequence[str], back: Sequence[str]) -> list[str]:
    different = first_difference(path)
    if different is None:
        return [*(f"    {hop}" for hop in there), "  both ways: DELIVERED"]
    width = max(map(len, there), default=0)
    lines = [f"    {'forward':{width}}   return"]
    for place, (one, other) in enumerate(zip_longest(there, back, fillvalue="")):
        lines.append(f"  {MARK if place == different else ' '} {one:{width}}   {other}")
    return [*lines, f"  both ways: DELIVERED, by different paths from hop {different + 1} on"]


def _one_way(name: str, hops: Sequence[str], end: str, different: int | None = None) -> list[str]:
    marked = (f"  {MARK if place == different else ' '} {hop}" for place, hop in enumerate(hops))
    return [f"  {name}: {end}", *marked]


def _hops(names: Sequence[str], links: dict[str, LinkPlan], starts: Sequence[str]) -> list[str]:
    """Return "a -> b  (segment kind, link)" for each link, in the order of travel."""
    hops = []
    here = _first_node(names, links, starts)
    for name in names:
        link = links[name]
        there = link.b.node if here == link.a.node else link.a.node
        hops.append(f"{here} -> {there}  ({link.segment_kind}, {name})")
        here = there
    return hops


def _first_node(names: Sequence[str], links: dict[str, LinkPlan], starts: Sequence[str]) -> str:
    if not names:
        return ""
    first = links[names[0]]
    ends = [first.a.node, first.b.node]
    return next((end for end in ends if end in starts), ends[0])
