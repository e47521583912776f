"""Whether each instant message was delivered and answered, and how long that took.

By packets where signaling is in clear at both ends; inside TLS by what the agents said.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from testbed.analysis.run import Json, Run
from testbed.analysis.sip import SipMessage, own_rows, sip_messages
from testbed.scenario import Message
from testbed.verdict.checks import Check

_CHALLENGES: Final = (401, 407)


@dataclass(frozen=True, slots=True)
class _Told:
    """What became of a message."""

    by: Literal["packets", "agents"]
    status: str
    'Of the final answer ("200"), or what went wrong.'
    is_received: bool
    delivery_ms: float | None
    "From leaving the sender to arriving at the receiver."
    answer_ms: float | None
    "From leaving the sender until the final answer is back."
    evidence: tuple[str, ...] = ()
    phrase: str = ""
    "Reason phrase of the answer."


def judge_messages(run: Run) -> Check:
    """Judge whether every instant message arrived and was answered 200."""
    observed: dict[str, Any] = {}
    lost, unknown, evidence = [], [], []
    for number, message in enumerate(run.scenario.messages, 1):
        told = _by_packets(run, message) or _by_agents(run, message, f"message{number}")
        name = f"message{number} {message.from_} -> {message.to}"
        if told is None:
            observed[name] = None
            unknown.append(f"{name}: nothing was seen or said of it{_gap(run)}")
            continue
        observed[name] = {
            "status": told.status, "received": told.is_received, "delivery_ms": told.delivery_ms,
            "answer_ms": told.answer_ms, "told_by": told.by,
        }  # fmt: skip
        evidence += [f"{name}: {text}" for text in told.evidence]
        if told.status != "200" or not told.is_received:
            where = "" if told.is_received else ", and it did not reach the receiver"
            answer = f"{told.status} {told.phrase}".rstrip() if told.status != "200" else told.status
            lost.append(f"{name}: answered {answer}{where}")
    expected = "each message reaches its receiver and is answered 200"
    if lost:
        return Check("messages", expected, observed, "FAIL", lost[0], (*lost, *evidence))
    if unknown:
        return Check("messages", expected, observed, "INCONCLUSIVE", unknown[0], (*unknown, *evidence))
    slowest = max(told["answer_ms"] for told in observed.values())
    reason = f"{len(observed)} delivered, each answered within {slowest:.1f} ms"
    return Check("messages", expected, observed, "PASS", reason, tuple(evidence))


def _gap(run: Run) -> str:
    return f"; capture of link {min(run.incomplete)} {run.incomplete[min(run.incomplete)]}" if run.incomplete else ""


def _by_packets(run: Run, message: Message) -> _Told | None:
    """Return what the captures show; None where the sender's link does not show the request."""
    sender, receiver = (run.scenario.parties[name].node for name in (message.from_, message.to))
    at_sender = sip_messages(run, *own_rows(run, sender))
    request = next((m for m in at_sender if m.sent and _carries(m, message)), None)
    if request is None:
        return None
    arrived = next(
        (m for m in sip_messages(run, *own_rows(run, receiver)) if not m.sent and _carries(m, message)), None
    )
    if arrived is None and run.scenario.parties[message.to].transport in ("tls", "https"):
        return None  # it may have come inside TLS, which only the agents see
    answers = [m for m in at_sender if not m.sent and m.call_id == request.call_id and m.status is not None]
    final = next((m for m in answers if (m.status or 0) >= 200 and m.status not in _CHALLENGES), None)
    last = final or (answers[-1] if answers else None)
    seen = [("sent", request), ("received", arrived), ("answered", final)]
    return _Told(
        by="packets",
        status=str(last.status) if last else "by nobody",
        phrase=last.phrase if last else "",
        is_received=arrived is not None,
        delivery_ms=None if arrived is None else (arrived.time_ns - request.time_ns) / 1e6,
        answer_ms=None if final is None else (final.time_ns - request.time_ns) / 1e6,
        evidence=tuple(f"{what} in frame {one.frame}" for what, one in seen if one is not None),
    )


def _carries(seen: SipMessage, message: Message) -> bool:
    return seen.method == "MESSAGE" and seen.status is None and seen.body == message.text.encode()


def _by_agents(run: Run, message: Message, name: str) -> _Told | None:
    """Return what sender and receiver said; None where the sender said nothing."""
    events = run.events or ()
    sent = _said(events, message.from_, ("message-delivered", "message-failed"), message=name)
    if sent is None:
        return None
    received = _said(events, message.to, ("message-received",), text=message.text)
    is_delivered = sent["event"] == "message-delivered"
    return _Told(
        by="agents",
        status="200" if is_delivered else str(sent.get("cause")),
        is_received=received is not None,
        delivery_ms=None,
        answer_ms=float(sent["answer_ms"]) if is_delivered else None,
        evidence=tuple(f"agent {one['agent']}: {one['event']}" for one in (sent, received) if one is not None),
    )


def _said(events: Sequence[Json], agent: str, names: Sequence[str], **facts: str) -> Json | None:
    return next(
        (
            event
            for event in events
            if event.get("agent") == agent
            and event.get("event") in names
            and all(event.get(key) == value for key, value in facts.items())
        ),
        None,
    )
