"""What agents.ice changes about aioice's checks: their order, when one is repeated; and its allocations."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun
from aioice.ice import CandidatePair

from agents.ice import ask_anew_on_mismatch, prefer_direct, put_two_relays_last, repeat_triggered_checks


class Checks:
    """What an aiortc ICE transport's connection does of ours: it starts checks, and tells their states."""

    def __init__(self, *, controlling: bool) -> None:
        self.ice_controlling = controlling
        self.begun: list[str] = []
        self._connection = self

    async def check_start(self, pair: Any) -> None:
        self.begun.append(pair.name)

    def check_state(self, pair: Any, state: Any) -> None:
        pair.state = state


def pair_of(local: str, remote: str) -> Any:
    ends = {"local_candidate": SimpleNamespace(type=local), "remote_candidate": SimpleNamespace(type=remote)}
    state = CandidatePair.State
    return SimpleNamespace(name=f"{local}-{remote}", State=state, state=state.WAITING, **ends)


async def begun_at_once(pair: Any, *, controlling: bool) -> list[str]:
    checks = Checks(controlling=controlling)
    put_two_relays_last(checks, patience_s=3600)
    task = asyncio.create_task(checks.check_start(pair))
    await asyncio.wait([task], timeout=0.01)
    task.cancel()
    return checks.begun


@pytest.mark.parametrize(
    ("local", "remote", "controlling", "waits"),
    [
        ("relay", "relay", True, True),
        ("relay", "relay", False, False),
        ("host", "relay", True, False),
        ("relay", "srflx", True, False),
    ],
)
def test_only_the_controlling_sides_pairs_of_two_relays_wait(
    local: str, remote: str, controlling: bool, waits: bool
) -> None:
    begun = asyncio.run(begun_at_once(pair_of(local, remote), controlling=controlling))
    assert begun == ([] if waits else [f"{local}-{remote}"])


def test_a_pair_that_waits_holds_up_no_other_and_is_checked_in_the_end() -> None:
    async def scenario() -> None:
        checks, pair = Checks(controlling=True), pair_of("relay", "relay")
        put_two_relays_last(checks, patience_s=0.01)
        task = asyncio.create_task(checks.check_start(pair))
        await asyncio.sleep(0)
        assert pair.state == CandidatePair.State.IN_PROGRESS  # aioice starts no other pair while one is WAITING
        await task
        assert checks.begun == ["relay-relay"]

    asyncio.run(scenario())


class RunningPair:
    """A pair of a check list as aioice has it, as far as a triggered check looks."""

    State = CandidatePair.State
    protocol = "socket"
    component = 1

    def __init__(self, state: Any, *, types: tuple[str, str] = ("host", "relay"), port: int = 1) -> None:
        self.state = state
        self.local_candidate, self.remote_candidate = (SimpleNamespace(type=x) for x in types)
        self.remote_addr = ("198.51.100.1", port)
        self.task: asyncio.Task[None] | None = asyncio.ensure_future(asyncio.sleep(3600))


class CheckList:
    """The connection of an aiortc ICE transport, as far as a triggered check looks."""

    def __init__(self, *pairs: RunningPair, controlling: bool = True, nominating: bool = False) -> None:
        self.ice_controlling = controlling
        self._nominating = {1} if nominating else set()
        self._check_list = list(pairs)
        self.begun: list[RunningPair] = []
        self._connection = self
        repeat_triggered_checks(self)

    def check_incoming(self, message: Any, address: tuple[str, int], protocol: Any) -> None:
        """Do nothing for a pair In-Progress, as aioice."""

    def check_start_task(self, pair: RunningPair) -> None:
        assert pair.task is None
        pair.task = asyncio.ensure_future(asyncio.sleep(3600))
        self.begun.append(pair)


@pytest.mark.parametrize(
    ("case", "repeats"),
    [
        ({}, True),
        ({"types": ("relay", "relay")}, False),
        ({"types": ("relay", "relay"), "controlling": False}, True),
        ({"nominating": True}, False),
        ({"nominating": True, "controlling": False}, True),
        ({"state": CandidatePair.State.SUCCEEDED}, False),
        ({"port": 2}, False),
        ({"port": 2, "types": ("host", "srflx")}, False),
        ({"port": 2, "types": ("host", "srflx"), "controlling": False}, True),
        ({"port": 2, "types": ("host", "relay"), "controlling": False}, False),
    ],
)
def test_a_check_from_the_other_side_repeats_ours_once(case: dict[str, Any], *, repeats: bool) -> None:
    async def scenario() -> None:
        ends = {key: case[key] for key in ("types", "port") if key in case}
        pair = RunningPair(case.get("state", CandidatePair.State.IN_PROGRESS), **ends)
        first = pair.task
        roles = {key: case[key] for key in ("controlling", "nominating") if key in case}
        checks = CheckList(pair, **roles)
        for _ in range(2):
            checks.check_incoming(None, ("198.51.100.1", 1), "socket")
        await asyncio.sleep(0)
        assert checks.begun == ([pair] if repeats else [])
        assert first is not None
        assert first.cancelled() == repeats

    asyncio.run(scenario())


