"""Dialog state (RFC 3261 section 12), without I/O: the two ends, the way between them, their sequence numbers."""

from dataclasses import dataclass

from sipmessage import URI, Address, Request, Response

from agents.sip.message import make_request, tag_of, with_brackets

DialogId = tuple[str, str, str]
"Call-ID, local tag, remote tag."


def dialog_id_of_request(request: Request) -> DialogId:
    """Return the dialog that an incoming request belongs to, seen from here."""
    return request.call_id, tag_of(request.headers["To"]), tag_of(request.headers["From"])


@dataclass(slots=True)
class DialogState:
    """What one end must remember of a dialog."""

    call_id: str
    local: str
    "Our From (as caller) or To (as called), with its tag."
    remote: str
    "The other's, with its tag."
    target: URI
    "Remote target: the Contact of the other end."
    routes: tuple[str, ...]
    "Route set, in the order in which our requests pass it."
    local_sequence: int
    remote_sequence: int | None

    @classmethod
    def of_caller(cls, request: Request, response: Response) -> "DialogState":
        """Make the caller's side out of its INVITE and a response that has a To tag (section 12.1.2)."""
        return cls(
            call_id=request.call_id,
            local=request.headers["From"],
            remote=response.headers["To"],
            target=_contact_of(response, request.uri),
            routes=tuple(reversed(response.headers.getlist("Record-Route"))),
            local_sequence=request.cseq.sequence,
            remote_sequence=None,
        )

    @classmethod
    def of_called(cls, request: Request, response: Response) -> "DialogState":
        """Make the called side out of the INVITE and our response to it (section 12.1.1)."""
        return cls(
            call_id=request.call_id,
            local=response.headers["To"],
            remote=request.headers["From"],
            target=_contact_of(request, request.uri),
            routes=tuple(request.headers.getlist("Record-Route")),
            local_sequence=0,
            remote_sequence=request.cseq.sequence,
        )

    @property
    def id(self) -> DialogId:
        """Return what requests of this dialog carry."""
        return self.call_id, tag_of(self.local), tag_of(self.remote)

    def request(self, method: str) -> Request:
        """Build the next request in this dialog (section 12.2.1.1)."""
        self.local_sequence += 1
        return self._build(method, self.local_sequence)

    def ack(self, sequence: int) -> Request:
        """Build the ACK of a 2xx to the INVITE with that sequence number (section 13.2.2.4)."""
        return self._build("ACK", sequence)

    def _build(self, method: str, sequence: int) -> Request:
        target, routes = self.target, list(self.routes)
        if routes and "lr" not in Address.parse(routes[0]).uri.parameters:
            # A strict router: its address becomes the Request-URI and the target goes to the end.
            routes.append(f"<{target}>")
            target = Address.parse(routes.pop(0)).uri
        sender, recipient = with_brackets(self.local), with_brackets(self.remote)
        return make_request(
            method, target, sender=sender, recipient=recipient, call_id=self.call_id, sequence=sequence, routes=routes
        )

    def take_request(self, request: Request) -> bool:
        """Note the sequence number of the other end's request; say whether it is in order (section 12.2.2)."""
        sequence = request.cseq.sequence
        if self.remote_sequence is not None and sequence <= self.remote_sequence:
            return False
        self.remote_sequence = sequence
        return True

    def refresh_target(self, message: Request | Response) -> None:
        """Take over the Contact of a re-INVITE or of its 2xx."""
        self.target = _contact_of(message, self.target)


def _contact_of(message: Request | Response, otherwise: URI) -> URI:
    contacts = message.headers.getlist("Contact")
    return Address.parse(contacts[0]).uri if contacts and contacts[0] != "*" else otherwise
