"""The traffic of one leg: which walks belong to it, and the part of each between the leg's two ends.

A leg is one application-layer hop, so a media packet's walk from Alice over an Edge to Carol is cut at the Edge. What
should have come by the other end and did not (they went elsewhere, or died on the way) belong to the leg too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from testbed.analysis.network import Network
from testbed.analysis.packets import Kind
from testbed.analysis.paths import Step, Walk
from testbed.scenario import FlowKind, Leg

MEDIA: Final = frozenset({Kind.RTP, Kind.RTCP, Kind.DATA})
WEB: Final = frozenset({Kind.TCP, Kind.CHANNEL_DATA, Kind.STUN, Kind.TURN_INDICATION})
"What HTTP may be taken for: TCP, and now and then its first bytes look like another protocol's."
KINDS: Final[Mapping[FlowKind, frozenset[Kind]]] = {
    "signaling": frozenset({Kind.SIP}),
    "media": MEDIA,
    "dns": frozenset({Kind.DNS}),
    "crl": WEB,
    "portal": WEB,
    "telemetry": WEB,
    "cdn": WEB,
    "stream": WEB,
}
"What the packets of a flow are; whose they are the leg's ends tell."


@dataclass(frozen=True, slots=True)
class Part:
    """A walk's part that lies on a leg."""

    walk: Walk
    nodes: tuple[str, ...]
    steps: tuple[Step, ...]
    arrived: bool
    "Whether the packets got from one end of the leg to the other."

    @property
    def gaps(self) -> tuple[tuple[str, str], ...]:
        """Return the walk's gaps that lie inside this part."""
        inside = set(zip(self.nodes, self.nodes[1:], strict=False))
        return tuple(gap for gap in self.walk.gaps if gap in inside)

    @property
    def links(self) -> tuple[str, ...]:
        """Return the names of the links, in order."""
        return tuple(step.hop.link for step in self.steps)


@dataclass(slots=True)
class LegTraffic:
    """What was seen of a leg."""

    leg: Leg
    sources: frozenset[str]
    targets: frozenset[str]
    forward: list[Part] = field(default_factory=list)
    "From `from` to `to`."
    back: list[Part] = field(default_factory=list)

    @property
    def parts(self) -> list[Part]:
        """Return both directions."""
        return self.forward + self.back


def find_traffic(
    leg: Leg, network: Network, walks: Collection[Walk], other_targets: Collection[str] = ()
) -> LegTraffic:
    """Return the part of *walks* that belongs to *leg*.

    *walks* are already of the leg's kind of flow. *other_targets* are the far ends of further legs of the same flow
    from the same party: packets that reach one of those are not this leg's.
    """
    roles = network.plan.roles
    sources = frozenset(roles.get(leg.from_, (leg.from_,)))
    targets = frozenset(roles.get(leg.to, (leg.to,)))
    traffic = LegTraffic(leg, sources, targets)
    elsewhere = frozenset(other_targets) - targets
    late = []
    for walk in walks:
        if part := _arrived(walk, sources, targets):
            traffic.forward.append(part)
        elif part := _arrived(walk, targets, sources, from_last=True):
            traffic.back.append(part)
        elif part := _lost(walk, sources, targets, elsewhere, network, whole=leg.flow == "media"):
            traffic.forward.append(part)
        else:
            late.append(walk)
    answers = {step.flow.answer5 for part in traffic.forward for step in part.steps}
    for walk in late:
        if part := _lost_answer(walk, sources, targets, answers, elsewhere, network, whole=leg.flow == "media"):
            traffic.back.append(part)
    if not traffic.back:
        traffic.back = _misaddressed(traffic, late, walks)
    return traffic


def _misaddressed(traffic: LegTraffic, late: Iterable[Walk], walks: Iterable[Walk]) -> list[Part]:
    """Return answers from the far end to the right address and a port that NAT gave to nobody."""
    pairs = {(step.flow.destination, step.flow.source) for part in traffic.forward for step in part.steps}
    answers = {step.flow.answer5 for walk in walks for step in walk.steps}
    found = []
    for walk in late:
        flow = walk.steps[-1].flow
        if walk.nodes[0] in traffic.targets and (flow.source, flow.destination) in pairs and flow.tuple5 not in answers:
            found.append(_cut(walk, 0, len(walk.nodes) - 1, arrived=False))
    return [part for part in found if part is not None]


def _arrived(walk: Walk, starts: frozenset[str], ends: frozenset[str], *, from_last: bool = False) -> Part | None:
    """Return the part between the leg's ends: nearest to `from`, whichever direction the packets go."""
    if from_last:
        mirrored = _span(tuple(reversed(walk.nodes)), ends, starts)
        span = None if mirrored is None else (len(walk.nodes) - 1 - mirrored[1], len(walk.nodes) - 1 - mirrored[0])
    else:
        span = _span(walk.nodes, starts, ends)
    return None if span is None else _cut(walk, *span, arrived=True)


def _span(nodes: tuple[str, ...], starts: frozenset[str], ends: frozenset[str]) -> tuple[int, int] | None:
    """Return where the first of *starts* and then the first of *ends* stand."""
    first = next((i for i, node in enumerate(nodes) if node in starts), None)
    if first is None:
        return None
    last = next((i for i, node in enumerate(nodes) if i > first and node in ends), None)
    return None if last is None else (first, last)


def _cut(walk: Walk, first: int, last: int, *, arrived: bool) -> Part | None:
    """Return the part of *walk* from its node number *first* to *last*; None where no captured link lies between."""
    steps, at = [], 0
    for step in walk.steps:
        while walk.nodes[at] != step.hop.source or walk.nodes[at + 1] != step.hop.target:
            at += 1
        if first <= at < last:
            steps.append(step)
        at += 1
    return Part(walk, walk.nodes[first : last + 1], tuple(steps), arrived) if steps else None


def _lost(
    walk: Walk,
    sources: frozenset[str],
    targets: frozenset[str],
    elsewhere: frozenset[str],
    network: Network,
    *,
    whole: bool,
) -> Part | None:
    """Return a walk from `from` that did not get to `to`: meant for it by address, or media that the party sent."""
    if not sources.intersection(walk.nodes[:-1]):
        return None
    first = next(i for i, node in enumerate(walk.nodes) if node in sources)
    meant = network.owner(walk.steps[-1].flow.destination) in targets
    strayed = whole and first == 0 and not elsewhere.intersection(walk.nodes)
    strayed = strayed and not network.relays.intersection(sources)
    return _cut(walk, first, len(walk.nodes) - 1, arrived=False) if meant or strayed else None


def _lost_answer(
    walk: Walk,
    sources: frozenset[str],
    targets: frozenset[str],
    answers: Collection[tuple[int, int, int, int, int]],
    elsewhere: frozenset[str],
    network: Network,
    *,
    whole: bool,
) -> Part | None:
    """Return a walk towards `from` that did not come from `to`, or did not get through."""
    if walk.nodes[0] in sources or (elsewhere - sources).intersection(walk.nodes):
        return None
    ends = [i for i, node in enumerate(walk.nodes) if i and node in sources]
    from_target = [i for i, node in enumerate(walk.nodes) if node in targets]
    start = from_target[-1] if from_target else 0
    if ends:
        came_round = whole and not from_target and not network.relays.intersection(sources)
        return _cut(walk, start, ends[-1], arrived=False) if came_round else None
    answering = any(step.flow.tuple5 in answers for step in walk.steps)
    addressed = network.owner(walk.steps[-1].flow.destination) in sources and bool(from_target)
    return _cut(walk, start, len(walk.nodes) - 1, arrived=False) if answering or addressed else None
