"""SIP messages (RFC 3261) in clear at one node's own links, read one by one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from testbed.analysis.demux import Bools, Kind
from testbed.analysis.run import Run
from testbed.analysis.sightings import hops_of

_START: Final = re.compile(rb"^(?:SIP/2\.0 (\d{3})\b *([^\r\n]*)|[A-Z]+ \S+ SIP/2\.0)\r?$", re.MULTILINE)
_CALL_ID: Final = re.compile(rb"^(?:Call-ID|i)\s*:\s*(\S+)", re.MULTILINE | re.IGNORECASE)
_CSEQ: Final = re.compile(rb"^CSeq\s*:\s*\d+\s+([A-Z]+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A SIP message at a node's own link."""

    frame: int
    time_ns: int
    sent: bool
    status: int | None
    "None of a request."
    phrase: str
    "Reason phrase of a response: what the server had to say about it."
    method: str
    "Of a response: that of its request (CSeq)."
    call_id: str
    body: bytes


def own_rows(run: Run, node: str) -> tuple[Bools, Bools]:
    """Return which rows are of packets on *node*'s own links, and which of all rows *node* sent."""
    if not len(run.packets):
        return np.zeros(0, np.bool_), np.zeros(0, np.bool_)
    hop, usable = hops_of(run.packets, run.network)
    directions = run.network.directions
    leaving = [number for number, direction in enumerate(directions) if direction.source == node]
    coming = [number for number, direction in enumerate(directions) if direction.target == node]
    return np.isin(hop, (*leaving, *coming)) & usable, np.isin(hop, leaving)


def sip_messages(run: Run, mine: Bools, sent: Bools) -> list[SipMessage]:
    """Return the messages that begin in a packet among the rows *mine*, in the order of time."""
    rows = np.flatnonzero(mine & (run.packets.kind == Kind.SIP))
    rows = rows[np.argsort(run.packets.time_ns[rows], kind="stable")]
    return [message for row in rows.tolist() for message in messages_in(run, row, sent=bool(sent[row]))]


def messages_in(run: Run, row: int, *, sent: bool) -> Iterator[SipMessage]:
    """Yield the messages that begin in a packet; over TCP there may be several."""
    payload = run.packets.payload(row)
    starts = list(_START.finditer(payload))
    ends = [*(start.start() for start in starts[1:]), len(payload)]
    for start, behind in zip(starts, ends, strict=False):  # no message at all has an end too
        text = payload[start.start() : behind]
        call_id, sequence = _CALL_ID.search(text), _CSEQ.search(text)
        if call_id is None or sequence is None:
            continue
        yield SipMessage(
            frame=int(run.packets.frame[row]),
            time_ns=int(run.packets.time_ns[row]),
            sent=sent,
            status=int(start[1]) if start[1] else None,
            phrase=(start[2] or b"").decode("utf-8", "replace"),
            method=sequence[1].decode(),
            call_id=call_id[1].decode("latin-1"),
            body=text.partition(b"\r\n\r\n")[2],
        )
