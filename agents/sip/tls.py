"""TLS for SIP (RFC 3261 section 26.3, RFC 5922): whom to trust, what to show, and whose a certificate is.

Whoever connects checks the chain, the dates and the name. A server asks for a certificate too, as servers have one
(mutual TLS) and clients have none: one that is shown must be of the same authority.
"""

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from agents.sip.errors import CertificateRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What one element trusts and what it shows."""

    authority: str
    "PEM certificates of the authorities that are trusted."
    certificate: str = ""
    "PEM certificate to show; a client has none."
    key: str = ""
    "Its private key, PEM."

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> Self | None:
        """Read `{"authority", "certificate"?, "key"?}` of an agent's job; raise ValueError where it is not that."""
        if document is None:
            return None
        if not document.get("authority") or bool(document.get("certificate")) != bool(document.get("key")):
            raise ValueError("tls needs the key 'authority', and 'certificate' and 'key' both or neither")
        return cls(**{name: str(text) for name, text in document.items()})

    def client_context(self) -> ssl.SSLContext:
        """Return the settings of connections that we open; the name is checked by `check_identity`."""
        context = self._context(ssl.Purpose.SERVER_AUTH)
        context.check_hostname = False  # it takes wildcards, which SIP does not (RFC 5922 section 7.2)
        return context

    def server_context(self) -> ssl.SSLContext:
        """Return the settings of connections that we accept; raise ValueError where there is nothing to show."""
        if not self.certificate:
            raise ValueError("a TLS server needs a certificate and its key")
        context = self._context(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        # Made so, a context logs its secrets to the file that SSLKEYLOGFILE names.
        context = ssl.create_default_context(purpose, cadata=self.authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # it reads files only
                file.write(f"{self.key}\n{self.certificate}")
                file.flush()
                context.load_cert_chain(file.name)
        return context


def identities(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the SIP domains and hosts that *certificate* (of `getpeercert`) speaks for (RFC 5922 section 7.1).

    URIs of scheme sip without a user part come first; only where there is none do DNS names count.
    """
    names = [(str(kind), str(value)) for kind, value in certificate.get("subjectAltName", ())]
    uris = [value.partition(":")[2] for kind, value in names if kind == "URI" and value.lower().startswith("sip:")]
    hosts = [uri.partition(";")[0] for uri in uris if "@" not in uri]
    return tuple(name.lower() for name in (hosts or [value for kind, value in names if kind == "DNS"]))


def check_identity(certificate: Mapping[str, Any] | None, name: str) -> None:
    """Raise CertificateRefused unless *certificate* speaks for *name*, without wildcards (RFC 5922 section 7.2)."""
    if not name:
        raise CertificateRefused("no name is known that the certificate must hold")
    held = identities(certificate or {})
    if name.lower() not in held:
        raise CertificateRefused(f"the certificate is for {', '.join(held) or 'nobody'}, not for {name}")


def refusal_of(problem: OSError, where: str) -> CertificateRefused | None:
    """Return what a failed handshake with *where* says of the certificate, or None where it failed otherwise."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return CertificateRefused(f"certificate of {where}: {problem.verify_message}")
    return None
