"""A stateful, record-routing proxy (RFC 3261 section 16), around `proxying`. Who goes where is its owner's policy."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sipmessage import URI, Request, Response, Via

from agents.sip.core import hop_of
from agents.sip.errors import DomainNotFound, SipTimeout, TransportFailure
from agents.sip.hop import Domain, Hop, Listen
from agents.sip.message import copy_response, make_response, pop, push, tag_of
from agents.sip.proxying import (
    FlowTokens,
    Refusal,
    endpoint_of,
    next_route,
    own_uri,
    passed_on,
    refusal_of,
    take_own_routes,
)
from agents.sip.stack import ClientTransaction, ServerTransaction, Stack
from agents.sip.transport import ANY_ADDRESS, Flow, local_addresses

TIMER_C_S = 181.0
"Longer than 3 minutes (section 16.6 step 11); each provisional response starts it again."


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    to: Hop | Flow | Domain
    uri: URI | None = None
    "New Request-URI; None leaves it."
    routes: tuple[str, ...] = ()
    "Route values to add: the Path of a binding."


Policy = Callable[[Request, Flow], Target | Refusal]
"Decides about a request that belongs to no dialog and names no further Route, and that came over a given flow."


Finder = Callable[[Domain], Awaitable[Hop]]
"Finds the server of another organisation's domain; raises DomainNotFound."


async def find_nobody(domain: Domain) -> Hop:
    """Find no server: of an element that has no name server to ask."""
    raise DomainNotFound(f"no name server to ask for {domain.name}")


class Proxy:
    """Passes requests on and their responses back."""

    def __init__(self, stack: Stack, policy: Policy, *, listens: Sequence[Listen], find: Finder = find_nobody) -> None:
        self._stack, self._find = stack, find
        self._policy = policy
        self._ports = {listen.port for listen in listens}
        self._addresses = {listen.address for listen in listens} - {ANY_ADDRESS}
        if any(listen.address == ANY_ADDRESS for listen in listens):
            self._addresses |= set(local_addresses())
        self._tokens = FlowTokens()
        stack.on_ack = self._take_ack

    def is_own(self, uri: URI) -> bool:
        """Say whether *uri* names this element by address and port."""
        address, port = endpoint_of(uri)
        return address in self._addresses and port in self._ports

    def has_passed(self, request: Request) -> bool:
        """Say whether *request* has come through this element before: one of its Via is ours (section 16.3 step 4)."""
        vias = (Via.parse(value) for value in request.headers.getlist("Via"))
        return any(self.is_own(URI(scheme="sip", host=via.host, port=via.port)) for via in vias)

    def path_value(self, flow_in: Flow, flow_out: Flow) -> str:
        """Return the Path (RFC 3327) by which the element behind *flow_out* reaches the client behind *flow_in*."""
        return own_uri(flow_out, self._stack.network.port_of(flow_out), user=self._tokens.write(flow_in))

    async def forward(self, transaction: ServerTransaction, *, with_path: bool = False) -> None:
        """Pass a request on and its responses back, until it is answered. *with_path* is for a REGISTER."""
        if transaction.request.method == "INVITE":
            transaction.answer(100)
        try:
            refusal = refusal_of(transaction.request)
            request, target = self._decide(transaction.request, transaction.flow)
            refusal = refusal or (target if isinstance(target, Refusal) else None)
            if refusal is not None or isinstance(target, Refusal):
                self._refuse(transaction, refusal or Refusal(500))
                return
            client = await self._send(transaction, request, target, with_path=with_path)
        except DomainNotFound as problem:
            transaction.answer(504, f"Server Time-out ({problem})")  # RFC 3261 section 21.5.5
            return
        except TransportFailure as problem:
            transaction.answer(503, f"Service Unavailable ({problem})")
            return
        await self._relay_responses(transaction, client)

    def _decide(self, original: Request, flow: Flow) -> tuple[Request, Target | Refusal]:
        request, own = take_own_routes(original, self.is_own)
        # The last of our Route values is that of the side the request leaves by.
        name = self._tokens.read(own[-1].user) if own else None
        known = None if name is None else self._stack.network.find(name.transport, name.remote, name.local_address)
        route = next_route(request)
        if route is not None:
            hop = hop_of(route, flow.transport)
            # The other proxy may be reachable only over the connection that it opened to us.
            back = known is not None and (known.transport, known.remote[0]) == (hop.transport, hop.address)
            return request, Target(known if back and known is not None else hop)
        if known is not None:
            return request, Target(known)
        if tag_of(request.headers["To"]):
            return request, Target(hop_of(request.uri, flow.transport))
        if name is not None:
            return request, Refusal(430, "Flow Failed")  # RFC 5626: the client's connection is gone
        return request, self._policy(request, flow)

    @staticmethod
    def _refuse(transaction: ServerTransaction, refusal: Refusal) -> None:
        response = make_response(transaction.request, refusal.status, refusal.phrase, to_tag=transaction.to_tag)
        if refusal.status == 420:
            response.headers.set("Unsupported", transaction.request.headers.get("Proxy-Require") or "")
        transaction.respond(response)

    async def _send(
        self, transaction: ServerTransaction, request: Request, target: Target, *, with_path: bool
    ) -> ClientTransaction:
        flow_in, flow = transaction.flow, await self._stack.flow_to(await self.located(target))
        is_new_call = request.method == "INVITE" and not tag_of(request.headers["To"])
        onward = passed_on(request, record=self._record_routes(flow, flow_in) if is_new_call else ())
        if target.uri is not None:
            onward.uri = target.uri
        for route in reversed(target.routes):
            push(onward, "Route", route)
        if with_path:
            push(onward, "Path", self.path_value(flow_in, flow))
        return await self._stack.send(onward, flow)

    async def located(self, target: Target) -> Hop | Flow:
        """Return where *target* is, having asked for the server of a domain; raise DomainNotFound."""
        return await self._find(target.to) if isinstance(target.to, Domain) else target.to

    def _record_routes(self, *flows: Flow) -> tuple[str, ...]:
        port_of = self._stack.network.port_of
        return tuple(own_uri(flow, port_of(flow), user=self._tokens.write(flow)) for flow in flows)

    async def _relay_responses(self, transaction: ServerTransaction, client: ClientTransaction) -> None:
        watch = self._stack.spawn(self._watch_cancel(transaction, client))
        is_invite = transaction.request.method == "INVITE"
        try:
            while True:
                wait_s = None if transaction.is_answered or not is_invite else TIMER_C_S
                async with asyncio.timeout(wait_s):
                    response = await client.next_response()
                if response is None:
                    return
                self._relay(transaction, response)
        except TimeoutError:
            self._stack.spawn(client.cancel())
            transaction.answer(408)
        except SipTimeout:
            if is_invite:  # RFC 4320: no 408 for other methods; the client's own timer has run out by now
                transaction.answer(408)
        except TransportFailure as problem:
            transaction.answer(503, f"Service Unavailable ({problem})")
        finally:
            watch.cancel()

    @staticmethod
    def _relay(transaction: ServerTransaction, response: Response) -> None:
        if response.code == 100 or len(response.headers.getlist("Via")) < 2:
            return  # 100 is for each hop by itself (section 16.7 step 5)
        back = copy_response(response)
        pop(back, "Via")
        transaction.respond(back)

    async def _watch_cancel(self, transaction: ServerTransaction, client: ClientTransaction) -> None:
        await transaction.cancelled.wait()
        with contextlib.suppress(TransportFailure):
            try:
                async with asyncio.timeout(self._stack.timing.timeout_ns / 1e9):
                    await client.cancel()
                    await asyncio.Event().wait()  # the answer to the INVITE ends this task
            except TimeoutError:
                transaction.answer(487)  # section 9.1: after 64 T1 the call counts as cancelled

    def _take_ack(self, request: Request, flow: Flow) -> None:
        self._stack.spawn(self._forward_ack(request, flow))

    async def _forward_ack(self, ack: Request, flow: Flow) -> None:
        if refusal_of(ack) is not None:
            return
        with contextlib.suppress(TransportFailure):  # as if lost: the 2xx comes again
            request, target = self._decide(ack, flow)
            if isinstance(target, Target):
                await self._stack.send_ack(passed_on(request, record=()), await self.located(target))
