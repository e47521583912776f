"""SIP transactions (RFC 3261 section 17, mended by RFC 6026) as four state tables, without I/O and without a clock.

A transaction is told what happens and when (`now_ns`), and returns what to do. Each table row reads `(state,
event): (next state, what to do in order)`; a pair that is not in the table is ignored, as the RFC says for
retransmissions and late timers. Two rules for whoever edits a table: entering a state starts the timers of
`_TIMERS_OF` and stops all others that the new state does not list; and `Do.REPEAT` is the only thing that starts
timers A, E and G again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Literal

from sipmessage import Request, Response

from agents.sip.hop import DEFAULT_PORT
from agents.sip.message import BRANCH_COOKIE, MAX_FORWARDS, SipMessage, top_via


class Kind(Enum):
    """Which of the four machines."""

    INVITE_CLIENT = auto()
    NON_INVITE_CLIENT = auto()
    INVITE_SERVER = auto()
    NON_INVITE_SERVER = auto()


class State(Enum):
    """States of figures 5 to 8 of RFC 3261, and Accepted of RFC 6026."""

    CALLING = auto()
    TRYING = auto()
    PROCEEDING = auto()
    COMPLETED = auto()
    CONFIRMED = auto()
    ACCEPTED = auto()
    TERMINATED = auto()


class Event(Enum):
    """What can happen to a transaction: messages from the network (client) or from its user (server), and timers."""

    PROVISIONAL = auto()
    SUCCESS = auto()
    FAILURE = auto()
    REQUEST = auto()
    "The request came once more (server)."
    ACK = auto()
    TRANSPORT_ERROR = auto()
    A = auto()
    B = auto()
    D = auto()
    E = auto()
    F = auto()
    G = auto()
    H = auto()
    I = auto()  # noqa: E741 - timer I of the RFC
    J = auto()
    K = auto()
    L = auto()
    M = auto()


class Do(Enum):
    """What a transaction does on its way to the next state."""

    SEND = auto()
    "Send the message the event brought."
    RESEND = auto()
    "Send the request (client) or the last response (server) again."
    REPEAT = auto()
    "Start the retransmission timer that fired again, with its next interval."
    ACK = auto()
    "Send the ACK of a non-2xx final response (section 17.1.1.3)."
    PASS_UP = auto()
    TIMED_OUT = auto()
    BROKEN = auto()


@dataclass(frozen=True, slots=True)
class Timing:
    """The timer values of RFC 3261 table 4, in nanoseconds."""

    t1_ns: int = 500_000_000
    "Round-trip time estimate."
    t2_ns: int = 4_000_000_000
    "Longest interval between retransmissions of a non-INVITE request or an INVITE response."
    t4_ns: int = 5_000_000_000
    "Longest time a message stays in the network."

    @property
    def timeout_ns(self) -> int:
        """64 T1: timers B, F, H, and how long a 2xx is repeated."""
        return 64 * self.t1_ns


@dataclass(frozen=True, slots=True)
class Send:
    """Give *message* to the transport."""

    message: SipMessage


@dataclass(frozen=True, slots=True)
class PassUp:
    """Give *message* to the transaction's user."""

    message: SipMessage


@dataclass(frozen=True, slots=True)
class Failed:
    """Tell the transaction's user that it failed."""

    cause: Literal["timeout", "transport"]


Action = Send | PassUp | Failed
Step = tuple[State, tuple[Do, ...]]
Table = Mapping[tuple[State, Event], Step]

_S, _E = State, Event

# RFC 3261 figure 5 with RFC 6026 section 7.2: a 2xx leads to Accepted, where its copies are passed up until timer M.
INVITE_CLIENT: Final[Table] = {
    (_S.CALLING, _E.A): (_S.CALLING, (Do.RESEND, Do.REPEAT)),
    (_S.CALLING, _E.B): (_S.TERMINATED, (Do.TIMED_OUT,)),
    (_S.CALLING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.PASS_UP,)),
    (_S.CALLING, _E.SUCCESS): (_S.ACCEPTED, (Do.PASS_UP,)),
    (_S.CALLING, _E.FAILURE): (_S.COMPLETED, (Do.ACK, Do.PASS_UP)),
    (_S.CALLING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.PROCEEDING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.PASS_UP,)),
    (_S.PROCEEDING, _E.SUCCESS): (_S.ACCEPTED, (Do.PASS_UP,)),
    (_S.PROCEEDING, _E.FAILURE): (_S.COMPLETED, (Do.ACK, Do.PASS_UP)),
    # Figure 5 has no such arrow, as nothing is sent in this state; but over a lost connection no answer can come.
    (_S.PROCEEDING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.COMPLETED, _E.FAILURE): (_S.COMPLETED, (Do.ACK,)),
    (_S.COMPLETED, _E.TRANSPORT_ERROR): (_S.TERMINATED, ()),
    (_S.COMPLETED, _E.D): (_S.TERMINATED, ()),
    (_S.ACCEPTED, _E.SUCCESS): (_S.ACCEPTED, (Do.PASS_UP,)),
    (_S.ACCEPTED, _E.M): (_S.TERMINATED, ()),
}

