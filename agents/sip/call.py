"""The two ends of a call as an agent sees them: an incoming call not yet answered, and a dialog."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

EndedBy = Literal["local", "remote", "timeout", "transport"]


class Dialog:
    """An established call (RFC 3261 section 12). Made by `UserAgent.invite` and by `IncomingCall.accept`."""

    offer: str
    "SDP that opened the session last (ours if we called or re-invited, theirs otherwise)."
    answer: str
    "SDP that answered it."
    call_id: str
    local_uri: str
    remote_uri: str
    ended: asyncio.Event
    "Set when the call is over, whoever ended it."
    ended_by: EndedBy | None
    "Who ended it: None while it lasts; timeout or transport if the other side vanished (no ACK, no answer to our BYE)."
    on_reinvite: Callable[[str], Awaitable[str]] | None
    "Called with a new offer from the other side; returns the answer. None answers 488 Not Acceptable Here."

    async def bye(self) -> None:
        """Hang up. Sets `ended`; an unanswered or refused BYE ends the call too (section 15.1.1). Does nothing if it is over."""
        raise NotImplementedError

    async def reinvite(self, offer: str) -> str:
        """Send a new offer within the call, and its ACK; return the answer. Raises SipFailure, SipTimeout, TransportFailure."""
        raise NotImplementedError


class IncomingCall:
    """An INVITE that rings here. Exactly one of `accept` and `reject` answers it."""

    offer: str
    "SDP offered; empty if the caller wants us to offer."
    caller: str
    "URI in From."
    target: str
    "Request-URI: whom the caller dialled."
    call_id: str
    cancelled: asyncio.Event
    "Set if the caller gave up first; `accept` then raises SipFailure(487), and `reject` does nothing."

    async def ring(self) -> None:
        """Send 180 Ringing."""
        raise NotImplementedError

    async def accept(self, answer: str) -> Dialog:
        """Send 200 with *answer* until the ACK comes, and return the call. Raises SipTimeout if no ACK comes (the call is then ended by BYE)."""
        raise NotImplementedError

    async def reject(self, status: int, reason: str = "") -> None:
        """Answer with a status of 300 to 699; *reason* defaults to the status's own phrase."""
        raise NotImplementedError
