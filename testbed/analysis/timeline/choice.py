"""Which of a run's packets are shown: all where there are few, evenly thinned where there are many.

Only drawing is thinned; every figure and verdict is worked out from all packets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from testbed.analysis.demux import Bools, Ints
from testbed.analysis.drops import Drop
from testbed.analysis.legs import MEDIA
from testbed.analysis.packets import FIN, RST, SYN, Kind
from testbed.analysis.run import Run

LANES: Final = ("signaling", "checks", "media")
"Of the packets: SIP and its TCP connections; ICE, TURN and DTLS; RTP, RTCP and data channels."
_CHECKS: Final = (Kind.STUN, Kind.TURN_INDICATION, Kind.DTLS)
_MESSAGES, _CONNECTIONS, _CHECKS_SHOWN, _PER_STREAM, _REPORTS, _DROPS = 160, 40, 120, 40, 16, 100
"How many of each are shown at most."


@dataclass(frozen=True)
class Crossings:
    """The packets of a run, numbered as `Walks.starts` does."""

    run: Run

    @cached_property
    def first_row(self) -> Ints:
        """Row of the capture in which each packet was first seen."""
        return self.run.walks.rows[self.run.walks.starts]

    @cached_property
    def time_ns(self) -> Ints:
        """When each packet was first seen."""
        return self.run.packets.time_ns[self.first_row]

    @cached_property
    def _behind(self) -> Ints:
        return np.append(self.run.walks.starts[1:], len(self.run.walks.rows))

    def rows(self, packet: int) -> list[int]:
        """Return the rows in which a packet was seen, in order of time."""
        walks = self.run.walks
        rows: list[int] = walks.rows[walks.starts[packet] : self._behind[packet]].tolist()
        return rows

    def dropped(self, drop: Drop) -> int | None:
        """Return the packet that a firewall dropped: of those that look alike, the one seen last before it."""
        if not drop.walks:
            return None
        alike = np.flatnonzero(np.isin(self.run.walks.walk, drop.walks))
        last_ns = self.run.packets.time_ns[self.run.walks.rows[self._behind[alike] - 1]]
        return int(alike[np.argmin(np.abs(last_ns - drop.time_ns))]) if len(alike) else None

    def lane(self, packet: int) -> str:
        """Return the lane that a packet belongs to."""
        kind = Kind(int(self.run.packets.kind[self.first_row[packet]]))
        return "media" if kind in MEDIA else "checks" if kind in _CHECKS else "signaling"


@dataclass(frozen=True, slots=True)
class Choice:
    """The packets to show."""

    packets: Ints
    "In order of time."
    there: dict[str, int]
    "How many there are in each lane, shown or not."
    drops: tuple[tuple[Drop, int | None], ...]
    "Those to show, each with the packet that was dropped; None where no capture shows it."


def choose(crossings: Crossings, wanted: Sequence[Ints]) -> Choice:
    """Return the packets to show: of every lane, those in *wanted*, and those that firewalls dropped."""
    packets, first = crossings.run.packets, crossings.first_row
    kind = packets.kind[first]
    is_sip = kind == Kind.SIP
    speaks = packets.payload_length[first] > 0
    opens = (packets.tcp_flags[first] & (SYN | FIN | RST)) > 0
    rtp, checks, media = kind == Kind.RTP, np.isin(kind, _CHECKS), np.isin(kind, [int(each) for each in MEDIA])
    lanes = {"signaling": ~(media | checks), "checks": checks, "media": media}
    logged = [crossings.run.drops[at] for at in thin(np.arange(len(crossings.run.drops)), _DROPS).tolist()]
    drops = tuple((drop, crossings.dropped(drop)) for drop in logged)
    chosen = [
        thin(_in_time(crossings, is_sip & speaks), _MESSAGES),
        thin(_in_time(crossings, is_sip & opens & ~speaks), _CONNECTIONS),
        thin(_in_time(crossings, checks), _CHECKS_SHOWN),
        *_streams(crossings, rtp),
        thin(_in_time(crossings, media & ~rtp), _REPORTS),
        *wanted,
        np.array([packet for _, packet in drops if packet is not None], np.int64),
    ]
    shown = np.unique(np.concatenate(chosen))
    return Choice(
        packets=shown[np.lexsort((shown, crossings.time_ns[shown]))],
        there={name: int(mask.sum()) for name, mask in lanes.items()},
        drops=drops,
    )


def thin(values: Ints, at_most: int) -> Ints:
    """Return *values*, or as many of them, evenly spread with the first and the last."""
    if len(values) <= at_most:
        return values
    return values[np.linspace(0, len(values) - 1, at_most).round().astype(np.int64)]


def _in_time(crossings: Crossings, mask: Bools) -> Ints:
    found = np.flatnonzero(mask)
    return found[np.argsort(crossings.time_ns[found], kind="stable")]


def _streams(crossings: Crossings, rtp: Bools) -> list[Ints]:
    """Return the packets of each RTP source, thinned."""
    found = _in_time(crossings, rtp)
    source = crossings.run.packets.ssrc[crossings.first_row[found]]
    return [thin(found[source == one], _PER_STREAM) for one in np.unique(source).tolist()]
