"""What a proxy does to a message (RFC 3261 section 16), without I/O: checks, Route and Record-Route, and flow tokens.

A proxy here is on the way of a whole call: it puts two Record-Route values into an INVITE, one for each side (RFC
5658), because the two sides may have different addresses and transports. Each names, signed, the flow on its side
(RFC 5626 section 5.3), so that a later request reaches a client behind a NAT or firewall over the connection that
the client itself opened.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from sipmessage import URI, Address, Request

from agents.sip.hop import TransportName, default_port, transport_name
from agents.sip.message import MAX_FORWARDS, copy_request, pop, push
from agents.sip.transport import Endpoint, Flow

OwnTest = Callable[[URI], bool]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not passed on."""

    status: int
    phrase: str = ""


@dataclass(frozen=True, slots=True)
class FlowName:
    """Where a flow leads, as a token tells it."""

    transport: TransportName
    remote: Endpoint
    local_address: str


class FlowTokens:
    """Writes flows into the user part of our Record-Route and Path URIs, and reads them back; they are signed."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)

    def write(self, flow: Flow) -> str:
        """Return the token of *flow*."""
        name = f"{flow.transport}-{flow.remote[0]}-{flow.remote[1]}-{flow.local[0]}"
        return f"{name}-{self._sign(name)}"

    def read(self, token: str | None) -> FlowName | None:
        """Return what *token* names, or None where it is not ours."""
        name, _, signature = (token or "").rpartition("-")
        if not hmac.compare_digest(signature.encode(), self._sign(name).encode()):
            return None
        transport, address, port, local = name.split("-")
        return FlowName(transport_name(transport), (address, int(port)), local)

    def _sign(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:12]


def refusal_of(request: Request) -> Refusal | None:
    """Return why *request* may not be passed on (section 16.3), or None."""
    if request.max_forwards == 0:
        return Refusal(483)
    if request.headers.get("Proxy-Require"):
        return Refusal(420)
    return None


def take_own_routes(request: Request, is_own: OwnTest) -> tuple[Request, list[URI]]:
    """Return a copy of *request* without the Route values at its head that name us, and those values (section 16.4)."""
    stripped, taken = copy_request(request), []
    routes = stripped.headers.getlist("Route")
    if routes and "lr" in stripped.uri.parameters and is_own(stripped.uri):
        # A strict router before us put our Record-Route value into the Request-URI and the real target last.
        taken.append(stripped.uri)
        stripped.uri = Address.parse(routes[-1]).uri
        if routes[:-1]:
            stripped.headers.setlist("Route", routes[:-1])
        else:
            stripped.headers.remove("Route")
    while (routes := stripped.headers.getlist("Route")) and is_own(Address.parse(routes[0]).uri):
        taken.append(Address.parse(pop(stripped, "Route")).uri)
    return stripped, taken


def next_route(request: Request) -> URI | None:
    """Return the first Route, or None."""
    routes = request.headers.getlist("Route")
    return Address.parse(routes[0]).uri if routes else None


def own_uri(flow: Flow, port: int, *, user: str) -> str:
    """Return the name-addr under which the other end of *flow* reaches this proxy, for Record-Route and Path."""
    return f"<sip:{user}@{flow.local[0]}:{port};transport={flow.transport};lr>"


def passed_on(request: Request, *, record: tuple[str, ...]) -> Request:
    """Return *request* as it goes on but for its Via: one forward less, and our *record* routes, the far side first."""
    onward = copy_request(request)
    hops = request.max_forwards
    onward.max_forwards = MAX_FORWARDS if hops is None else hops - 1
    for value in reversed(record):
        push(onward, "Record-Route", value)
    return onward


def endpoint_of(uri: URI) -> Endpoint:
    """Return host and port that a URI names."""
    is_tls = (uri.parameters.get("transport") or "").lower() == "tls"
    return uri.host, uri.port or default_port("tls" if is_tls else "tcp")
