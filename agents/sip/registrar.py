"""A registrar's bindings (RFC 3261 section 10.3), without I/O: each address of record's contacts, and until when."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sipmessage import URI, Address, Request

MIN_EXPIRES_S = 10
MAX_EXPIRES_S = 3600
DEFAULT_EXPIRES_S = 600

FlowT = TypeVar("FlowT")


class RegistrationRefused(Exception):
    """The REGISTER cannot be carried out; *status* is the answer it gets."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True, slots=True)
class Binding(Generic[FlowT]):
    """One contact of one address of record."""

    contact: URI
    expires_ns: int
    call_id: str
    sequence: int
    flow: FlowT
    "What the REGISTER came over."
    path: tuple[str, ...]
    "Path header fields (RFC 3327): the Route set that leads there."

    def seconds_left(self, now_ns: int) -> int:
        """Return what stands in the `expires` parameter of the answer."""
        return max(0, -(-(self.expires_ns - now_ns) // 1_000_000_000))


class Registrar(Generic[FlowT]):
    """All bindings. Keys are addresses of record (`alice@contoso.example`, lower-case host)."""

    def __init__(self) -> None:
        self._bindings: dict[str, dict[str, Binding[FlowT]]] = {}

    def lookup(self, aor: str, now_ns: int) -> list[Binding[FlowT]]:
        """Return the bindings that have not expired, the newest first."""
        alive = {c: b for c, b in self._bindings.get(aor, {}).items() if b.expires_ns > now_ns}
        self._bindings[aor] = alive
        return sorted(alive.values(), key=lambda binding: -binding.expires_ns)

    def register(self, aor: str, request: Request, flow: FlowT, now_ns: int) -> list[Binding[FlowT]]:
        """Carry out an authenticated REGISTER; return the bindings then in force.

        Raises RegistrationRefused, and then changes nothing.
        """
        bindings = {str(binding.contact): binding for binding in self.lookup(aor, now_ns)}
        contacts = request.headers.getlist("Contact")
        if "*" in contacts:
            if len(contacts) > 1 or request.expires != 0:
                raise RegistrationRefused(400, "Contact * must stand alone, with Expires 0")
            self._refuse_old(bindings.values(), request)
            bindings = {}
            contacts = []
        for value in contacts:
            self._bind(bindings, Address.parse(value), request, flow, now_ns)
        self._bindings[aor] = bindings
        return self.lookup(aor, now_ns)

    def _bind(
        self, bindings: dict[str, Binding[FlowT]], contact: Address, request: Request, flow: FlowT, now_ns: int
    ) -> None:
        seconds = _expires_s(contact, request)
        key = str(contact.uri)
        if key in bindings:
            self._refuse_old([bindings[key]], request)
        if seconds == 0:
            bindings.pop(key, None)
            return
        if seconds < MIN_EXPIRES_S:
            raise RegistrationRefused(423, f"expires must be at least {MIN_EXPIRES_S}")
        expires_ns = now_ns + min(seconds, MAX_EXPIRES_S) * 1_000_000_000
        path = tuple(request.headers.getlist("Path"))
        bindings[key] = Binding(contact.uri, expires_ns, request.call_id, request.cseq.sequence, flow, path)

    @staticmethod
    def _refuse_old(bindings: Iterable[Binding[FlowT]], request: Request) -> None:
        # Section 10.3 step 7: within one Call-ID the sequence number must rise, or a late copy would undo a newer one.
        for binding in bindings:
            if binding.call_id == request.call_id and request.cseq.sequence <= binding.sequence:
                raise RegistrationRefused(500, "CSeq is not higher than that of the registration in force")


def _expires_s(contact: Address, request: Request) -> int:
    text = contact.parameters.get("expires")
    if text is not None:
        # A value that is no number counts as the default (section 10.2.1.1).
        return int(text) if text.isdecimal() and len(text) < 10 else DEFAULT_EXPIRES_S
    return DEFAULT_EXPIRES_S if request.expires is None else request.expires
