"""What a user agent's registration, requests and calls share: identity, way to the server, answers to challenges."""

import re
from dataclasses import dataclass

from sipmessage import URI, Address, Request, Response

from agents.sip.digest import answer_challenge
from agents.sip.errors import SipFailure, TransportFailure
from agents.sip.hop import Hop, TransportName, default_port, transport_name
from agents.sip.message import copy_request, make_request, new_call_id, new_tag, tag_of, uri_of
from agents.sip.stack import Stack
from agents.sip.transport import Flow

_CHALLENGES = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}
ALLOW = "INVITE, ACK, CANCEL, BYE, MESSAGE, OPTIONS"
_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}")


def hop_of(uri: URI, default: TransportName) -> Hop:
    """Return where a URI points to; raise TransportFailure for a name, as nothing here asks DNS."""
    if not _IPV4.fullmatch(uri.host):
        raise TransportFailure(f"{uri} names no IPv4 address, and no server or route leads there")
    told = uri.parameters.get("transport")
    try:
        transport = transport_name(told) if told else default
        return Hop(uri.host, uri.port or default_port(transport), transport)
    except ValueError as problem:
        raise TransportFailure(f"{uri}: {problem}") from None


@dataclass(slots=True)
class Core:
    """One address of record and how it reaches the world."""

    stack: Stack
    uri: URI
    display_name: str
    transport: TransportName
    server: Hop | None
    username: str
    password: str

    def local_value(self) -> str:
        """Return From for a new dialog or request."""
        return str(Address(self.uri, self.display_name)) + f";tag={new_tag()}"

    def contact(self, flow: Flow) -> str:
        """Return the Contact under which the other end of *flow* reaches us."""
        user = f"{self.uri.user}@" if self.uri.user else ""
        where = f"{flow.local[0]}:{self.stack.network.port_of(flow)}"
        return f"<sip:{user}{where};transport={flow.transport}>"

    def new_request(self, method: str, target: URI, *, recipient: str, call_id: str = "", sequence: int = 1) -> Request:
        """Build a request out of any dialog."""
        return make_request(
            method, target, sender=self.local_value(), recipient=recipient, call_id=call_id or new_call_id(),
            sequence=sequence,
        )  # fmt: skip

    async def way_of(self, request: Request, known: Flow | None = None) -> Flow:
        """Return the way that *request* takes: its first Route, else the server, else its Request-URI (section 8.1.2).

        *known* is the flow of the dialog: used as long as it leads to the same address, as firewalls know it.
        Raises TransportFailure.
        """
        routes = request.headers.getlist("Route")
        if routes:
            hop = hop_of(Address.parse(routes[0]).uri, self.transport)
        elif self.server is not None and not tag_of(request.headers["To"]):
            hop = self.server
        else:
            hop = hop_of(request.uri, self.transport)
        if known is not None and known.is_open and (known.transport, known.remote[0]) == (hop.transport, hop.address):
            return known
        return await self.stack.flow_to(hop)

    async def final(self, request: Request, flow: Flow) -> tuple[Request, Response]:
        """Send a request that is no INVITE and answer a challenge; return what was sent last and its final response.

        Raises SipTimeout, TransportFailure.
        """
        client = await self.stack.send(request, flow)
        response = await client.final()
        if (again := self.authorised(request, response)) is None:
            return request, response
        client = await self.stack.send(again, flow)
        return again, await client.final()

    async def success(self, request: Request, flow: Flow) -> tuple[Request, Response]:
        """Do as `final`, and raise SipFailure where the answer is no 2xx."""
        sent, response = await self.final(request, flow)
        if response.code >= 300:
            contacts = response.headers.getlist("Contact")
            contact = uri_of(contacts[0]) if contacts else ""
            raise SipFailure(response.code, response.phrase, method=request.method, contact=contact)
        return sent, response

    def authorised(self, request: Request, response: Response) -> Request | None:
        """Return *request* with the answer to the challenge in *response* (RFC 3261 sections 22.2 and 22.3).

        None where there is none that can be answered, or where one was answered before and refused.
        """
        if response.code not in (401, 407) or not self.password:
            return None
        asked, answered = _CHALLENGES[response.code]
        if request.headers.get(answered) is not None:
            return None
        credentials = answer_challenge(
            response.headers.getlist(asked), username=self.username, password=self.password, method=request.method,
            uri=str(request.uri),
        )  # fmt: skip
        if credentials is None:
            return None
        again = copy_request(request)
        again.headers.set(answered, credentials)
        again.headers.set("CSeq", f"{request.cseq.sequence + 1} {request.method}")
        return again
