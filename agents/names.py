"""Names: how an agent finds servers by the DNS, asking its network's name server, as RFC 3263 says for SIP."""

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any, Final, Literal

import dns.asyncresolver
import dns.exception
import dns.message
import dns.rdatatype
import dns.resolver

from agents.process import Say
from agents.sip.errors import DomainNotFound
from agents.sip.hop import Domain, Hop, TransportName, default_port
from agents.sip.proxy import Finder, find_nobody

_TRY_LIMIT_S: Final = 1.0
LIMIT_S: Final = 3.5
"Well within what a call's set-up may take."
_SERVICES: Final[dict[TransportName, str]] = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}
_FEDERATION: Final[dict[TransportName, str]] = {**_SERVICES, "tls": "_sipfederationtls._tcp"}
"What servers of other organisations ask for."
_Kind = Literal["A", "SRV"]
_Absent = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)


class NameFailure(Exception):
    """A name was not resolved; the message is one line that says which and why."""


class Names:
    """The names that one agent asks for; an answer is kept as long as its TTL says."""

    def __init__(self, server: str, say: Say, *, port: int = 53, limit_s: float = LIMIT_S) -> None:
        """*server* is the address of the name server; *limit_s* is for one name, repetitions included."""
        self._server, self._say, self._limit_s = server, say, limit_s
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.nameservers, self._resolver.port = [server], port
        self._resolver.timeout, self._resolver.lifetime = _TRY_LIMIT_S, limit_s
        self._resolver.cache = dns.resolver.LRUCache()

    async def sip_server(self, domain: str, transport: TransportName) -> Hop:
        """Return the server of *domain* that is to be tried first (RFC 3263 section 4.2); raise NameFailure.

        Without an SRV record the domain itself is the host. A TLS server must answer for the domain (RFC 5922).
        """
        identity = domain if transport == "tls" else ""
        answer = await self._ask(f"{_SERVICES[transport]}.{domain}", "SRV")
        if answer is None:
            return Hop(await self.address(domain), default_port(transport), transport, identity)
        return await self._first(answer, transport, identity)

    async def federated_server(self, domain: Domain) -> Hop:
        """Return the server at which another organisation awaits those of others; raise DomainNotFound.

        A domain without that SRV record does not federate: its other records are for its own clients.
        """
        name = f"{_FEDERATION[domain.transport]}.{domain.name}"
        try:
            answer = await self._ask(name, "SRV")
            if answer is None:
                raise self._failure(name, "SRV", "there is no such record")
            return await self._first(answer, domain.transport, domain.name if domain.transport == "tls" else "")
        except NameFailure as failure:
            raise DomainNotFound(str(failure)) from None

    async def _first(self, answer: Any, transport: TransportName, identity: str) -> Hop:
        """Return the server of an SRV answer that is to be tried first, with its address."""
        first = min(answer, key=lambda record: (record.priority, -record.weight))
        host = str(first.target).rstrip(".")
        address = _in_addition(answer.response, host) or await self.address(host)
        return Hop(address, first.port, transport, identity)

    async def address(self, host: str) -> str:
        """Return the address of *host*, which may be one already; raise NameFailure."""
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            answer = await self._ask(host, "A")
        if answer is None:
            raise self._failure(host, "A", "there is no such name")
        return str(answer[0])

    async def _ask(self, name: str, kind: _Kind) -> Any:
        """Return the answer, None where there is none of this kind; raise NameFailure where that is not known."""
        began_s = asyncio.get_running_loop().time()
        try:
            answer = await self._resolver.resolve(f"{name}.", kind, search=False)
        except _Absent:
            self._tell(name, kind, began_s, [])
            return None
        except dns.exception.DNSException as error:
            raise self._failure(name, kind, self._why(error)) from None
        self._tell(name, kind, began_s, [record.to_text() for record in answer])
        return answer

    def _failure(self, name: str, kind: _Kind, why: str) -> NameFailure:
        failure = NameFailure(f"name not resolved: {name} ({kind}), asked of {self._server}: {why}")
        self._say({"type": "event", "event": "not-resolved", "name": name, "record": kind, "cause": why})
        return failure

    def _why(self, error: dns.exception.DNSException) -> str:
        if isinstance(error, dns.exception.Timeout):
            return f"no answer within {self._limit_s:g} s"
        return " ".join(str(error).split())

    def _tell(self, name: str, kind: _Kind, began_s: float, answers: list[str]) -> None:
        took_ms = (asyncio.get_running_loop().time() - began_s) * 1000
        self._say({
            "type": "event", "event": "resolved", "name": name, "record": kind, "answers": answers,
            "server": self._server, "took_ms": round(took_ms, 3),
        })  # fmt: skip


def finder_of(job: Mapping[str, Any], say: Say) -> Finder:
    """Return how a server finds those of other organisations: at the name server that its job names."""
    resolver = job.get("resolver")
    return Names(str(resolver), say).federated_server if resolver else find_nobody


def _in_addition(response: dns.message.Message, host: str) -> str | None:
    """Return the address of *host* where it came along with the answer (RFC 2782), or None."""
    for records in response.additional:
        if records.rdtype == dns.rdatatype.A and str(records.name).rstrip(".") == host:
            return str(records[0])
    return None
