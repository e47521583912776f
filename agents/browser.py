"""A client's HTTP: pages over TLS whose certificates are looked up in their authority's list of what is revoked.

The name server of the client's network says where a host is; whoever answers must show a certificate of the authority
for that name which the list, fetched from where the certificate says (RFC 5280 section 4.2.1.13), does not have.
"""

import asyncio
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from agents.names import NameFailure, Names
from agents.process import Say, one_line

LIMIT_S: Final = 4.0
"For one connection, request and answer."
_EXPECTED: Final = {"portal": ("GET", 200), "telemetry": ("POST", 204), "cdn": ("GET", 200)}
"Kind of server to the request and the status that says that it worked."


class VisitFailure(Exception):
    """The other side is not to be trusted or did not answer as it should; the message is one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One page to ask for, or place to post to."""

    service: str
    kind: str
    url: str


class _Connection(http.client.HTTPConnection):
    """A connection to a host at an address that somebody else has looked up, over TLS where there is a context."""

    def __init__(self, host: str, address: str, port: int, context: ssl.SSLContext | None) -> None:
        super().__init__(host, port, timeout=LIMIT_S)
        self._address, self._context = address, context

    def connect(self) -> None:
        sock = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(sock, server_hostname=self.host) if self._context else sock

    @property
    def certificate(self) -> bytes:
        """What the other side has shown, DER; only of a connection over TLS."""
        return (self.sock.getpeercert(binary_form=True) or b"") if isinstance(self.sock, ssl.SSLSocket) else b""


class Browser:
    """One client's visits, and the lists that it has fetched for them."""

    def __init__(self, names: Names, authority: str, say: Say) -> None:
        """*authority* is the certificate (PEM) that everything must be signed by."""
        self._names, self._say = names, say
        self._authority = x509.load_pem_x509_certificate(authority.encode())
        self._context = ssl.create_default_context(cadata=authority)
        self._lists: dict[str, x509.CertificateRevocationList] = {}
        self._fetching = asyncio.Lock()

    async def visit(self, visit: Visit) -> None:
        """Make a visit and tell how it went: `visited`, or `visit-failed` with the cause."""
        began_s = asyncio.get_running_loop().time()
        told = {"type": "event", "service": visit.service, "url": visit.url}
        try:
            status, body = await self._make(visit)
        except (NameFailure, VisitFailure, OSError, http.client.HTTPException, ValueError) as error:
            self._say({**told, "event": "visit-failed", "cause": one_line(error)})
            return
        took_ms = round((asyncio.get_running_loop().time() - began_s) * 1000, 3)
        self._say({**told, "event": "visited", "status": status, "bytes": len(body), "took_ms": took_ms})

    async def _make(self, visit: Visit) -> tuple[int, bytes]:
        method, expected = _EXPECTED[visit.kind]
        connection = await self._connect(visit.url)
        try:
            await self._check(x509.load_der_x509_certificate(connection.certificate))
            sent = json.dumps({"event": "signed-in"}).encode() if method == "POST" else None
            status, body = await asyncio.to_thread(_ask, connection, method, urlsplit(visit.url).path or "/", sent)
        finally:
            connection.close()
        if status != expected:
            raise VisitFailure(f"{method} {visit.url} was answered {status}, not {expected}")
        return status, body

    async def _connect(self, url: str) -> _Connection:
        parts = urlsplit(url)
        host, context = parts.hostname or "", self._context if parts.scheme == "https" else None
        address = await self._names.address(host)
        port = parts.port or (http.client.HTTPS_PORT if context else http.client.HTTP_PORT)
        connection = _Connection(host, address, port, context)
        await asyncio.to_thread(connection.connect)
        return connection

    async def _check(self, certificate: x509.Certificate) -> None:
        """Raise VisitFailure if *certificate* is revoked, or if that cannot be known."""
        url = _list_of(certificate)
        async with self._fetching:
            if url not in self._lists:
                self._lists[url] = await self._fetch_list(url)
        if self._lists[url].get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise VisitFailure(f"the certificate {certificate.serial_number:x} is revoked, says {url}")

    async def _fetch_list(self, url: str) -> x509.CertificateRevocationList:
        connection = await self._connect(url)
        try:
            status, body = await asyncio.to_thread(_ask, connection, "GET", urlsplit(url).path, None)
        finally:
            connection.close()
        if status != http.client.OK:
            raise VisitFailure(f"GET {url} was answered {status}")
        revoked = check_list(body, self._authority)
        self._say({"type": "event", "event": "revocations", "url": url, "entries": len(revoked), "bytes": len(body)})
        return revoked


def _list_of(certificate: x509.Certificate) -> str:
    """Return where the list of revoked certificates is; raise VisitFailure where *certificate* does not say."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        return str(next(name.value for point in points for name in point.full_name or ()))
    except (x509.ExtensionNotFound, StopIteration):
        raise VisitFailure("the certificate names no list of revoked certificates") from None


def check_list(
    encoded: bytes, authority: x509.Certificate, *, now: datetime | None = None
) -> x509.CertificateRevocationList:
    """Return a list of revoked certificates (DER) that *authority* signed and that is in date; raise VisitFailure."""
    try:
        found = x509.load_der_x509_crl(encoded)
        key = authority.public_key()
        signed = isinstance(key, EllipticCurvePublicKey) and found.is_signature_valid(key)
    except (ValueError, InvalidSignature) as error:
        raise VisitFailure(f"what came is no list of revoked certificates: {one_line(error)}") from None
    if not signed or found.issuer != authority.subject:
        raise VisitFailure("the list of revoked certificates is not signed by the authority")
    if found.next_update_utc is None or found.next_update_utc < (now or datetime.now(UTC)):
        raise VisitFailure(f"the list of revoked certificates was good until {found.next_update_utc}")
    return found


def _ask(connection: _Connection, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    headers = {"Connection": "close", **({"Content-Type": "application/json"} if body else {})}
    connection.request(method, path, body=body, headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()
