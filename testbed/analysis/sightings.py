"""Every frame that is followed: which packet it shows (`identity`), on which hop, and as part of which flow."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Bools, Column, Encapsulation, Ints, Kind
from testbed.analysis.identity import Hashes, identities, mix
from testbed.analysis.media_kinds import kind_named
from testbed.analysis.network import ANYONE, Network
from testbed.analysis.packets import TCP, UDP, Packets
from testbed.analysis.space import FORGET_EVERY, lots
from testbed.topology import MediaKind

_HASH_BITS: Final = 64


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
class Sightings:
    """Columns with a row a frame that is followed, in order of the file."""

    row: Ints
    "Of the capture."
    identity: Hashes
    hop: NDArray[np.int32]
    flow: NDArray[np.int32]
    "Number among `flows`."
    flows: list[Flow]

    def __len__(self) -> int:
        return len(self.row)

    def parts(self, rows_at_once: int) -> Iterator[slice | Ints]:
        """Yield where the rows of each part lie: all of one packet in the same part, by their identities in order."""
        bits = max(0, (len(self) // rows_at_once).bit_length())
        for part in range(1 << bits):
            yield self._rows_with(part, bits) if bits else slice(None)

    def _rows_with(self, part: int, bits: int) -> Ints:
        shift = np.uint64(_HASH_BITS - bits)
        return np.concatenate(
            [np.flatnonzero(self.identity[lot] >> shift == part) + lot.start for lot in lots(len(self), 1 << 20)]
        )


def find_sightings(packets: Packets, network: Network, media: NDArray[np.uint8] | None) -> Sightings:
    """Return the frames of all UDP and TCP packets, routing protocols aside, that were for the node they came to.

    *media* has the code of each row's kind of media.
    """
    space, register, count = packets.space, Register(), 0
    row, identity = space.zeros(len(packets), np.int64), space.zeros(len(packets), np.uint64)
    hop, flow = space.zeros(len(packets), np.int32), space.zeros(len(packets), np.int32)
    for lot in lots(len(packets)):
        hops, usable = hops_of(packets, network, lot)
        protocol = packets.protocol[lot]
        usable &= ((protocol == TCP) | (protocol == UDP)) & (packets.kind[lot] != Kind.BGP)
        some: slice | Bools = slice(None) if usable.all() else usable
        rows = np.arange(lot.start, lot.stop)[some]
        found = slice(count, count + len(rows))
        row[found], hop[found] = rows, hops[some]
        identity[found] = identities(packets, lot)[some]
        flow[found] = register.numbers(_flow_hashes(packets, lot, media)[some], rows)
        count = found.stop
        if lot.start % FORGET_EVERY == 0:
            space.forget()
    order = register.order()
    for lot in lots(count):
        flow[lot] = order[flow[lot]]
    flows = _flows(packets, register.first_rows(), media)
    return Sightings(row[:count], identity[:count], hop[:count], flow[:count], flows)


def hops_of(packets: Packets, network: Network, lot: slice = slice(None)) -> tuple[NDArray[np.int32], Bools]:
    """Return each row's hop number, and whether the frame was really for the node at the hop's end.

    A switch that does not know an address floods the frame to everyone; such copies are no part of a packet's way.
    """
    index = np.array([network.link_index[interface.name] for interface in packets.interfaces], np.int32)
    hop = (index * np.int32(2))[packets.link[lot]] + packets.forward[lot]
    receiver = network.receivers[hop]
    return hop, np.asarray((receiver == ANYONE) | (receiver == packets.mac_destination[lot]), np.bool_)


class Register:
    """Numbers flows, given as hashes, in the order in which they come, and knows each one's first row."""

    def __init__(self) -> None:
        self._known = np.zeros(0, np.uint64)
        self._number = np.zeros(0, np.int32)
        self._first: list[int] = []

    def numbers(self, hashes: Column, rows: Column) -> NDArray[np.int32]:
        """Return the numbers of some rows' flows."""
        if not len(hashes):
            return np.zeros(0, np.int32)
        at = self._places(hashes)
        if at is None or not (same := self._known[at] == hashes).all():
            new = np.ones(len(hashes), np.bool_) if at is None else ~same
            values, first = np.unique(hashes[new], return_index=True)
            numbers = np.arange(len(self._first), len(self._first) + len(values), dtype=np.int32)
            self._first += rows[np.flatnonzero(new)[first]].tolist()
            known = np.concatenate((self._known, values))
            order = np.argsort(known)
            self._known, self._number = known[order], np.concatenate((self._number, numbers))[order]
            at = np.searchsorted(self._known, hashes)
        return self._number[at]

    def _places(self, hashes: Column) -> Ints | None:
        if not len(self._known):
            return None
        return np.asarray(np.minimum(np.searchsorted(self._known, hashes), len(self._known) - 1), np.int64)

    def order(self) -> NDArray[np.int32]:
        """Return, by number, the place in order of hashes."""
        place = np.empty(len(self._number), np.int32)
        place[self._number] = np.arange(len(place), dtype=np.int32)
        return place

    def first_rows(self) -> list[int]:
        """Return where each flow is seen first, in order of hashes."""
        return [self._first[number] for number in self._number.tolist()]


def _flow_hashes(packets: Packets, lot: slice, media: NDArray[np.uint8] | None) -> Hashes:
    p = packets
    ends = p.source[lot].astype(np.uint64) << np.uint64(32) | p.destination[lot]
    ports = p.source_port[lot].astype(np.uint32) << np.uint32(16) | p.destination_port[lot]
    nature = p.protocol[lot].astype(np.uint32) << np.uint32(16) | p.kind[lot].astype(np.uint32) << np.uint32(8)
    nature |= p.encapsulation[lot] << np.uint8(1) | (p.payload_length[lot] > 0)
    nature |= p.dscp[lot].astype(np.uint32) << np.uint32(24)
    if media is not None:
        nature |= media[lot] << np.uint8(3)
    return mix(ends, ports, nature)


def _flows(packets: Packets, rows: list[int], media: NDArray[np.uint8] | None) -> list[Flow]:
    def value(column: NDArray[Any], row: int) -> int:
        return int(column[row])

    p = packets
    return [
        Flow(
            source=value(p.source, row),
            source_port=value(p.source_port, row),
            destination=value(p.destination, row),
            destination_port=value(p.destination_port, row),
            protocol=value(p.protocol, row),
            kind=Kind(value(p.kind, row)),
            encapsulation=Encapsulation(value(p.encapsulation, row)),
            has_payload=value(p.payload_length, row) > 0,
            dscp=value(p.dscp, row),
            media=None if media is None else kind_named(value(media, row)),
        )
        for row in rows
    ]
