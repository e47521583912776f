"""Sightings in order of packet and time, cut into the packets' walks, and packets that went the same way counted.

Part by part: all sightings of a packet are in one part, so that no step needs all of a large capture in memory.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.copies import tell_apart
from testbed.analysis.demux import Bools, Column, Encapsulation, Ints
from testbed.analysis.identity import Hashes, mix
from testbed.analysis.network import Network
from testbed.analysis.packets import TCP, Packets
from testbed.analysis.sightings import Sightings

Span = tuple[int, int]
"From when to when, in ns since 1970."
ROWS_AT_ONCE: Final = 1 << 20
"Sightings in one part, about."
_BASE: Final = 0x100000001B3
_HOPS_LOOKED_AT: Final = 64
"Of a walk, back from where a relay may have sent a packet again."
_TABLE: Final = 1 << 18
"Hashes of all hops with all flows are looked up where there are no more; else each row's is worked out."


@dataclass(slots=True)
class Group:
    """Packets that went the same way."""

    hops: list[int]
    flows: list[int]
    "Of one of them, hop by hop."
    packets: int
    first_frames: Ints
    "On each hop."
    first_ns: int
    last_ns: int

    def take(self, other: "Group") -> None:
        """Count packets of another part that went this way too."""
        self.packets += other.packets
        self.first_frames = np.minimum(self.first_frames, other.first_frames)
        self.first_ns, self.last_ns = min(self.first_ns, other.first_ns), max(self.last_ns, other.last_ns)


@dataclass(frozen=True, slots=True)
class Grouped:
    """The packets, in order of identity, and their groups, in order of the hashes of their ways."""

    groups: list[Group]
    rows: Ints
    "Rows of the capture, packet by packet, each packet's in order of time."
    hop: NDArray[np.int32]
    starts: Ints
    "Where in `rows` each packet begins."
    identity: Hashes
    "Of each packet."
    number: Ints
    "Of each packet's group."


class Grouping:
    """Takes in sightings part by part."""

    def __init__(self, packets: Packets, network: Network, sightings: Sightings, span: Span | None) -> None:
        self._packets, self._network, self._sightings, self._span = packets, network, sightings, span
        zeros, size = packets.space.zeros, len(sightings)
        self._rows, self._hop = zeros(size, np.int64), zeros(size, np.int32)
        self._starts, self._identity, self._number = (zeros(size, kind) for kind in (np.int64, np.uint64, np.int64))
        self._taken, self._count = 0, 0
        self._groups: dict[int, Group] = {}
        self._places: dict[int, int] = {}

    def add(self, sightings: slice | Ints) -> None:
        """Take in a part of the sightings, which follows in order of identity."""
        part = _sorted_part(self._packets, self._network, self._sightings, sightings)
        if self._span is not None:
            part = part.within(self._span)
        if not len(part.starts):
            return
        way = self._ways(part)
        ways, sample, number, counts = np.unique(way, return_index=True, return_inverse=True, return_counts=True)
        for hash_, group in zip(ways.tolist(), _groups(part, sample, number, counts), strict=True):
            if (known := self._groups.setdefault(hash_, group)) is not group:
                known.take(group)
        place = np.array([self._places.setdefault(hash_, len(self._places)) for hash_ in ways.tolist()], np.int64)
        frames, packets = slice(self._taken, self._taken + len(part.hop)), slice(self._count, self._count + len(way))
        self._rows[frames], self._hop[frames] = part.row, part.hop
        self._starts[packets] = part.starts + self._taken
        self._identity[packets], self._number[packets] = part.identity[part.starts], place[number]
        self._taken, self._count = frames.stop, packets.stop

    def result(self) -> Grouped:
        """Return all that was taken in."""
        ordered = sorted(self._groups)
        place = np.zeros(len(ordered), np.int64)
        place[[self._places[hash_] for hash_ in ordered]] = np.arange(len(ordered))
        number = self._number[: self._count]
        if len(ordered):
            number[:] = place[number]
        return Grouped(
            [self._groups[hash_] for hash_ in ordered],
            self._rows[: self._taken],
            self._hop[: self._taken],
            self._starts[: self._count],
            self._identity[: self._count],
            number,
        )

    def _ways(self, part: "_Part") -> Hashes:
        """Return a hash of each packet's hops and flows."""
        flows = len(self._sightings.flows)
        codes = part.hop * flows + part.flow
        size = len(self._network.directions) * flows
        terms = mix(np.arange(size, dtype=codes.dtype))[codes] if size <= _TABLE else mix(codes)
        factors = np.full(int(part.lengths.max()), _BASE, np.uint64)
        factors[0] = 1
        terms *= np.cumprod(factors)[part.position]
        return np.asarray(np.add.reduceat(terms, part.starts), np.uint64)


@dataclass(frozen=True, slots=True)
class _Part:
    """Sightings in order of identity and time; *starts* says where each packet's walk begins."""

    row: Ints
    frame: Column
    time_ns: Ints
    identity: Hashes
    hop: NDArray[np.int32]
    flow: NDArray[np.int32]
    starts: Ints

    @property
    def lengths(self) -> Ints:
        """Return how many sightings each packet has."""
        return np.diff(np.append(self.starts, len(self.hop)))

    @property
    def position(self) -> Ints:
        """Return of each sighting how many of the same packet are before it."""
        return np.arange(len(self.hop)) - np.repeat(self.starts, self.lengths)

    def within(self, span: Span) -> "_Part":
        """Return the packets first seen within *span*."""
        began, lengths = self.time_ns[self.starts], self.lengths
        sent = (began >= span[0]) & (began < span[1])
        kept = np.repeat(sent, lengths)
        return _Part(
            self.row[kept],
            self.frame[kept],
            self.time_ns[kept],
            self.identity[kept],
            self.hop[kept],
            self.flow[kept],
            np.cumsum(np.append(0, lengths[sent]))[:-1],
        )


