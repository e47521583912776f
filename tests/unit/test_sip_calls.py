"""Whole calls through the Front End and the Access Edge, in memory: over a wire that loses, through NAT, failing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sip_memory import Wire, run
from sipmessage import URI

from agents.edge import AccessEdge
from agents.front_end import FrontEnd
from agents.sip.hop import Domain, Hop, Listen
from agents.sip.message import parse_message
from agents.sip.ua import Dialog, IncomingCall, SipFailure, SipTimeout, UserAgent

FRONT_END, EDGE, PUBLIC = "10.0.0.1", "198.51.100.1", "203.0.113.1"
JOB: dict[str, Any] = {
    "domains": ["contoso.example"],
    "users": {f"sip:{name}@contoso.example": f"secret of {name}" for name in ("alice", "bob", "carol")},
    "listen": [{"transport": "udp", "port": 5060, "address": FRONT_END}],
    "relay_secret": "shared",
    "relays": [
        {"address": "198.51.100.7"},
        {"address": "198.51.100.8", "internal_address": "10.0.0.8", "tcp_port": 8443},
    ],
    "routes": [
        {"match": "^conf-[0-9]+$", "next": {"address": "10.0.0.9"}},
        {"match": r"^\+[0-9]+$", "next": {"address": "10.0.0.77"}},
    ],
}
EDGE_JOB: dict[str, Any] = {
    "external_address": EDGE,
    "internal_address": EDGE,
    "access_edge": {
        "listen": [{"transport": "udp", "port": 5060, "address": EDGE}],
        "next": {"address": FRONT_END, "port": 5060, "transport": "udp"},
    },
}


class World:
    """A wire with a Front End, an Access Edge and whoever is added."""

    def __init__(self, wire: Wire, job: dict[str, Any]) -> None:
        self.wire = wire
        self.said: list[dict[str, Any]] = []
        self.front_end = FrontEnd(job, self.said.append, network=wire.attach(FRONT_END))
        self.edge = AccessEdge(EDGE_JOB, self.said.append, network=wire.attach(EDGE))
        self.agents: list[UserAgent] = []

    async def add(
        self, name: str, address: str, *, server: str = FRONT_END, behind: str = "", **more: Any
    ) -> UserAgent:
        settings_ = {"password": f"secret of {name}", "server": Hop(server), "listen": [Listen("udp")], **more}
        network = self.wire.attach(address, behind=behind)
        agent = UserAgent(uri=f"sip:{name}@contoso.example", local_address=address, network=network, **settings_)
        await agent.start()
        self.agents.append(agent)
        return agent

    def methods_seen(self, source: str, destination: str) -> list[str]:
        """Return the first words of all messages between two addresses, in order."""
        return [
            data.split(b" ", 1)[0].decode() for _, a, b, data in self.wire.sent if (a[0], b[0]) == (source, destination)
        ]


@asynccontextmanager
async def a_world(*, seed: int = 0, loss_ratio: float = 0.0, **job: Any) -> AsyncIterator[World]:
    world = World(Wire(seed=seed, loss_ratio=loss_ratio), {**JOB, **job})
    await world.front_end.start()
    await world.edge.start()
    try:
        yield world
    finally:
        for agent in world.agents:
            await agent.stop()
        await world.edge.stop()
        await world.front_end.stop()


def answering(agent: UserAgent, answer: str = "answer") -> "asyncio.Queue[Dialog]":
    """Let *agent* take calls; return the queue of the calls it took."""
    taken: asyncio.Queue[Dialog] = asyncio.Queue()

    async def take(call: IncomingCall) -> None:
        await call.ring()
        taken.put_nowait(await call.accept(answer))

    agent.on_invite = take
    return taken


@pytest.mark.parametrize("seed", range(12))
def test_calls_over_a_wire_that_loses_a_fifth_of_all_datagrams_are_made_and_ended(seed: int) -> None:
    async def scenario() -> None:
        async with a_world(seed=seed, loss_ratio=0.2) as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await alice.register()
            await bob.register()
            taken = answering(bob)
            call = await alice.invite("sip:bob@contoso.example", "offer", timeout_s=60)
            at_bob = await taken.get()
            assert (at_bob.offer, call.answer, at_bob.call_id) == ("offer", "answer", call.call_id)
            await at_bob.bye()
            await call.ended.wait()
            assert (call.ended_by, at_bob.ended_by) == ("remote", "local")

    run(scenario())


def test_the_lossy_wire_really_loses() -> None:
    async def scenario() -> int:
        async with a_world(seed=1, loss_ratio=0.2) as world:
            await (await world.add("alice", "10.0.0.2")).register()
            return len(world.wire.sent)

    async def without_loss() -> int:
        async with a_world() as world:
            await (await world.add("alice", "10.0.0.2")).register()
            return len(world.wire.sent)

    assert run(without_loss()) == 4
    assert run(scenario()) > 4


def test_a_dead_front_end_is_a_timeout_after_64_t1() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2", server="10.9.9.9", t1_ns=100_000_000)
            with pytest.raises(SipTimeout):
                await alice.register()
            assert asyncio.get_running_loop().time() == pytest.approx(6.4, abs=0.01)
            assert len(world.wire.sent) == 7  # at 0, 0.1, 0.3, 0.7, 1.5, 3.1 and 6.3 s

    run(scenario())


def test_a_user_with_a_wrong_password_is_refused_and_an_unknown_one_not_found() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2", password="guess")
            mallory = await world.add("mallory", "10.0.0.3")
            with pytest.raises(SipFailure, match="403"):
                await alice.register()
            with pytest.raises(SipFailure, match="404"):
                await mallory.register()
            assert world.said == []

    run(scenario())


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("sip:bob@contoso.example", 480),
        ("sip:nobody@contoso.example", 404),
        ("sip:erin@tailspin.example", 404),
        ("sip:conf-x@contoso.example", 404),
    ],
)
def test_whoever_cannot_be_reached_is_answered_for(target: str, status: int) -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2")
            with pytest.raises(SipFailure) as failure:
                await alice.invite(target, "offer", timeout_s=5)
            assert failure.value.status == status

    run(scenario())


def test_a_conference_is_found_by_its_route_and_can_hang_up() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, focus = await world.add("alice", "10.0.0.2"), await world.add("focus", "10.0.0.9")
            taken = answering(focus)
            call = await alice.invite("sip:conf-1@contoso.example", "offer", timeout_s=5)
            await (await taken.get()).bye()
            await call.ended.wait()

    run(scenario())


def test_all_messages_of_a_call_pass_the_home_front_end() -> None:
    async def scenario() -> World:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await alice.register()
            await bob.register()
            taken = answering(bob)
            call = await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            (await taken.get()).on_reinvite = _agree
            assert await call.reinvite("offer 2") == "agreed to offer 2"
            await call.bye()
            return world

    world = run(scenario())
    assert world.methods_seen("10.0.0.2", "10.0.0.3") == world.methods_seen("10.0.0.3", "10.0.0.2") == []
    # The wire may swap the last two, as UDP does.
    passed_on = world.methods_seen(FRONT_END, "10.0.0.3")[2:]
    assert (passed_on[:3], sorted(passed_on[3:])) == (["INVITE", "ACK", "INVITE"], ["ACK", "BYE"])


async def _agree(offer: str) -> str:
    return f"agreed to {offer}"


def test_a_new_offer_that_nobody_takes_is_not_acceptable_and_the_call_lives_on() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()
            answering(bob)
            call = await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            with pytest.raises(SipFailure, match="488"):
                await call.reinvite("offer 2")
            assert not call.ended.is_set()

    run(scenario())


def test_a_caller_who_waits_no_longer_cancels_the_call_at_the_other_end() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()
            calls: asyncio.Queue[IncomingCall] = asyncio.Queue()

            async def ring_on(call: IncomingCall) -> None:
                await call.ring()
                calls.put_nowait(call)
                await call.cancelled.wait()
                with pytest.raises(SipFailure, match="487"):
                    await call.accept("too late")

            bob.on_invite = ring_on
            seen: list[int] = []
            with pytest.raises(SipTimeout):
                await alice.invite("sip:bob@contoso.example", "offer", timeout_s=3, on_provisional=seen.append)
            assert seen == [180]
            await (await calls.get()).cancelled.wait()
            await asyncio.sleep(1)
            assert "487" in str([data[:20] for *_, data in world.wire.sent])

    run(scenario())


def test_a_refused_call_gives_its_status_and_reason() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()

            async def refuse(call: IncomingCall) -> None:
                await call.reject(486)

            bob.on_invite = refuse
            with pytest.raises(SipFailure) as failure:
                await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            assert (failure.value.status, failure.value.reason) == (486, "Busy Here")

    run(scenario())


def test_a_called_party_that_vanishes_after_ringing_ends_the_callers_bye_by_timeout() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()
            answering(bob)
            call = await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            await bob.stop()
            await call.bye()
            assert call.ended_by == "timeout"

    run(scenario())


def test_calls_between_a_user_behind_nat_and_one_inside_pass_the_access_edge_both_ways() -> None:
    async def scenario() -> World:
        async with a_world() as world:
            alice = await world.add("alice", "192.168.1.2", server=EDGE, behind=PUBLIC)
            bob = await world.add("bob", "10.0.0.3")
            await alice.register()
            await bob.register()
            at_alice, at_bob = answering(alice), answering(bob)
            out = await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            await (await at_bob.get()).bye()
            await out.ended.wait()
            back = await bob.invite("sip:alice@contoso.example", "offer", timeout_s=5)
            await (await at_alice.get()).bye()
            await back.ended.wait()
            assert (out.ended_by, back.ended_by) == ("remote", "remote")
            return world

    world = run(scenario())
    assert not world.methods_seen("192.168.1.2", FRONT_END)
    assert {a[0] for _, a, b, _ in world.wire.sent if b[0] == FRONT_END} == {EDGE, "10.0.0.3"}


def test_a_guest_outside_joins_a_conference_through_the_access_edge_unregistered() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            guest = await world.add("guest", "192.168.1.2", server=EDGE, behind=PUBLIC, password="")
            focus = await world.add("focus", "10.0.0.9")
            taken = answering(focus)
            granted = await guest.request_relay(conference="sip:conf-1@contoso.example")
            assert granted.relay.address.startswith("198.51.100.")
            call = await guest.invite("sip:conf-1@contoso.example", "offer", timeout_s=5)
            await (await taken.get()).bye()
            await call.ended.wait()
            for nothing in ("", "sip:conf-x@contoso.example", "sip:conf-1@tailspin.example"):
                with pytest.raises(SipFailure, match=r"403|404"):
                    await guest.request_relay(conference=nothing)

    run(scenario())


ABROAD = {"match": r"^fabrikam\.example$", "next": {"domain": "fabrikam.example", "transport": "udp"}}


def test_a_call_to_another_domain_goes_where_the_name_server_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Domain] = []

    async def find(domain: Domain) -> Hop:
        asked.append(domain)
        return Hop("10.0.0.3")

    monkeypatch.setattr("agents.front_end.finder_of", lambda job, say: find)

    async def scenario() -> None:
        async with a_world(routes=[ABROAD]) as world:
            alice, dave = await world.add("alice", "10.0.0.2"), await world.add("dave", "10.0.0.3")
            await alice.register()
            taken = answering(dave)
            call = await alice.invite("sip:dave@fabrikam.example", "offer", timeout_s=5)
            await (await taken.get()).bye()
            await call.ended.wait()
            assert asked == [Domain("fabrikam.example", "udp")]

    run(scenario())


def test_a_domain_whose_server_is_not_found_is_answered_504_with_the_reason() -> None:
    async def scenario() -> None:
        async with a_world(routes=[ABROAD]) as world:
            alice = await world.add("alice", "10.0.0.2")
            await alice.register()
            with pytest.raises(SipFailure, match=r"504 Server Time-out \(no name server to ask for fabrikam.example\)"):
                await alice.invite("sip:dave@fabrikam.example", "offer", timeout_s=5)

    run(scenario())


def test_each_user_gets_credentials_of_its_own_relay_and_keeps_it() -> None:
    async def scenario() -> None:
        async with a_world(relay_of={"sip:carol@contoso.example": 0}) as world:
            names = {"alice": "10.0.0.2", "bob": "10.0.0.3", "carol": "10.0.0.4"}
            agents = {name: await world.add(name, address) for name, address in names.items()}
            granted = {name: await agent.request_relay() for name, agent in agents.items()}
            assert {name: credentials.relay.address for name, credentials in granted.items()} == {
                "alice": "198.51.100.7", "bob": "198.51.100.8", "carol": "198.51.100.7",
            }  # fmt: skip
            assert granted["bob"].relay.internal_address == "10.0.0.8" and granted["bob"].relay.tcp_port == 8443
            assert (await agents["bob"].request_relay()).relay == granted["bob"].relay
            assert granted["alice"].username.endswith(":alice@contoso.example")

    run(scenario())


def test_relay_credentials_need_the_users_password() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2", password="guess")
            with pytest.raises(SipFailure, match="403"):
                await alice.request_relay()

    run(scenario())


def test_a_pool_may_ask_its_own_users_to_prove_themselves_before_calling() -> None:
    async def scenario() -> None:
        async with a_world(challenge_calls=True, digest_algorithms=["SHA-256"]) as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            liar = await world.add("alice", "10.0.0.4", password="guess")
            await bob.register()
            answering(bob)
            await (await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)).bye()
            with pytest.raises(SipFailure, match="403"):
                await liar.invite("sip:bob@contoso.example", "offer", timeout_s=5)

    run(scenario())


def test_a_message_is_passed_on_to_the_one_it_is_for() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()
            with pytest.raises(SipFailure, match="405"):
                await alice.message("sip:bob@contoso.example", "too early")
            received: list[tuple[str, str, bytes]] = []

            async def note(*message: Any) -> None:
                received.append(message)

            bob.on_message = note
            await alice.message("sip:bob@contoso.example", "grüezi")
            assert received == [("sip:alice@contoso.example", "text/plain;charset=UTF-8", "grüezi".encode())]

    run(scenario())


def test_a_registration_is_kept_alive_until_it_is_removed() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            answering(bob)
            await bob.register(expires_s=20)
            await asyncio.sleep(100)
            await (await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)).bye()
            await bob.unregister()
            await asyncio.sleep(100)
            with pytest.raises(SipFailure, match="480"):
                await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)

    run(scenario())


def test_a_client_that_names_its_outbound_proxy_in_route_is_registered() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2")
            domain = URI.parse("sip:contoso.example")
            request = alice._core.new_request("REGISTER", domain, recipient="<sip:alice@contoso.example>")
            request.headers.set("Route", f"<sip:{FRONT_END}:5060;lr>")
            request.headers.set("Contact", "<sip:alice@10.0.0.2>")
            _, response = await alice._core.success(request, await alice._core.way_of(request))
            assert "sip:alice@10.0.0.2" in response.headers["Contact"]

    run(scenario())


def test_a_request_that_has_come_too_far_is_refused() -> None:
    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2")
            request = alice._core.new_request("OPTIONS", URI.parse("sip:bob@contoso.example"), recipient="<sip:bob@b>")
            request.max_forwards = 0
            with pytest.raises(SipFailure, match="483"):
                await alice._core.success(request, await alice._core.way_of(request))

    run(scenario())


def test_a_call_to_nobody_that_a_route_brings_back_is_not_found_rather_than_sent_round_again() -> None:
    async def scenario() -> World:
        # As where two pools share a domain: each sends the other whom it does not know.
        routes = [{"match": r"^\+[0-9]+$", "next": {"address": FRONT_END}}]
        async with a_world(routes=routes) as world:
            alice = await world.add("alice", "10.0.0.2")
            with pytest.raises(SipFailure, match="404"):
                await alice.invite("sip:+46840@contoso.example", "offer", timeout_s=30)
            return world

    assert run(scenario()).methods_seen(FRONT_END, FRONT_END).count("INVITE") == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_server_outlives_whatever_is_sent_to_it(data: st.DataObject) -> None:
    template = (
        b"INVITE sip:bob@contoso.example SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.66;branch=z9hG4bKx\r\n"
        b"From: <sip:a@b.example>;tag=1\r\nTo: <sip:bob@contoso.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n"
        b"Route: <sip:udp-1-2-3-4@10.0.0.1;lr>\r\nContact: <sip:a@10.0.0.66>\r\nMax-Forwards: 7\r\n\r\n"
    )
    method = data.draw(st.sampled_from([b"INVITE", b"REGISTER", b"SERVICE", b"CANCEL", b"ACK", b"BYE", b"NOTIFY"]))
    at, cut = data.draw(st.integers(0, len(template))), data.draw(st.integers(0, 20))
    sent = template.replace(b"INVITE", method)
    sent = (
        sent[:at]
        + data.draw(st.binary(max_size=8) | st.sampled_from([b"\r\n ", b";", b",", b"<", b'"', b"%"]))
        + sent[at + cut :]
    )

    async def scenario() -> None:
        async with a_world() as world:
            alice = await world.add("alice", "10.0.0.2")
            faults: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
            for server in (FRONT_END, EDGE, "10.0.0.2"):
                world.wire.send(("10.0.0.66", 5060), (server, 5060), sent)
            await asyncio.sleep(1)
            await alice.register()
            assert faults == []

    run(scenario())


def test_the_front_end_writes_the_address_that_faces_each_side_into_record_route() -> None:
    async def scenario() -> World:
        async with a_world() as world:
            alice, bob = await world.add("alice", "10.0.0.2"), await world.add("bob", "10.0.0.3")
            await bob.register()
            answering(bob)
            await alice.invite("sip:bob@contoso.example", "offer", timeout_s=5)
            return world

    world = run(scenario())
    invite = next(parse_message(d) for _, a, b, d in world.wire.sent if b[0] == "10.0.0.3" and d.startswith(b"INVITE"))
    far, near = invite.headers.getlist("Record-Route")
    assert far.startswith("<sip:udp-10.0.0.3-5060-10.0.0.1-") and near.startswith("<sip:udp-10.0.0.2-5060-10.0.0.1-")
    assert far.endswith("@10.0.0.1:5060;transport=udp;lr>")


def test_who_has_moved_is_told_where_to_register_and_does_so_there() -> None:
    async def scenario() -> None:
        elsewhere = "sip:fe.elsewhere.example:5060;transport=udp"
        async with a_world(moved={"sip:alice@contoso.example": elsewhere}) as world:
            alice = await world.add("alice", "10.0.0.2")
            with pytest.raises(SipFailure) as redirection:
                await alice.register()
            assert (redirection.value.status, redirection.value.contact) == (301, elsewhere)
            assert not world.methods_seen("10.0.0.2", EDGE)
            alice.use_server(Hop(EDGE))
            with pytest.raises(SipFailure):
                await alice.register()
            assert world.methods_seen("10.0.0.2", EDGE) == ["REGISTER"]

    run(scenario())
