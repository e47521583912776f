"""How an agent comes by its relay: credentials from its Front End or from the shared secret, and a trial."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from agents import ice
from agents.kinds import Mark
from agents.ladder import LIMIT_S, Climb, climb
from agents.names import NameFailure, Names
from agents.process import Message, Say
from agents.sip.errors import SipError
from agents.sip.relay import Relay, RelayCredentials, make_credentials
from agents.sockets import marked

Side = Literal["external", "internal"]
"Which address of the Edge is reached: an agent in the Edge's own network uses the internal one."


def turn_server(
    credentials: RelayCredentials, *, transport: ice.TurnTransport, side: Side, trusts: str | None = None
) -> ice.TurnServer:
    """Return the relay that *credentials* are for, as reached from one side."""
    relay = credentials.relay
    return ice.TurnServer(
        address=(relay.internal_address or relay.address) if side == "internal" else relay.address,
        port=relay.udp_port if transport == "udp" else relay.tcp_port,
        transport=transport,
        username=credentials.username,
        password=credentials.password,
        trusts=trusts,
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
        transports: Sequence[ice.TurnTransport],
        side: Side,
        say: Say,
        trusts: str | None = None,
        names: Names | None = None,
        mark: Mark | None = None,
    ) -> None:
        """*ask* gets credentials by SIP; its argument is the conference that a guest names (else empty).

        *transports* are the rungs of the ladder (`agents.ladder`), in order. With *names* the relay's host name is
        resolved, and *side* does not matter. *mark* says which ports and DSCP the trial has, so that a firewall that
        goes by them lets it through as it does the audio.
        """
        self._mark = mark
        self._ask, self._transports, self._side, self._say = ask, transports, side, say
        self._trusts, self._names = trusts, names
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
            located = await self._located(credentials)
            servers = [
                turn_server(located, transport=transport, side=self._side, trusts=self._trusts)
                for transport in self._transports
            ]
        except NameFailure as error:
            self._fail(ice.RelayError("relay-unreachable", str(error)))
            return None
        except (SipError, ValueError) as error:
            self._fail(ice.RelayError("relay-refused", f"no credentials: {error}"))
            return None
        with marked(self._mark):
            climbed = await climb(servers, partial(ice.try_relay, limit_s=LIMIT_S))
        self.failure = None if climbed.server else climbed.error
        self._say({"type": "event", "event": "relay", **_told(climbed)})
        return climbed.server

    def _fail(self, failure: ice.RelayError) -> None:
        self.failure = failure
        self._say({"type": "event", "event": "relay", "cause": failure.cause, "detail": failure.detail})

    async def _located(self, credentials: RelayCredentials) -> RelayCredentials:
        """Return *credentials* with the address that the relay's name has for us; raise NameFailure."""
        host = credentials.relay.host
        if self._names is None or host is None:
            return credentials
        address = await self._names.address(host)
        return replace(credentials, relay=replace(credentials.relay, address=address, internal_address=None))


def _told(climbed: Climb) -> Message:
    """Return what the event `relay` says: the rung that held or the cause, and the rungs given up."""
    given_up = [{"transport": f.transport, "after_ms": f.after_ms, "why": f.error.detail} for f in climbed.failures]
    if (server := climbed.server) is None:
        error = climbed.error
        return {"cause": error.cause, "detail": error.detail, "given_up": given_up, "took_ms": climbed.took_ms}
    address = f"{server.address}:{server.port}"
    return {"address": address, "transport": server.transport, "given_up": given_up, "took_ms": climbed.took_ms}
