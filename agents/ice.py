"""What ICE, STUN and TURN did, read from aiortc and aioice: candidates, the selected pair, why a relay gave nothing."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from aioice import stun, turn
from aiortc import RTCIceServer

from agents.kinds import Mark
from agents.process import Message
from agents.sockets import marked

_ALLOCATION_MISMATCH: Final = 437
_TRIES: Final = 4
RelayCause = Literal["relay-refused", "relay-unreachable"]
TurnTransport = Literal["udp", "tcp", "tls"]
"Between a client and its relay; what the relay relays is UDP with any of them."


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnServer:
    """The one relay of a session, and the right to use it."""

    address: str
    port: int
    transport: TurnTransport
    username: str
    password: str
    trusts: str | None = None
    "Certificate (PEM) of the authority that the relay's must be from; None: the system's authorities. For tls."

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what TLS to this relay is verified by: its certificate must name the address; None without TLS."""
        return ssl.create_default_context(cadata=self.trusts) if self.transport == "tls" else None

    def ice_servers(self) -> list[RTCIceServer]:
        """Return what aiortc wants to be told.

        Over UDP the relay answers STUN too, so that server-reflexive candidates exist. Over TCP there is none: UDP is
        then taken to be blocked, and aioice would wait 5 s for a STUN answer that cannot come.
        """
        url = f"{self.address}:{self.port}"
        scheme, transport = ("turns", "tcp") if self.transport == "tls" else ("turn", self.transport)
        servers = [
            RTCIceServer(urls=f"{scheme}:{url}?transport={transport}", username=self.username, credential=self.password)
        ]
        return [RTCIceServer(urls=f"stun:{url}"), *servers] if self.transport == "udp" else servers


