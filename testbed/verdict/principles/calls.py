"""Principles on calls between two parties (P3) and on signaling (P4)."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from testbed.analysis.packets import Kind
from testbed.analysis.paths import Walk
from testbed.analysis.sip import messages_in
from testbed.scenario import Party
from testbed.verdict.conversations import Conversation
from testbed.verdict.principles.finding import Finding, conclude, counted, not_applicable
from testbed.verdict.principles.world import World, between

_CHALLENGES: Final = (401, 407)


def judge_direct_media(world: World) -> Finding:
    """P3: media is relayed only where direct connectivity checks (RFC 8445 section 7) did not get through both ways."""
    broken, unknown, held = list[str](), list[str](), list[str]()
    pairs = list(_pairs(world))
    if not pairs:
        return not_applicable("no call between two clients")
    for (one, a), (other, b) in pairs:
        spoken = between(world.spoken, a, b)
        if not spoken:
            unknown.append(f"no media between {one} and {other} was followed from end to end")
        for each in spoken:
            if not each.relays:
                held.append(f"direct: {_words(each)}")
                continue
            checks = _direct_checks(world, a, b)
            there = [walk for walk in checks if walk.nodes[-1] == b]
            back = [walk for walk in checks if walk.nodes[-1] == a]
            if (pair := _answered(there, back)) is not None:
                what = f"direct checks went both ways (frames {pair[0]} and {pair[1]})"
                broken.append(f"{_words(each)}, although {what}")
            elif checks:
                held.append(f"{_words(each)}: {_why_not(world, checks, a, b)}")
            else:
                unknown.append(f"{_words(each)}, and no direct way was tried")
    return conclude(broken=broken, unknown=unknown, held=held)


def _pairs(world: World) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    for call in world.scenario.calls:
        parties = world.parties_of(call)
        if call.kind == "p2p" and call.caller in parties and call.callee in parties:
            assert call.caller is not None and call.callee is not None
            yield (call.caller, parties[call.caller].node), (call.callee, parties[call.callee].node)


def _words(each: Conversation) -> str:
    by = f"relayed by {', '.join(relay.node for relay in each.relays)}" if each.relays else "no relay"
    return f"{each.title}, {by} ({counted(each.packets)}, first frame {each.first_frame})"


def _direct_checks(world: World, a: str, b: str) -> list[Walk]:
    """Return connectivity checks that either end sent towards the other without a relay."""
    relays = world.run.network.relays
    return [
        walk
        for walk in world.run.walks.walks
        if walk.kind == Kind.STUN
        and walk.nodes[0] in (a, b)
        and not relays & set(walk.nodes)
        and world.run.network.owner(walk.steps[0].flow.destination) not in relays
    ]


def _answered(there: list[Walk], back: list[Walk]) -> tuple[int, int] | None:
    """Return the frames of a check that arrived and of its answer that did, if there is such a pair."""
    for walk in there:
        asked = {step.flow.answer5 for step in walk.steps}
        for answer in back:
            if any(step.flow.tuple5 in asked for step in answer.steps):
                return walk.steps[0].first_frame, answer.steps[0].first_frame
    return None


def _why_not(world: World, checks: list[Walk], a: str, b: str) -> str:
    lost = [walk for walk in checks if walk.nodes[-1] not in (a, b)] or checks
    walk = max(lost, key=lambda each: each.packets)
    drop = next((drop for drop in world.run.drops if walk.number in drop.walks), None)
    end = f"were dropped by {drop.firewall}, rule {drop.rule}" if drop else f"ended at {walk.nodes[-1]}"
    return f"direct checks from {walk.nodes[0]} {end} (first frame {walk.steps[0].first_frame})"


def judge_home_server(world: World) -> Finding:
    """P4: a user's SIP goes to and comes from the Front End of its home; from outside that network an Edge will do.

    A server of another pool may be asked where the home is: one that only redirects REGISTER takes no signaling.
    """
    broken, unknown, held = list[str](), list[str](), list[str]()
    audience = world.scenario.broadcast.attendees if world.scenario.broadcast else ()
    users = {
        name: party
        for name, party in world.scenario.parties.items()
        if party.home is not None and world.kind(party.node) != "pstn"
    }
    if not users:
        return not_applicable("no party has a home server")
    nodes = {party.node for party in world.scenario.parties.values()}
    for name, party in users.items():
        servers = _home_servers(world, party)
        mine = [hop for hop in world.hops if hop.flow == "signaling" and party.node in (hop.start, hop.end)]
        if not mine and name not in audience:
            unknown.append(f"{name} sent no signaling")
        for hop in mine:
            peer = hop.end if hop.start == party.node else hop.start
            what = f"{name}, homed in {party.home}: {hop.words()}"
            if peer in servers:
                held.append(what)
            elif (frame := _redirection(world, party.node, peer)) is not None:
                held.append(f"{what}; {peer} only redirected {name} to its home (frame {frame})")
            elif peer in world.roles.get(party.proxy or "", ()):
                onward, is_right = _handed_on(world, party, peer)
                (unknown if is_right is None else held if is_right else broken).append(f"{what}; {onward}")
            elif world.pool_of(peer) is None and peer not in nodes:
                unknown.append(f"{what}; {peer} is no pool's server, and what it passes on is not followed")
            else:
                broken.append(what)
    return conclude(broken=broken, unknown=unknown, held=held)


def _handed_on(world: World, party: Party, proxy: str) -> tuple[str, bool | None]:
    """Return to whom a user's web proxy hands signaling on, and whether that is right; None where it is not seen to.

    Which tunnel is whose cannot be seen: what goes to a server of none of the proxy's users is nobody's right way.
    """
    users = [one for one in world.scenario.parties.values() if one.proxy == party.proxy]
    nodes = {one.node for one in world.scenario.parties.values()}
    onward = [
        hop
        for hop in world.hops
        if hop.flow == "signaling" and proxy in (hop.start, hop.end) and not nodes & {hop.start, hop.end}
    ]
    allowed = {server for one in users if one.home is not None for server in _home_servers(world, one)}
    if wrong := next((hop for hop in onward if not allowed & {hop.start, hop.end}), None):
        return f"{proxy} hands on {wrong.words()}", False
    right = next((hop for hop in onward if _home_servers(world, party) & {hop.start, hop.end}), None)
    return (f"{proxy} hands it on: {right.words()}", True) if right else (f"{proxy} is not seen to hand it on", None)


def _redirection(world: World, node: str, peer: str) -> int | None:
    """Return the frame in which *peer* redirected *node* (3xx, RFC 3261 section 21.3), if it did nothing else."""
    run = world.run
    numbers = [
        walk.number
        for walk in run.walks.walks
        if walk.kind == Kind.SIP and {walk.nodes[0], walk.nodes[-1]} == {node, peer}
    ]
    first_rows = run.walks.rows[run.walks.starts[np.isin(run.walks.walk, numbers)]]
    messages = [message for row in first_rows.tolist() for message in messages_in(run, row, sent=False)]
    final = [message for message in messages if (message.status or 0) >= 200 and message.status not in _CHALLENGES]
    if {message.method for message in messages} != {"REGISTER"} or not final:
        return None
    return min(message.frame for message in final) if all((m.status or 0) // 100 == 3 for m in final) else None


def _home_servers(world: World, party: Party) -> frozenset[str]:
    """Return where a user's signaling may go. A pool without Front Ends (Cloud Connector) is nobody's home."""
    home = party.home or ""
    front_ends = world.servers(home, "front-end")
    inside = any(world.organisation(node) == world.organisation(party.node) for node in front_ends)
    return front_ends if inside else front_ends | world.servers(home, "edge")
