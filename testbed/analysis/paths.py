"""The way of every packet through the network: its hops in order of time, packets with the same way counted together.

A packet (`identity`) is seen on one link after the other; NAT changes its addresses and a relay its wrapping, not its
identity. Packets that take the same hops with the same addresses form one `Walk`, so a call of a million packets is
a few dozen walks, each with its count and its first frame on every hop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.copies import tell_apart
from testbed.analysis.demux import Bools, Column, Encapsulation, Ints, Kind
from testbed.analysis.identity import Hashes, identities, mix
from testbed.analysis.media_kinds import kind_named
from testbed.analysis.network import ANYONE, Direction, Network
from testbed.analysis.packets import TCP, UDP, Packets
from testbed.topology import MediaKind

_BASE: Final = 0x100000001B3


@dataclass(frozen=True, slots=True)
class Flow:
    """Addresses and nature of packets on one hop."""

    source: int
    source_port: int
    destination: int
    destination_port: int
    protocol: int
    kind: Kind
    encapsulation: Encapsulation
    has_payload: bool
    media: MediaKind | None = None
    "None for what is no media, or of no known kind."
    dscp: int = 0

    @property
    def tuple5(self) -> tuple[int, int, int, int, int]:
        """Return protocol, source and destination."""
        return self.protocol, self.source, self.source_port, self.destination, self.destination_port

    @property
    def answer5(self) -> tuple[int, int, int, int, int]:
        """Return the five-tuple that answers have."""
        return self.protocol, self.destination, self.destination_port, self.source, self.source_port


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
    "Sorted."
    _number: Ints

    def numbers_of(self, wanted: Hashes) -> list[tuple[int, ...]]:
        """Return, for each identity asked about, the numbers of the walks that packets with it took."""
        low, high = np.searchsorted(self._identity, wanted, "left"), np.searchsorted(self._identity, wanted, "right")
        return [tuple(sorted(set(self._number[a:b].tolist()))) for a, b in zip(low, high, strict=True)]


Span = tuple[int, int]
"From when to when, in ns since 1970."


def follow(
    packets: Packets, network: Network, span: Span | None = None, media: NDArray[np.uint8] | None = None
) -> Walks:
    """Return the walks of all UDP and TCP packets (routing protocols aside), of those sent within *span* if given.

    *media* has the code of each row's kind of media (`testbed.analysis.media_kinds`).
    """
    hop, usable = hops_of(packets, network)
    carried = (packets.protocol == TCP) | (packets.protocol == UDP)
    rows = np.flatnonzero(usable & carried & (packets.kind != Kind.BGP))
    if not len(rows):
        return _nothing()
    identity = identities(packets)
    flows, flow = _flows(packets, rows, np.zeros(len(packets), np.uint8) if media is None else media)
    order = order_of(identity[rows], packets.time_ns[rows])
    rows, flow = rows[order], flow[order]
    identity, hop = identity[rows], hop[rows]
    fresh = np.append(True, identity[1:] != identity[:-1])
    begins = _begins(fresh, hop, network)
    if (told_apart := tell_apart(fresh, begins, hop, network)) is not None:
        order, begins = told_apart
        rows, hop, flow = rows[order], hop[order], flow[order]
    starts = np.flatnonzero(begins)
    if span is not None:
        kept, starts = _sent_within(span, packets.time_ns[rows], starts)
        rows, identity, hop, flow = rows[kept], identity[kept], hop[kept], flow[kept]
        if not len(rows):
            return _nothing()
    return _count(
        _Sorted(rows, packets.frame[rows], packets.time_ns[rows], identity, starts, hop, flow), network, flows
    )


def _nothing() -> Walks:
    none = np.zeros(0, np.int64)
    return Walks((), none, none.astype(np.int32), none, none, np.zeros(0, np.uint64), none)


def _sent_within(span: Span, time_ns: Ints, starts: Ints) -> tuple[Bools, Ints]:
    """Return which rows belong to packets first seen within *span*, and where these begin among the rows kept."""
    lengths = np.diff(np.append(starts, len(time_ns)))
    kept = (time_ns[starts] >= span[0]) & (time_ns[starts] < span[1])
    return np.repeat(kept, lengths), np.cumsum(np.append(0, lengths[kept]))[:-1]


def order_of(identity: Hashes, time_ns: Ints) -> Ints:
    """Return the rows in order of identity, and each identity's in order of time, then of the file."""
    count = len(identity)
    in_time = np.arange(count) if (time_ns[1:] >= time_ns[:-1]).all() else np.argsort(time_ns, kind="stable")
    # A plain sort is several times as fast as one that tells where things were: so each row's place in time stands in
    # the lowest bits of its hash. The highest may be equal by chance.
    places = np.uint64((1 << max(1, count - 1).bit_length()) - 1)
    key = identity[in_time] & ~places | np.arange(count, dtype=np.uint64)
    key.sort()
    order = in_time[(key & places).astype(np.int64)]
    key &= ~places
    ordered = identity[order]
    if ((key[1:] == key[:-1]) & (ordered[1:] != ordered[:-1])).any():
        return np.lexsort((np.arange(count), time_ns, identity))
    return order


def hops_of(packets: Packets, network: Network) -> tuple[NDArray[np.int32], Bools]:
    """Return each row's hop number, and whether the frame was really for the node at the hop's end.

    A switch that does not know an address floods the frame to everyone; such copies are no part of a packet's way.
    """
    index = np.array([network.link_index[interface.name] for interface in packets.interfaces], np.int32)
    hop = index[packets.link] * 2 + packets.forward
    receiver = network.receivers()[hop]
    return hop, np.asarray((receiver == ANYONE) | (receiver == packets.mac_destination), np.bool_)


