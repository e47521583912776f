"""A client of the Front End's web service: signs in, sends and receives instant messages, over HTTPS only."""

import asyncio
import contextlib
import ssl
from typing import Any, Final

import aiohttp

from agents.names import NameFailure, Names
from agents.process import Message, Say, one_line
from agents.sip.hop import Hop
from agents.sip.marking import marked_socket
from agents.sip.tls import Credentials

_FAREWELL_LIMIT_S: Final = 0.5


class Refused(Exception):
    """The service answered with an error; *status* is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}".strip())
        self.status = status


def cause_of(error: BaseException) -> str:
    """Return the word that events give for *error*: an HTTP status, or what did not work."""
    match error:
        case Refused():
            return str(error.status)
        case aiohttp.ClientConnectorCertificateError():
            return "certificate-refused"
        case TimeoutError():
            return "timeout"
        case NameFailure():
            return "name-not-resolved"
    return "unreachable"


FAILURES: Final = (Refused, aiohttp.ClientError, NameFailure, TimeoutError, OSError)


class RestClient:
    """One user at one node."""

    def __init__(self, job: Message, say: Say) -> None:
        """Raise ValueError where *job* lacks a key (docs/agents.md)."""
        try:
            self._uri, self._password = str(job["uri"]), str(job["password"])
            host = job["server"].get("host")
            server = Hop.from_json(job["server"] if host is None else {**job["server"], "address": host})
            tls = Credentials.from_json(job["tls"])
        except KeyError as missing:
            raise ValueError(f"a REST client's job needs the key {missing}") from None
        if tls is None:
            raise ValueError("a REST client's job needs the authority that it trusts, in tls")
        self._say, self._server = say, server
        self._names = Names(str(job["resolver"]), say) if job.get("resolver") else None
        self._limit_s = int(job.get("setup_limit_ns", 12_000_000_000)) / 1e9
        self._name = server.name
        context = ssl.create_default_context(cadata=tls.authority)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, socket_factory=lambda _: marked_socket())
        )
        self._root = ""
        "URL of the service, once its name is resolved."
        self._application = ""
        self._listening: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def sign_in(self) -> None:
        """Find the service, prove the password, sign in and await events; raise one of FAILURES."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(self._limit_s):
            address = await self._names.address(self._server.address) if self._names else self._server.address
            self._root = f"https://{address}:{self._server.port}"
            links = await self._ask("GET", "/autodiscover")
            credentials = {"username": self._uri, "password": self._password}
            token = (await self._ask("POST", links["token"], credentials))["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
            applications = links["applications"]
            self._application = f"{applications}/{(await self._ask('POST', applications))['id']}"
        took_ms = round((loop.time() - began_s) * 1000, 3)
        self._say({"type": "event", "event": "registered", "registration_ms": took_ms, "by": "https"})
        self._listening = asyncio.create_task(self._listen())

    async def _ask(self, method: str, path: str, document: Message | None = None) -> Message:
        headers = {"Host": self._name}
        async with self._session.request(
            method, f"{self._root}{path}", json=document, headers=headers, server_hostname=self._name
        ) as response:
            if response.status >= 400:
                raise Refused(response.status, (await response.text())[:200])
            found: dict[str, Any] = {} if response.status == 204 else await response.json()
            return found

    async def _listen(self) -> None:
        last = 0
        while True:
            try:
                told = await self._ask("GET", f"{self._application}/events?after={last}")
            except FAILURES as error:
                self._say({"type": "event", "event": "events-lost", "cause": cause_of(error)})
                return
            last = told["last"]
            for event in told["events"]:
                self._say({"type": "event", "event": "message-received", "from": event["from"], "text": event["text"]})

    def message(self, command: Message) -> None:
        """Send the instant message that *command* asks for."""
        task = asyncio.create_task(self._send(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, command: Message) -> None:
        facts = {"message": command["message"], "to": command["target"]}
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        try:
            async with asyncio.timeout(self._limit_s):
                written = {"to": command["target"], "text": command["text"]}
                status = (await self._ask("POST", f"{self._application}/messages", written))["status"]
        except FAILURES as error:
            failure = {"cause": cause_of(error), "detail": one_line(error)}
            self._say({"type": "event", "event": "message-failed", **facts, **failure})
            return
        answer_ms = round((loop.time() - began_s) * 1000, 3)
        if status == 200:
            self._say({"type": "event", "event": "message-delivered", **facts, "answer_ms": answer_ms})
        else:
            self._say({"type": "event", "event": "message-failed", **facts, "cause": str(status)})

    async def sign_out(self) -> None:
        """Sign out and close, within a second."""
        for task in (*self._tasks, *filter(None, [self._listening])):
            task.cancel()
        if self._listening is not None:
            with contextlib.suppress(*FAILURES):
                async with asyncio.timeout(_FAREWELL_LIMIT_S):
                    await self._ask("DELETE", self._application)
        await self._session.close()
