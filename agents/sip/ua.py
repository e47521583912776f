"""A SIP user agent (RFC 3261 sections 8, 10, 13-15) for the agents that make and take calls.

    alice = UserAgent(uri="sip:alice@contoso.example", local_address="10.1.1.5", transport="tcp",
                      server=Hop("198.18.64.10", 5060, "tcp"), username="alice", password="secret")
    await alice.start()
    await alice.register()
    call = await alice.invite("sip:bob@contoso.example", offer, timeout_s=12)
    ...call.answer...
    await call.bye()
"""

from collections.abc import Awaitable, Callable, Sequence

from sipmessage import Response

from agents.sip.call import Dialog, IncomingCall
from agents.sip.errors import SipFailure, SipTimeout, TransportFailure
from agents.sip.hop import Hop, Listen, TransportName
from agents.sip.relay import RelayCredentials

__all__ = [
    "Dialog", "Hop", "IncomingCall", "Listen", "RelayCredentials", "SipFailure", "SipTimeout", "TransportFailure", "UserAgent",
]


class UserAgent:
    """One address of record, with its transactions and calls. Every coroutine may be used concurrently."""

    on_invite: Callable[[IncomingCall], Awaitable[None]] | None = None
    "Called, in a task of its own, for each new call. None answers 480 Temporarily Unavailable. If it raises, the call gets 500."
    on_message: Callable[[str, str, bytes], Awaitable[None]] | None = None
    "Called with (caller URI, content type, body) for each MESSAGE, before its 200. None answers 405."

    def __init__(
        self,
        *,
        uri: str,
        local_address: str,
        display_name: str = "",
        transport: TransportName = "tcp",
        server: Hop | None = None,
        username: str = "",
        password: str = "",
        t1_ns: int = 500_000_000,
        listen: Sequence[Listen] = (),
    ) -> None:
        """Nothing is sent or bound before `start`.

        *server* is the outbound proxy: every request out of a dialog goes there; without one, to the host in the Request-URI, which
        must then be an IPv4 address. *transport* is used where the server does not say. *listen* gives fixed ports; without it UDP binds
        any port at *local_address*, and TCP takes calls only over the connection it opened to the server. *username* defaults to
        the user part of *uri*.
        """
        raise NotImplementedError

    async def start(self) -> None:
        """Bind the sockets. Raises TransportFailure if a port is taken."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Close all sockets and timers. Sends nothing: hang up and unregister first."""
        raise NotImplementedError

    async def register(self, expires_s: int = 600) -> None:
        """Register, answering a digest challenge, and keep the registration fresh at half its life until `unregister` or `stop`.

        Raises SipFailure(status, reason), SipTimeout (no answer within 64 T1) or TransportFailure.
        """
        raise NotImplementedError

    async def unregister(self) -> None:
        """Remove this registration (Expires: 0); raises as `register`."""
        raise NotImplementedError

    async def request(
        self, method: str, uri: str, *, content_type: str = "", body: bytes = b"", timeout_s: float | None = None
    ) -> Response:
        """Send a request out of any dialog (SERVICE, MESSAGE, OPTIONS), answering one digest challenge; return the 2xx.

        Raises SipFailure for any other final response, SipTimeout (64 T1, or *timeout_s* if that is shorter), TransportFailure.
        """
        raise NotImplementedError

    async def request_relay(self, *, conference: str = "", timeout_s: float | None = None) -> RelayCredentials:
        """Ask the Front End for relay credentials (see `agents.sip.relay`); a guest names the *conference* URI it wants to join."""
        raise NotImplementedError

    async def message(self, uri: str, text: str) -> None:
        """Send an instant message (RFC 3428); raises as `request`."""
        raise NotImplementedError

    async def invite(
        self, uri: str, offer: str, *, timeout_s: float, on_provisional: Callable[[int], None] | None = None
    ) -> Dialog:
        """Call *uri* with the SDP *offer*; answer a digest challenge; acknowledge; return the call with its SDP `answer`.

        *on_provisional* sees each status from 101 to 199. After *timeout_s* without a final answer the call is cancelled (section 9) and
        SipTimeout raised, at the latest 64 T1 after the CANCEL. Raises SipFailure or TransportFailure too. Cancelling the task that
        waits here cancels the call likewise.
        """
        raise NotImplementedError
