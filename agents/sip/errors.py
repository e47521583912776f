"""What can go wrong in SIP, from the caller's point of view.

SipError
├── MalformedMessage   what came in is not SIP (a ValueError too)
├── SipFailure         the other side answered with a final response of 300 or more
├── SipTimeout         no final response came in time
└── TransportFailure   the message could not be sent: refused, unreachable, connection lost
    ├── CertificateRefused   the server's certificate is not to be trusted, or is somebody else's
    └── DomainNotFound       nobody could say which server another domain has
"""


class SipError(Exception):
    """Anything this package raises; the message is one line."""


class MalformedMessage(SipError, ValueError):
    """Bytes that are not a SIP message, or lack a header field every message has (RFC 3261 section 8.1.1)."""


class SipFailure(SipError):
    """A final response of 300 or more."""

    def __init__(self, status: int, reason: str, *, method: str = "", contact: str = "") -> None:
        super().__init__(f"{method} answered {status} {reason}".strip())
        self.status, self.reason, self.method = status, reason, method
        self.contact = contact
        "URI of its first Contact: where a redirection leads (section 8.1.3.4)."


class SipTimeout(SipError):
    """No final response in time (timers B and F of RFC 3261, or the caller's own limit)."""


class TransportFailure(SipError):
    """The message could not be sent; never raised for loss, which nobody can see."""


class DomainNotFound(TransportFailure):
    """The DNS does not lead to a server of another domain."""


class CertificateRefused(TransportFailure):
    """A TLS server's certificate did not stand the check of RFC 5922: its chain, its dates or its names."""