# RFC 3261 figure 6.
NON_INVITE_CLIENT: Final[Table] = {
    (_S.TRYING, _E.E): (_S.TRYING, (Do.RESEND, Do.REPEAT)),
    (_S.TRYING, _E.F): (_S.TERMINATED, (Do.TIMED_OUT,)),
    (_S.TRYING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.PASS_UP,)),
    (_S.TRYING, _E.SUCCESS): (_S.COMPLETED, (Do.PASS_UP,)),
    (_S.TRYING, _E.FAILURE): (_S.COMPLETED, (Do.PASS_UP,)),
    (_S.TRYING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.PROCEEDING, _E.E): (_S.PROCEEDING, (Do.RESEND, Do.REPEAT)),
    (_S.PROCEEDING, _E.F): (_S.TERMINATED, (Do.TIMED_OUT,)),
    (_S.PROCEEDING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.PASS_UP,)),
    (_S.PROCEEDING, _E.SUCCESS): (_S.COMPLETED, (Do.PASS_UP,)),
    (_S.PROCEEDING, _E.FAILURE): (_S.COMPLETED, (Do.PASS_UP,)),
    (_S.PROCEEDING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.COMPLETED, _E.K): (_S.TERMINATED, ()),
}

# RFC 3261 figure 7 with RFC 6026 section 7.1: the user sends the 2xx again, and copies of the INVITE are absorbed.
INVITE_SERVER: Final[Table] = {
    (_S.PROCEEDING, _E.REQUEST): (_S.PROCEEDING, (Do.RESEND,)),
    (_S.PROCEEDING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.SEND,)),
    (_S.PROCEEDING, _E.SUCCESS): (_S.ACCEPTED, (Do.SEND,)),
    (_S.PROCEEDING, _E.FAILURE): (_S.COMPLETED, (Do.SEND,)),
    (_S.PROCEEDING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.COMPLETED, _E.REQUEST): (_S.COMPLETED, (Do.RESEND,)),
    (_S.COMPLETED, _E.G): (_S.COMPLETED, (Do.RESEND, Do.REPEAT)),
    (_S.COMPLETED, _E.H): (_S.TERMINATED, (Do.TIMED_OUT,)),
    (_S.COMPLETED, _E.ACK): (_S.CONFIRMED, ()),
    (_S.COMPLETED, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.CONFIRMED, _E.I): (_S.TERMINATED, ()),
    (_S.ACCEPTED, _E.SUCCESS): (_S.ACCEPTED, (Do.SEND,)),
    (_S.ACCEPTED, _E.ACK): (_S.ACCEPTED, (Do.PASS_UP,)),
    (_S.ACCEPTED, _E.L): (_S.TERMINATED, ()),
}

# RFC 3261 figure 8.
NON_INVITE_SERVER: Final[Table] = {
    (_S.TRYING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.SEND,)),
    (_S.TRYING, _E.SUCCESS): (_S.COMPLETED, (Do.SEND,)),
    (_S.TRYING, _E.FAILURE): (_S.COMPLETED, (Do.SEND,)),
    (_S.PROCEEDING, _E.REQUEST): (_S.PROCEEDING, (Do.RESEND,)),
    (_S.PROCEEDING, _E.PROVISIONAL): (_S.PROCEEDING, (Do.SEND,)),
    (_S.PROCEEDING, _E.SUCCESS): (_S.COMPLETED, (Do.SEND,)),
    (_S.PROCEEDING, _E.FAILURE): (_S.COMPLETED, (Do.SEND,)),
    (_S.PROCEEDING, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.COMPLETED, _E.REQUEST): (_S.COMPLETED, (Do.RESEND,)),
    (_S.COMPLETED, _E.TRANSPORT_ERROR): (_S.TERMINATED, (Do.BROKEN,)),
    (_S.COMPLETED, _E.J): (_S.TERMINATED, ()),
}

