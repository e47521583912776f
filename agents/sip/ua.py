"""A SIP user agent (RFC 3261 sections 8, 10, 13-15) for the agents that make and take calls.

alice = UserAgent(uri="sip:alice@contoso.example", local_address="10.1.1.5", transport="tcp",
                  server=Hop("198.18.64.10", 5060, "tcp"), username="alice", password="secret")
await alice.start()
await alice.register()
call = await alice.invite("sip:bob@contoso.example", offer, timeout_s=12)
...call.answer...
await call.bye()
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence

from sipmessage import URI, Request, Response

from agents.sip.call import SDP, Dialog, IncomingCall
from agents.sip.core import ALLOW, Core
from agents.sip.dialog import DialogId, DialogState, dialog_id_of_request
from agents.sip.errors import SipError, SipFailure, SipTimeout, TransportFailure
from agents.sip.hop import Hop, Listen, TransportName
from agents.sip.message import make_response, new_call_id, set_body, tag_of, uri_of
from agents.sip.relay import CONTENT_TYPE, SERVICE_USER, RelayCredentials
from agents.sip.stack import ClientTransaction, ServerTransaction, Stack
from agents.sip.tls import Credentials
from agents.sip.transaction import Timing
from agents.sip.transport import Flow, Network, SocketNetwork
from agents.sip.tunnel import WebProxy

__all__ = [
    "Dialog", "Hop", "IncomingCall", "Listen", "RelayCredentials", "SipError", "SipFailure", "SipTimeout",
    "TransportFailure", "UserAgent",
]  # fmt: skip


_EXPIRES_S = 600
_FIRST_RETRY_S = 1.0
"How long to wait before a registration that failed is tried again; doubled each time (RFC 5626 section 4.5)."
_LONGEST_RETRY_S = 30.0


class UserAgent:
    """One address of record, with its transactions and calls. Every coroutine may be used concurrently."""

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
        proxy: WebProxy | None = None,
        network: Network | None = None,
        tls: Credentials | None = None,
    ) -> None:
        """Nothing is sent or bound before `start`. Raises ValueError if *uri* is none.

        *server* is the outbound proxy: every request out of a dialog goes there; without one, to the host in the
        Request-URI, which must then be an IPv4 address. *transport* is used where there is no server. *listen* gives
        fixed ports; without it UDP binds any port at *local_address*, and TCP takes calls only over the connection it
        opened to the server. *tls* says whom to trust where the transport is tls. *username* defaults to the user part
        of *uri*. *proxy* is a web proxy that every connection goes through. *network* stands in for sockets in tests.
        """
        address = URI.parse(uri)
        network = network or SocketNetwork(local_address=local_address, tls=tls, proxy=proxy)
        self.on_invite: Callable[[IncomingCall], Awaitable[None]] | None = None
        "Called, in a task of its own, for each new call. None answers 480. If it raises, the call gets 500."
        self.on_message: Callable[[str, str, bytes], Awaitable[None]] | None = None
        "Called with (caller URI, content type, body) for each MESSAGE, before its 200. None answers 405."
        self.on_registration_lost: Callable[[SipError], None] | None = None
        "Called when a registration could not be refreshed; it is tried again."
        self._stack = Stack(network, timing=Timing(t1_ns=t1_ns))
        self._core = Core(
            stack=self._stack, uri=address, display_name=display_name, server=server,
            transport=server.transport if server else transport, username=username or address.user or "",
            password=password,
        )  # fmt: skip
        self._listen = tuple(listen)
        self._dialogs: dict[DialogId, Dialog] = {}
        self._registration = (new_call_id(), 0)
        self._refresh: asyncio.Task[None] | None = None
        self._registered_over: Flow | None = None
        self._must_refresh = asyncio.Event()
        self._stack.on_request = self._take_request
        self._stack.on_ack = self._take_ack
        self._stack.on_lost = self._take_loss

    async def start(self) -> None:
        """Bind the sockets. Raises TransportFailure if a port is taken."""
        await self._stack.start(self._listen)

    def use_server(self, server: Hop) -> None:
        """Send every new request out of a dialog to *server* from now on."""
        self._core.server, self._core.transport = server, server.transport

    async def stop(self) -> None:
        """Close all sockets and timers. Sends nothing: hang up and unregister first."""
        await self._stack.stop()

    async def register(self, expires_s: int = _EXPIRES_S) -> None:
        """Register, answering a digest challenge, and keep it fresh until `unregister` or `stop`.

        It is made anew at half its life, and when the connection that calls come over is lost (RFC 5626, 4.2.1).

        Raises SipFailure(status, reason), SipTimeout (no answer within 64 T1) or TransportFailure.
        """
        await self._send_register(expires_s)
        self._stop_refreshing()
        self._refresh = self._stack.spawn(self._keep_registered(expires_s))

    async def unregister(self) -> None:
        """Remove this registration (Expires: 0); raises as `register`."""
        self._stop_refreshing()
        await self._send_register(0)

    async def reconnect(self) -> None:
        """Give up the connection that was registered over, and register over a new one; raises as `register`.

        For a connection that stands but leads nowhere any more, as when routes moved to another NAT or firewall:
        TCP itself would find out in minutes. Over UDP nothing is to be done.
        """
        flow = self._registered_over
        if flow is None or flow.transport == "udp":
            return
        self._registered_over = None  # its loss is no news
        flow.give_up()
        await self._send_register(_EXPIRES_S)

    def _stop_refreshing(self) -> None:
        if self._refresh is not None:
            self._refresh.cancel()
            self._refresh = None

    async def _send_register(self, expires_s: int) -> None:
        core = self._core
        call_id, sequence = self._registration
        registrar = URI(scheme=core.uri.scheme, host=core.uri.host)
        request = core.new_request(
            "REGISTER", registrar, recipient=f"<{core.uri}>", call_id=call_id, sequence=sequence + 1
        )
        flow = await core.way_of(request)
        request.headers.set("Contact", core.contact(flow))
        request.headers.set("Expires", str(expires_s))
        self._registration = (call_id, sequence + 2)  # a challenge takes one number more
        await core.success(request, flow)
        self._registered_over = flow

    def _take_loss(self, flow: Flow) -> None:
        if flow is self._registered_over:
            self._must_refresh.set()

    async def _keep_registered(self, expires_s: int) -> None:
        wait_s = expires_s / 2
        retry_s = _FIRST_RETRY_S
        while True:
            self._must_refresh.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._must_refresh.wait()
            try:
                await self._send_register(expires_s)
                wait_s, retry_s = expires_s / 2, _FIRST_RETRY_S
            except SipError as problem:
                wait_s, retry_s = retry_s, min(2 * retry_s, _LONGEST_RETRY_S)
                if self.on_registration_lost is not None:
                    self.on_registration_lost(problem)

    async def request(
        self, method: str, uri: str, *, content_type: str = "", body: bytes = b"", timeout_s: float | None = None
    ) -> Response:
        """Send a request out of any dialog (SERVICE, MESSAGE, OPTIONS), answering a digest challenge; return the 2xx.

        Raises SipFailure for any other final response, SipTimeout (64 T1, or *timeout_s*), TransportFailure.
        """
        request = self._core.new_request(method, URI.parse(uri), recipient=f"<{uri}>")
        if body:
            set_body(request, content_type, body)
        try:
            async with asyncio.timeout(timeout_s):
                _, response = await self._core.success(request, await self._core.way_of(request))
        except TimeoutError:
            raise SipTimeout(f"{method} {uri}: no final answer within {timeout_s:g} s") from None
        return response

    async def request_relay(self, *, conference: str = "", timeout_s: float | None = None) -> RelayCredentials:
        """Ask the Front End for relay credentials (see `agents.sip.relay`); a guest names the *conference* URI.

        Raises as `request`; ValueError if the answer is not such credentials.
        """
        domain = URI.parse(conference).host if conference else self._core.uri.host
        body = json.dumps({"conference": conference}).encode() if conference else b""
        response = await self.request(
            "SERVICE", f"sip:{SERVICE_USER}@{domain}", content_type=CONTENT_TYPE, body=body, timeout_s=timeout_s
        )
        return RelayCredentials.from_body(response.body)

    async def message(self, uri: str, text: str) -> None:
        """Send an instant message (RFC 3428); raises as `request`."""
        await self.request("MESSAGE", uri, content_type="text/plain;charset=UTF-8", body=text.encode())

    async def invite(
        self, uri: str, offer: str, *, timeout_s: float, on_provisional: Callable[[int], None] | None = None
    ) -> Dialog:
        """Call *uri* with the SDP *offer*; answer a digest challenge; acknowledge; return the call with its `answer`.

        *on_provisional* sees each status from 101 to 199. After *timeout_s* without a final answer SipTimeout is raised
        and the call cancelled in the background (section 9; if it is answered meanwhile, it is hung up). Cancelling the
        task that waits here cancels the call likewise. Raises SipFailure or TransportFailure too.
        """
        request = self._core.new_request("INVITE", URI.parse(uri), recipient=f"<{uri}>")
        set_body(request, SDP, offer.encode())
        pending: list[ClientTransaction] = []
        try:
            async with asyncio.timeout(timeout_s):
                client, response = await self._call(request, pending, on_provisional)
        except TimeoutError:
            self._give_up(pending)
            raise SipTimeout(f"INVITE {uri}: no final answer within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(pending)
            raise
        if response.code >= 300:
            raise SipFailure(response.code, response.phrase, method="INVITE")
        return await self._establish(client, response, offer)

    async def _call(
        self, request: Request, pending: list[ClientTransaction], on_provisional: Callable[[int], None] | None
    ) -> tuple[ClientTransaction, Response]:
        flow = await self._core.way_of(request)
        request.headers.set("Contact", self._core.contact(flow))
        request.headers.set("Allow", ALLOW)
        client, response = await self._attempt(request, flow, pending, on_provisional)
        if (again := self._core.authorised(request, response)) is not None:
            client, response = await self._attempt(again, flow, pending, on_provisional)
        return client, response

    async def _attempt(
        self, request: Request, flow: Flow, pending: list[ClientTransaction],
        on_provisional: Callable[[int], None] | None,
    ) -> tuple[ClientTransaction, Response]:  # fmt: skip
        client = await self._stack.send(request, flow)
        pending[:] = [client]
        async for response in client:
            if response.code >= 200:
                return client, response
            if response.code > 100 and on_provisional is not None:
                on_provisional(response.code)
        raise SipTimeout("the user agent was stopped while calling")

    async def _establish(self, client: ClientTransaction, response: Response, offer: str) -> Dialog:
        state = DialogState.of_caller(client.request, response)
        answer = response.body.decode(errors="replace")
        dialog = Dialog(self._core, state, client.flow, offer=offer, answer=answer)
        self._adopt(dialog)
        await dialog.acknowledge(client, response)
        return dialog

    def _give_up(self, pending: list[ClientTransaction]) -> None:
        for client in pending:
            self._stack.spawn(self._cancel(client))

    async def _cancel(self, client: ClientTransaction) -> None:
        with contextlib.suppress(SipError):  # nobody waits for this call any more
            self._stack.spawn(client.cancel())
            response = await client.final()
            if response.code < 300:
                dialog = await self._establish(client, response, "")
                await dialog.bye()

    def _adopt(self, dialog: Dialog) -> None:
        self._dialogs[dialog.id] = dialog
        self._stack.spawn(self._forget(dialog))

    async def _forget(self, dialog: Dialog) -> None:
        await dialog.ended.wait()
        self._dialogs.pop(dialog.id, None)

    def _take_ack(self, request: Request, flow: Flow) -> None:
        dialog = self._dialogs.get(dialog_id_of_request(request))
        if dialog is not None:
            dialog.take_ack()

    def _take_request(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if tag_of(request.headers["To"]):
            dialog = self._dialogs.get(dialog_id_of_request(request))
            if dialog is None:
                transaction.answer(481)
            else:
                dialog.take_request(transaction)
        elif request.method == "INVITE":
            self._stack.spawn(self._take_call(transaction))
        elif request.method == "MESSAGE" and self.on_message is not None:
            self._stack.spawn(self._take_message(transaction))
        elif request.method == "OPTIONS":
            transaction.respond(self._with_allow(transaction, 200))
        else:
            transaction.respond(self._with_allow(transaction, 405))

    @staticmethod
    def _with_allow(transaction: ServerTransaction, status: int) -> Response:
        response = make_response(transaction.request, status, to_tag=transaction.to_tag)
        response.headers.set("Allow", ALLOW)
        return response

    async def _take_call(self, transaction: ServerTransaction) -> None:
        if self.on_invite is None:
            transaction.answer(480)
            return
        transaction.answer(100)
        watch = self._stack.spawn(self._watch_cancel(transaction))
        try:
            await self.on_invite(IncomingCall(self._core, transaction, self._adopt))
        except SipError:
            pass  # the caller gave up or vanished; `accept` has told the agent
        except Exception:
            if not transaction.is_answered:
                transaction.answer(500)
            raise
        finally:
            if transaction.is_answered:
                watch.cancel()

    @staticmethod
    async def _watch_cancel(transaction: ServerTransaction) -> None:
        await transaction.cancelled.wait()
        if not transaction.is_answered:
            transaction.answer(487)

    async def _take_message(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        if self.on_message is not None:
            content_type = request.headers.get("Content-Type") or ""
            await self.on_message(uri_of(request.headers["From"]), content_type, request.body)
        transaction.answer(200)
