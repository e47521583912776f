"""Checks of a broadcast: whether each segment left the origin once, from the captures; and how it played, as told.

Who asked for what is read from the HTTP requests (RFC 9112 section 3) on the link by which they left their node.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from testbed.analysis.demux import Kind
from testbed.analysis.packets import TCP
from testbed.analysis.run import Json, Run
from testbed.scenario import Broadcast
from testbed.verdict.checks import HEARD_DBOV, Check
from testbed.verdict.health import is_late

SEGMENT_SUFFIX: Final = b".au"
_GET: Final = b"GET "


def judge_delivery(run: Run, broadcast: Broadcast) -> Check:
    """Judge whether the content delivery network fetched each segment that was asked for once, and no more."""
    cdn = run.plan.roles[broadcast.cdn]
    audience = {run.scenario.parties[name].node for name in broadcast.attendees}
    asked, fetched = _segments(run, audience), _segments(run, cdn)
    expected = f"each segment goes from the origin to {broadcast.cdn} once, however many ask for it"
    observed = {
        "segments_asked": len(asked),
        "requests_of_audience": sum(asked.values()),
        "segments_fetched": len(fetched),
        "requests_to_origin": sum(fetched.values()),
    }
    unseen = sorted(name for name in run.incomplete if _ends(run, name) & {*cdn, *audience, *_origin(run, broadcast)})
    again = {name: count for name, count in fetched.items() if count > 1}
    evidence = tuple(f"{name}: asked for {asked[name]} times, fetched {fetched[name]} times" for name in sorted(asked))
    if again:
        name = min(again)
        reason = f"delivery: {broadcast.cdn} fetched {len(again)} segments more than once ({name} {again[name]} times)"
        return Check("delivery", expected, observed, "FAIL", reason, evidence)
    if unseen:
        reason = f"delivery: capture of link {unseen[0]} {run.incomplete[unseen[0]]}"
        return Check("delivery", expected, observed, "INCONCLUSIVE", reason, evidence)
    if not asked:
        return Check("delivery", expected, observed, "FAIL", "delivery: nobody asked for a segment")
    if missing := sorted(set(asked) - set(fetched)):
        reason = f"delivery: {missing[0]} was asked for, and {broadcast.cdn} fetched it from nowhere"
        return Check("delivery", expected, observed, "FAIL", reason, evidence)
    reason = f"{sum(asked.values())} requests for {len(asked)} segments were served with one fetch each"
    return Check("delivery", expected, observed, "PASS", reason, evidence)


def _origin(run: Run, broadcast: Broadcast) -> Iterator[str]:
    """Yield the nodes that the content delivery network fetches from: those that the encoder runs on."""
    yield from (job.node for job in run.plan.jobs if job.program == "broadcast")


def _segments(run: Run, nodes: Iterable[str]) -> Counter[str]:
    """Return how often programs of *nodes* asked for each segment; a retransmission counts as what it repeats."""
    packets, hops, senders = run.packets, run.network.directions, frozenset(nodes)
    link = np.array([run.network.link_index[interface.name] for interface in packets.interfaces], np.int64)
    hop = link[packets.link] * 2 + packets.forward
    leaves = np.array([each.source in senders for each in hops], np.bool_)
    rows = np.flatnonzero(leaves[hop] & (packets.protocol == TCP) & (packets.payload_length > len(_GET)))
    seen: set[tuple[int, int, int]] = set()
    counts: Counter[str] = Counter()
    for row in rows.tolist():
        payload = packets.payload(row)
        request = int(packets.source[row]), int(packets.source_port[row]), int(packets.tcp_sequence[row])
        if packets.kind[row] == Kind.SIP or not payload.startswith(_GET) or request in seen:
            continue
        seen.add(request)
        path = payload.split(b" ", 2)[1]
        if path.endswith(SEGMENT_SUFFIX):
            counts[path.decode("latin-1")] += 1
    return counts


def _ends(run: Run, link: str) -> set[str]:
    plan = run.network.links[link]
    return {plan.a.node, plan.b.node}


def judge_playing(run: Run, broadcast: Broadcast, events: Sequence[Json]) -> Check:
    """Judge by what the players told whether the stream played without a stall and carried every speaker's tone."""
    speakers = run.scenario.calls[broadcast.call].participants
    expected = f"every player plays without a stall, and hears {', '.join(speakers)} at {HEARD_DBOV:g} dBov or more"
    observed: dict[str, list[Json]] = {}
    faults = []
    for name in broadcast.attendees:
        told = _players(events, name)
        observed[name] = [{key: player.get(key) for key in _SHOWN} for player in told]
        if not told:
            reason = f"playing: {name} told nothing of its players"
            return Check("playing", expected, observed, "INCONCLUSIVE", reason)
        for number, player in enumerate(told, 1):
            faults += [f"playing: {name}'s player {number} {fault}" for fault in _faults(player, speakers)]
    if faults and is_late(run):
        reason = f"{faults[0]}, but the rig was too slow for that to tell"
        return Check("playing", expected, observed, "INCONCLUSIVE", reason, tuple(faults))
    if faults:
        return Check("playing", expected, observed, "FAIL", faults[0], tuple(faults))
    return Check("playing", expected, observed, "PASS", "every player played without a stall and heard every speaker")


_SHOWN: Final = ("segments", "bytes", "played_s", "start_up_ms", "stalls", "stalled_ms", "buffer_ms", "behind_live_ms")


def _faults(player: Json, speakers: Iterable[str]) -> Iterator[str]:
    if not player.get("played_s"):
        failures = player.get("failures") or ["it does not say why"]
        yield f"played nothing: {failures[-1]}"
        return
    if player.get("stalls"):
        yield f"stalled {player['stalls']} times, for {player.get('stalled_ms')} ms"
    levels = (player.get("audio") or {}).get("tone_hz") or {}
    for speaker in speakers:
        level = levels.get(speaker)
        if level is None or level < HEARD_DBOV:
            yield f"does not hear {speaker} ({'no tone' if level is None else f'{level:.1f} dBov'})"


def _players(events: Iterable[Json], name: str) -> list[Json]:
    for event in events:
        if event.get("agent") == name and isinstance(event.get("players"), list):
            return [player for player in event["players"] if isinstance(player, dict)]
    return []
