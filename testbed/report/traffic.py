"""What a picture must show: how many packets of which flow went which way on each link, and which links are silent."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from testbed.plan.model import LinkPlan, Plan, PredictedPath
from testbed.report.record import Document, LegJudged, ScenarioRecord

WIDE_KINDS: Final = ("expressroute", "internet")
"Kinds of segment between organisations: a leg is sent over the one or the other."

LinkState = Literal["carried", "expected", "silent", "not captured", "down", "not judged"]
Distances = dict[str, int]


@dataclass(slots=True)
class Strand:
    """Packets of one kind of flow on one link, all legs together."""

    flow: str
    forward: int = 0
    "Packets from the link's end A to B."
    backward: int = 0
    "Packets from B to A."
    directed: bool = True
    "False where the way could not be told; all packets are then counted in `forward`."
    forbidden: bool = False
    "Whether a leg of it must never be here."

    @property
    def packets(self) -> int:
        return self.forward + self.backward


@dataclass(frozen=True, slots=True)
class LinkTraffic:
    """One link of the picture."""

    link: LinkPlan
    strands: tuple[Strand, ...]
    state: LinkState
    captured: int | None = None
    "All packets captured on it, for a link that no leg is about."


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything a picture shows of a scenario."""

    links: tuple[LinkTraffic, ...]
    "In the plan's order."
    actors: dict[str, str]
    "Node to what it is in this scenario: a party's name or a role."
    silent_kinds: tuple[str, ...]
    "Kinds of segment that no leg may cross and none did."
    blind_kinds: tuple[str, ...]
    "Those of them with a link that was not captured, so that their silence is not proven."


def scenario_traffic(record: ScenarioRecord, plan: Plan) -> Traffic:
    """Work out, from the plan and the verdict's legs, which links to draw and what they carried."""
    topology = _Topology(plan)
    strands: dict[str, dict[str, Strand]] = {}
    expected: set[str] = set()
    idle: set[str] = set()
    for leg in record.legs:
        _add_leg(leg, topology, strands)
        if leg.verdict != "PASS":
            expected |= _predicted_links(leg, plan)
        idle |= _forbidden_route(leg, topology)
    captured = (record.emulation or {}).get("capture") or {}
    drawn = []
    telephones = _telephone_links(record, plan)
    for link in plan.links:
        on_link = strands.get(link.name, {})
        if link.name in telephones and not on_link:
            packets = (captured.get(link.name) or {}).get("packets")
            drawn.append(LinkTraffic(link, (), "not captured" if packets is None else "not judged", packets))
        elif on_link or link.name in expected or link.name in idle:
            state = _state(link, bool(on_link), link.name in expected, captured)
            drawn.append(LinkTraffic(link, tuple(on_link[flow] for flow in sorted(on_link, reverse=True)), state))
    silent = _silent_kinds(record.legs, strands, topology)
    unseen = {str(link.segment_kind) for link in plan.links if not link.captured or link.name not in captured}
    return Traffic(tuple(drawn), _actors(record.legs, plan), silent, tuple(kind for kind in silent if kind in unseen))


def is_forbidden(leg: LegJudged, link: LinkPlan, plan: Plan) -> bool:
    """Tell whether *leg* must not be on *link*: by the kind of its segment, or because another customer runs it."""
    kind = link.segment_kind
    if leg.expected.dies is not None:
        return kind not in leg.expected.dies.kinds
    if kind in leg.expected.never or (leg.expected.crosses and kind not in leg.expected.crosses):
        return True
    ends = {name for end in (leg.from_, leg.to) for name in plan.roles.get(end, (end,))}
    at_home = {node.organisation for node in plan.nodes if node.name in ends and node.segment_kind == "customer"}
    owner = next((node.organisation for node in plan.nodes if node.segment == link.segment), None)
    return kind == "customer" and bool(at_home) and owner not in at_home


