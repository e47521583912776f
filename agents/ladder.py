"""The fallback ladder: which transport reaches the relay, found by trying, as RFC 8305 does for addresses.

The rungs are UDP, TCP on port 443 and TLS on port 443 (RFC 8656 section 2.1). A firewall that drops says nothing, so
silence is the only sign: each rung has a head start over the next, and the first that gives an allocation is used.
"""

import asyncio
from asyncio.staggered import staggered_race
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from agents.ice import RelayError, TurnServer, TurnTransport

HEAD_START_S: Final = 1.0
"""How long a rung may take before the next one is tried beside it: Allocate has then been sent twice (RFC 8489 section
6.2.1: again after 0.5 s), and its two round trips fit in even where one of the requests was lost."""
LIMIT_S: Final = 2.0
"How long a rung may take at all: two retransmissions of Allocate (after 0.5 and 1.5 s) have then gone unanswered."


@dataclass(frozen=True, slots=True)
class Failure:
    """A rung that gave nothing, or was overtaken by a lower one."""

    transport: TurnTransport
    after_ms: float
    "From the start of this rung until it failed, or until another was there first."
    error: RelayError


@dataclass(frozen=True, slots=True)
class Climb:
    """How the search ended."""

    server: TurnServer | None
    "None where no rung gave an allocation."
    failures: tuple[Failure, ...]
    "Rungs that were tried in vain, in order."
    took_ms: float
    "From the first request to the allocation, or until the last rung was given up."

    @property
    def error(self) -> RelayError:
        """Return what to say where no rung held: refused, if any relay was reached and said no."""
        refused = any(failure.error.cause == "relay-refused" for failure in self.failures)
        told = "; ".join(f"{f.transport}: {f.error.detail}" for f in self.failures)
        return RelayError("relay-refused" if refused else "relay-unreachable", told)


async def climb(
    servers: Sequence[TurnServer],
    try_rung: Callable[[TurnServer], Awaitable[None]],
    *,
    head_start_s: float = HEAD_START_S,
) -> Climb:
    """Try *servers* in order, each *head_start_s* after the one before, or at once where that one has failed.

    *try_rung* makes a trial allocation and raises RelayError; it bounds its own time.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    failed: dict[int, Failure] = {}

    async def attempt(index: int, server: TurnServer) -> TurnServer:
        started_s = loop.time()
        try:
            await try_rung(server)
        except (RelayError, asyncio.CancelledError) as error:
            after_s = loop.time() - started_s
            told = error if isinstance(error, RelayError) else _overtaken(after_s)
            failed[index] = Failure(server.transport, round(after_s * 1000, 3), told)
            raise
        return server

    attempts = [partial(attempt, index, server) for index, server in enumerate(servers)]
    winner, _, errors = await staggered_race(attempts, head_start_s)
    for error in errors:
        if isinstance(error, Exception) and not isinstance(error, RelayError):
            raise error  # a defect, which the race keeps to itself
    took_ms = round((loop.time() - began_s) * 1000, 3)
    return Climb(winner, tuple(failed[index] for index in sorted(failed)), took_ms)


def _overtaken(after_s: float) -> RelayError:
    return RelayError("relay-unreachable", f"no answer to Allocate within {after_s:.1f} s, when another rung answered")
