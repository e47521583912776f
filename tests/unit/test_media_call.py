"""Causes, lateness, relay settings and jobs: the pure parts around a call."""

import asyncio
from typing import Any

import pytest

from agents import process, relaying
from agents.call import Call, CallEnded, Milestones, cause_of, tones_of
from agents.client import Settings
from agents.ice import RelayError, TurnServer
from agents.media import MediaFailed
from agents.pace import LatenessHistogram
from agents.sip.errors import SipFailure, SipTimeout, TransportFailure
from agents.sip.relay import Relay, RelayCredentials

JOB: dict[str, Any] = {
    "name": "alice",
    "uri": "sip:alice@contoso.example",
    "address": "10.1.0.2/24",
    "server": {"address": "198.51.100.2", "port": 5060, "transport": "tcp"},
    "tone_hz": 400,
}
CREDENTIALS = RelayCredentials(
    username="1:alice",
    password="p",
    expires_s=60,
    relay=Relay(address="198.51.100.2", internal_address="10.0.0.2", udp_port=3478, tcp_port=443),
)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (SipFailure(486, "Busy Here", method="INVITE"), "486"),
        (SipTimeout("INVITE"), "timeout"),
        (TimeoutError(), "timeout"),
        (TransportFailure("refused"), "unreachable"),
        (MediaFailed("ice-failed"), "ice-failed"),
        (RelayError("relay-refused", "401"), "relay-refused"),
        (CallEnded("hangup"), "hangup"),
        (KeyError("target"), "failed"),
    ],
)
def test_every_error_has_its_word(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


class Endless:
    """Media that is never lost, and a dialog that nobody ends."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def lost(self) -> None:
        await self.ended.wait()

    async def settled(self, *, limit_s: float) -> None:
        pass


@pytest.mark.parametrize(("heard_before_s", "hangs_up"), [(9.0, True), (11.0, True), (0.0, False)])
def test_the_duration_counts_from_the_moment_the_other_side_is_heard(heard_before_s: float, hangs_up: bool) -> None:
    async def stay() -> None:
        call = Call(name="c1", peer="sip:carol@fabrikam.example", say=lambda line: None)
        call.session = call.dialog = Endless()  # type: ignore[assignment]   # what `stay` looks at
        call._moments[Milestones.MEDIA] = asyncio.get_running_loop().time() - heard_before_s
        async with asyncio.timeout(0.1):
            await call.stay(9.0)

    with pytest.raises(CallEnded if hangs_up else TimeoutError, match="hangup" if hangs_up else None):
        asyncio.run(stay())


def test_percentiles_of_lateness_are_the_upper_edge_of_their_step() -> None:
    histogram = LatenessHistogram()
    for lateness_ns in [*range(0, 100_000, 1000), 5_000_000]:
        histogram.add(lateness_ns)
    assert histogram.summary() == {"p50": 100_000, "p99": 100_000, "max": 5_000_000}


def test_lateness_nobody_observed_is_none_and_early_is_not_late() -> None:
    histogram = LatenessHistogram()
    assert histogram.summary() == {"p50": None, "p99": None, "max": None}
    histogram.add(-5)
    assert histogram.summary() == {"p50": 0, "p99": 0, "max": 0}


@pytest.mark.parametrize(
    ("transport", "side", "reached"),
    [
        ("udp", "external", ("198.51.100.2", 3478)),
        ("tcp", "external", ("198.51.100.2", 443)),
        ("udp", "internal", ("10.0.0.2", 3478)),
    ],
)
def test_the_relay_is_reached_from_the_side_and_over_the_transport_asked_for(
    transport: Any, side: Any, reached: tuple[str, int]
) -> None:
    server = relaying.turn_server(CREDENTIALS, transport=transport, side=side)
    assert (server.address, server.port, server.transport) == (*reached, transport)


def test_stun_is_asked_of_the_relay_over_udp_only() -> None:
    server = TurnServer(address="198.51.100.2", port=3478, transport="udp", username="u", password="p")
    assert [s.urls for s in server.ice_servers()] == [
        "stun:198.51.100.2:3478",
        "turn:198.51.100.2:3478?transport=udp",
    ]
    over_tcp = TurnServer(address="198.51.100.2", port=443, transport="tcp", username="u", password="p")
    assert [s.urls for s in over_tcp.ice_servers()] == ["turn:198.51.100.2:443?transport=tcp"]


def test_a_server_makes_its_own_credentials_from_the_shared_secret() -> None:
    server = relaying.own_turn_server({"address": "198.51.100.2", "secret": "s"}, user="conf")
    assert server.username.endswith(":conf")
    with pytest.raises(ValueError, match="'secret'"):
        relaying.own_turn_server({"address": "198.51.100.2"}, user="conf")


def test_a_job_is_read_with_its_defaults_and_without_the_prefix_length() -> None:
    settings = Settings.from_job(JOB)
    assert (settings.address, settings.setup_limit_s, settings.uses_relay) == ("10.1.0.2", 12, False)


@pytest.mark.parametrize("key", ["name", "uri", "address", "server", "tone_hz"])
def test_a_job_without_a_needed_key_is_refused_by_name(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        Settings.from_job({k: v for k, v in JOB.items() if k != key})


def test_tones_are_optional() -> None:
    assert tones_of({}) == tones_of({"tones": None}) == {}
    assert tones_of({"tones": {"bob": 500}}) == {"bob": 500}


@pytest.mark.parametrize("name", ["no_such_agent", "../client", "sip.ua", "tone", ""])
def test_what_is_no_agent_program_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no agent program|is no program"):
        process.program_named(name)


def test_an_error_is_told_in_one_line() -> None:
    assert process.one_line(ValueError("first\n  second")) == "ValueError: first second"


def read_messages(text: str) -> list[process.Message]:
    async def read() -> list[process.Message]:
        reader = asyncio.StreamReader()
        reader.feed_data(text.encode())
        reader.feed_eof()
        return [message async for message in process.messages(reader)]

    return asyncio.run(read())


def test_commands_are_one_object_a_line() -> None:
    assert read_messages('{"do": "call"}\n{"do": "stop"}\n') == [{"do": "call"}, {"do": "stop"}]
    with pytest.raises(ValueError, match="JSON object"):
        read_messages("[1]\n")