def test_an_early_direct_check_of_the_controlled_side_is_repeated_again_when_the_other_sides_comes_on_its_pair() -> (
    None
):
    async def scenario() -> None:
        pair = RunningPair(CandidatePair.State.IN_PROGRESS, types=("host", "srflx"))
        checks = CheckList(pair, controlling=False)
        for port in (2, 2, 1, 1):
            checks.check_incoming(None, ("198.51.100.1", port), "socket")
        assert checks.begun == [pair, pair]

    asyncio.run(scenario())


class Socket:
    """A protocol of aioice, as far as checks look: everything is answered at once."""

    async def request(self, message: str, address: tuple[str, int]) -> str:
        return f"answer to {message}"


class Race:
    """The connection of an aiortc ICE transport with a pair of a relay and a direct one, both being checked."""

    def __init__(self, *, controlling: bool = True, nominating: bool = False) -> None:
        self.ice_controlling = controlling
        self._nominating = {1} if nominating else set()
        self._protocols = [Socket()]
        self.direct = RunningPair(CandidatePair.State.IN_PROGRESS, types=("host", "prflx"), port=1)
        self.relayed = RunningPair(CandidatePair.State.IN_PROGRESS, types=("host", "relay"), port=2)
        self._check_list = [self.direct, self.relayed]
        for pair in self._check_list:
            pair.protocol = self._protocols[0]  # type: ignore[assignment]
        self._connection = self

    def check_incoming(self, message: Any, address: tuple[str, int], protocol: Any) -> None:
        """Do nothing for a pair In-Progress, as aioice."""

    async def connect(self) -> None:
        """Have no checks to start."""

    async def holds_back(self, *, patience_s: float = 3600, heard_from: int | None = 1, checks: int = 2) -> bool:
        """Tell whether the answer of the pair with port *checks* waits, after a check from port *heard_from* came."""
        prefer_direct(self, patience_s=patience_s)
        await self.connect()
        socket = self._protocols[0]
        if heard_from is not None:
            self.check_incoming(None, ("198.51.100.1", heard_from), socket)
        asking = asyncio.create_task(socket.request("check", ("198.51.100.1", checks)))
        await asyncio.wait([asking], timeout=0.5)
        waits = not asking.done()
        if self.direct.task is not None:
            self.direct.task.cancel()  # as when it ended, with whatever state
        assert await asking == "answer to check"
        return waits


@pytest.mark.parametrize(
    ("roles", "case", "waits"),
    [
        ({}, {}, True),
        ({}, {"heard_from": None}, False),
        ({}, {"heard_from": 2}, False),
        ({}, {"checks": 1}, False),
        ({}, {"patience_s": 0.01}, False),
        ({"controlling": False}, {}, False),
        ({"nominating": True}, {}, False),
    ],
)
def test_a_relayed_pair_waits_for_a_direct_one_that_the_other_side_was_heard_on(
    roles: dict[str, bool], case: dict[str, Any], *, waits: bool
) -> None:
    async def scenario() -> bool:
        return await Race(**roles).holds_back(**case)

    assert asyncio.run(scenario()) == waits


def test_a_direct_check_that_is_repeated_is_still_waited_for() -> None:
    async def scenario() -> None:
        race = Race()
        prefer_direct(race, patience_s=3600)
        await race.connect()
        race.check_incoming(None, ("198.51.100.1", 1), race._protocols[0])
        asking = asyncio.create_task(race._protocols[0].request("check", ("198.51.100.1", 2)))
        await asyncio.sleep(0)
        first, race.direct.task = race.direct.task, asyncio.ensure_future(asyncio.sleep(3600))
        assert first is not None
        first.cancel()
        await asyncio.wait([asking], timeout=0.5)
        assert not asking.done()
        race.direct.state = CandidatePair.State.FAILED
        race.direct.task.cancel()
        await asking

    asyncio.run(scenario())


@pytest.mark.parametrize(("codes", "asked", "works"), [((437,), 2, True), ((437,) * 9, 4, False), ((486,), 1, False)])
def test_an_allocation_mismatch_is_asked_anew_from_another_port(
    codes: tuple[int, ...], asked: int, works: bool
) -> None:
    answers, requests = iter(codes), []

    async def create(*arguments: object, transport: str) -> str:
        requests.append((arguments, transport))
        if code := next(answers, None):
            refusal = stun.Message(message_method=stun.Method.ALLOCATE, message_class=stun.Class.ERROR)
            refusal.attributes["ERROR-CODE"] = (code, "no")
            raise stun.TransactionFailed(refusal)
        return "allocation"

    asking = ask_anew_on_mismatch(create)("factory", transport="udp")
    if works:
        assert asyncio.run(asking) == "allocation"  # type: ignore[arg-type]
    else:
        with pytest.raises(stun.TransactionFailed):
            asyncio.run(asking)  # type: ignore[arg-type]
    assert requests == [(("factory",), "udp")] * asked
