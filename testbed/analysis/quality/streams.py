"""Media streams: the packets of one SSRC from one sender, with the time at which each passed every link.

A link is captured at its end A: a packet going forward is seen before the link's shape, one going back after it. So
the moment at which a packet was at a node is known where the link it came by goes back, or the one it leaves by goes
forward. Links that do nothing to packets (plain veths) count as of no length.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.analysis.demux import Column, Ints, Kind, distinct
from testbed.analysis.network import Direction, Network
from testbed.analysis.packets import Packets
from testbed.analysis.paths import Walk, Walks
from testbed.analysis.quality.figures import Passage, unwrap
from testbed.topology import MediaKind

NOT_SEEN: Final = -1
_WAY_SHARE: Final = 0.01
"A way that fewer of the packets took is not measured on its own."


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One SSRC from one sender; a row of each column is a packet, in the order in which they were first seen."""

    ssrc: int
    payload_type: int
    media: MediaKind | None
    sender: str
    receiver: str | None
    """The host that most packets got to. Where none got to a host: the one whose address they bore at last, None where
    that is no host's own."""
    sequence: Ints
    rtp_timestamp: Ints
    "Both unwrapped."
    walk: Ints
    first_ns: Ints
    arrived_ns: Ints
    "At the receiver's last link; NOT_SEEN for a packet that did not get there."
    time_ns: Ints
    "Packets by hops: when each packet was seen on each hop; NOT_SEEN."
    column: dict[int, int]
    "Hop number to column of `time_ns`."
    ways: tuple["Way", ...]
    """Ways by which packets got to the receiver, or where none did to where they died; that of most packets first. None
    where captures have gaps that hide them."""
    duplicates: int
    "Frames that showed a packet a second time on a link."

    @property
    def is_dead(self) -> bool:
        """Whether no packet arrived, and captures are whole enough to say so."""
        return bool(self.ways) and not self.ways[0].arrives

    def passage(self, entry: int, exit_: int | None) -> Passage:
        """Return the packets between the capture points of two hops; none leaves where there is no second one."""
        entered = self.time_ns[:, self.column[entry]]
        left = np.full_like(entered, NOT_SEEN) if exit_ is None else self.time_ns[:, self.column[exit_]]
        if (entered[1:] >= entered[:-1]).all() and entered[0] != NOT_SEEN:
            lost = (left == NOT_SEEN) & (self.arrived_ns == NOT_SEEN)
            return Passage(entered, left, lost, self.sequence)
        rows = np.flatnonzero(entered != NOT_SEEN)
        rows = rows[np.argsort(entered[rows], kind="stable")]
        lost = (left[rows] == NOT_SEEN) & (self.arrived_ns[rows] == NOT_SEEN)
        return Passage(entered[rows], left[rows], lost, self.sequence[rows])


