"""The asyncio shell around the transactions: hands messages between network, transactions and users; runs the timers.

What it does itself is the matching of messages to transactions (RFC 3261 section 17), Via on the way out and in
(section 18), and the answer to CANCEL (section 9.2), which is the same for a user agent and for a proxy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

from sipmessage import Request, Response

from agents.sip.errors import MalformedMessage, SipTimeout, TransportFailure
from agents.sip.hop import Hop, Listen, default_port
from agents.sip.message import (
    SipMessage,
    copy_request,
    encode,
    make_response,
    new_branch,
    new_tag,
    note_received,
    parse_message,
    push,
    top_via,
)
from agents.sip.transaction import (
    Action,
    Event,
    Failed,
    Kind,
    PassUp,
    Send,
    State,
    Timing,
    Transaction,
    TransactionKey,
    client_key,
    event_of_status,
    make_cancel,
    server_key,
)
from agents.sip.transport import Flow, Network


class ClientTransaction:
    """A request that was sent, for whoever awaits its responses. Iterate over it, or call `final`."""

    def __init__(self, stack: "Stack", core: Transaction, flow: Flow) -> None:
        self.request = core.request
        "As sent, with our Via."
        self.flow = flow
        self.provisional = asyncio.Event()
        "Set by the first response of any kind: only then may the request be cancelled (section 9.1)."
        self._stack = stack
        self._core = core
        self._responses: asyncio.Queue[Response | Failed | None] = asyncio.Queue()

    def __aiter__(self) -> AsyncIterator[Response]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[Response]:
        while (response := await self.next_response()) is not None:
            yield response

    async def next_response(self) -> Response | None:
        """Return the next response, or None when no more can come. Raises SipTimeout or TransportFailure."""
        item = await self._responses.get()
        if isinstance(item, Failed):
            what = f"{self.request.method} to {self.flow.remote[0]}:{self.flow.remote[1]}"
            if item.cause == "timeout":
                timer = "B" if self.request.method == "INVITE" else "F"
                raise SipTimeout(f"{what}: no answer within 64 T1 (timer {timer})")
            raise TransportFailure(f"{what}: the connection was lost")
        return item

    async def final(self) -> Response:
        """Return the first final response; raises as `next_response`."""
        while (response := await self.next_response()) is not None:
            if response.code >= 200:
                return response
        raise SipTimeout(f"{self.request.method}: the transaction ended without a final response")

    def put(self, item: Response | Failed | None) -> None:
        """Hand on what the transaction passes up (the stack calls this)."""
        if isinstance(item, Response):
            self.provisional.set()
        self._responses.put_nowait(item)

    async def cancel(self) -> None:
        """Send CANCEL as soon as a provisional response is there; do nothing after a final one (section 9.1)."""
        await self.provisional.wait()
        if self._core.state is State.PROCEEDING:
            await self._stack.send_with_via(make_cancel(self.request), self.flow)


class ServerTransaction:
    """A request that came in, for whoever answers it."""

    def __init__(self, stack: "Stack", core: Transaction, flow: Flow) -> None:
        self.request = core.request
        self.flow = flow
        "What the request came over."
        self.to_tag = new_tag()
        "Tag that all our responses to this request carry."
        self.cancelled = asyncio.Event()
        "Set when CANCEL came for this INVITE, before a final response."
        self._stack = stack
        self._core = core

    @property
    def is_answered(self) -> bool:
        """Whether a final response was given."""
        return self._core.state not in (State.TRYING, State.PROCEEDING)

    @property
    def last_response(self) -> Response | None:
        """Return what was answered last."""
        return self._core.last_response

    def respond(self, response: Response) -> None:
        """Send *response*. A second final response is ignored, but for the repetition of a 2xx to an INVITE."""
        self._stack.take(self, event_of_status(response.code), response)

    def answer(self, status: int, phrase: str = "") -> None:
        """Send a response without a body."""
        tag = self.to_tag if status > 100 else ""
        self.respond(make_response(self.request, status, phrase, to_tag=tag))


_Handle = ClientTransaction | ServerTransaction


class Stack:
    """One SIP element's transactions and its network."""

    def __init__(self, network: Network, *, timing: Timing) -> None:
        self.timing = timing
        self.network = network
        self.on_request: Callable[[ServerTransaction], None] = lambda transaction: transaction.answer(501)
        "Called with each new request but ACK and CANCEL."
        self.on_ack: Callable[[Request, Flow], None] = lambda request, flow: None
        "Called with each ACK of a 2xx."
        self.on_lost: Callable[[Flow], None] = lambda flow: None
        "Called when a connection was lost, after the transactions on it have failed."
        self.malformed = 0
        "How many messages could not be read and were dropped."
        self._cores: dict[TransactionKey, tuple[Transaction, _Handle]] = {}
        self._timers: dict[TransactionKey, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        network.on_message = self._receive
        network.on_lost = self._lose

    @property
    def now_ns(self) -> int:
        """The event loop's clock, in nanoseconds."""
        return round(asyncio.get_running_loop().time() * 1e9)

    async def start(self, listens: Sequence[Listen]) -> None:
        """Open the listening ports. Raises TransportFailure."""
        for listen in listens:
            await self.network.listen(listen)

    async def stop(self) -> None:
        """Forget all transactions and close the network; whoever awaits a response gets None."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for _, handle in self._cores.values():
            if isinstance(handle, ClientTransaction):
                handle.put(None)
        self._cores.clear()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.network.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run *work* until done or until `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            # Nobody awaits it: say it now, not when the task is collected.
            context = {"message": f"SIP: {problem!r}", "exception": problem, "task": task}
            task.get_loop().call_exception_handler(context)

    async def flow_to(self, to: Hop | Flow) -> Flow:
        """Return a way to *to*, connecting within 64 T1. Raises TransportFailure."""
        if not isinstance(to, Hop):
            return to
        try:
            async with asyncio.timeout(self.timing.timeout_ns / 1e9):
                return await self.network.flow_to(to)
        except TimeoutError:
            raise TransportFailure(f"cannot connect to {to}: no answer") from None

    async def send(self, request: Request, to: Hop | Flow) -> ClientTransaction:
        """Send *request* with a Via of ours in front; *request* itself is left as it is. Raises TransportFailure."""
        flow = await self.flow_to(to)
        return await self.send_with_via(self.with_via(request, flow), flow)

    def with_via(self, request: Request, flow: Flow) -> Request:
        """Return a copy of *request* with a new Via of ours in front (section 18.1.1)."""
        sent = copy_request(request)
        where = f"{flow.local[0]}:{self.network.port_of(flow)}"
        push(sent, "Via", f"SIP/2.0/{flow.transport.upper()} {where};branch={new_branch()};rport")
        return sent

    async def send_with_via(self, request: Request, flow: Flow) -> ClientTransaction:
        """Send *request*, whose Via is already there, in a transaction of its own. Raises TransportFailure."""
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.NON_INVITE_CLIENT
        core = Transaction(kind, request, reliable=flow.transport != "udp", timing=self.timing, now_ns=self.now_ns)
        handle = ClientTransaction(self, core, flow)
        flow.send(encode(request))
        self._cores[client_key(request)] = (core, handle)
        self._schedule(client_key(request))
        return handle

    async def send_ack(self, ack: Request, to: Hop | Flow) -> Request:
        """Send the ACK of a 2xx, which has no transaction; return it as sent. Raises TransportFailure."""
        flow = await self.flow_to(to)
        sent = self.with_via(ack, flow)
        flow.send(encode(sent))
        return sent

    def take(self, handle: ServerTransaction, event: Event, message: SipMessage) -> None:
        """Give a response to its server transaction (`ServerTransaction.respond` calls this)."""
        key = server_key(handle.request)
        if key in self._cores:
            self._step(key, event, message)

    def _receive(self, data: bytes, flow: Flow) -> None:
        if not data.strip(b"\r\n\0 "):
            return  # a keep-alive
        try:
            message = parse_message(data)
        except MalformedMessage:
            self.malformed += 1
            return
        if isinstance(message, Response):
            if client_key(message) in self._cores:
                self._step(client_key(message), event_of_status(message.code), message)
            return
        note_received(message, address=flow.remote[0], port=flow.remote[1])
        key = server_key(message)
        if key in self._cores:
            self._step(key, Event.ACK if message.method == "ACK" else Event.REQUEST, message)
        elif message.method == "ACK":
            self.on_ack(message, flow)
        else:
            self._begin(key, message, flow)

    def _begin(self, key: TransactionKey, request: Request, flow: Flow) -> None:
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.NON_INVITE_SERVER
        core = Transaction(kind, request, reliable=flow.transport != "udp", timing=self.timing, now_ns=self.now_ns)
        handle = ServerTransaction(self, core, flow)
        self._cores[key] = (core, handle)
        if request.method == "CANCEL":
            self._cancel(handle)
        else:
            self.on_request(handle)

    def _cancel(self, cancel: ServerTransaction) -> None:
        kind, branch, _ = server_key(cancel.request)
        found = self._cores.get((kind, branch, "INVITE"))
        if found is None or not isinstance(found[1], ServerTransaction):
            cancel.answer(481)
            return
        cancel.answer(200)
        if not found[1].is_answered:
            found[1].cancelled.set()

    def _step(self, key: TransactionKey, event: Event, message: SipMessage | None) -> None:
        core, handle = self._cores[key]
        self._perform(key, handle, core.take(event, message, self.now_ns))

    def _fire(self, key: TransactionKey) -> None:
        core, handle = self._cores[key]
        self._perform(key, handle, core.fire(self.now_ns))

    def _perform(self, key: TransactionKey, handle: _Handle, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                self._transmit(key, handle, action.message)
            elif isinstance(handle, ClientTransaction):
                if isinstance(action, Failed):
                    handle.put(action)
                elif isinstance(action.message, Response):
                    handle.put(action.message)
            elif isinstance(action, PassUp) and isinstance(action.message, Request):
                self.on_ack(action.message, handle.flow)
        self._schedule(key)

    def _transmit(self, key: TransactionKey, handle: _Handle, message: SipMessage) -> None:
        try:
            handle.flow.send(encode(message))
        except TransportFailure:
            if isinstance(handle, ServerTransaction) and handle.flow.transport != "udp":
                self.spawn(self._reconnect(handle, message))
            else:
                self._step(key, Event.TRANSPORT_ERROR, None)

    async def _reconnect(self, handle: ServerTransaction, message: SipMessage) -> None:
        # Section 18.2.2: the connection of the request is gone, so the response goes to the Via's address and port.
        via = top_via(message)
        address = via.parameters.get("received") or via.host
        try:
            transport = handle.flow.transport
            handle.flow = await self.flow_to(Hop(address, via.port or default_port(transport), transport))
            handle.flow.send(encode(message))
        except TransportFailure:
            if (key := server_key(handle.request)) in self._cores:
                self._step(key, Event.TRANSPORT_ERROR, None)

    def _schedule(self, key: TransactionKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        if key not in self._cores:
            return
        core, handle = self._cores[key]
        if core.is_over:
            del self._cores[key]
            if isinstance(handle, ClientTransaction):
                handle.put(None)
        elif (deadline_ns := core.deadline_ns) is not None:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_at(deadline_ns / 1e9, self._fire, key)

    def _lose(self, flow: Flow) -> None:
        for key, (_, handle) in list(self._cores.items()):
            if isinstance(handle, ClientTransaction) and handle.flow is flow:
                self._step(key, Event.TRANSPORT_ERROR, None)
        self.on_lost(flow)