def _flows(packets: Packets, rows: Ints, media: NDArray[np.uint8]) -> tuple[list[Flow], NDArray[np.int32]]:
    """Return the flows of *rows* and the number of each row's."""
    ends = packets.source.astype(np.uint64) << np.uint64(32) | packets.destination
    ports = packets.source_port.astype(np.uint32) << np.uint32(16) | packets.destination_port
    nature = packets.protocol.astype(np.uint32) << np.uint32(16) | packets.kind.astype(np.uint32) << np.uint32(8)
    nature |= media << np.uint8(3) | packets.encapsulation << np.uint8(1) | (packets.payload_length > 0)
    nature |= packets.dscp.astype(np.uint32) << np.uint32(24)
    _, first, number = distinct(mix(ends, ports, nature)[rows])
    flows = [
        Flow(
            source=int(packets.source[at]),
            source_port=int(packets.source_port[at]),
            destination=int(packets.destination[at]),
            destination_port=int(packets.destination_port[at]),
            protocol=int(packets.protocol[at]),
            kind=Kind(int(packets.kind[at])),
            encapsulation=Encapsulation(int(packets.encapsulation[at])),
            has_payload=bool(packets.payload_length[at] > 0),
            dscp=int(packets.dscp[at]),
            media=kind_named(int(media[at])),
        )
        for at in rows[first].tolist()
    ]
    return flows, number


def distinct(values: Hashes) -> tuple[Hashes, Ints, NDArray[np.int32]]:
    """Return the different values, where each comes first, and each row's number among them: meant for few of them."""
    ordered = np.sort(values)
    known = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
    number = np.searchsorted(known, values).astype(np.int32)
    first = np.empty(len(known), np.int64)
    first[number[::-1]] = np.arange(len(values) - 1, -1, -1)
    return known, first, number


def _begins(fresh: Bools, hop: Column, network: Network) -> Bools:
    """Return where a packet's walk begins: a new identity (*fresh*), its first hop again, or another host sends it."""
    leaves, reaches = network.hop_ends()
    island = network.islands()
    group_start = np.maximum.accumulate(np.where(fresh, np.arange(len(fresh)), 0))
    again = hop == hop[group_start]
    came_to = np.roll(reaches[hop], 1)
    left = leaves[hop]
    # Over links that are not captured a packet may well reach a host unseen; only without those is it another packet.
    elsewhere = network.starts_packets()[left] & (left != came_to) & (island[left] != island[came_to])
    return np.asarray(fresh | again | elsewhere, np.bool_)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Rows in order of identity and time; *starts* says where each packet's walk begins."""

    row: Ints
    frame: Column
    time_ns: Ints
    identity: Hashes
    starts: Ints
    hop: NDArray[np.int32]
    flow: NDArray[np.int32]


def _count(rows: _Sorted, network: Network, flows: list[Flow]) -> Walks:
    """Group the packets by their way, and count."""
    lengths = np.diff(np.append(rows.starts, len(rows.hop)))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    position, width = np.arange(len(rows.hop)) - rows.starts[owner], int(lengths.max())
    base = np.full(width, _BASE, np.uint64)
    base[0] = 1
    term = mix(rows.hop * len(flows) + rows.flow) * np.cumprod(base)[position]
    way = np.add.reduceat(term, rows.starts)
    _, sample, number, counts = np.unique(way, return_index=True, return_inverse=True, return_counts=True)
    first_frame = _extreme(np.minimum, len(sample) * width, number[owner] * width + position, rows.frame)
    began = rows.time_ns[rows.starts]
    first_ns = _extreme(np.minimum, len(sample), number, began)
    last_ns = _extreme(np.maximum, len(sample), number, began)
    walks = []
    for index, at in enumerate(sample.tolist()):
        span = slice(int(rows.starts[at]), int(rows.starts[at] + lengths[at]))
        frames = first_frame[index * width : index * width + int(lengths[at])]
        steps = _steps(network, rows.hop[span], [flows[i] for i in rows.flow[span]], frames, int(counts[index]))
        nodes, gaps = _nodes(network, steps)
        walks.append(Walk(index, nodes, steps, int(counts[index]), gaps, int(first_ns[index]), int(last_ns[index])))
    identity = rows.identity[rows.starts]
    order = np.argsort(identity, kind="stable")
    number = number.astype(np.int64)
    return Walks(tuple(walks), rows.row, rows.hop, rows.starts, number, identity[order], number[order])


def _extreme(which: np.ufunc, size: int, cells: Ints, values: Column) -> Ints:
    """Return the smallest or greatest of the values that fall into each cell."""
    found = np.full(size, np.iinfo(np.int64).max if which is np.minimum else -1, np.int64)
    which.at(found, cells, values)
    return found


def _steps(network: Network, hops: Column, flows: Sequence[Flow], frames: Ints, packets: int) -> tuple[Step, ...]:
    """Return the hops of one walk, each once, in an order that hangs together where there is one."""
    steps: dict[int, Step] = {}
    for hop, flow, frame in zip(hops.tolist(), flows, frames.tolist(), strict=True):
        if (before := steps.get(hop)) is None:
            steps[hop] = Step(network.directions[hop], flow, packets, frame)
        else:  # the same packet twice on one link: duplicated on the way
            steps[hop] = Step(before.hop, before.flow, before.packets + packets, before.first_frame)
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