class _Topology:
    """The plan as a graph, for walks that pass through routers but never through hosts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.links = {link.name: link for link in plan.links}
        self.hosts = {node.name for node in plan.nodes if node.kind == "host"}
        self.neighbours: dict[str, list[tuple[str, LinkPlan]]] = {node.name: [] for node in plan.nodes}
        for link in plan.links:
            self.neighbours[link.a.node].append((link.b.node, link))
            self.neighbours[link.b.node].append((link.a.node, link))

    def nodes_of(self, role: str) -> tuple[str, ...]:
        return self.plan.roles.get(role, (role,) if role in self.neighbours else ())

    def reach(self, start: Iterable[str], kinds: set[str] | None = None) -> tuple[Distances, dict[str, LinkPlan]]:
        """Return how many links (of these kinds) each node is from *start*, and by which link it is reached."""
        distances = dict.fromkeys(start, 0)
        by: dict[str, LinkPlan] = {}
        queue = deque(distances)
        while queue:
            node = queue.popleft()
            if node in self.hosts and distances[node]:
                continue
            for neighbour, link in self.neighbours[node]:
                if neighbour not in distances and (kinds is None or link.segment_kind in kinds):
                    distances[neighbour] = distances[node] + 1
                    by[neighbour] = link
                    queue.append(neighbour)
        return distances, by


def _add_leg(leg: LegJudged, topology: _Topology, strands: dict[str, dict[str, Strand]]) -> None:
    from_distance, _ = topology.reach(topology.nodes_of(leg.from_))
    to_distance, _ = topology.reach(topology.nodes_of(leg.to))
    for seen in leg.observed.links:
        link = topology.links.get(seen.link)
        if link is None or not seen.packets:
            continue
        strand = strands.setdefault(link.name, {}).setdefault(leg.flow, Strand(leg.flow))
        along = _runs_along(leg, link, topology, from_distance, to_distance)
        ahead, back = seen.packets_forward or 0, seen.packets_return or 0
        if along is None:
            strand.directed = False
            ahead, back = ahead + back, 0
        elif not along:
            ahead, back = back, ahead
        strand.forward += ahead
        strand.backward += back
        strand.forbidden |= is_forbidden(leg, link, topology.plan)


def _runs_along(
    leg: LegJudged, link: LinkPlan, topology: _Topology, from_distance: Distances, to_distance: Distances
) -> bool | None:
    """Tell whether the leg's forward packets run from the link's A to B; None where it cannot be told.

    The way that was observed, walked from its start, says so for its own links, then the predicted one; for any other
    link, forward is away from where the leg starts and towards where it ends.
    """
    ways = [(leg.observed.forward, leg.observed.return_)]
    ways += [(path.forward, path.return_) for path in topology.plan.predictions(leg.flow, leg.from_, leg.to, leg.media)]
    for ahead, back in ways:
        entered = _walk(ahead, topology.nodes_of(leg.from_), topology)
        if link.name in entered:
            return entered[link.name] == link.a.node
        entered = _walk(back, topology.nodes_of(leg.to), topology)
        if link.name in entered:
            return entered[link.name] == link.b.node
    ends = (link.a.node, link.b.node)
    if any(end not in distance for end in ends for distance in (from_distance, to_distance)):
        return None
    a, b = (from_distance[end] - to_distance[end] for end in ends)
    return None if a == b else a < b


def _walk(path: Iterable[str], start: Iterable[str], topology: _Topology) -> dict[str, str]:
    """Return, for each link of a path, the node at which it is entered."""
    here = set(start)
    entered: dict[str, str] = {}
    for name in path:
        link = topology.links.get(name)
        if link is None or not here & {link.a.node, link.b.node}:
            break
        entered[name] = link.a.node if link.a.node in here else link.b.node
        here = {link.b.node if entered[name] == link.a.node else link.a.node}
    return entered


def prediction(leg: LegJudged, plan: Plan) -> PredictedPath | None:
    """Return the predicted path that the leg's packets took; where they took none, the most likely one."""
    paths = plan.predictions(leg.flow, leg.from_, leg.to, leg.media)
    seen = leg.observed.forward, leg.observed.return_
    taken = (path for path in paths if (path.forward, path.return_) == seen)
    return next(taken, paths[0] if paths else None)


def _predicted_links(leg: LegJudged, plan: Plan) -> set[str]:
    path = prediction(leg, plan)
    return {*path.forward, *path.return_} if path else set()


def _forbidden_route(leg: LegJudged, topology: _Topology) -> set[str]:
    """Return the links of the shortest way the leg could have taken over a wide segment that is forbidden to it."""
    near = set(leg.expected.crosses) - set(WIDE_KINDS)
    route: set[str] = set()
    for kind in set(leg.expected.never) & set(WIDE_KINDS):
        usable = near | {kind} | ({"microsoft"} if "microsoft" not in leg.expected.never else set())
        goals = _used(topology.nodes_of(leg.to), leg, topology)
        distances, by = topology.reach(topology.nodes_of(leg.from_), usable)
        reached = [goal for goal in goals if distances.get(goal)]
        if not reached:
            continue
        node, path = min(reached, key=lambda goal: distances[goal]), list[LinkPlan]()
        while node in by:
            path.append(by[node])
            node = by[node].a.node if by[node].b.node == node else by[node].b.node
        if any(link.segment_kind == kind for link in path):
            route |= {link.name for link in path}
    return route


def _telephone_links(record: ScenarioRecord, plan: Plan) -> set[str]:
    """Return the links that lead a call to a PSTN telephone: no leg is about them, but a call without its end is odd.

    Trunks of gateways that run no program here are left out.
    """
    parties = {party.node for party in record.scenario.parties.values()} if record.scenario else set()
    telephones = {node.name for node in plan.nodes if node.segment_kind == "pstn" and node.name in parties}
    ends = telephones | {job.node for job in plan.jobs}
    pairs = {link.name: {link.a.node, link.b.node} for link in plan.links}
    return {name for name, pair in pairs.items() if pair & telephones and pair <= ends}


def _used(nodes: tuple[str, ...], leg: LegJudged, topology: _Topology) -> tuple[str, ...]:
    """Return those of a role's nodes that the leg's packets touched, or all where none was."""
    links = [topology.links[seen.link] for seen in leg.observed.links if seen.packets and seen.link in topology.links]
    touched = {end.node for link in links for end in (link.a, link.b)}
    return tuple(node for node in nodes if node in touched) or nodes


def _state(link: LinkPlan, carried: bool, expected: bool, captured: Document) -> LinkState:
    if carried:
        return "carried"
    if not link.up:
        return "down"
    if not link.captured or link.name not in captured:
        return "not captured"
    return "expected" if expected else "silent"


def _actors(legs: Iterable[LegJudged], plan: Plan) -> dict[str, str]:
    parties = {call.party for call in plan.calls} | {job for call in plan.calls for job in call.answerers}
    actors: dict[str, str] = {}
    for leg in legs:
        for role in (leg.from_, leg.to):
            for node in plan.roles.get(role, ()):
                actors[node] = role if role in parties or node not in actors else actors[node]
    return actors


def _silent_kinds(
    legs: Iterable[LegJudged], strands: dict[str, dict[str, Strand]], topology: _Topology
) -> tuple[str, ...]:
    never = [set(leg.expected.never) for leg in legs]
    carried = {topology.links[name].segment_kind for name in strands}
    return tuple(sorted(set.intersection(*never) - carried)) if never else ()
