"""One party's audio as it reaches another over time: what was sent, when it arrived if it did, and which way it went.

Times on two links may be subtracted, so a change of the network has its moments here: first packet lost, silence, way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from testbed.analysis.demux import Ints, Kind
from testbed.analysis.run import Run

_BEFORE_NS: Final = 1_000_000_000
"How long before a change its effects are looked for: what is under way can be lost by it."
_FOR_GOOD_NS: Final = 1_000_000_000
"A silence that lasts this long while the other side goes on sending, and to its end, is one for good."
_NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Audio:
    """RTP packets from one party of a call to the other, in the order of sending."""

    sender: str
    receiver: str
    sent_ns: Ints
    arrived_ns: Ints
    "At the receiver's node; -1 for a packet that never got there."
    walk: Ints
    "Number of each packet's walk."

    @property
    def title(self) -> str:
        """Return who speaks to whom."""
        return f"{self.sender} -> {self.receiver}"


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What became of one party's audio after a change. Times count from the change; None where there was no such."""

    sent: int
    lost: int
    first_lost_ns: int | None
    "When the first packet that never arrived was sent."
    silent_from_ns: int | None
    "When the last packet before the longest silence arrived."
    silence_ns: int | None
    "How long that silence was; None for one that did not end."
    back_ns: int | None
    "When the first packet after it arrived."
    ways: tuple[tuple[int, tuple[str, ...]], ...]
    "Links of the packets that arrived, with the time from which they went so; the first is the way before."

    @property
    def is_for_good(self) -> bool:
        """Whether nothing was heard any more."""
        return self.silent_from_ns is not None and self.silence_ns is None


def audio_between_parties(run: Run) -> Iterator[Audio]:
    """Yield both directions of every call between two parties."""
    node_of = {name: party.node for name, party in run.scenario.parties.items()}
    for call in run.scenario.calls:
        if call.caller is not None and call.callee is not None:
            for sender, receiver in ((call.caller, call.callee), (call.callee, call.caller)):
                yield _audio(run, sender, node_of[sender], receiver, node_of[receiver])


def _audio(run: Run, sender: str, source: str, receiver: str, target: str) -> Audio:
    walks = run.walks
    is_sent = np.array([walk.kind == Kind.RTP and walk.nodes[0] == source for walk in walks.walks], np.bool_)
    gets_there = np.array([walk.nodes[-1] == target for walk in walks.walks], np.bool_)
    ends = np.append(walks.starts, len(walks.rows))[1:] - 1
    chosen = np.flatnonzero(is_sent[walks.walk]) if len(walks.walk) else np.zeros(0, np.int64)
    sent = run.packets.time_ns[walks.rows[walks.starts[chosen]]]
    arrived = run.packets.time_ns[walks.rows[ends[chosen]]]
    walk = walks.walk[chosen]
    order = np.argsort(sent, kind="stable")
    arrived = np.where(gets_there[walk], arrived, _NEVER) if len(chosen) else arrived
    return Audio(sender, receiver, sent[order], arrived[order], walk[order])


def aftermath(run: Run, audio: Audio, change_ns: int, until_ns: int) -> Aftermath:
    """Return what became of *audio* between a change and *until_ns* (the next one, or the end)."""
    near = (audio.sent_ns >= change_ns - _BEFORE_NS) & (audio.sent_ns < until_ns)
    sent, arrived, walk = audio.sent_ns[near], audio.arrived_ns[near], audio.walk[near]
    lost = sent[arrived == _NEVER]
    heard = np.sort(arrived[arrived != _NEVER])
    silent_from, silence = _longest_silence(heard, sent, change_ns)
    links = ((int(when), run.walks.walks[number].links) for when, number in _delivered(sent, arrived, walk))
    ways = [next(group) for _, group in groupby(links, key=lambda each: each[1])]
    return Aftermath(
        sent=int((sent >= change_ns).sum()),
        lost=len(lost),
        first_lost_ns=int(lost[0]) - change_ns if len(lost) else None,
        silent_from_ns=None if silent_from is None else silent_from - change_ns,
        silence_ns=silence,
        back_ns=None if silent_from is None or silence is None else silent_from + silence - change_ns,
        ways=tuple((when - change_ns, way) for when, way in ways),
    )


def _delivered(sent: Ints, arrived: Ints, walk: Ints) -> Iterator[tuple[int, int]]:
    kept = arrived != _NEVER
    yield from zip(sent[kept].tolist(), walk[kept].tolist(), strict=True)


def _longest_silence(heard: Ints, sent: Ints, change_ns: int) -> tuple[int | None, int | None]:
    """Return when the longest silence that ends after the change began, and its length, None if it never ended."""
    if not len(heard):
        return (int(sent[0]), None) if len(sent) else (None, None)
    last = int(heard[-1])
    if len(sent) and int(sent[-1]) - last > _FOR_GOOD_NS:
        return last, None
    gaps = np.where(heard[1:] >= change_ns, np.diff(heard), 0)
    if not len(gaps) or not gaps.max():
        return None, None
    longest = int(gaps.argmax())
    return int(heard[longest]), int(gaps[longest])
