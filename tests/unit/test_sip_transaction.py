"""The four transactions against RFC 3261 section 17 and RFC 6026, on a clock that is an argument."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import URI, Request, Response

from agents.sip.message import make_request, make_response, push
from agents.sip.transaction import (
    TABLES,
    Action,
    Event,
    Failed,
    Kind,
    PassUp,
    Send,
    State,
    Timing,
    Transaction,
    client_key,
    event_of_status,
    make_cancel,
    server_key,
)

MS = 1_000_000
TIMING = Timing()
NO_TIMERS = [event for event in Event if len(event.name) > 1]


def a_request(method: str) -> Request:
    request = make_request(
        method, URI.parse("sip:bob@biloxi.example"), sender="<sip:alice@atlanta.example>;tag=1",
        recipient="<sip:bob@biloxi.example>", call_id="c1", sequence=7, routes=["<sip:192.0.2.1;lr>"],
    )  # fmt: skip
    push(request, "Via", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKabc;rport")
    return request


class Driver:
    """A transaction and the clock that drives it, noting each action with its time."""

    def __init__(self, kind: Kind, *, reliable: bool = False) -> None:
        self.request = a_request("INVITE" if "INVITE" in kind.name and "NON" not in kind.name else "BYE")
        self.transaction = Transaction(kind, self.request, reliable=reliable, timing=TIMING, now_ns=0)
        self.now_ns = 0
        self.log: list[tuple[int, Action]] = []

    def give(self, status: int, *, at_ms: int | None = None) -> list[Action]:
        response = make_response(self.request, status, to_tag="t2")
        return self.happen(event_of_status(status), response, at_ms=at_ms)

    def happen(
        self, event: Event, message: Request | Response | None = None, *, at_ms: int | None = None
    ) -> list[Action]:
        if at_ms is not None:
            self.run_until(at_ms)
        actions = self.transaction.take(event, message, self.now_ns)
        self.log += [(self.now_ns // MS, action) for action in actions]
        return actions

    def run_until(self, at_ms: int) -> None:
        while (due := self.transaction.deadline_ns) is not None and due <= at_ms * MS:
            self.now_ns = due
            self.log += [(due // MS, action) for action in self.transaction.fire(due)]
        self.now_ns = at_ms * MS

    def times_of(self, kind: type[Action]) -> list[int]:
        return [at_ms for at_ms, action in self.log if isinstance(action, kind)]


def test_timer_a_doubles_without_limit_and_timer_b_ends_an_invite_after_64_t1() -> None:
    driver = Driver(Kind.INVITE_CLIENT)
    driver.run_until(40_000)
    assert driver.times_of(Send) == [500, 1500, 3500, 7500, 15500, 31500]
    assert driver.log[-1] == (32_000, Failed("timeout"))
    assert driver.transaction.is_over


def test_timer_e_doubles_up_to_t2_and_timer_f_ends_the_request() -> None:
    driver = Driver(Kind.NON_INVITE_CLIENT)
    driver.run_until(40_000)
    assert driver.times_of(Send) == [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    assert driver.log[-1] == (32_000, Failed("timeout"))


def test_a_provisional_response_slows_a_request_to_t2_but_does_not_stop_timer_f() -> None:
    driver = Driver(Kind.NON_INVITE_CLIENT)
    driver.give(100, at_ms=600)
    driver.run_until(40_000)
    assert driver.times_of(Send) == [500, *range(1500, 32_000, 4000)]
    assert driver.log[-1] == (32_000, Failed("timeout"))


def test_a_provisional_response_stops_timers_a_and_b() -> None:
    driver = Driver(Kind.INVITE_CLIENT)
    driver.give(180, at_ms=100)
    driver.run_until(200_000)
    assert driver.times_of(Send) == []
    assert driver.transaction.state is State.PROCEEDING


def test_over_tcp_nothing_is_repeated_but_the_timeouts_stay() -> None:
    for kind in (Kind.INVITE_CLIENT, Kind.NON_INVITE_CLIENT):
        driver = Driver(kind, reliable=True)
        driver.run_until(40_000)
        assert driver.log == [(32_000, Failed("timeout"))]


def test_each_copy_of_a_failure_is_acknowledged_until_timer_d() -> None:
    driver = Driver(Kind.INVITE_CLIENT)
    first = driver.give(486, at_ms=50)
    assert [type(action) for action in first] == [Send, PassUp]
    (again,) = driver.give(486, at_ms=550)
    assert isinstance(again, Send) and isinstance(again.message, Request) and again.message.method == "ACK"
    driver.run_until(32_049)
    assert driver.transaction.state is State.COMPLETED
    driver.run_until(32_050)
    assert driver.transaction.is_over


def test_the_ack_of_a_failure_is_made_as_section_17_1_1_3_says() -> None:
    driver = Driver(Kind.INVITE_CLIENT)
    action = driver.give(404)[0]
    assert isinstance(action, Send) and isinstance(action.message, Request)
    ack, invite = action.message, driver.request
    assert (ack.uri, ack.call_id, str(ack.cseq)) == (invite.uri, invite.call_id, "7 ACK")
    assert ack.headers["To"].endswith(";tag=t2") and ack.headers["From"] == invite.headers["From"]
    assert ack.headers.getlist("Via") == invite.headers.getlist("Via")
    assert ack.headers.getlist("Route") == ["<sip:192.0.2.1;lr>"]


def test_copies_of_a_2xx_are_passed_up_until_timer_m() -> None:
    driver = Driver(Kind.INVITE_CLIENT)
    driver.give(200, at_ms=100)
    driver.give(200, at_ms=600)
    driver.run_until(32_099)
    assert driver.times_of(PassUp) == [100, 600] and not driver.times_of(Send)
    driver.run_until(32_100)
    assert driver.transaction.is_over


def test_a_failure_is_repeated_by_timer_g_up_to_t2_until_timer_h() -> None:
    driver = Driver(Kind.INVITE_SERVER)
    driver.give(486, at_ms=0)
    driver.run_until(40_000)
    assert driver.times_of(Send) == [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    assert driver.log[-1] == (32_000, Failed("timeout"))


def test_an_ack_stops_timer_g_and_timer_i_absorbs_further_acks() -> None:
    driver = Driver(Kind.INVITE_SERVER)
    driver.give(486)
    driver.happen(Event.ACK, at_ms=300)
    driver.happen(Event.ACK, at_ms=400)
    driver.run_until(5_299)
    assert driver.times_of(Send) == [0] and driver.transaction.state is State.CONFIRMED
    driver.run_until(5_300)
    assert driver.transaction.is_over


def test_over_tcp_an_acknowledged_failure_is_over_at_once() -> None:
    driver = Driver(Kind.INVITE_SERVER, reliable=True)
    driver.give(486)
    driver.run_until(1000)
    assert driver.times_of(Send) == [0]
    driver.happen(Event.ACK)
    assert driver.transaction.is_over


def test_copies_of_an_invite_get_the_last_provisional_and_none_after_a_2xx() -> None:
    driver = Driver(Kind.INVITE_SERVER)
    driver.give(180)
    (again,) = driver.happen(Event.REQUEST, driver.request)
    assert isinstance(again, Send) and isinstance(again.message, Response) and again.message.code == 180
    driver.give(200)
    assert driver.happen(Event.REQUEST, driver.request) == []
    assert len(driver.give(200)) == 1  # the user repeats the 2xx through the transaction
    driver.run_until(32_000)
    assert driver.transaction.is_over


def test_timer_j_keeps_the_answer_for_copies_of_a_request() -> None:
    driver = Driver(Kind.NON_INVITE_SERVER)
    assert driver.happen(Event.REQUEST, driver.request) == []  # Trying: no answer yet to repeat
    driver.give(200)
    driver.happen(Event.REQUEST, driver.request, at_ms=31_999)
    assert driver.times_of(Send) == [0, 31_999]
    driver.run_until(32_000)
    assert driver.transaction.is_over
    reliable = Driver(Kind.NON_INVITE_SERVER, reliable=True)
    reliable.give(200)
    assert reliable.transaction.is_over


def test_timer_k_absorbs_late_copies_of_the_answer() -> None:
    driver = Driver(Kind.NON_INVITE_CLIENT)
    driver.give(200, at_ms=10)
    assert driver.give(200, at_ms=20) == []
    driver.run_until(5_009)
    assert not driver.transaction.is_over
    driver.run_until(5_010)
    assert driver.transaction.is_over


@pytest.mark.parametrize("kind", [Kind.INVITE_CLIENT, Kind.NON_INVITE_CLIENT])
def test_a_lost_connection_fails_the_request_at_once(kind: Kind) -> None:
    driver = Driver(kind, reliable=True)
    assert driver.happen(Event.TRANSPORT_ERROR) == [Failed("transport")]
    assert driver.transaction.is_over


def test_a_smaller_t1_scales_every_timer_that_hangs_on_it() -> None:
    timing = Timing(t1_ns=100 * MS)
    transaction = Transaction(Kind.INVITE_CLIENT, a_request("INVITE"), reliable=False, timing=timing, now_ns=0)
    assert transaction.deadline_ns == 100 * MS
    transaction.fire(6_400 * MS)
    assert transaction.is_over


@given(
    kind=st.sampled_from(Kind),
    reliable=st.booleans(),
    steps=st.lists(st.tuples(st.sampled_from(NO_TIMERS), st.integers(0, 40_000)), max_size=30),
)
def test_whatever_happens_a_terminated_transaction_stays_so_and_has_no_timer(
    kind: Kind, reliable: bool, steps: list[tuple[Event, int]]
) -> None:
    driver = Driver(kind, reliable=reliable)
    was_over = False
    for event, later_ms in steps:
        driver.run_until(driver.now_ns // MS + later_ms)
        driver.happen(event, make_response(driver.request, 200))
        assert not was_over or driver.transaction.is_over
        was_over = driver.transaction.is_over
        assert not was_over or driver.transaction.deadline_ns is None
    driver.run_until(driver.now_ns // MS + 1_000_000)
    times = [at_ms for at_ms, _ in driver.log]
    assert all(a <= b for a, b in pairwise(times))


def test_every_state_of_each_table_can_be_left_and_is_reached() -> None:
    for table in TABLES.values():
        left = {state for state, _ in table}
        reached = {state for state, _ in table.values()}
        assert left - reached <= {State.CALLING, State.TRYING, State.PROCEEDING}
        assert reached - left == {State.TERMINATED}


def test_an_ack_and_a_cancel_find_the_invite_that_they_belong_to() -> None:
    invite = a_request("INVITE")
    ack = a_request("ACK")
    cancel = make_cancel(invite)
    assert server_key(ack) == server_key(invite) != server_key(cancel)
    assert server_key(cancel)[1] == server_key(invite)[1]
    assert client_key(make_response(invite, 200)) == client_key(invite)


def test_a_request_of_another_sender_with_the_same_branch_is_another_transaction() -> None:
    one, other = a_request("INVITE"), a_request("INVITE")
    other.headers.set("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bKabc")
    assert server_key(one) != server_key(other)