@dataclass(frozen=True, slots=True)
class Way:
    """A chain of hops from sender to receiver, or to where all packets died."""

    hops: tuple[int, ...]
    directions: tuple[Direction, ...]
    shaped: tuple[bool, ...]
    packets: int
    arrives: bool = True
    died_in: str | None = None
    "Kind of segment of the node that packets which died were on the way to, or came to; None where they arrived."
    bound_for: str | None = None
    "Kind of segment of their addressee; None where they arrived or it is not known."

    def arrival(self, boundary: int) -> int | None:
        """Return the hop whose sighting tells when packets came to the node before hop number *boundary*."""
        return self._seen(boundary, late_first=False)

    def departure(self, boundary: int) -> int | None:
        """Return the hop whose sighting tells when packets left that node."""
        return self._seen(boundary, late_first=True)

    def _seen(self, boundary: int, *, late_first: bool) -> int | None:
        before = boundary - 1 if boundary else None
        after = boundary if boundary < len(self.hops) else None
        at_node = [
            before if before is not None and not self.directions[before].forward else None,
            after if after is not None and self.directions[after].forward else None,
        ]
        nearly = [at if at is not None and not self.shaped[at] else None for at in (before, after)]
        order = at_node[::-1] + nearly[::-1] if late_first else at_node + nearly
        index = next((at for at in order if at is not None), None)
        return None if index is None else self.hops[index]

    def links(self, first: int, behind: int) -> tuple[str, ...]:
        """Return names of the links of hops *first* up to *behind*."""
        return tuple(direction.link for direction in self.directions[first:behind])


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a way: hops *first* up to *behind*, and the hops whose sightings bound it."""

    way: Way
    first: int
    behind: int
    entry: int | None
    exit: int | None
    dies: bool = False
    "Whether no packet got to its end."

    @property
    def links(self) -> tuple[str, ...]:
        """Return the names of its links, in order of travel."""
        return self.way.links(self.first, self.behind)

    @property
    def problem(self) -> str | None:
        """Return why it cannot be measured; None where it can."""
        if self.entry is None:
            return f"where packets enter, {self.way.directions[self.first].source}, is not a capture point"
        if self.dies:
            return None
        if self.exit is None:
            return f"where packets leave, {self.way.directions[self.behind - 1].target}, is not a capture point"
        if self.entry == self.exit:
            return "not shaped, and captured at one end: there is nothing to measure between"
        return None


def stretch(way: Way, first: int, behind: int, *, holds_end: bool = True) -> Stretch:
    """Return the part of *way* from hop number *first* up to *behind*.

    Where packets died, *holds_end* says whether the node at its end is part of it: those that came there died in it.
    """
    exit_ = way.arrival(behind)
    dies = not way.arrives and behind == len(way.hops) and (holds_end or exit_ is None)
    return Stretch(way, first, behind, way.departure(first), None if dies else exit_, dies)


def smallest_stretches(way: Way) -> Iterator[Stretch]:
    """Yield the parts of *way* between nodes where packets are seen: one link each, or more where none is between."""
    first = 0
    for boundary in range(1, len(way.hops) + 1):
        if boundary == len(way.hops) or way.arrival(boundary) is not None:
            # Of a link that is not seen at its end, nobody knows whether packets died on it or at the node behind.
            yield Stretch(way, first, boundary, way.departure(first), way.arrival(boundary))
            first = boundary


def whole(way: Way) -> Stretch:
    """Return the way from the first sighting to the last, whatever lies outside."""
    entry, exit_ = way.departure(0), way.arrival(len(way.hops))
    entry = way.hops[0] if entry is None else entry
    if not way.arrives:
        return Stretch(way, 0, len(way.hops), entry, None, dies=True)
    return Stretch(way, 0, len(way.hops), entry, way.hops[-1] if exit_ is None else exit_)


def find_streams(packets: Packets, walks: Walks, network: Network) -> Iterator[Stream]:
    """Yield every RTP stream, in order of their first packet; only that which is looked at needs to be in memory."""
    members = _members(packets, walks)
    first_ns = [int(packets.time_ns[walks.rows[walks.starts[each]]].min()) for each in members]
    for at in np.argsort(np.array(first_ns, np.int64), kind="stable").tolist():
        yield _stream(packets, walks, network, members[at])
        packets.space.forget()


def _members(packets: Packets, walks: Walks) -> list[Ints]:
    """Return the packets (indices into `walks.starts`) of each source and sender."""
    if not len(walks.starts):
        return []
    first_row = walks.rows[walks.starts]
    media = np.flatnonzero(packets.kind[first_row] == Kind.RTP)
    senders = sorted({walk.nodes[0] for walk in walks.walks})
    sender = np.array([senders.index(walk.nodes[0]) for walk in walks.walks], np.int64)[walks.walk[media]]
    key = packets.ssrc[first_row[media]].astype(np.int64) * len(senders) + sender
    order = np.argsort(key, kind="stable")
    cuts = np.flatnonzero(np.diff(key[order])) + 1
    return [media[part] for part in np.split(order, cuts) if len(part)]


def _stream(packets: Packets, walks: Walks, network: Network, members: Ints) -> Stream:
    """Return the stream of packets *members* (indices into `walks.starts`)."""
    first_row = walks.rows[walks.starts[members]]
    first_ns = packets.time_ns[first_row]
    order = _in_time(first_ns, packets.frame[first_row])
    again = _Again.of(unwrap(packets.sequence[first_row[order]], 16))
    copies, order = members[order[again.rows]], order[again.fresh]
    members, first_row, first_ns = members[order], first_row[order], first_ns[order]
    numbers = walks.walk[members]
    taken = [walks.walks[number] for number in distinct(numbers).tolist()]
    column: dict[int, int] = {}
    time_ns, duplicates = _times(packets, walks, members, numbers, column)
    receiver = _receiver(taken, network)
    ways = _ways(taken, receiver, network)
    ends = [column[hop] for hop in sorted({way.hops[-1] for way in ways if way.arrives})]
    lost = _arrived(time_ns, ends)[again.packet] == NOT_SEEN
    _take_copies(packets, walks, copies[lost], again.packet[lost], column, time_ns)
    return Stream(
        ssrc=int(packets.ssrc[first_row[0]]),
        payload_type=Counter(packets.payload_type[first_row].tolist()).most_common(1)[0][0],
        media=taken[0].media,
        sender=taken[0].nodes[0],
        receiver=receiver or _addressee(taken, network),
        sequence=unwrap(packets.sequence[first_row], 16),
        rtp_timestamp=unwrap(packets.rtp_timestamp[first_row], 32),
        walk=numbers,
        first_ns=first_ns,
        arrived_ns=_arrived(time_ns, ends),
        time_ns=time_ns,
        column=column,
        ways=ways,
        duplicates=duplicates + len(copies),
    )


def _in_time(first_ns: Ints, frame: Column) -> Ints:
    """Return the order of time, then of the file: a sort by two columns takes several times as long as one by one."""
    order = np.argsort(first_ns)
    in_order = first_ns[order]
    return np.lexsort((frame, first_ns)) if (in_order[1:] == in_order[:-1]).any() else order


@dataclass(frozen=True, slots=True)
class _Again:
    """Which rows show a sequence number again: on its first link a copy looks like a packet."""

    fresh: Ints
    "The rows that show one for the first time."
    rows: Ints
    "The others."
    packet: Ints
    "Which of `fresh` each of them shows again."

    @classmethod
    def of(cls, sequence: Ints) -> "_Again":
        step = np.diff(sequence)
        if (step > 0).all():
            none = np.zeros(0, np.int64)
            return cls(np.arange(len(sequence)), none, none)
        _, first, number = np.unique(sequence, return_index=True, return_inverse=True)
        fresh = np.sort(first)
        rows = np.flatnonzero(first[number] != np.arange(len(sequence)))
        return cls(fresh, rows, np.searchsorted(fresh, first[number[rows]]))


def _arrived(time_ns: Ints, columns: list[int]) -> Ints:
    """Return when each packet was seen at the first of *columns* that shows it."""
    arrived = np.full(len(time_ns), NOT_SEEN, np.int64)
    for column in columns:
        arrived = np.where(arrived == NOT_SEEN, time_ns[:, column], arrived)
    return arrived


def _take_copies(
    packets: Packets, walks: Walks, copies: Ints, packet: Ints, column: dict[int, int], time_ns: Ints
) -> None:
    """Add where and when *copies* were seen of packets that did not arrive: TCP sends again what was lost on the way.

    *packet* says which row of *time_ns* each is a copy of; they are in order of time.
    """
    numbers = walks.walk[copies]
    for number in distinct(numbers).tolist():
        rows = np.flatnonzero(numbers == number)[::-1]  # of several that one walk has, the first is written last
        starts = walks.starts[copies[rows]]
        for place, hop in enumerate(_step_hops(walks, number, int(starts[0]))):
            if hop in column:
                missing = time_ns[packet[rows], column[hop]] == NOT_SEEN
                seen_ns = packets.time_ns[walks.rows[starts[missing] + place]]
                time_ns[packet[rows[missing]], column[hop]] = seen_ns


def _step_hops(walks: Walks, number: int, start: int) -> list[int]:
    """Return the hops of walk *number*, one a sighting, by one of its packets, which begins at *start*."""
    frames = sum(step.packets for step in walks.walks[number].steps) // walks.walks[number].packets
    return [int(hop) for hop in walks.hop[start : start + frames]]


def _times(packets: Packets, walks: Walks, members: Ints, numbers: Ints, column: dict[int, int]) -> tuple[Ints, int]:
    """Return when each packet was first seen on each hop, filling *column*; and how many frames were further ones."""
    duplicates = 0
    parts = []
    for number in distinct(numbers).tolist():
        rows = np.flatnonzero(numbers == number)
        starts = walks.starts[members[rows]]
        hops = _step_hops(walks, number, int(starts[0]))
        places: dict[int, int] = {}
        for place, hop in enumerate(hops):
            places.setdefault(hop, place)
            column.setdefault(hop, len(column))
        duplicates += (len(hops) - len(places)) * len(rows)
        parts.append((rows, starts, places))
    shape = len(members), len(column)
    time_ns = packets.space.zeros(shape[0] * shape[1], np.int64).reshape(shape, order="F")  # it is read hop by hop
    if len(parts) > 1:
        time_ns[:] = NOT_SEEN
    for rows, starts, places in parts:
        for hop, place in places.items():
            time_ns[rows, column[hop]] = packets.time_ns[walks.rows[starts + place]]
    return time_ns, duplicates


def _receiver(taken: list[Walk], network: Network) -> str | None:
    ends: Counter[str] = Counter()
    for walk in taken:
        if network.is_host(walk.nodes[-1]) and walk.nodes[-1] != walk.nodes[0]:
            ends[walk.nodes[-1]] += walk.packets
    return ends.most_common(1)[0][0] if ends else None


def _addressee(taken: list[Walk], network: Network) -> str | None:
    """Return the host whose address most packets bore when they were last seen."""
    meant: Counter[str | None] = Counter()
    for walk in taken:
        meant[network.owner(walk.steps[-1].flow.destination)] += walk.packets
    owner = meant.most_common(1)[0][0]
    return owner if network.is_host(owner) else None


def _ways(taken: list[Walk], receiver: str | None, network: Network) -> tuple[Way, ...]:
    """Return the ways to *receiver*; where there is none, those on which packets died, if captures hide no more."""
    if receiver is None and any(walk.gaps or network.is_leaky(walk.nodes[-1]) for walk in taken):
        return ()
    counts: Counter[tuple[tuple[Direction, ...], str | None]] = Counter()
    for walk in taken:
        if receiver is None or (walk.nodes[-1] == receiver and not walk.gaps):
            owner = network.owner(walk.steps[-1].flow.destination) if receiver is None else None
            counts[tuple(step.hop for step in walk.steps), owner] += walk.packets
    enough = _WAY_SHARE * counts.total()
    return tuple(
        Way(
            hops=tuple(network.link_index[hop.link] * 2 + hop.forward for hop in hops),
            directions=hops,
            shaped=tuple(network.links[hop.link].is_shaped for hop in hops),
            packets=packets,
            arrives=receiver is not None,
            died_in=network.nodes[hops[-1].target].segment_kind if receiver is None else None,
            bound_for=network.nodes[owner].segment_kind if owner is not None else None,
        )
        for (hops, owner), packets in counts.most_common()
        if packets >= enough
    )