class RelayError(Exception):
    """The relay gives no allocation; *cause* is the word for it, the message tells more."""

    def __init__(self, cause: RelayCause, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")
        self.cause, self.detail = cause, detail


async def try_relay(server: TurnServer, *, limit_s: float) -> None:
    """Make an allocation (RFC 8656 section 7) and give it back; raise RelayError if that fails or takes over *limit_s*.

    aioice waits 5 s for a relay and then goes on without telling why; this tells, and sooner.
    """
    try:
        async with asyncio.timeout(limit_s):
            transport, _ = await turn.create_turn_endpoint(
                _Allocation,
                server_addr=(server.address, server.port),
                username=server.username,
                password=server.password,
                transport="udp" if server.transport == "udp" else "tcp",
                ssl=server.tls_context(),
            )
    except stun.TransactionFailed as failure:
        code, reason = failure.response.attributes.get("ERROR-CODE", (0, "no reason given"))
        raise RelayError("relay-refused", f"Allocate answered {code} {reason}") from None
    except TimeoutError:
        raise RelayError("relay-unreachable", f"no answer to Allocate within {limit_s:g} s") from None
    except (OSError, stun.TransactionError) as error:
        raise RelayError("relay-unreachable", " ".join(str(error).split())) from None
    transport.close()


def ask_anew_on_mismatch(create: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return aioice's `create_turn_endpoint` with what RFC 8656 section 7.4 asks of a client that is answered 437.

    The relay still knows an allocation from the port that our socket happened to get, for instance of a trial that was
    given back a moment ago: the client then asks from another port. aioice would go on without a relay.
    """

    async def create_anew(*arguments: Any, **named: Any) -> Any:
        for _ in range(_TRIES - 1):
            try:
                return await create(*arguments, **named)
            except stun.TransactionFailed as failure:
                if failure.response.attributes.get("ERROR-CODE", (0, ""))[0] != _ALLOCATION_MISMATCH:
                    raise
        return await create(*arguments, **named)

    return create_anew


turn.create_turn_endpoint = ask_anew_on_mismatch(turn.create_turn_endpoint)


class _Allocation(asyncio.DatagramProtocol):
    """An allocation nobody sends over."""


def describe(candidate: Any) -> Message:
    """Return one aiortc candidate as results tell it (RFC 8445 section 5.1)."""
    related = {"related_address": candidate.relatedAddress, "related_port": candidate.relatedPort}
    return {
        "type": candidate.type,
        "address": candidate.ip,
        "port": candidate.port,
        "priority": candidate.priority,
        **(related if candidate.relatedAddress else {}),
    }


def candidates(ice_transport: Any) -> tuple[list[Message], list[Message]]:
    """Return the local and the remote candidates of an aiortc ICE transport."""
    local = ice_transport.iceGatherer.getLocalCandidates()
    return [describe(c) for c in local], [describe(c) for c in ice_transport.getRemoteCandidates()]


def trust_relay(ice_transport: Any, server: TurnServer) -> None:
    """Have an aiortc ICE transport verify the TLS of *server* by the authority that it names.

    aioice hands what it has as `turn_ssl` to asyncio, which takes a context too; aiortc only says whether.
    """
    if (context := server.tls_context()) is not None:
        ice_transport._connection.turn_ssl = context


def confine(ice_transport: Any, *, address: str | None, gather_limit_s: float, mark: Mark | None = None) -> None:
    """Have an aiortc ICE transport gather on *address* alone, and wait for STUN and TURN at most *gather_limit_s*.

    Its sockets, those towards its relay too, get the ports and the DSCP of *mark*.

    aioice takes both as arguments of `Connection.get_component_candidates`, but aiortc passes neither. On a node with a
    second network, candidates there could cross to where the node must not, and STUN from there waits for lost answers.
    """
    connection = ice_transport._connection
    gather = connection.get_component_candidates

    async def gather_confined(component: int, addresses: list[str]) -> Any:
        with marked(mark):
            own = [a for a in addresses if address in (None, a)]
            return await gather(component, own, timeout=gather_limit_s)

    connection.get_component_candidates = gather_confined


def put_two_relays_last(ice_transport: Any, *, patience_s: float) -> None:
    """Have the controlling side of an aiortc ICE transport check pairs of two relays only after *patience_s*.

    aioice nominates the first pair that works. A relay drops the first check of a pair with one relay if the other end
    has not permitted its source yet, and then two relays win by chance. RFC 8445 section 8.1.1 leaves it to the
    controlling side how long it looks for a better pair; so one relay wins wherever one is enough.
    """
    connection = ice_transport._connection
    check = connection.check_start

    async def check_in_turn(pair: Any) -> None:
        if connection.ice_controlling and _is_of_two_relays(pair):
            connection.check_state(pair, pair.State.IN_PROGRESS)  # while it is WAITING, no other check would start
            await asyncio.sleep(patience_s)  # cancelled as soon as another pair is nominated
        await check(pair)

    connection.check_start = check_in_turn


def prefer_direct(ice_transport: Any, *, patience_s: float) -> None:
    """Have the controlling side nominate no pair with a relay while a check that came straight is being answered.

    A check of the other side on a direct pair shows that one to be likely to work, but the check that it triggers
    takes a round trip, and aioice would meanwhile nominate what works already. A call that needs a relay loses no
    time: nothing comes straight there. Where the other side's checks reach us and ours do not reach it, *patience_s*
    is lost.
    """
    connection = ice_transport._connection
    preference = _DirectFirst(connection, patience_s)
    take, connect = connection.check_incoming, connection.connect

    def take_and_note(message: Any, address: tuple[str, int], protocol: Any) -> None:
        take(message, address, protocol)
        preference.heard.update(map(id, preference.pairs(protocol, address)))

    async def connect_patiently() -> None:
        for protocol in connection._protocols:
            protocol.request = preference.yielding(protocol)
        await connect()

    connection.check_incoming, connection.connect = take_and_note, connect_patiently


class _DirectFirst:
    """Holds the answer to a check of a relayed pair back while a direct pair may be about to work."""

    def __init__(self, connection: Any, patience_s: float) -> None:
        self._connection, self._patience_s = connection, patience_s
        self.heard: set[int] = set()
        "Pairs on which the other side's check has come."

    def pairs(self, protocol: Any, address: tuple[str, int]) -> list[Any]:
        return [p for p in self._connection._check_list if p.protocol is protocol and p.remote_addr == address]

    def yielding(self, protocol: Any) -> Callable[..., Awaitable[Any]]:
        """Return the protocol's `request` with what has to be awaited before its answer counts."""
        request = protocol.request

        async def request_and_yield(message: Any, address: tuple[str, int], **named: Any) -> Any:
            answer = await request(message, address, **named)
            if any(self._may_be_nominated(pair) and not _is_direct(pair) for pair in self.pairs(protocol, address)):
                await self._better_tried()
            return answer

        return request_and_yield

    def _may_be_nominated(self, pair: Any) -> bool:
        return self._connection.ice_controlling and pair.component not in self._connection._nominating

    async def _better_tried(self) -> None:
        """Wait for the checks of direct pairs; cancelled as soon as one of them is nominated."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + self._patience_s
        while (tasks := self._hopeful()) and (left_s := until_s - loop.time()) > 0:
            await asyncio.wait(tasks, timeout=left_s)

    def _hopeful(self) -> set[asyncio.Task[None]]:
        heard = (p for p in self._connection._check_list if id(p) in self.heard and _is_direct(p))
        return {p.task for p in heard if p.state is p.State.IN_PROGRESS and p.task is not None and not p.task.done()}


def _types(pair: Any) -> tuple[str, str]:
    return pair.local_candidate.type, pair.remote_candidate.type


def _is_of_two_relays(pair: Any) -> bool:
    return _types(pair) == ("relay", "relay")


def _is_direct(pair: Any) -> bool:
    return "relay" not in _types(pair)


def repeat_triggered_checks(ice_transport: Any) -> None:
    """Have an aiortc ICE transport send a check anew when the other side's arrives on a pair whose own has no answer.

    RFC 8445 section 7.3.1.4 has it so for a pair In-Progress: our check went before the other side's firewall, NAT or
    relay was open for it, and is lost. aioice leaves the pair alone, so that ICE waits for the retransmission, 500 ms
    at the least. Once a pair is enough; one that waits its turn (`put_two_relays_last`) has sent nothing yet, and one
    whose first check was answered is being nominated.

    The controlled side begins before its answer is on the way, so its first checks are early ones. A check on any pair
    tells it that the other side sends, and it repeats those that go straight: where our own NAT is symmetric, no check
    can come on their pair before one of them has arrived.
    """
    connection = ice_transport._connection
    take = connection.check_incoming
    repeated: set[tuple[int, bool]] = set()

    def take_and_repeat(message: Any, address: tuple[str, int], protocol: Any) -> None:
        under_way = {id(p) for p in connection._check_list if p.state is p.State.IN_PROGRESS}
        take(message, address, protocol)
        for pair in [p for p in connection._check_list if id(p) in under_way]:
            comes_from = pair.protocol is protocol and pair.remote_addr == address
            waits = connection.ice_controlling and (_is_of_two_relays(pair) or pair.component in connection._nominating)
            is_early = not connection.ice_controlling and _is_direct(pair)
            if (comes_from or is_early) and not waits and (id(pair), comes_from) not in repeated:
                repeated.add((id(pair), comes_from))
                pair.task.cancel()
                pair.task = None
                connection.check_start_task(pair)

    connection.check_incoming = take_and_repeat


async def permit_peers(ice_transport: Any, *, limit_s: float) -> None:
    """Have our relay let the other side's candidates in (RFC 8656 section 9), those that came with its offer.

    Before we answer: its checks come as soon as it has our answer, and a relay drops what it has not been told of. A
    relay that refuses or says nothing within *limit_s* is left to the checks, which ask again and tell.
    """
    connection = ice_transport._connection
    relays = [p for p in connection._protocols if p.local_candidate.type == "relay"]
    peers = {(c._network_host, c.port) for c in connection._remote_candidates}
    asked = [asyncio.create_task(_open_relay(p.transport, peer)) for p in relays for peer in sorted(peers)]
    if asked:
        _, late = await asyncio.wait(asked, timeout=limit_s)
        for task in late:
            task.cancel()


async def _open_relay(transport: Any, peer: tuple[str, int]) -> None:
    """Bind a channel to *peer*, as aioice does with the first packet to it: here one that asks for no answer."""
    indication = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.INDICATION)
    with contextlib.suppress(stun.TransactionError, ConnectionError):
        await transport._TurnTransport__inner_protocol.send_data(bytes(indication), peer)


def watch_consent(ice_transport: Any, on_expired: Callable[[], None]) -> None:
    """Have *on_expired* called when consent to send on the selected pair has expired (RFC 7675), once.

    aioice closes the connection then, and tells only when that is done: where a relay is not reached either, it first
    asks it for up to 39.5 s to give the allocation back, though nothing has been sent to the other end since.
    """
    connection = ice_transport._connection
    close = connection.close

    async def close_and_tell() -> None:
        if ice_transport.state == "completed":  # whoever closes the transport on purpose has set it to closed before
            on_expired()
        await close()

    connection.close = close_and_tell


def selected_pair(ice_transport: Any) -> Message | None:
    """Return the selected pair of an aiortc ICE transport; None while there is none.

    The local type is that of the base (host, relay): aioice does not look at the mapped address of a check's answer, so
    a pair through a NAT is "host" here, and "srflx" or "prflx" as the other end's remote candidate. aiortc has no
    public way to the pair: this module is the place that reaches into aioice.
    """
    pair = ice_transport._connection._nominated.get(1)
    if pair is None:
        return None
    local, remote = pair.local_candidate, pair.remote_candidate
    return {
        "local": local.type,
        "remote": remote.type,
        "local_address": f"{local.host}:{local.port}",
        "remote_address": f"{remote.host}:{remote.port}",
        "role": ice_transport.role,
    }
