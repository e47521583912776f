"""The two ends of a call as an agent sees them: an incoming call not yet answered, and a dialog."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from sipmessage import Request, Response

from agents.sip.core import ALLOW, Core
from agents.sip.dialog import DialogId, DialogState
from agents.sip.errors import SipFailure, SipTimeout, TransportFailure
from agents.sip.message import make_response, set_body, uri_of
from agents.sip.stack import ClientTransaction, ServerTransaction
from agents.sip.transport import Flow

EndedBy = Literal["local", "remote", "timeout", "transport"]
SDP = "application/sdp"


class Dialog:
    """An established call (RFC 3261 section 12). Made by `UserAgent.invite` and by `IncomingCall.accept`."""

    def __init__(self, core: Core, state: DialogState, flow: Flow, *, offer: str, answer: str) -> None:
        self.offer = offer
        "SDP that opened the session last (ours if we called or re-invited, theirs otherwise)."
        self.answer = answer
        "SDP that answered it."
        self.ended = asyncio.Event()
        "Set when the call is over, whoever ended it."
        self.ended_by: EndedBy | None = None
        "Who ended it; None while it lasts. timeout, transport: the other side vanished (no ACK, no answer to our BYE)."
        self.on_reinvite: Callable[[str], Awaitable[str]] | None = None
        "Called with a new offer from the other side; returns the answer. None answers 488 Not Acceptable Here."
        self._core = core
        self._state = state
        self._flow = flow
        self._acknowledged = asyncio.Event()

    @property
    def id(self) -> DialogId:
        """Call-ID, local tag, remote tag."""
        return self._state.id

    @property
    def call_id(self) -> str:
        """The Call-ID, the same at both ends."""
        return self._state.call_id

    @property
    def local_uri(self) -> str:
        """Our address of record."""
        return uri_of(self._state.local)

    @property
    def remote_uri(self) -> str:
        """The other's address of record."""
        return uri_of(self._state.remote)

    async def bye(self) -> None:
        """Hang up. Sets `ended`; an unanswered or refused BYE ends the call too (section 15.1.1)."""
        if self.ended.is_set():
            return
        ended_by: EndedBy = "local"
        try:
            request = self._state.request("BYE")
            await self._core.final(request, await self._core.way_of(request, self._flow))
        except SipTimeout:
            ended_by = "timeout"
        except TransportFailure:
            ended_by = "transport"
        self._end(ended_by)

    async def reinvite(self, offer: str) -> str:
        """Send a new offer within the call, and its ACK; return the answer.

        Raises SipFailure, SipTimeout, TransportFailure.
        """
        request = self._state.request("INVITE")
        flow = await self._core.way_of(request, self._flow)
        request.headers.set("Contact", self._core.contact(flow))
        set_body(request, SDP, offer.encode())
        client = await self._core.stack.send(request, flow)
        response = await client.final()
        if (again := self._core.authorised(request, response)) is not None:
            self._state.local_sequence = again.cseq.sequence
            client = await self._core.stack.send(again, flow)
            response = await client.final()
        if response.code >= 300:
            raise SipFailure(response.code, response.phrase, method="INVITE")
        self._state.refresh_target(response)
        await self.acknowledge(client, response)
        self.offer, self.answer = offer, response.body.decode(errors="replace")
        return self.answer

    async def acknowledge(self, client: ClientTransaction, response: Response) -> None:
        """Send the ACK of a 2xx, and again for each of its copies (the user agent calls this)."""
        ack = self._state.ack(client.request.cseq.sequence)
        flow = await self._core.way_of(ack, self._flow)
        await self._core.stack.send_ack(ack, flow)
        self._core.stack.spawn(self._acknowledge_copies(client, ack, flow, response))

    async def _acknowledge_copies(self, client: ClientTransaction, ack: Request, flow: Flow, first: Response) -> None:
        with contextlib.suppress(TransportFailure, SipTimeout):
            async for copy in client:
                if copy.headers["To"] == first.headers["To"]:
                    await self._core.stack.send_ack(ack, flow)
                elif copy.code < 300:
                    await self._refuse_branch(client.request, copy)

    async def _refuse_branch(self, request: Request, response: Response) -> None:
        # A proxy forked the INVITE and a second one answered: accept and hang up (section 13.2.2.4).
        other = Dialog(self._core, DialogState.of_caller(request, response), self._flow, offer="", answer="")
        ack = other._state.ack(request.cseq.sequence)
        await self._core.stack.send_ack(ack, await self._core.way_of(ack, self._flow))
        await other.bye()

    def take_ack(self) -> None:
        """Note that the 2xx we sent has arrived (the user agent calls this)."""
        self._acknowledged.set()

    def take_request(self, transaction: ServerTransaction) -> None:
        """Answer a request within the call (the user agent calls this)."""
        request = transaction.request
        if not self._state.take_request(request):
            transaction.answer(500, "CSeq Out Of Order")
        elif request.method == "BYE":
            transaction.answer(200)
            self._end("remote")
        elif request.method == "INVITE":
            self._core.stack.spawn(self._take_reinvite(transaction))
        elif request.method == "OPTIONS":
            transaction.answer(200)
        else:
            refusal = make_response(request, 405)
            refusal.headers.set("Allow", ALLOW)
            transaction.respond(refusal)

    async def _take_reinvite(self, transaction: ServerTransaction) -> None:
        offer = transaction.request.body.decode(errors="replace")
        if self.on_reinvite is None or not offer:
            transaction.answer(488)
            return
        transaction.answer(100)
        try:
            answer = await self.on_reinvite(offer)
        except Exception:
            transaction.answer(500)
            raise
        self._state.refresh_target(transaction.request)
        self.offer, self.answer = offer, answer
        with contextlib.suppress(SipTimeout):  # then `ended` is set, which says it
            await self.answer_until_acknowledged(transaction, answer)

    async def answer_until_acknowledged(self, transaction: ServerTransaction, answer: str) -> None:
        """Send 200 with *answer* at growing intervals until the ACK comes (section 13.3.1.4).

        Raises SipTimeout after 64 T1, when the call has been ended by BYE.
        """
        response = success_response(self._core, transaction, answer)
        timing = self._core.stack.timing
        self._acknowledged.clear()
        interval_ns, waited_ns = timing.t1_ns, 0
        while waited_ns < timing.timeout_ns:
            transaction.respond(response)
            try:
                async with asyncio.timeout(interval_ns / 1e9):
                    await self._acknowledged.wait()
                return
            except TimeoutError:
                waited_ns += interval_ns
                interval_ns = min(2 * interval_ns, timing.t2_ns, max(timing.timeout_ns - waited_ns, 1))
        await self.bye()
        self.ended_by = "timeout"
        raise SipTimeout("the 200 to an INVITE was never acknowledged")

    def _end(self, by: EndedBy) -> None:
        if not self.ended.is_set():
            self.ended_by = by
            self.ended.set()