TABLES: Final[Mapping[Kind, Table]] = {
    Kind.INVITE_CLIENT: INVITE_CLIENT,
    Kind.NON_INVITE_CLIENT: NON_INVITE_CLIENT,
    Kind.INVITE_SERVER: INVITE_SERVER,
    Kind.NON_INVITE_SERVER: NON_INVITE_SERVER,
}

# Timers that run in a state; one that the next state has too runs on (E and F, from Trying to Proceeding).
_TIMERS_OF: Final[Mapping[tuple[Kind, State], tuple[Event, ...]]] = {
    (Kind.INVITE_CLIENT, _S.CALLING): (_E.A, _E.B),
    (Kind.INVITE_CLIENT, _S.COMPLETED): (_E.D,),
    (Kind.INVITE_CLIENT, _S.ACCEPTED): (_E.M,),
    (Kind.NON_INVITE_CLIENT, _S.TRYING): (_E.E, _E.F),
    (Kind.NON_INVITE_CLIENT, _S.PROCEEDING): (_E.E, _E.F),
    (Kind.NON_INVITE_CLIENT, _S.COMPLETED): (_E.K,),
    (Kind.INVITE_SERVER, _S.COMPLETED): (_E.G, _E.H),
    (Kind.INVITE_SERVER, _S.CONFIRMED): (_E.I,),
    (Kind.INVITE_SERVER, _S.ACCEPTED): (_E.L,),
    (Kind.NON_INVITE_SERVER, _S.COMPLETED): (_E.J,),
}

_CLIENTS: Final = frozenset({Kind.INVITE_CLIENT, Kind.NON_INVITE_CLIENT})
_RETRANSMISSION: Final = frozenset({_E.A, _E.E, _E.G})
_LINGER: Final = frozenset({_E.D, _E.I, _E.J, _E.K})
"Timers that wait for retransmissions, of which a reliable transport has none: zero there."
_FIRST_STATE: Final = {
    Kind.INVITE_CLIENT: _S.CALLING,
    Kind.NON_INVITE_CLIENT: _S.TRYING,
    Kind.INVITE_SERVER: _S.PROCEEDING,
    Kind.NON_INVITE_SERVER: _S.TRYING,
}


def event_of_status(status: int) -> Event:
    """Return the event that a response with *status* is."""
    if status < 200:
        return Event.PROVISIONAL
    return Event.SUCCESS if status < 300 else Event.FAILURE


