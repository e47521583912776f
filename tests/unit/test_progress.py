"""What the user is told while scenarios run."""

from testbed.progress import Board, ScenarioProgress

SECOND_NS = 1_000_000_000


def test_a_call_counts_down_from_the_moment_the_other_side_is_heard() -> None:
    progress = ScenarioProgress()
    progress.take(
        {"type": "agent", "event": "media", "agent": "alice"}, now_ns=10 * SECOND_NS, duration_ns=5 * SECOND_NS
    )
    assert progress.line(12 * SECOND_NS) == "in the call: alice; 3 s left"
    assert progress.line(99 * SECOND_NS) == "in the call: alice; 0 s left"
    progress.take({"type": "agent", "event": "terminated", "agent": "alice"}, now_ns=0, duration_ns=0)
    assert "in the call: alice" not in progress.line(0)


def test_who_registered_is_said_while_others_register() -> None:
    progress = ScenarioProgress()
    progress.take({"type": "progress", "stage": "register", "text": "alice, bob"}, now_ns=0, duration_ns=0)
    assert progress.line(0) == "registering: alice, bob"
    progress.take({"type": "agent", "event": "registered", "agent": "bob"}, now_ns=0, duration_ns=0)
    assert progress.line(0) == "registered: bob"


def test_a_red_verdict_is_said_with_its_reason() -> None:
    progress = ScenarioProgress()
    progress.take({"type": "verdict", "counts_as": "FAIL", "words": "FAIL: crossed internet"}, now_ns=0, duration_ns=0)
    assert progress.line(0) == "FAIL: crossed internet"


def test_a_line_is_said_only_when_something_is_new() -> None:
    board = Board(["online/a"], duration_ns=SECOND_NS)
    event = {"type": "progress", "stage": "routing", "text": "3 routes"}
    assert board.take("online/a", event) == "online/a: waiting for BGP: 3 routes"
    assert board.take("online/a", event) is None