def _sorted_part(packets: Packets, network: Network, sightings: Sightings, part: slice | Ints) -> _Part:
    s = sightings
    is_all = isinstance(part, slice) and len(s) == len(packets)
    time_ns = packets.time_ns if is_all else packets.time_ns[s.row[part]]
    order, identity = order_of(s.identity[part], time_ns)
    # First the part, then its order: what is taken in any order is at hand then.
    hop, flow = s.hop[part][order], s.flow[part][order]
    over_tcp = np.array([one.protocol == TCP for one in s.flows], np.bool_)
    is_streamed = over_tcp & np.array([one.encapsulation != Encapsulation.NONE for one in s.flows], np.bool_)
    fresh = np.append(True, identity[1:] != identity[:-1])
    begins = _begins(fresh, hop, flow, over_tcp, network)
    if (told_apart := tell_apart(fresh, begins, hop, flow, is_streamed, network)) is not None:
        anew, begins = told_apart
        order, hop, flow = order[anew], hop[anew], flow[anew]
    row = order if is_all else s.row[part][order]
    return _Part(row, packets.frame[row], time_ns[order], identity, hop, flow, np.flatnonzero(begins))


def order_of(identity: Hashes, time_ns: Ints) -> tuple[Ints, Hashes]:
    """Return the rows in order of identity, each one's in order of time, then of the file; and the identities so."""
    count = len(identity)
    in_time = None if (time_ns[1:] >= time_ns[:-1]).all() else np.argsort(time_ns, kind="stable")
    # A plain sort is several times as fast as one that tells where things were: so each row's place in time stands in
    # the lowest bits of its hash. The highest may be equal by chance.
    places = np.uint64((1 << max(1, count - 1).bit_length()) - 1)
    key = (identity if in_time is None else identity[in_time]) & ~places
    key |= np.arange(count, dtype=np.uint64)
    key.sort()
    order = (key & places).view(np.int64)
    if in_time is not None:
        order = in_time[order]
    key &= ~places
    ordered = identity[order]
    if ((key[1:] == key[:-1]) & (ordered[1:] != ordered[:-1])).any():
        order = np.lexsort((np.arange(count), time_ns, identity))
        ordered = identity[order]
    return order, ordered


def _begins(fresh: Bools, hop: NDArray[np.int32], flow: NDArray[np.int32], over_tcp: Bools, network: Network) -> Bools:
    """Return where a packet's walk begins: a new identity (*fresh*), its first hop again, or another host sends it.

    What a relay sends again over TCP is the packet that came to it, on the rest of its way. *over_tcp* is by flow.
    """
    leaves, reaches = network.hop_ends()
    groups = np.flatnonzero(fresh)
    begins = np.asarray(fresh | (hop == np.repeat(hop[groups], np.diff(np.append(groups, len(hop))))), np.bool_)
    # Over links that are not captured a packet may well reach a host unseen; only without those is it another packet.
    island = network.islands()
    at = np.flatnonzero(network.starts_packets()[leaves][hop] & ~begins)
    left, came_to = leaves[hop[at]], reaches[hop[at - 1]]
    at = at[(left != came_to) & (island[left] != island[came_to])]
    begins[at] = True
    if (tcp := at[over_tcp[flow[at]]]).size:
        begins[tcp[_is_sent_again(tcp, begins, hop, flow)]] = False
    return begins


def _is_sent_again(at: Ints, begins: Bools, hop: NDArray[np.int32], flow: NDArray[np.int32]) -> Bools:
    """Return which of the rows *at* show a hop and flow that the walk before them has too."""
    starts = np.flatnonzero(begins)
    start = starts[np.searchsorted(starts, at) - 1]
    found = np.zeros(len(at), np.bool_)
    for back in range(1, min(int((at - start).max()), _HOPS_LOOKED_AT) + 1):
        earlier = np.maximum(at - back, start)
        found |= (hop[earlier] == hop[at]) & (flow[earlier] == flow[at])
    return found


def _groups(part: _Part, sample: Ints, number: Ints, counts: Ints) -> list[Group]:
    """Return the groups of a part's packets; *sample* is one packet of each."""
    lengths = part.lengths
    width = int(lengths.max())
    cells = np.repeat(number * width - part.starts, lengths)
    cells += np.arange(len(cells))
    first_frames = _extreme(np.minimum, len(sample) * width, cells, part.frame).reshape(-1, width)
    began = part.time_ns[part.starts]
    first_ns = _extreme(np.minimum, len(sample), number, began).tolist()
    last_ns = _extreme(np.maximum, len(sample), number, began).tolist()
    groups = []
    for index, at in enumerate(sample.tolist()):
        span = slice(int(part.starts[at]), int(part.starts[at] + lengths[at]))
        hops, flows = part.hop[span].tolist(), part.flow[span].tolist()
        frames = first_frames[index, : len(hops)]
        groups.append(Group(hops, flows, int(counts[index]), frames, first_ns[index], last_ns[index]))
    return groups


def _extreme(which: np.ufunc, size: int, cells: Ints, values: NDArray[Any]) -> Ints:
    """Return the smallest or greatest of the values that fall into each cell."""
    found = np.full(size, np.iinfo(np.int64).max if which is np.minimum else -1, np.int64)
    which.at(found, cells, values)
    return found
