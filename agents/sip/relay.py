"""Relay credentials by SIP: what a client asks its Front End for before it can use the A/V Edge (the role MRAS plays).

The request is `SERVICE sip:mras@<domain>` with the body `{"conference": "<SIP URI>"}` for a guest, empty for a user
of the pool (who answers the digest challenge). The answer's body is JSON (`application/json`):

    {"username": "<expiry>:<user>", "password": "<base64>", "expires_s": 28800,
     "relay": {"address": "198.51.100.7", "internal_address": "10.0.0.7", "udp_port": 3478, "tcp_port": 443,
               "host": "edge1.contoso.example"}}

`username` and `password` are coturn's time-limited credentials (`use-auth-secret`): the expiry is in UNIX seconds,
and the password is base64(HMAC-SHA1(shared secret, username)).
"""

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

CONTENT_TYPE = "application/json"
SERVICE_USER = "mras"
LIFETIME_S = 8 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """An A/V Edge as clients see it."""

    address: str
    "Address on the outside; relayed addresses are on it too."
    internal_address: str | None = None
    "Address on the inside, for servers and clients that reach the Edge from there."
    udp_port: int = 3478
    tcp_port: int = 443
    host: str | None = None
    "Its name: a client that has a name server asks it for the address that is meant for the client's network."

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Read `{"address", "internal_address", "udp_port", "tcp_port"}`; raise ValueError where it is not that."""
        try:
            internal = document.get("internal_address")
            return cls(
                address=str(document["address"]),
                internal_address=None if internal is None else str(internal),
                udp_port=int(document.get("udp_port", 3478)),
                tcp_port=int(document.get("tcp_port", 443)),
                host=document.get("host"),
            )
        except (KeyError, TypeError, AttributeError) as problem:
            raise ValueError(f"not a relay: {document!r} ({problem})") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayCredentials:
    """Permission to use one relay until *expires_s* from now."""

    username: str
    password: str
    expires_s: int
    relay: Relay

    def to_body(self) -> bytes:
        """Return the body of the answer to SERVICE."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_body(cls, body: bytes) -> Self:
        """Read the body of the answer to SERVICE; raise ValueError where it is not that document."""
        document = json.loads(body)
        try:
            return cls(
                username=str(document["username"]),
                password=str(document["password"]),
                expires_s=int(document["expires_s"]),
                relay=Relay.from_json(document["relay"]),
            )
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not relay credentials: {problem}") from None


def make_credentials(
    *, secret: str, user: str, relay: Relay, now_s: int, lifetime_s: int = LIFETIME_S
) -> RelayCredentials:
    """Make credentials that coturn accepts until `now_s + lifetime_s`; a server that shares the secret may do so."""
    username = f"{now_s + lifetime_s}:{user}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return RelayCredentials(
        username=username, password=base64.b64encode(digest).decode(), expires_s=lifetime_s, relay=relay
    )