def success_response(core: Core, transaction: ServerTransaction, answer: str) -> Response:
    """Build the 200 of an INVITE, which makes a dialog (section 12.1.1)."""
    request = transaction.request
    response = make_response(request, 200, to_tag=transaction.to_tag)
    if routes := request.headers.getlist("Record-Route"):
        response.headers.setlist("Record-Route", list(routes))
    response.headers.set("Contact", core.contact(transaction.flow))
    response.headers.set("Allow", ALLOW)
    set_body(response, SDP, answer.encode())
    return response


class IncomingCall:
    """An INVITE that rings here. Exactly one of `accept` and `reject` answers it."""

    def __init__(self, core: Core, transaction: ServerTransaction, adopt: Callable[[Dialog], None]) -> None:
        request = transaction.request
        self.offer = request.body.decode(errors="replace")
        "SDP offered; empty if the caller wants us to offer."
        self.caller = uri_of(request.headers["From"])
        "URI in From."
        self.target = str(request.uri)
        "Request-URI: whom the caller dialled, or our Contact if a registrar led here."
        self.called = uri_of(request.headers["To"])
        "URI in To: whom the caller dialled."
        self.call_id = request.call_id
        self.cancelled = transaction.cancelled
        "Set if the caller gave up first; `accept` then raises SipFailure(487), and `reject` does nothing."
        self._core = core
        self._transaction = transaction
        self._adopt = adopt

    @property
    def is_answered(self) -> bool:
        """Whether a final response was sent."""
        return self._transaction.is_answered

    async def ring(self) -> None:
        """Send 180 Ringing."""
        if not self.is_answered:
            response = make_response(self._transaction.request, 180, to_tag=self._transaction.to_tag)
            if routes := self._transaction.request.headers.getlist("Record-Route"):
                response.headers.setlist("Record-Route", list(routes))
            response.headers.set("Contact", self._core.contact(self._transaction.flow))
            self._transaction.respond(response)

    async def accept(self, answer: str) -> Dialog:
        """Send 200 with *answer* until the ACK comes; return the call.

        Raises SipFailure(487) if the caller gave up, SipTimeout if no ACK comes (the call is then ended by BYE).
        """
        if self.is_answered or self.cancelled.is_set():
            raise SipFailure(487, "Request Terminated", method="INVITE")
        response = success_response(self._core, self._transaction, answer)
        state = DialogState.of_called(self._transaction.request, response)
        dialog = Dialog(self._core, state, self._transaction.flow, offer=self.offer, answer=answer)
        self._adopt(dialog)
        await dialog.answer_until_acknowledged(self._transaction, answer)
        return dialog

    async def reject(self, status: int, reason: str = "") -> None:
        """Answer with a status of 300 to 699; *reason* defaults to the status's own phrase."""
        if not 300 <= status <= 699:
            raise ValueError(f"a call is refused with a status of 300 to 699, not {status}")
        if not self.is_answered:
            self._transaction.answer(status, reason)
