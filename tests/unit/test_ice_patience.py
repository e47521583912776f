"""Pairs of two relays wait, on the controlling side, until those with one have had their chance."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aioice.ice import CandidatePair

from agents.ice import put_two_relays_last


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
