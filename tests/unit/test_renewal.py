"""Media made anew within a call: by a caller that hears nothing, by a called party that gets a new offer."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sip_memory import MemoryFlow

from agents import ice
from agents.call import Call, CallEnded, cause_of
from agents.media import MediaFailed, MediaSession
from agents.renewal import answer_again, keep_heard
from agents.sip.hop import Hop
from agents.sip.ua import UserAgent


class Silent(MediaSession):
    """A session without a network: connected when told so, heard never."""

    def __init__(self, *, fails: bool = False) -> None:
        self.closed = self.consent_is_lost = False
        self.gone = asyncio.Event()
        self._fails = fails

    @property
    def has_lost_consent(self) -> bool:
        return self.consent_is_lost

    async def silent(self, *, for_s: float) -> None:
        await asyncio.sleep(for_s)

    async def answer(self, offer: str) -> str:
        return f"answer to {offer}"

    async def connected(self, *, limit_s: float) -> None:
        if self._fails:
            raise MediaFailed("ice-failed")

    async def lost(self) -> None:
        await self.gone.wait()

    async def close(self) -> None:
        self.closed = True
        self.gone.set()


def new_call(lines: list[dict[str, Any]]) -> Call:
    call = Call(name="c", peer="sip:carol@contoso.example", say=lines.append)
    call.dialog = SimpleNamespace(ended=asyncio.Event(), call_id="1", ended_by=None)  # type: ignore[assignment]
    return call


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_a_caller_that_hears_nothing_makes_its_media_anew_and_the_call_goes_on() -> None:
    async def trial() -> None:
        lines: list[dict[str, Any]] = []
        call, old, new = new_call(lines), Silent(), Silent()
        call.session = old

        async def renew() -> Silent:
            assert not call.has_settled.is_set()  # a session that is lost meanwhile does not end the call
            return new

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await call.stay(None, keep_heard(call, silence_s=0.06, renew=renew))
        assert call.session is new and old.closed and not new.closed
        assert events(lines) == ["ice-restarting", "ice-restarted"]

    asyncio.run(trial())


def test_a_renewal_that_fails_ends_the_call_with_its_cause() -> None:
    async def trial() -> None:
        call = new_call([])
        call.session = Silent()

        async def renew() -> Silent:
            raise MediaFailed("ice-failed")

        with pytest.raises(MediaFailed) as failed:
            await call.stay(None, keep_heard(call, silence_s=0.01, renew=renew))
        assert cause_of(failed.value) == "ice-failed"

    asyncio.run(trial())


@pytest.mark.parametrize("fails", [False, True])
def test_a_called_party_takes_to_the_new_session(fails: bool) -> None:
    async def trial() -> None:
        lines: list[dict[str, Any]] = []
        call, old, new = new_call(lines), Silent(), Silent(fails=fails)
        call.session = old

        async def open_session() -> Silent:
            return new

        assert await answer_again(call, "offer", open_session, 1) == "answer to offer"
        await call.has_settled.wait()
        await asyncio.sleep(0)
        assert call.session is new and old.closed
        assert events(lines) == ["ice-restart-failed" if fails else "ice-restarted"]

    asyncio.run(trial())


def test_the_end_of_consent_ends_the_call_and_is_told() -> None:
    async def trial() -> None:
        lines: list[dict[str, Any]] = []
        call, session = new_call(lines), Silent()
        call.session = session
        session.consent_is_lost = True
        session.gone.set()
        with pytest.raises(CallEnded, match="media-lost"):
            await call.stay(None)
        assert events(lines) == ["consent-lost"]

    asyncio.run(trial())


@pytest.mark.parametrize(("state", "told"), [("completed", True), ("closed", False), ("checking", False)])
def test_consent_has_expired_where_a_connected_transport_is_closed_by_ice_itself(state: str, told: bool) -> None:
    async def trial() -> None:
        closed, expired = [], []

        async def close() -> None:
            closed.append(True)

        transport = SimpleNamespace(state=state, _connection=SimpleNamespace(close=close))
        ice.watch_consent(transport, lambda: expired.append(True))
        await transport._connection.close()
        assert closed == [True] and bool(expired) is told

    asyncio.run(trial())


def test_reconnecting_gives_the_connection_up_and_registers_over_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trial() -> None:
        agent = UserAgent(
            uri="sip:alice@contoso.example", local_address="10.0.0.1", server=Hop("10.0.0.9", 5060, "tcp")
        )
        registered: list[int] = []

        async def register(expires_s: int) -> None:
            registered.append(expires_s)

        monkeypatch.setattr(agent, "_send_register", register)
        flow = MemoryFlow(None, ("10.0.0.1", 1), ("10.0.0.9", 5060))  # type: ignore[arg-type]
        agent._registered_over = flow
        await agent.reconnect()  # UDP: there is no connection
        assert flow.is_open and not registered
        flow.transport = "tcp"
        await agent.reconnect()
        assert not flow.is_open and registered == [600] and not agent._must_refresh.is_set()

    asyncio.run(trial())
