"""Front End: registrar, proxy and source of relay credentials of one pool, the home server of its users.

Job: `{"domains", "users": {uri: password}, "listen": [{"transport", "port"}], "relay_secret", "relays": [{"address",
"internal_address", "udp_port", "tcp_port", "host"?}], "relay_of": {uri: index}?, "moved": {uri: contact}?, "routes":
[{"match": regex, "next": {"address", "port", "transport"}}], "sip_t1_ns", "challenge_calls": bool?,
"digest_algorithms": ["SHA-256", "MD5"]?, "tls"?, "rest": {"listen": [{"transport": "tls", "port": 443}]}?,
"resolver": address?}`.
A route's `next` is a server, or `{"domain", "transport"}`: the domain's, which the name server at `resolver` tells.
Who is in `moved` has a home elsewhere: a registration is redirected to that SIP URI (301).
`rest` is the web service (`agents.rest.server`).
`match` must match the user part or the host of the Request-URI as a whole; the first that does counts. A request
that has been here before is sent to no route again. Users that `relay_of` does not name are given the relays in turn,
in the order of their URIs.
"""

import json
import re
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sipmessage import URI, Request

from agents.names import finder_of
from agents.pace import LoopLag
from agents.sip.core import hop_of
from agents.sip.digest import ALGORITHMS, Authenticator
from agents.sip.errors import DomainNotFound, SipTimeout, TransportFailure
from agents.sip.hop import Domain, Hop, Listen
from agents.sip.message import make_request, make_response, new_call_id, new_tag, push, set_body, uri_of
from agents.sip.proxy import Proxy, Target
from agents.sip.proxying import Refusal, next_route, take_own_routes
from agents.sip.registrar import Binding, Registrar, RegistrationRefused
from agents.sip.relay import CONTENT_TYPE, SERVICE_USER, Relay, make_credentials
from agents.sip.stack import ServerTransaction, Stack
from agents.sip.tls import Credentials
from agents.sip.transaction import Timing
from agents.sip.transport import Flow, Network, SocketNetwork

if TYPE_CHECKING:
    from agents.rest.server import WebService

Say = Callable[[dict[str, Any]], None]


def aor_of(uri: URI) -> str:
    """Return the address of record that a URI names: user and lower-case host, without port and parameters."""
    return f"{uri.user or ''}@{uri.host.lower()}"


def sender_of(request: Request) -> str:
    """Return the address of record in From."""
    return aor_of(request.from_address.uri)


@dataclass(frozen=True, slots=True)
class StaticRoute:
    """Where requests go whose user part or host matches."""

    match: re.Pattern[str]
    next: Hop | Domain

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "StaticRoute":
        """Read `{"match", "next"}`; raise ValueError where it is not that."""
        try:
            following = document["next"]
            kind = Domain if "domain" in following else Hop
            return cls(re.compile(str(document["match"])), kind.from_json(following))
        except re.error as problem:
            raise ValueError(f"route {document['match']!r} is no regular expression: {problem}") from None
        except KeyError as missing:
            raise ValueError(f"a route needs the key {missing}") from None

    def takes(self, uri: URI) -> bool:
        """Say whether *uri* goes this way."""
        return bool(self.match.fullmatch(uri.user or "") or self.match.fullmatch(uri.host.lower()))


