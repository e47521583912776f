"""Copies of one packet under way at the same time, told apart.

A sender that hears no answer sends the very same bytes again, and a server that was held up meanwhile answers both at
once, with the same bytes. Each copy's way hangs together: where one is seen to leave a node, the copy goes on that has
been there longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from testbed.analysis.demux import Bools, Column, Ints
from testbed.analysis.network import Network


@dataclass(slots=True)
class _Copy:
    end: int
    "Island that it was last seen to reach."
    places: list[int] = field(default_factory=list)
    hops: set[int] = field(default_factory=set)


def tell_apart(
    fresh: Bools, begins: Bools, hop: Column, flow: Column, is_streamed: Bools, network: Network
) -> tuple[Ints, Bools] | None:
    """Return an order of the rows in which no packet's way is mixed with its copy's, and where each way begins in it.

    Rows are in order of identity and time; *fresh* marks each identity's first row, *begins* each way's as far as time
    alone tells. What was carried inside a TCP connection (*is_streamed*, by flow) is left as it is: TCP itself sends
    it again, from the middle of its way. None where nothing is mixed: nearly always.
    """
    again = np.flatnonzero(begins & ~fresh)
    if not len(again):
        return None
    firsts = np.append(np.flatnonzero(fresh), len(hop))
    sent_again = np.unique(np.searchsorted(firsts, again, "right") - 1)
    leaves, reaches = network.hop_ends()
    island, starts_packets = network.islands(), network.starts_packets()
    rows, owner = _rows_of(sent_again, firsts)
    # The first row of an identity begins a way: what stands before it does not matter.
    is_broken = ~begins[rows] & (island[leaves[hop[rows]]] != island[reaches[hop[rows - 1]]])
    mixed = np.setdiff1d(owner[is_broken], owner[is_streamed[flow[rows]]])
    if not len(mixed):
        return None
    order, starts = np.arange(len(hop)), begins.copy()
    for number in sent_again[mixed].tolist():
        first, after = int(firsts[number]), int(firsts[number + 1])
        hops = hop[first:after]
        left, reached = leaves[hops], reaches[hops]
        copies = _copies(hops.tolist(), island[left].tolist(), island[reached].tolist(), starts_packets[left].tolist())
        order[first:after] = first + np.array([place for copy in copies for place in copy.places])
        starts[first:after] = False
        starts[first + np.cumsum([0, *(len(copy.places) for copy in copies[:-1])])] = True
    return order, starts


def _rows_of(numbers: Ints, firsts: Ints) -> tuple[Ints, Ints]:
    """Return the rows of some identities, and the place of each row's identity among *numbers*."""
    lengths = firsts[numbers + 1] - firsts[numbers]
    owner = np.repeat(np.arange(len(numbers)), lengths)
    before = np.cumsum(lengths) - lengths
    return np.arange(len(owner)) + (firsts[numbers] - before)[owner], owner


def _copies(hops: Sequence[int], left: Sequence[int], reached: Sequence[int], begin: Sequence[bool]) -> list[_Copy]:
    """Deal the frames of one identity, in order of time, to its copies."""
    copies: list[_Copy] = []
    for place, hop in enumerate(hops):
        waiting = [copy for copy in copies if hop not in copy.hops]
        going_on = [copy for copy in waiting if copy.end == left[place]]
        if not going_on and not (hop == hops[0] or begin[place]):
            going_on = waiting  # a frame of the way is missing
        if going_on:
            copy = going_on[0]
        else:
            copy = _Copy(reached[place])
            copies.append(copy)
        copy.end = reached[place]
        copy.places.append(place)
        copy.hops.add(hop)
    return copies
