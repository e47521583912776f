"""What agents.ice changes about aioice's checks: their order, when one is repeated; and its allocations."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun
from aioice.ice import CandidatePair

from agents.ice import ask_anew_on_mismatch, put_two_relays_last, repeat_triggered_checks


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
