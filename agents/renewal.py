"""Media made anew within a call, by re-INVITE with new ICE credentials (ICE restart, RFC 8839 section 4.4.1.1.1).

aiortc cannot restart ICE in a connection it has: both ends make a new one, with a DTLS handshake and SSRC of its own,
and close the old one once the new one is heard. On the wire the offer and the answer look like an ICE restart.
"""

import asyncio
from collections.abc import Awaitable, Callable

from agents.call import Call, Session
from agents.media import MediaFailed, MediaSession


async def keep_heard(call: Call, *, silence_s: float, renew: Callable[[], Awaitable[Session]]) -> None:
    """Have *renew* make the media anew each time that nothing was heard for *silence_s*; raise what it raises."""
    loop = asyncio.get_running_loop()
    while isinstance(call.session, MediaSession):
        await call.session.silent(for_s=silence_s)
        call.event("ice-restarting", silent_ms=round(silence_s * 1000))
        began_s, old = loop.time(), call.session
        call.has_settled.clear()
        try:
            call.session = await renew()
        finally:
            call.has_settled.set()
        call.event("ice-restarted", took_ms=round((loop.time() - began_s) * 1000, 3))
        await old.close()


async def answer_again(call: Call, offer: str, open_session: Callable[[], Awaitable[Session]], limit_s: float) -> str:
    """Return the answer to a new offer of the other side; the call takes to the new session when it is connected."""
    session = await open_session()
    answer = await session.answer(offer)
    call.has_settled.clear()
    call.background(_change_over(call, session, limit_s))
    return answer


async def _change_over(call: Call, session: Session, limit_s: float) -> None:
    old, call.session = call.session, session
    try:
        await session.connected(limit_s=limit_s)
        call.event("ice-restarted")
    except MediaFailed as failure:
        call.event("ice-restart-failed", cause=failure.cause)
    finally:
        call.has_settled.set()
        if old is not None:
            await old.close()