class FrontEnd:
    """One pool's Front End."""

    def __init__(self, job: Mapping[str, Any], say: Say, *, network: Network | None = None) -> None:
        """Read the job; raise ValueError where it is wrong. *network* stands in for sockets in tests."""
        self._say = say
        self._domains = [str(domain).lower() for domain in job["domains"]]
        self._passwords = {aor_of(URI.parse(uri)): str(password) for uri, password in job["users"].items()}
        self._listens = [Listen.from_json(listen) for listen in job["listen"]]
        self._routes = [StaticRoute.from_json(route) for route in job.get("routes", ())]
        self._relays = [Relay.from_json(relay) for relay in job.get("relays", ())]
        self._relay_of = {aor_of(URI.parse(uri)): int(index) for uri, index in job.get("relay_of", {}).items()}
        self._moved = {aor_of(URI.parse(uri)): str(contact) for uri, contact in job.get("moved", {}).items()}
        self._relay_secret = str(job.get("relay_secret", ""))
        self._challenges_calls = bool(job.get("challenge_calls", False))
        algorithms = tuple(str(name).upper() for name in job.get("digest_algorithms", ("MD5",)))
        if unknown := set(algorithms) - set(ALGORITHMS):
            raise ValueError(f"digest_algorithms has {sorted(unknown)}; known are {', '.join(ALGORITHMS)}")
        self._authenticators = {domain: Authenticator(domain, algorithms) for domain in self._domains}
        self._registrar: Registrar[Flow] = Registrar()
        self._stack = Stack(
            network or SocketNetwork.for_server(self._listens, Credentials.from_json(job.get("tls"))),
            timing=Timing(t1_ns=int(job.get("sip_t1_ns", 500_000_000))),
        )
        self._proxy = Proxy(self._stack, self._route, listens=self._listens, find=finder_of(job, say))
        self._stack.on_request = self._take_request
        self._tls = Credentials.from_json(job.get("tls"))
        self._web_listens = [Listen.from_json(listen) for listen in (job.get("rest") or {}).get("listen", ())]
        self._web: WebService | None = None

    async def start(self) -> None:
        """Open the ports. Raises TransportFailure, OSError, ValueError for a web service without a certificate."""
        await self._stack.start(self._listens)
        if self._web_listens:
            # Not above: importing aiohttp takes a quarter of a second, which few scenarios need.
            from agents.rest.server import WebService

            if self._tls is None:
                raise ValueError("rest needs a certificate, in tls")
            self._web = WebService(self._passwords, self._send_message, self._say)
            for listen in self._web_listens:
                await self._web.start(listen.address, listen.port, self._tls.server_context())

    async def stop(self) -> None:
        """Close everything."""
        if self._web is not None:
            await self._web.stop()
        await self._stack.stop()

    def result(self) -> dict[str, Any]:
        """Return what the agent reports at its end."""
        return {"type": "result", "malformed_messages": self._stack.malformed}

    def _take_request(self, transaction: ServerTransaction) -> None:
        request, _ = take_own_routes(transaction.request, self._proxy.is_own)  # softphones name their outbound proxy
        is_ours = request.uri.host.lower() in self._domains or self._proxy.is_own(request.uri)
        is_direct = is_ours and next_route(request) is None
        if request.method == "REGISTER" and is_direct:
            self._register(transaction)
        elif request.method == "SERVICE" and is_direct and request.uri.user == SERVICE_USER:
            self._grant_relay(transaction)
        elif request.method == "OPTIONS" and is_direct and not request.uri.user:
            transaction.answer(200)
        elif request.method == "MESSAGE" and is_direct and self._web is not None:
            self._stack.spawn(self._take_message(transaction, self._web))
        elif self._must_prove_itself(request) and not self._proven(transaction, sender_of(request), 407):
            return
        else:
            self._stack.spawn(self._proxy.forward(transaction))

    def _must_prove_itself(self, request: Request) -> bool:
        is_new = request.method in ("INVITE", "MESSAGE") and not request.to_address.parameters.get("tag")
        return self._challenges_calls and is_new and sender_of(request) in self._passwords

    async def _take_message(self, transaction: ServerTransaction, web: "WebService") -> None:
        """Deliver a MESSAGE to clients of the web service, or pass it on as any other request."""
        request = transaction.request
        sender, text = uri_of(request.headers["From"]), request.body.decode(errors="replace")
        if await web.deliver(aor_of(request.uri), sender, text):
            transaction.answer(200)
        else:
            await self._proxy.forward(transaction)

    async def _send_message(self, aor: str, target: str, text: str) -> int:
        """Send a MESSAGE for a user of the web service, as whose proxy and user agent in one; return what answers."""
        try:
            uri = URI.parse(target)
        except ValueError:
            return 400
        if self._web is not None and await self._web.deliver(aor_of(uri), f"sip:{aor}", text):
            return 200
        sender = f"<sip:{aor}>;tag={new_tag()}"
        request = make_request(
            "MESSAGE", uri, sender=sender, recipient=f"<{target}>", call_id=new_call_id(), sequence=1
        )
        set_body(request, "text/plain;charset=UTF-8", text.encode())
        way = self._next(request)
        if isinstance(way, Refusal):
            return way.status
        request.uri = way.uri or request.uri
        for route in reversed(way.routes):
            push(request, "Route", route)
        try:
            return (await (await self._stack.send(request, await self._proxy.located(way))).final()).code
        except SipTimeout:
            return 408
        except DomainNotFound:
            return 504
        except TransportFailure:
            return 503

    def _route(self, request: Request, flow: Flow) -> Target | Refusal:
        return self._next(request)

    def _next(self, request: Request) -> Target | Refusal:
        uri = request.uri
        if self._is_in_our_domain(uri):
            if bindings := self._registrar.lookup(aor_of(uri), self._stack.now_ns):
                return target_of(bindings[0])
            if aor_of(uri) in self._passwords:
                return Refusal(480)
        route = next((route for route in self._routes if route.takes(uri)), None)
        # Two pools that share a domain each send the other whom they do not know: the second time ends it.
        return Refusal(404) if route is None or self._proxy.has_passed(request) else Target(route.next)

    def _is_in_our_domain(self, uri: URI) -> bool:
        return uri.host.lower() in self._domains

    def _register(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        aor = aor_of(request.to_address.uri)
        if not self._is_in_our_domain(request.to_address.uri):
            transaction.answer(403, "Forbidden (not a domain of this pool)")
            return
        if aor in self._moved:
            response = make_response(request, 301, to_tag=transaction.to_tag)
            response.headers.set("Contact", f"<{self._moved[aor]}>")
            transaction.respond(response)
            return
        if self._proven(transaction, aor, 401) is None:
            return
        try:
            bindings = self._registrar.register(aor, request, transaction.flow, self._stack.now_ns)
        except RegistrationRefused as problem:
            transaction.answer(problem.status, f"{problem}")
            return
        response = make_response(request, 200, to_tag=transaction.to_tag)
        for binding in bindings:
            seconds = binding.seconds_left(self._stack.now_ns)
            response.headers.add("Contact", f"<{binding.contact}>;expires={seconds}")
        if path := request.headers.getlist("Path"):
            response.headers.setlist("Path", list(path))
        transaction.respond(response)
        state = "registered" if bindings else "unregistered"
        self._say({"type": "event", "event": state, "uri": f"sip:{aor}", "from": transaction.flow.remote[0]})

    def _proven(self, transaction: ServerTransaction, aor: str, status: int) -> str | None:
        """Return *aor* if the request carries its right password; else challenge or refuse, and return None."""
        request, domain = transaction.request, aor.partition("@")[2]
        authenticator, password = self._authenticators.get(domain), self._passwords.get(aor)
        if authenticator is None or password is None:
            transaction.answer(404)
            return None
        given, asked = ("Authorization", "WWW-Authenticate") if status == 401 else (
            "Proxy-Authorization", "Proxy-Authenticate")  # fmt: skip
        now_ns, is_stale = self._stack.now_ns, False
        if (credentials := request.headers.get(given)) is not None:
            names = {aor.partition("@")[0]: password, aor: password}
            outcome, _ = authenticator.check(credentials, method=request.method, passwords=names, now_ns=now_ns)
            if outcome == "right":
                return aor
            if outcome == "wrong":
                transaction.answer(403, "Forbidden (wrong user name or password)")
                return None
            is_stale = True
        response = make_response(request, status, to_tag=transaction.to_tag)
        response.headers.setlist(asked, authenticator.challenges(now_ns=now_ns, is_stale=is_stale))
        transaction.respond(response)
        return None

    def _grant_relay(self, transaction: ServerTransaction) -> None:
        request = transaction.request
        aor = sender_of(request)
        if aor in self._passwords:
            if self._proven(transaction, aor, 401) is None:
                return
        elif not self._is_guest_of_conference(request):
            transaction.answer(403, "Forbidden (neither a user of this pool nor a guest of its conferences)")
            return
        if not self._relays:
            transaction.answer(404, "Not Found (this pool has no relay)")
            return
        relay = self._relays[self._relay_index(aor)]
        user = uri_of(request.headers["From"]).removeprefix("sip:")
        granted = make_credentials(secret=self._relay_secret, user=user, relay=relay, now_s=int(time.time()))
        response = make_response(request, 200, to_tag=transaction.to_tag)
        set_body(response, CONTENT_TYPE, granted.to_body())
        transaction.respond(response)
        self._say({"type": "event", "event": "relay-granted", "uri": f"sip:{aor}", "relay": relay.address})

    def _is_guest_of_conference(self, request: Request) -> bool:
        try:
            conference = URI.parse(str(json.loads(request.body)["conference"]))
        except (ValueError, KeyError, TypeError):
            return False
        return self._is_in_our_domain(conference) and any(route.takes(conference) for route in self._routes)

    def _relay_index(self, aor: str) -> int:
        if aor in self._relay_of:
            return self._relay_of[aor] % len(self._relays)
        if aor in self._passwords:
            return sorted(self._passwords).index(aor) % len(self._relays)
        return zlib.crc32(aor.encode()) % len(self._relays)


def target_of(binding: Binding[Flow]) -> Target:
    """Return the way to a registered contact: its Path, else the flow it registered over, else its own address."""
    flow = binding.flow
    if binding.path:
        hop = hop_of(URI.parse(uri_of(binding.path[0])), flow.transport)
        is_same = flow.is_open and (flow.transport, flow.remote[0]) == (hop.transport, hop.address)
        return Target(flow if is_same else hop, binding.contact, binding.path)
    # A UDP client that has said its true address may await calls at another port than it sends from.
    says_its_address = flow.transport == "udp" and binding.contact.host == flow.remote[0]
    if flow.is_open and not says_its_address:
        return Target(flow, binding.contact)
    return Target(hop_of(binding.contact, flow.transport), binding.contact)


async def main(job: Mapping[str, Any], commands: AsyncIterator[dict[str, Any]], say: Say) -> None:
    """Serve until told to stop. Raises TransportFailure if a port is taken, ValueError for a wrong job."""
    front_end = FrontEnd(job, say)
    await front_end.start()
    try:
        lag = LoopLag()
        say({"type": "ready"})
        async for command in commands:
            if command.get("do") == "stop":
                break
    finally:
        await front_end.stop()
    say({**front_end.result(), "loop_lag_ns": lag.stop()})
