"""Where SIP messages go to and where they are awaited: values without sockets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

TransportName = Literal["udp", "tcp", "tls"]

DEFAULT_PORT = 5060
DEFAULT_TLS_PORT = 5061


def transport_name(text: object) -> TransportName:
    """Turn "UDP" or "tls" into the name used here; raise ValueError for any other transport."""
    name = str(text).lower()
    if name not in ("udp", "tcp", "tls"):
        raise ValueError(f"transport must be udp, tcp or tls, not {text!r}")
    return cast(TransportName, name)


def default_port(transport: TransportName) -> int:
    """Return the port of a URI that names none (RFC 3261 section 19.1.2)."""
    return DEFAULT_TLS_PORT if transport == "tls" else DEFAULT_PORT


@dataclass(frozen=True, slots=True)
class Hop:
    """The next element that a message is sent to (the outcome of RFC 3263 where there is no DNS)."""

    address: str
    "IPv4 address."
    port: int = DEFAULT_PORT
    transport: TransportName = "udp"
    name: str = ""
    "SIP domain or host name that the certificate of a TLS server must hold (RFC 5922)."

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read `{"address", "port", "transport", "name"?}` of agents' jobs; raise ValueError where it is not that."""
        transport = transport_name(document.get("transport", "udp"))
        try:
            return cls(
                str(document["address"]),
                int(document.get("port", default_port(transport))),
                transport,
                str(document.get("name", "")),
            )
        except KeyError as missing:
            raise ValueError(f"a hop needs the key {missing}, which {dict(document)} lacks") from None

    def __str__(self) -> str:
        return f"{self.transport}:{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Domain:
    """Another organisation's SIP domain, whose server is to be found by the DNS when a request goes there."""

    name: str
    transport: TransportName
    "Which its servers are reached by."

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read `{"domain", "transport"}` of agents' jobs; raise ValueError where it is not that."""
        return cls(str(document["domain"]).lower(), transport_name(document.get("transport", "tls")))

    def __str__(self) -> str:
        return f"{self.transport}:{self.name}"


@dataclass(frozen=True, slots=True)
class Listen:
    """A port on which requests are awaited."""

    transport: TransportName
    port: int = DEFAULT_PORT
    address: str = "0.0.0.0"
    'IPv4 address; "0.0.0.0" is every address that the machine has when it starts.'

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read `{"transport", "port", "address"?}` of an agent's job; raise ValueError where it is not that."""
        transport = transport_name(document.get("transport", "udp"))
        return cls(
            transport,
            int(document.get("port", default_port(transport))),
            str(document.get("address", "0.0.0.0")),
        )
