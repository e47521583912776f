"""Instant messages: delivered and answered, by packets where they are in clear, else by what agents say."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, BOB, FE, Wire, leg, make_scenario

from testbed.scenario import Message
from testbed.verdict import judge

HELLO = Message.model_validate({"from": "alice", "to": "bob", "text": "Hello"})
TO_SERVER, TO_BOB = ("alice", "core", "fw-er", "ms", "fe"), ("fe", "ms", "fw-er", "core", "bob")
ANYTHING = leg("signaling", "alice", "online-front-end", "customer expressroute microsoft", "")
SENT = {"type": "agent", "agent": "alice", "line": "event", "message": "message1"}
DELIVERED = {**SENT, "event": "message-delivered", "answer_ms": 12.5}
FAILED = {**SENT, "event": "message-failed", "cause": "480"}
RECEIVED = {"type": "agent", "agent": "bob", "line": "event", "event": "message-received", "text": "Hello"}


def sip(start: str, body: str = "") -> bytes:
    head = f"{start}\r\nVia: SIP/2.0/UDP 10.0.0.1\r\nCall-ID: one\r\nCSeq: 1 MESSAGE\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


REQUEST = sip("MESSAGE sip:bob@contoso.example SIP/2.0", "Hello")


def exchange(*, arrives: bool = True, status: int | None = 200) -> Wire:
    """Return alice's message by way of the Front End, to bob if it *arrives*, and the answer to alice."""
    wire, alice, server, bob = Wire(), (ALICE, 5060), (FE, 5060), (BOB, 5060)
    wire.carry(TO_SERVER, alice, server, REQUEST)
    if arrives:
        wire.carry(TO_BOB, server, bob, REQUEST)
        wire.carry(TO_BOB[::-1], bob, server, sip("SIP/2.0 200 OK"))
    if status is not None:
        wire.carry(TO_SERVER[::-1], server, alice, sip(f"SIP/2.0 {status} Whatever"))
    return wire


def judged(directory: Path, wire: Wire, events: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    run = wire.write(directory, make_scenario(ANYTHING, messages=(HELLO,)))
    if events is not None:
        (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    found: dict[str, Any] = next(check for check in judge(run)["checks"] if check["check"] == "messages")
    return found


def test_a_message_seen_at_both_ends_and_answered_is_delivered_with_its_times(tmp_path: Path) -> None:
    check = judged(tmp_path, exchange())
    told = check["observed"]["message1 alice -> bob"]
    assert (check["verdict"], told["status"], told["told_by"]) == ("PASS", "200", "packets")
    # The wire takes 10 us a link: four links to the server and four on to bob; the answer comes the same way.
    assert told["delivery_ms"] == pytest.approx(0.07)
    assert told["answer_ms"] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("wire", "words"),
    [
        (exchange(arrives=False, status=480), "answered 480 Whatever, and it did not reach the receiver"),
        (exchange(status=503), "answered 503 Whatever"),
        (exchange(status=None), "answered by nobody"),
        (exchange(arrives=False), "answered 200, and it did not reach the receiver"),
    ],
    ids=["nobody there", "refused", "no answer", "a server that lies"],
)
def test_a_message_that_was_not_delivered_is_told(tmp_path: Path, wire: Wire, words: str) -> None:
    check = judged(tmp_path, wire, [DELIVERED, RECEIVED])  # what packets show counts for more
    assert check["verdict"] == "FAIL"
    assert check["reason"] == f"message1 alice -> bob: {words}"


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([DELIVERED, RECEIVED], "PASS"),
        ([DELIVERED], "FAIL"),
        ([DELIVERED, {**RECEIVED, "text": "Hullo"}], "FAIL"),
        ([FAILED], "FAIL"),
        ([RECEIVED], "INCONCLUSIVE"),
        (None, "INCONCLUSIVE"),
    ],
)
def test_a_message_that_packets_do_not_show_is_judged_by_agents(
    tmp_path: Path, events: list[dict[str, Any]] | None, verdict: str
) -> None:
    check = judged(tmp_path, Wire(), events)
    assert check["verdict"] == verdict
    if verdict == "PASS":
        assert check["observed"]["message1 alice -> bob"]["answer_ms"] == 12.5
