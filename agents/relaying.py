"""How an agent comes by its relay: credentials from its Front End or from the shared secret, and a trial."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from agents import ice
from agents.process import Message, Say
from agents.sip.errors import SipError
from agents.sip.relay import Relay, RelayCredentials, make_credentials

Side = Literal["external", "internal"]
"Which address of the Edge is reached: an agent in the Edge's own network uses the internal one."

_TRIAL_LIMIT_S: Final = 2.0
"Two retransmissions of Allocate (RFC 8489 section 6.2.1: after 0.5 and 1.5 s) have then gone unanswered."


def turn_server(credentials: RelayCredentials, *, transport: Literal["udp", "tcp"], side: Side) -> ice.TurnServer:
    """Return the relay that *credentials* are for, as reached from one side."""
    relay = credentials.relay
    return ice.TurnServer(
        address=(relay.internal_address or relay.address) if side == "internal" else relay.address,
        port=relay.udp_port if transport == "udp" else relay.tcp_port,
        transport=transport,
        username=credentials.username,
        password=credentials.password,
    )


def own_turn_server(job_relay: Message, *, user: str, transport: Literal["udp", "tcp"] = "udp") -> ice.TurnServer:
    """Return the relay of a server that shares the secret with it; raise ValueError where *job_relay* lacks a key."""
    try:
        secret = str(job_relay["secret"])
    except KeyError:
        raise ValueError(f"relay needs the key 'secret', which {sorted(job_relay)} lacks") from None
    side: Side = "internal" if job_relay.get("internal_address") else "external"
    credentials = make_credentials(secret=secret, user=user, relay=Relay.from_json(job_relay), now_s=int(time.time()))
    return turn_server(credentials, transport=transport, side=side)


class RelayAccess:
    """A client's relay: asked for once, tried before use; without one it goes on, as real clients do, and says why."""

    def __init__(
        self,
        ask: Callable[[str], Coroutine[Any, Any, RelayCredentials]],
        *,
        transport: Literal["udp", "tcp"],
        side: Side,
        say: Say,
    ) -> None:
        """*ask* gets credentials by SIP; its argument is the conference that a guest names (else empty)."""
        self._ask, self._transport, self._side, self._say = ask, transport, side, say
        self._server: ice.TurnServer | None = None
        self._lock = asyncio.Lock()
        self.failure: ice.RelayError | None = None
        "Why there is no relay; None while there is one or nobody asked."

    async def server(self, conference: str = "") -> ice.TurnServer | None:
        """Return the relay once it has made an allocation for us; None, with `failure` set, if it does not.

        A failure is tried again at the next call; a success is not.
        """
        async with self._lock:
            if self._server is None:
                self._server = await self._obtain(conference)
            return self._server

    async def _obtain(self, conference: str) -> ice.TurnServer | None:
        try:
            credentials = await self._ask(conference)
            server = turn_server(credentials, transport=self._transport, side=self._side)
            await ice.try_relay(server, limit_s=_TRIAL_LIMIT_S)
        except ice.RelayError as error:
            self.failure = error
        except (SipError, ValueError) as error:
            self.failure = ice.RelayError("relay-refused", f"no credentials: {error}")
        else:
            self.failure = None
            self._say({"type": "event", "event": "relay", "address": f"{server.address}:{server.port}"})
            return server
        self._say({"type": "event", "event": "relay", "cause": self.failure.cause, "detail": self.failure.detail})
        return None
