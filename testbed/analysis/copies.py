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


def tell_apart(fresh: Bools, begins: Bools, hop: Column, network: Network) -> tuple[Ints, Ints] | None:
    """Return an order of the rows in which no packet's way is mixed with its copy's, and where each way begins in it.

    Rows are in order of identity and time; *fresh* marks each identity's first row, *begins* each way's as far as time
    alone tells. None where nothing is mixed: nearly always.
    """
    leaves, reaches = network.hop_ends()
    island = network.islands()
    left, reached = island[leaves[hop]], island[reaches[hop]]
    broken = ~begins
    broken[1:] &= left[1:] != reached[:-1]
    if not broken.any():
        return None
    owner = np.cumsum(fresh) - 1
    mixed = np.unique(owner[broken])
    mixed = mixed[np.bincount(owner, weights=begins)[mixed] > 1]
    if not len(mixed):
        return None
    firsts = np.append(np.flatnonzero(fresh), len(hop))
    may_begin = network.starts_packets()[leaves[hop]]
    order, starts = np.arange(len(hop)), begins.copy()
    for number in mixed.tolist():
        first, after = int(firsts[number]), int(firsts[number + 1])
        group = slice(first, after)
        copies = _copies(hop[group].tolist(), left[group].tolist(), reached[group].tolist(), may_begin[group].tolist())
        order[group] = first + np.array([place for copy in copies for place in copy.places])
        starts[group] = False
        starts[first + np.cumsum([0, *(len(copy.places) for copy in copies[:-1])])] = True
    return order, np.flatnonzero(starts)


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
