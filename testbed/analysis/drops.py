"""Packets that firewalls dropped: which rule of which node, and which packet of the capture it was."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

import numpy as np

from testbed.analysis.identity import identities
from testbed.analysis.packets import TCP, UDP, Packets
from testbed.analysis.paths import Walks
from testbed.analysis.pcapng import CaptureError

_COMMENT: Final = re.compile(r"rule=(?P<rule>\S+)(?: hook=(?P<hook>\S*))?(?: in=(?P<in>\S*))?(?: out=(?P<out>\S*))?")
_PROTOCOLS: Final = {TCP: "TCP", UDP: "UDP", 1: "ICMP"}


@dataclass(frozen=True, slots=True)
class Drop:
    """One packet that a rule dropped (a row of dropped.pcapng)."""

    frame: int
    "Number in dropped.pcapng, from 1."
    time_ns: int
    firewall: str
    rule: str
    hook: str
    came_in: str
    "Interface."
    to_go_out: str
    protocol: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    walks: tuple[int, ...]
    "Walks of the capture that the packet belongs to."

    def describe(self) -> str:
        """Return the packet in words: TCP 192.0.2.1:5060 -> 10.0.0.1:50001."""
        return describe_tuple(self.tuple5)

    @property
    def tuple5(self) -> tuple[int, int, int, int, int]:
        """Return protocol, source and destination."""
        return self.protocol, self.source, self.source_port, self.destination, self.destination_port


def describe_tuple(tuple5: tuple[int, int, int, int, int]) -> str:
    """Return protocol, source and destination in words: TCP 192.0.2.1:5060 -> 10.0.0.1:50001."""
    protocol, source, source_port, destination, destination_port = tuple5
    ends = f"{IPv4Address(source)}:{source_port} -> {IPv4Address(destination)}:{destination_port}"
    return f"{_PROTOCOLS.get(protocol, f'protocol {protocol}')} {ends}"


def find_drops(dropped: Packets, walks: Walks) -> tuple[Drop, ...]:
    """Return every dropped packet of *dropped*, joined to the walks it took until then."""
    ported = np.isin(dropped.protocol, (TCP, UDP))
    known = walks.numbers_of(identities(dropped)) if len(dropped) else []
    return tuple(_drop(dropped, row, known[row] if ported[row] else ()) for row in range(len(dropped)))


def _drop(dropped: Packets, row: int, walks: tuple[int, ...]) -> Drop:
    comment = dropped.blocks.comment(row)
    match = _COMMENT.match(comment)
    if match is None:
        raise CaptureError(f"dropped.pcapng: frame {row + 1} does not say which rule dropped it: {comment!r}")
    return Drop(
        frame=row + 1,
        time_ns=int(dropped.time_ns[row]),
        firewall=dropped.interfaces[int(dropped.link[row])].name,
        rule=match["rule"],
        hook=match["hook"] or "",
        came_in=match["in"] or "",
        to_go_out=match["out"] or "",
        protocol=int(dropped.protocol[row]),
        source=int(dropped.source[row]),
        source_port=int(dropped.source_port[row]),
        destination=int(dropped.destination[row]),
        destination_port=int(dropped.destination_port[row]),
        walks=walks,
    )
