"""The Front End's web service: a small HTTPS REST interface for clients that do not speak SIP, after UCWA's manner.

    GET    /autodiscover              where the rest is
    POST   /token                     {"username", "password"} -> {"access_token"}; the rest wants it as Bearer
    POST   /applications              sign in -> {"id"}
    DELETE /applications/{id}         sign out
    POST   /applications/{id}/messages   {"to", "text"} -> {"status"}: the Front End sends it by SIP MESSAGE
    GET    /applications/{id}/events?after=n   waits for what comes after event n, at most POLL_S

Errors have a status and {"problem"}.
"""

import asyncio
import hmac
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from agents.sip.marking import marked_socket

POLL_S: Final = 25.0
Send = Callable[[str, str, str], Awaitable[int]]
"Sender's address of record, receiver's URI, text; the status that answered the SIP MESSAGE."
Say = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class _Application:
    """One signed-in client."""

    aor: str
    events: list[dict[str, str]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)


class WebService:
    """The REST interface of one pool."""

    def __init__(self, passwords: Mapping[str, str], send: Send, say: Say) -> None:
        """*passwords* is by address of record."""
        self._passwords, self._send, self._say = passwords, send, say
        self._tokens: dict[str, str] = {}
        self._applications: dict[str, _Application] = {}
        application = web.Application()
        application.add_routes(
            [
                web.get("/autodiscover", self._discover),
                web.post("/token", self._grant),
                web.post("/applications", self._sign_in),
                web.delete("/applications/{id}", self._sign_out),
                web.post("/applications/{id}/messages", self._write),
                web.get("/applications/{id}/events", self._events),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)

    async def start(self, address: str, port: int, context: ssl.SSLContext) -> None:
        """Await clients. Raises OSError if the port is taken."""
        await self._runner.setup()
        waiting = marked_socket()
        try:
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            waiting.bind((address, port))
            await web.SockSite(self._runner, waiting, ssl_context=context).start()
        except BaseException:
            waiting.close()
            raise

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    async def deliver(self, aor: str, sender: str, text: str) -> bool:
        """Hand a message to every client of *aor*; say whether there is one."""
        theirs = [application for application in self._applications.values() if application.aor == aor]
        for application in theirs:
            async with application.news:
                application.events.append({"event": "message", "from": sender, "text": text})
                application.news.notify_all()
        return bool(theirs)

    async def _discover(self, request: web.Request) -> web.Response:
        return web.json_response({"token": "/token", "applications": "/applications"})

    async def _grant(self, request: web.Request) -> web.Response:
        document = await _document(request, "username", "password")
        aor = document["username"].removeprefix("sip:")
        password = self._passwords.get(aor)
        if password is None or not hmac.compare_digest(password.encode(), document["password"].encode()):
            raise _refusal(web.HTTPForbidden, "wrong user name or password")
        token = secrets.token_urlsafe(24)
        self._tokens[token] = aor
        return web.json_response({"access_token": token, "token_type": "Bearer"})

    def _user(self, request: web.Request) -> str:
        aor = self._tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if aor is None:
            raise _refusal(web.HTTPUnauthorized, "a token is needed: POST /token")
        return aor

    def _application(self, request: web.Request) -> _Application:
        application = self._applications.get(request.match_info["id"])
        if application is None or application.aor != self._user(request):
            raise _refusal(web.HTTPNotFound, "no such application of yours: POST /applications")
        return application

    async def _sign_in(self, request: web.Request) -> web.Response:
        name, aor = secrets.token_urlsafe(8), self._user(request)
        self._applications[name] = _Application(aor)
        self._say({"type": "event", "event": "registered", "uri": f"sip:{aor}", "from": request.remote, "by": "https"})
        return web.json_response({"id": name}, status=201)

    async def _sign_out(self, request: web.Request) -> web.Response:
        application = self._application(request)
        del self._applications[request.match_info["id"]]
        async with application.news:
            application.news.notify_all()
        return web.Response(status=204)

    async def _write(self, request: web.Request) -> web.Response:
        application, document = self._application(request), await _document(request, "to", "text")
        return web.json_response({"status": await self._send(application.aor, document["to"], document["text"])})

    async def _events(self, request: web.Request) -> web.Response:
        application, after = self._application(request), request.query.get("after", "0")
        if not after.isdecimal():
            raise _refusal(web.HTTPBadRequest, f"after must be a number, not {after!r}")
        known = int(after)
        try:
            async with asyncio.timeout(POLL_S), application.news:
                await application.news.wait_for(lambda: len(application.events) > known or self._is_gone(application))
        except TimeoutError:
            pass  # nothing came: the client asks again
        return web.json_response({"events": application.events[known:], "last": len(application.events)})

    def _is_gone(self, application: _Application) -> bool:
        return application not in self._applications.values()


async def _document(request: web.Request, *keys: str) -> dict[str, str]:
    try:
        document = await request.json()
        return {key: str(document[key]) for key in keys}
    except (ValueError, KeyError, TypeError):
        raise _refusal(web.HTTPBadRequest, f"the body must be a JSON object with {' and '.join(keys)}") from None


def _refusal(kind: type[web.HTTPException], problem: str) -> web.HTTPException:
    return kind(text=f'{{"problem": "{problem}"}}', content_type="application/json")
