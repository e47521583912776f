"""HTTP digest authentication as SIP uses it (RFC 3261 section 22, RFC 2617, 7616, 8760): MD5 and SHA-256, qop=auth.

The parameters are read here and not by `sipmessage`, which splits at every comma and so cannot read
`qop="auth,auth-int"`.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from agents.sip.errors import MalformedMessage

_HASHES: Final = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}
ALGORITHMS: Final = tuple(_HASHES)
_PARAMETER: Final = re.compile(r'\s*([A-Za-z0-9_.!%*+`\'~-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)\s*(?:,|$)')
_UNQUOTED: Final = frozenset({"algorithm", "nc", "qop", "stale"})


def parse_digest(value: str) -> dict[str, str]:
    """Read the parameters of a Digest challenge or of credentials; raise MalformedMessage for anything else."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise MalformedMessage(f"the authentication scheme is {scheme!r}; only Digest is known")
    parameters: dict[str, str] = {}
    position = 0
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise MalformedMessage(f"not a list of digest parameters: {rest[position:]!r}")
        text = match[2]
        parameters[match[1].lower()] = re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
        position = match.end()
    return parameters


def format_digest(parameters: Mapping[str, str], *, quote: Iterable[str] = ()) -> str:
    """Write digest parameters as a header value; those of *quote* are quoted besides the usual ones."""
    bare = _UNQUOTED - set(quote)
    written = []
    for name, value in parameters.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        written.append(f"{name}={value}" if name in bare else f'{name}="{escaped}"')
    return "Digest " + ", ".join(written)


def digest_response(
    *, username: str, password: str, realm: str, method: str, uri: str, nonce: str, nc: str = "", cnonce: str = "",
    qop: str = "", algorithm: str = "MD5",
) -> str:  # fmt: skip
    """Return the `response` parameter (RFC 7616 section 3.4.1); raise MalformedMessage for an unknown algorithm."""
    try:
        chosen = _HASHES[algorithm.upper()]
    except KeyError:
        raise MalformedMessage(f"digest algorithm {algorithm!r} is not known; known are {', '.join(_HASHES)}") from None

    def hashed(text: str) -> str:
        return chosen(text.encode()).hexdigest()

    secret, subject = hashed(f"{username}:{realm}:{password}"), hashed(f"{method}:{uri}")
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return hashed(f"{secret}:{middle}:{subject}")


def answer_challenge(
    challenges: Iterable[str], *, username: str, password: str, method: str, uri: str, nc: int = 1
) -> str | None:
    """Return credentials for the first challenge that can be answered (RFC 8760: in the server's order), or None."""
    for value in challenges:
        try:
            challenge = parse_digest(value)
            return _answer(challenge, username=username, password=password, method=method, uri=uri, nc=nc)
        except MalformedMessage:
            continue  # not Digest, or an algorithm that is not known here: another one may follow
    return None


def _answer(challenge: Mapping[str, str], *, username: str, password: str, method: str, uri: str, nc: int) -> str:
    algorithm = challenge.get("algorithm", "MD5")
    offered = [qop.strip() for qop in challenge.get("qop", "").split(",") if qop.strip()]
    if offered and "auth" not in offered:
        raise MalformedMessage(f"quality of protection {offered} is not known; known is auth")
    if "realm" not in challenge or "nonce" not in challenge:
        raise MalformedMessage("a digest challenge without realm or nonce")
    protected = {"nc": f"{nc:08x}", "cnonce": secrets.token_hex(8), "qop": "auth"} if offered else {}
    response = digest_response(
        username=username, password=password, realm=challenge["realm"], method=method, uri=uri,
        nonce=challenge["nonce"], algorithm=algorithm, **protected,
    )  # fmt: skip
    parameters = {
        "username": username, "realm": challenge["realm"], "nonce": challenge["nonce"], "uri": uri,
        "response": response, "algorithm": algorithm, **protected,
    }  # fmt: skip
    if "opaque" in challenge:
        parameters["opaque"] = challenge["opaque"]
    return format_digest(parameters)


@dataclass(slots=True)
class Authenticator:
    """The server's side: makes challenges and checks credentials, without a store: a nonce carries its time, signed."""

    realm: str
    algorithms: tuple[str, ...] = ("MD5",)
    """Offered in this order, each in a header field of its own (RFC 8760 section 2.4). MD5 alone is what every client
    knows; some take only the first challenge they see, so a longer list is for pools whose clients are known."""
    lifetime_ns: int = 300_000_000_000
    "How long a nonce is good; an older one is answered with stale=true."
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def challenges(self, *, now_ns: int, is_stale: bool = False) -> list[str]:
        """Return the challenges to send."""
        stale = {"stale": "true"} if is_stale else {}
        return [
            format_digest(
                {"realm": self.realm, "nonce": self._nonce(now_ns), "algorithm": algorithm, "qop": "auth", **stale},
                quote=("qop",),
            )
            for algorithm in self.algorithms
        ]

    def check(
        self, credentials: str, *, method: str, passwords: Mapping[str, str], now_ns: int
    ) -> tuple[Literal["right", "wrong", "stale"], str]:
        """Return the outcome and the user's name. *passwords* is by name; credentials that cannot be read are wrong."""
        try:
            given = parse_digest(credentials)
            if given.get("algorithm", "MD5").upper() not in self.algorithms:
                return "wrong", given["username"]
            name = given["username"]
            password = passwords.get(name)
            if password is None or given["realm"] != self.realm:
                return "wrong", name
            expected = digest_response(
                username=name, password=password, realm=self.realm, method=method, uri=given["uri"],
                nonce=given["nonce"], nc=given.get("nc", ""), cnonce=given.get("cnonce", ""), qop=given.get("qop", ""),
                algorithm=given.get("algorithm", "MD5"),
            )  # fmt: skip
            if not hmac.compare_digest(expected.encode(), given["response"].lower().encode()):
                return "wrong", name
            return ("right" if self._is_fresh(given["nonce"], now_ns) else "stale"), name
        except (KeyError, MalformedMessage):
            return "wrong", ""

    def _nonce(self, now_ns: int) -> str:
        return f"{now_ns:x}-{self._sign(now_ns)}"

    def _sign(self, now_ns: int) -> str:
        return hmac.new(self._key, f"{now_ns}:{self.realm}".encode(), hashlib.sha256).hexdigest()[:24]

    def _is_fresh(self, nonce: str, now_ns: int) -> bool:
        moment, _, signature = nonce.partition("-")
        try:
            made_ns = int(moment, 16)
        except ValueError:
            return False
        genuine = hmac.compare_digest(signature.encode(), self._sign(made_ns).encode())
        return genuine and 0 <= now_ns - made_ns <= self.lifetime_ns
