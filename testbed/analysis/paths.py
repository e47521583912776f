"""The way of every packet through the network: its hops in order of time, packets with the same way counted together.

A packet (`identity`) is seen on one link after the other; NAT changes its addresses and a relay its wrapping, not its
identity. Packets that take the same hops with the same addresses form one `Walk`, so a call of a million packets is
a few dozen walks, each with its count and its first frame on every hop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Ints, Kind
from testbed.analysis.grouping import ROWS_AT_ONCE, Group, Grouping, Span
from testbed.analysis.identity import Hashes
from testbed.analysis.network import Direction, Network
from testbed.analysis.packets import Packets
from testbed.analysis.sightings import Flow, find_sightings
from testbed.topology import MediaKind


@dataclass(frozen=True, slots=True)
class Step:
    """One hop of a walk."""

    hop: Direction
    flow: Flow
    packets: int
    "Frames seen."
    first_frame: int


@dataclass(frozen=True, slots=True)
class Walk:
    """Packets that went the same way."""

    number: int
    nodes: tuple[str, ...]
    "Every node passed, in order; one more than the steps, plus the unseen ends that addresses tell."
    steps: tuple[Step, ...]
    packets: int
    gaps: tuple[tuple[str, str], ...]
    "Pairs of nodes between which no captured link shows the packets."
    first_ns: int
    last_ns: int

    @property
    def kind(self) -> Kind:
        """Return what the packets are."""
        return self.steps[0].flow.kind

    @property
    def media(self) -> MediaKind | None:
        """Return which kind of media the packets are."""
        return self.steps[0].flow.media

    @property
    def has_payload(self) -> bool:
        """Return whether the packets say anything (a bare TCP acknowledgement does not)."""
        return self.steps[0].flow.has_payload

    @property
    def links(self) -> tuple[str, ...]:
        """Return the names of the links, in order."""
        return tuple(step.hop.link for step in self.steps)


@dataclass(frozen=True, slots=True)
class Walks:
    """All walks of a capture, and which identity took which."""

    walks: tuple[Walk, ...]
    rows: Ints
    "Rows of the capture, packet by packet, each packet's in order of time."
    hop: NDArray[np.int32]
    "Hop number of each of `rows`."
    starts: Ints
    "Where in `rows` each packet begins."
    walk: Ints
    "Number of the walk of each packet."
    _identity: Hashes
    "Of each packet: sorted."

    def numbers_of(self, wanted: Hashes) -> list[tuple[int, ...]]:
        """Return, for each identity asked about, the numbers of the walks that packets with it took."""
        low, high = np.searchsorted(self._identity, wanted, "left"), np.searchsorted(self._identity, wanted, "right")
        return [tuple(sorted(set(self.walk[a:b].tolist()))) for a, b in zip(low, high, strict=True)]


def follow(
    packets: Packets, network: Network, span: Span | None = None, media: NDArray[np.uint8] | None = None
) -> Walks:
    """Return the walks of all UDP and TCP packets (routing protocols aside), of those sent within *span* if given.

    *media* has the code of each row's kind of media (`testbed.analysis.media_kinds`).
    """
    sightings = find_sightings(packets, network, media)
    if not len(sightings):
        return _nothing()
    grouping = Grouping(packets, network, sightings, span)
    for part in sightings.parts(ROWS_AT_ONCE):
        grouping.add(part)
        packets.space.forget()
    found = grouping.result()
    walks = tuple(_walk(network, number, group, sightings.flows) for number, group in enumerate(found.groups))
    return Walks(walks, found.rows, found.hop, found.starts, found.number, found.identity)


def _nothing() -> Walks:
    none = np.zeros(0, np.int64)
    return Walks((), none, none.astype(np.int32), none, none, np.zeros(0, np.uint64))


def _walk(network: Network, number: int, group: Group, flows: Sequence[Flow]) -> Walk:
    steps = _steps(network, group, flows)
    nodes, gaps = _nodes(network, steps)
    return Walk(number, nodes, steps, group.packets, gaps, group.first_ns, group.last_ns)


def _steps(network: Network, group: Group, flows: Sequence[Flow]) -> tuple[Step, ...]:
    """Return the hops of one walk, each once, in an order that hangs together where there is one."""
    steps: dict[int, Step] = {}
    for hop, flow, frame in zip(group.hops, group.flows, group.first_frames.tolist(), strict=True):
        if (before := steps.get(hop)) is None:
            steps[hop] = Step(network.directions[hop], flows[flow], group.packets, frame)
        else:  # the same packet twice on one link: duplicated on the way
            steps[hop] = Step(before.hop, before.flow, before.packets + group.packets, before.first_frame)
    in_time = tuple(steps.values())
    return in_time if _hangs_together(in_time) else next(_chains(in_time), in_time)


def _hangs_together(steps: Sequence[Step]) -> bool:
    return all(one.hop.target == other.hop.source for one, other in pairwise(steps))


def _chains(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """Yield orders of *steps* in which each begins where the last ended: equal times tell no order."""
    for first in range(len(steps)):
        rest = list(steps)
        chain = [rest.pop(first)]
        while following := next((step for step in rest if step.hop.source == chain[-1].hop.target), None):
            rest.remove(following)
            chain.append(following)
        if not rest:
            yield tuple(chain)


def _nodes(network: Network, steps: Sequence[Step]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the nodes passed and the gaps, with the unseen ends that addresses tell where capture was incomplete."""
    nodes = [steps[0].hop.source]
    gaps = []
    sender = network.owner(steps[0].flow.source)
    if sender is not None and network.is_host(sender) and network.bridged(sender, nodes[0]):
        gaps.append((sender, nodes[0]))
        nodes.insert(0, sender)
    for step in steps:
        if step.hop.source != nodes[-1]:
            gaps.append((nodes[-1], step.hop.source))
            nodes.append(step.hop.source)
        nodes.append(step.hop.target)
    receiver = network.owner(steps[-1].flow.destination)
    if receiver is not None and network.is_host(receiver) and network.bridged(nodes[-1], receiver):
        gaps.append((nodes[-1], receiver))
        nodes.append(receiver)
    return tuple(nodes), tuple(gaps)
