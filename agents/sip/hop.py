"""Where SIP messages go to and where they are awaited: values without sockets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, cast

TransportName = Literal["udp", "tcp"]

DEFAULT_PORT = 5060


def transport_name(text: object) -> TransportName:
    """Turn "UDP" or "tcp" into the name used here; raise ValueError for any other transport."""
    name = str(text).lower()
    if name not in ("udp", "tcp"):
        raise ValueError(f"transport must be udp or tcp, not {text!r}")
    return cast(TransportName, name)


@dataclass(frozen=True, slots=True)
class Hop:
    """The next element that a message is sent to (the outcome of RFC 3263 where there is no DNS)."""

    address: str
    "IPv4 address."
    port: int = DEFAULT_PORT
    transport: TransportName = "udp"

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read `{"address", "port", "transport"}` as agents' jobs write it; raise ValueError where it is not that."""
        try:
            return cls(
                str(document["address"]),
                int(document.get("port", DEFAULT_PORT)),
                transport_name(document.get("transport", "udp")),
            )
        except KeyError as missing:
            raise ValueError(f"a hop needs the key {missing}, which {dict(document)} lacks") from None

    def __str__(self) -> str:
        return f"{self.transport}:{self.address}:{self.port}"


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
        return cls(
            transport_name(document.get("transport", "udp")),
            int(document.get("port", DEFAULT_PORT)),
            str(document.get("address", "0.0.0.0")),
        )