class Transaction:
    """One transaction of any kind. A client's request is sent by whoever makes it; `take` and `fire` tell the rest."""

    def __init__(self, kind: Kind, request: Request, *, reliable: bool, timing: Timing, now_ns: int) -> None:
        self.kind = kind
        self.request = request
        self.reliable = reliable
        self.last_response: Response | None = None
        self._timing = timing
        self._deadlines_ns: dict[Event, int] = {}
        self._interval_ns: dict[Event, int] = {}
        self.state = _FIRST_STATE[kind]
        self._start_timers(now_ns)

    @property
    def is_over(self) -> bool:
        """Whether the transaction is terminated and may be forgotten."""
        return self.state is State.TERMINATED

    @property
    def deadline_ns(self) -> int | None:
        """When to call `fire` next, or None."""
        return min(self._deadlines_ns.values(), default=None)

    def take(self, event: Event, message: SipMessage | None, now_ns: int) -> list[Action]:
        """Say that *event* happened; return what to do now, in order. *message* is what came or is to be sent.

        Timers are not for the caller to give: they come from `fire`.
        """
        step = TABLES[self.kind].get((self.state, event))
        if step is None:
            return []
        state, deeds = step
        self._deadlines_ns.pop(event, None)
        if isinstance(message, Response) and Do.SEND in deeds:
            self.last_response = message
        # Do.ACK needs the response; the rest is independent of the state change.
        actions = [action for deed in deeds if (action := self._action(deed, event, message, now_ns)) is not None]
        if state is not self.state:
            self.state = state
            self._start_timers(now_ns)
        return actions

    def fire(self, now_ns: int) -> list[Action]:
        """Run every timer whose time has come; return what to do."""
        actions: list[Action] = []
        while due := [event for event, at_ns in self._deadlines_ns.items() if at_ns <= now_ns]:
            event = min(due, key=lambda e: self._deadlines_ns[e])
            del self._deadlines_ns[event]
            actions += self.take(event, None, now_ns)
        return actions

    def _action(self, deed: Do, event: Event, message: SipMessage | None, now_ns: int) -> Action | None:
        match deed:
            case Do.SEND if message is not None:
                return Send(message)
            case Do.RESEND:
                again = self.request if self.kind in _CLIENTS else self.last_response
                return None if again is None else Send(again)
            case Do.REPEAT:
                self._repeat(event, now_ns)
            case Do.ACK if isinstance(message, Response):
                return Send(make_ack(self.request, message))
            case Do.PASS_UP if message is not None:
                return PassUp(message)
            case Do.TIMED_OUT:
                return Failed("timeout")
            case Do.BROKEN:
                return Failed("transport")
        return None

    def _start_timers(self, now_ns: int) -> None:
        wanted = _TIMERS_OF.get((self.kind, self.state), ())
        kept = {event: at_ns for event, at_ns in self._deadlines_ns.items() if event in wanted}
        for event in wanted:
            if event in _RETRANSMISSION:
                if self.reliable:
                    continue
                if (self.kind, self.state) == (Kind.NON_INVITE_CLIENT, State.PROCEEDING):
                    self._interval_ns[event] = self._timing.t2_ns  # section 17.1.2.2: from now on every T2
                else:
                    self._interval_ns[event] = self._timing.t1_ns
                kept.setdefault(event, now_ns + self._interval_ns[event])
            else:
                kept.setdefault(event, now_ns + self._duration_ns(event))
        self._deadlines_ns = kept
        for event in [e for e, at_ns in kept.items() if at_ns <= now_ns and e in _LINGER]:
            self.take(event, None, now_ns)  # a wait of zero: over at once

    def _duration_ns(self, event: Event) -> int:
        if event in _LINGER and self.reliable:
            return 0
        return self._timing.t4_ns if event in (Event.I, Event.K) else self._timing.timeout_ns

    def _repeat(self, event: Event, now_ns: int) -> None:
        # Timer A doubles without limit; E and G stop at T2 (sections 17.1.1.2, 17.1.2.2, 17.2.1).
        interval_ns = 2 * self._interval_ns[event]
        if event is not Event.A:
            interval_ns = min(interval_ns, self._timing.t2_ns)
        self._interval_ns[event] = interval_ns
        self._deadlines_ns[event] = now_ns + interval_ns


def make_ack(invite: Request, response: Response) -> Request:
    """Build the ACK of a non-2xx final response, with Via, From and Request-URI of the INVITE (section 17.1.1.3)."""
    return _follow_up("ACK", invite, response.headers["To"])


def make_cancel(request: Request) -> Request:
    """Build the CANCEL of a request that is still pending (section 9.1)."""
    return _follow_up("CANCEL", request, request.headers["To"])


def _follow_up(method: str, request: Request, to: str) -> Request:
    follow_up = Request(method, request.uri)
    headers = request.headers
    follow_up.headers.set("Via", headers["Via"])
    follow_up.headers.set("Max-Forwards", str(MAX_FORWARDS))
    for name in ("From", "Call-ID"):
        follow_up.headers.set(name, headers[name])
    follow_up.headers.set("To", to)
    follow_up.headers.set("CSeq", f"{request.cseq.sequence} {method}")
    if routes := headers.getlist("Route"):
        follow_up.headers.setlist("Route", list(routes))
    return follow_up


TransactionKey = tuple[str, str, str]


def client_key(message: SipMessage) -> TransactionKey:
    """Return what matches a response to its client transaction (section 17.1.3): branch and CSeq method."""
    return ("client", _branch(message), message.cseq.method)


def server_key(request: Request) -> TransactionKey:
    """Return what matches a request to its server transaction (section 17.2.3): branch, sent-by, ACK as INVITE."""
    method = "INVITE" if request.method == "ACK" else request.method
    return ("server", _branch(request), method)


def _branch(message: SipMessage) -> str:
    via = top_via(message)
    branch = via.parameters.get("branch") or ""
    if not branch.startswith(BRANCH_COOKIE):
        # RFC 2543: no unique branch; the call and its sequence number have to do.
        branch = f"{branch}|{message.headers['Call-ID']}|{message.headers['From']}|{message.cseq.sequence}"
    return f"{branch}|{via.host.lower()}:{via.port or DEFAULT_PORT}"
