"""How long signaling and setting up media took, from captured SIP, STUN and TURN at each party's own link.

SIP: RFC 6076 (registration request delay, post-dial delay as its session request delay), RFC 3261. ICE: RFC 8445.
"""

from typing import Any, Final

import numpy as np

from testbed.analysis.demux import Ints
from testbed.analysis.messages import ALLOCATE, BINDING, StunMessage, parse_stun
from testbed.analysis.packets import Kind
from testbed.analysis.run import Run
from testbed.analysis.sip import SipMessage, own_rows, sip_messages

Document = dict[str, Any]
_USERNAME: Final = 0x0006


def timings(run: Run) -> list[Document]:
    """Return the timings of every party, in ms; None where the exchange was not seen whole."""
    found = []
    for party in sorted({party.node for party in run.scenario.parties.values()}):
        mine, sent = own_rows(run, party)
        found.append({"party": party, **_sip(run, mine, sent), **_stun(run, mine, sent)})
    return found


def _sip(run: Run, mine: np.ndarray[Any, Any], sent: np.ndarray[Any, Any]) -> Document:
    messages = sip_messages(run, mine, sent)
    invite = {"post_dial_delay_ms": (180, 199), "setup_ms": (200, 299)}
    return {
        "registration_ms": _delay(messages, "REGISTER", (200, 299)),
        **{name: _delay(messages, "INVITE", answer) for name, answer in invite.items()},
        "bye_ms": _delay(messages, "BYE", (200, 299)),
    }


def _delay(messages: list[SipMessage], method: str, answer: tuple[int, int]) -> float | None:
    """Return the time from the first request that the party sent to the first such answer to it."""
    asked = next((m for m in messages if m.sent and m.status is None and m.method == method), None)
    if asked is None:
        return None
    low, high = answer
    for message in messages:
        fits = message.status is not None and low <= message.status <= high and not message.sent
        if fits and message.method == method and message.call_id == asked.call_id:
            return (message.time_ns - asked.time_ns) / 1e6
    return None


def _stun(run: Run, mine: np.ndarray[Any, Any], sent: np.ndarray[Any, Any]) -> Document:
    packets = run.packets
    # A STUN message inside a TURN message is an ICE check by way of the relay; outside, anything else too.
    rows = np.flatnonzero(mine & (packets.stun_type > 0) & (packets.encapsulation == 0))
    rows = np.concatenate((rows, np.flatnonzero(mine & (packets.kind == Kind.STUN) & (packets.encapsulation > 0))))
    indications = np.flatnonzero(mine & (packets.kind == Kind.TURN_INDICATION))
    rows = np.unique(np.concatenate((rows, indications)))
    rows = rows[np.argsort(packets.time_ns[rows], kind="stable")]
    asked: dict[bytes, tuple[int, bool]] = {}
    allocate_ns: dict[str, int] = {}
    answers: list[tuple[int, tuple[int, ...]]] = []
    first_check_ns: int | None = None
    for row in rows.tolist():
        data = packets.inner(row)
        message = parse_stun(data, row)
        if message is None:
            continue
        at_ns = int(packets.time_ns[row])
        if message.is_request and sent[row]:
            is_check = message.method == BINDING and _has_username(data)
            asked.setdefault(message.transaction, (at_ns, is_check))
            if is_check and first_check_ns is None:
                first_check_ns = at_ns
        _note_allocation(message, at_ns, allocate_ns)
        if message.is_success and not sent[row] and asked.get(message.transaction, (0, False))[1]:
            answers.append((at_ns, _pair(run, row, out=False)))
    selected = _selected_pair(run, mine, sent)
    return {
        "turn_allocate_ms": _between(allocate_ns.get("asked"), allocate_ns.get("answered")),
        "ice_first_valid_pair_ms": _between(first_check_ns, next((at for at, _ in answers), None)),
        "ice_selected_pair_ms": _between(first_check_ns, next((at for at, pair in answers if pair == selected), None)),
    }


def _note_allocation(message: StunMessage, at_ns: int, times: dict[str, int]) -> None:
    if message.method == ALLOCATE and (message.is_request or message.is_success):
        times.setdefault("asked" if message.is_request else "answered", at_ns)


def _between(begin_ns: int | None, end_ns: int | None) -> float | None:
    return None if begin_ns is None or end_ns is None or end_ns < begin_ns else (end_ns - begin_ns) / 1e6


def _pair(run: Run, row: int, *, out: bool) -> tuple[int, ...]:
    """Return the party's and the other address and port of a packet, and what it was wrapped in."""
    packets = run.packets
    source = int(packets.source[row]), int(packets.source_port[row])
    destination = int(packets.destination[row]), int(packets.destination_port[row])
    wrapped = int(packets.encapsulation[row] > 0)
    return (*source, *destination, wrapped) if out else (*destination, *source, wrapped)


def _selected_pair(run: Run, mine: np.ndarray[Any, Any], sent: np.ndarray[Any, Any]) -> tuple[int, ...] | None:
    """Return the pair that the last media packet went out by."""
    rows: Ints = np.flatnonzero(mine & sent & (run.packets.kind == Kind.RTP))
    return _pair(run, int(rows[np.argmax(run.packets.time_ns[rows])]), out=True) if len(rows) else None


def _has_username(data: bytes) -> bool:
    """Return whether a Binding request has USERNAME: ICE checks do, questions to a STUN server do not."""
    at = 20
    while at + 4 <= len(data):
        kind, size = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == _USERNAME:
            return True
        at += 4 + (size + 3 & ~3)
    return False
