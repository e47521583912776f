"""The fallback ladder: which rung is used, what it cost, and what is said where none holds."""

import asyncio

import pytest

from agents.ice import RelayError, TurnServer, TurnTransport
from agents.ladder import Climb, climb

HEAD_START_S = 0.05
NEVER_S = 3600.0


def rung(transport: TurnTransport) -> TurnServer:
    return TurnServer(address="198.51.100.2", port=443, transport=transport, username="u", password="p")


def climbed(**answers: float | RelayError) -> Climb:
    """Climb rungs that answer after so many seconds, or fail at once."""

    async def try_rung(server: TurnServer) -> None:
        answer = answers[server.transport]
        if isinstance(answer, RelayError):
            raise answer
        await asyncio.sleep(answer)

    servers = [rung(transport) for transport in ("udp", "tcp", "tls") if transport in answers]
    return asyncio.run(climb(servers, try_rung, head_start_s=HEAD_START_S))


def test_the_first_rung_is_used_where_it_answers_and_no_other_is_tried() -> None:
    found = climbed(udp=0.0, tcp=0.0, tls=0.0)
    assert found.server == rung("udp")
    assert found.failures == ()


@pytest.mark.parametrize(
    ("held", "answers"), [("tcp", {"tcp": 0.0, "tls": 0.0}), ("tls", {"tcp": NEVER_S, "tls": 0.0})]
)
def test_a_silent_rung_is_given_up_for_the_next_after_its_head_start(
    held: TurnTransport, answers: dict[str, float]
) -> None:
    found = climbed(udp=NEVER_S, **answers)
    assert found.server == rung(held)
    silent = ("udp", "tcp")[: ("tcp", "tls").index(held) + 1]
    assert tuple(failure.transport for failure in found.failures) == silent
    assert found.took_ms >= len(silent) * HEAD_START_S * 1000
    assert "when another rung answered" in found.failures[0].error.detail


def test_a_rung_that_refuses_makes_way_at_once() -> None:
    refused = RelayError("relay-refused", "Allocate answered 486")
    found = climbed(udp=refused, tcp=0.0)
    assert found.server == rung("tcp")
    assert found.failures[0].error is refused
    assert found.failures[0].after_ms < HEAD_START_S * 1000


def test_a_slow_answer_of_an_upper_rung_still_counts() -> None:
    found = climbed(udp=1.5 * HEAD_START_S, tcp=NEVER_S)
    assert found.server == rung("udp")


def test_where_no_rung_holds_every_one_is_told() -> None:
    silent = RelayError("relay-unreachable", "no answer to Allocate within 2 s")
    found = climbed(udp=silent, tcp=silent, tls=silent)
    assert found.server is None
    assert found.error.cause == "relay-unreachable"
    assert found.error.detail == "; ".join(f"{name}: {silent.detail}" for name in ("udp", "tcp", "tls"))


def test_one_refusal_is_a_refusal() -> None:
    found = climbed(udp=RelayError("relay-unreachable", "x"), tcp=RelayError("relay-refused", "y"))
    assert found.error.cause == "relay-refused"


def test_a_defect_is_not_swallowed() -> None:
    async def try_rung(server: TurnServer) -> None:
        raise TypeError("a defect")

    with pytest.raises(TypeError, match="a defect"):
        asyncio.run(climb([rung("udp"), rung("tcp")], try_rung, head_start_s=HEAD_START_S))
