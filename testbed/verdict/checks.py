"""What is judged besides paths: relays between the ends, the selected candidate pair, and who hears whom."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise, permutations
from typing import Any, Final

from testbed.analysis.legs import MEDIA
from testbed.analysis.packets import Encapsulation, Kind
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Json, Run
from testbed.scenario import Call, Verdict
from testbed.verdict.health import is_late

HEARD_DBOV: Final = -50.0
"A party's tone counts as heard from this level on: far over G.711's quantising noise, far under a tone played whole."
TONE_TOLERANCE_HZ: Final = 10
"Agents tell a tone's frequency to the nearest 10 Hz."
_SAME_TYPE: Final = {"prflx": "srflx"}
"Seen from outside, a peer reflexive address is a server reflexive one that nobody asked a server for (RFC 8445 5.1.3)."


@dataclass(frozen=True, slots=True)
class Check:
    """One entry of `checks` in verdict.json."""

    check: str
    expected: Any
    observed: Any
    verdict: Verdict
    reason: str
    evidence: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return it as verdict.json has it."""
        return {
            "check": self.check,
            "expected": self.expected,
            "observed": self.observed,
            "verdict": self.verdict,
            "reason": self.reason,
            "evidence": list(self.evidence),
        }


@dataclass(frozen=True, slots=True)
class End:
    """How media left or reached one end."""

    node: str
    address: str
    "Address and port at the node itself."
    candidate: str
    "host, srflx or relay: what the far end sees."


@dataclass(frozen=True, slots=True)
class Conversation:
    """Media packets from one end to the other, however they went."""

    sender: End
    receiver: End
    relays: int
    packets: int
    first_frame: int


def judge_checks(run: Run) -> list[Check]:
    """Return every check that the scenario asks for."""
    spoken = conversations(run)
    checks = []
    if run.scenario.relays:
        checks.append(_judge_relays(run, spoken))
    if run.scenario.selected_pair is not None:
        checks.append(_judge_pair(run, spoken, run.scenario.selected_pair))
    if run.scenario.calls:
        checks.append(_judge_heard(run, spoken))
        if run.events is not None:
            checks.append(_judge_audio(run, run.events))
    return checks


def conversations(run: Run) -> tuple[Conversation, ...]:
    """Return who sent RTP to whom, from one application to the other: relays are looked through."""
    found = []
    for walk in run.walks.walks:
        ends = walk.nodes[0], walk.nodes[-1]
        if walk.kind != Kind.RTP or walk.gaps or not all(map(run.network.is_host, ends)):
            continue
        if ends[1] in run.network.relays or ends[0] in run.network.relays:
            continue
        stages = _stages(run, walk)
        found.append(
            Conversation(
                sender=_sender(stages[0], ends[0]),
                receiver=_receiver(stages[-1], ends[1]),
                relays=sum(1 for stage in stages if _is_relayed(stage)),
                packets=walk.packets,
                first_frame=min(step.first_frame for step in walk.steps),
            )
        )
    return tuple(found)


def _stages(run: Run, walk: Walk) -> list[list[Step]]:
    """Cut a walk at its relays: each stage is one datagram's way from one socket to the next."""
    stages: list[list[Step]] = [[walk.steps[0]]]
    for before, step in pairwise(walk.steps):
        if before.hop.target in run.network.relays:
            stages.append([])
        stages[-1].append(step)
    return stages


def _is_relayed(stage: Sequence[Step]) -> bool:
    return stage[0].flow.encapsulation != Encapsulation.NONE


def _sender(stage: Sequence[Step], node: str) -> End:
    first, last = stage[0].flow, stage[-1].flow
    same = (first.source, first.source_port) == (last.source, last.source_port)
    kind = "relay" if _is_relayed(stage) else "host" if same else "srflx"
    return End(node, f"{IPv4Address(first.source)}:{first.source_port}", kind)


def _receiver(stage: Sequence[Step], node: str) -> End:
    first, last = stage[0].flow, stage[-1].flow
    same = (first.destination, first.destination_port) == (last.destination, last.destination_port)
    kind = "relay" if _is_relayed(stage) else "host" if same else "srflx"
    return End(node, f"{IPv4Address(last.destination)}:{last.destination_port}", kind)


def _judge_relays(run: Run, spoken: Sequence[Conversation]) -> Check:
    allowed = list(run.scenario.relays)
    observed: dict[str, list[int]] = {}
    evidence = []
    for each in sorted(_of_clients(run, spoken), key=lambda each: each.first_frame):
        pair = f"{each.sender.node} -> {each.receiver.node}"
        observed.setdefault(pair, [])
        if each.relays not in observed[pair]:
            observed[pair].append(each.relays)
            evidence.append(f"{pair}: {each.relays} relays on the way (first frame {each.first_frame})")
    if not observed:
        return Check("relays", allowed, None, "INCONCLUSIVE", "no media was followed from end to end")
    wrong = {pair: counts for pair, counts in observed.items() if set(counts) - set(allowed)}
    if wrong:
        pair, counts = next(iter(wrong.items()))
        reason = f"media {pair} passed {_or(counts)} relays, allowed are {_or(allowed)}"
        return Check("relays", allowed, observed, "FAIL", reason, tuple(evidence))
    return Check("relays", allowed, observed, "PASS", f"every stream passed {_or(allowed)} relays", tuple(evidence))


def _or(numbers: Iterable[int]) -> str:
    return " or ".join(str(number) for number in numbers)


def _of_clients(run: Run, spoken: Iterable[Conversation]) -> list[Conversation]:
    """Return the conversations of the parties that the scenario's media legs name.

    What it says of relays holds for them: a companion inside the host's own network needs none, nor does a telephone.
    """
    telephones = {job.node for job in run.plan.jobs if job.program == "phone"}
    named = {end for leg in run.scenario.legs if leg.flow == "media" for end in (leg.from_, leg.to)}
    parties = run.scenario.parties
    clients = {parties[name].node for name in named & set(parties)} - telephones
    return [each for each in spoken if clients & {each.sender.node, each.receiver.node}]


def _judge_pair(run: Run, spoken: Sequence[Conversation], wanted: tuple[str, str]) -> Check:
    expected = list(wanted)
    pairs: dict[tuple[str, str], Conversation] = {}
    for each in sorted(_of_clients(run, spoken), key=lambda each: each.first_frame):
        pairs.setdefault((each.sender.candidate, each.receiver.candidate), each)
    evidence = [
        f"{c.sender.node} {c.sender.address} ({c.sender.candidate}) -> {c.receiver.node} {c.receiver.address}"
        f" ({c.receiver.candidate}), first frame {c.first_frame}"
        for c in pairs.values()
    ]
    evidence += _disagreements(run, spoken)
    if not pairs:
        reason = "no media was followed from end to end"
        return Check("selected-pair", expected, None, "INCONCLUSIVE", reason, tuple(evidence))
    observed = [list(pair) for pair in sorted(pairs)]
    right = sorted(_plain(kind) for kind in wanted)
    wrong = next((pair for pair in pairs if sorted(pair) != right), None)
    if wrong is not None:
        each = pairs[wrong]
        reason = (
            f"media {each.sender.node} -> {each.receiver.node} used the pair {wrong[0]}-{wrong[1]}"
            f" (first frame {each.first_frame}), not {wanted[0]}-{wanted[1]}"
        )
        return Check("selected-pair", expected, observed, "FAIL", reason, tuple(evidence))
    reason = f"all media used the pair {wanted[0]}-{wanted[1]}"
    return Check("selected-pair", expected, observed, "PASS", reason, tuple(evidence))


def _plain(kind: str) -> str:
    return _SAME_TYPE.get(kind, kind)


def _disagreements(run: Run, spoken: Iterable[Conversation]) -> list[str]:
    """Return where an agent's word on its own candidate is not what the captures show."""
    seen: dict[str, set[str]] = {}
    for each in spoken:
        seen.setdefault(each.sender.node, set()).add(each.sender.candidate)
    found = []
    for job in run.plan.jobs:
        for told in _calls_told(run.events or (), job.name):
            kind = _plain((told.get("selected_pair") or {}).get("local") or "")
            # A client names the base that it sends from; that NAT changes it on the way only the captures tell.
            base = {"srflx": "host"}.get(kind, kind)
            shown = {{"srflx": "host"}.get(each, each) for each in seen.get(job.node, set())}
            if base and shown and base not in shown:
                found.append(f"{job.name} says it used {kind}, the captures show {', '.join(sorted(seen[job.node]))}")
    return found


def _judge_heard(run: Run, spoken: Sequence[Conversation]) -> Check:
    """Judge whether media went to and came from every participant of every call."""
    sent = _totals((each.sender.node, each.packets) for each in spoken)
    received = _totals((each.receiver.node, each.packets) for each in spoken)
    names = list(dict.fromkeys(name for call in run.scenario.calls for name in participants(call)))
    node_of = {name: party.node for name, party in run.scenario.parties.items()}
    observed = {
        name: {"sent": sent.get(node_of[name], 0), "received": received.get(node_of[name], 0)} for name in names
    }
    expected = {name: "sends and receives media" for name in names}
    silent = next((name for name, counts in observed.items() if not all(counts.values())), None)
    if silent is None:
        return Check("heard", expected, observed, "PASS", "media went to and came from every participant")
    lacking = "received" if not observed[silent]["received"] else "sent"
    what = f"{silent} {lacking} no media that went from end to end"
    media_gaps = any(walk.gaps for walk in run.walks.walks if walk.kind in MEDIA)
    nothing = not any(walk.kind in MEDIA for walk in run.walks.walks)
    if media_gaps or (nothing and run.incomplete):
        name = sorted(run.incomplete)[0] if run.incomplete else ""
        why = f": capture of link {name} {run.incomplete[name]}" if name else ""
        return Check("heard", expected, observed, "INCONCLUSIVE", f"{what}{why}")
    return Check("heard", expected, observed, "FAIL", what)


def _totals(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    return totals


def participants(call: Call) -> tuple[str, ...]:
    """Return the parties of *call*."""
    return tuple(name for name in (call.caller, call.callee, *call.participants) if name is not None)


def _judge_audio(run: Run, events: Sequence[Json]) -> Check:
    """Judge by the tones that agents measured whether each participant hears each other one."""
    observed: dict[str, dict[str, float | None]] = {}
    deaf, unknown = [], []
    for call in run.scenario.calls:
        if "audio" not in call.media:
            continue
        for listener, speaker in permutations(participants(call), 2):
            was_measured, level = _level(run, events, listener, speaker)
            observed.setdefault(listener, {})[speaker] = level
            if not was_measured:
                unknown.append(f"{listener} measured no audio")
            elif level is None or level < HEARD_DBOV:
                told = "no tone" if level is None else f"{level:.1f} dBov"
                deaf.append(f"{listener} does not hear {speaker} ({told})")
    expected = f"each hears each other at {HEARD_DBOV:g} dBov or more"
    # A slow rig can swallow a tone, never make one: it takes the certainty from what is missing only.
    if deaf and is_late(run):
        reason = f"{deaf[0]}, but the rig was too slow for that to tell"
        return Check("audio", expected, observed, "INCONCLUSIVE", reason, tuple(deaf))
    if deaf:
        return Check("audio", expected, observed, "FAIL", deaf[0], tuple(deaf))
    if unknown:
        return Check("audio", expected, observed, "INCONCLUSIVE", unknown[0], tuple(dict.fromkeys(unknown)))
    return Check("audio", expected, observed, "PASS", "every participant hears every other")


def _level(run: Run, events: Iterable[Json], listener: str, speaker: str) -> tuple[bool, float | None]:
    """Return whether *listener* measured audio, and the highest level of *speaker*'s tone over its calls.

    An agent names a tone by its player where it was told who plays what, else by its frequency in hertz.
    """
    plays = next((job.arguments.get("tone_hz") for job in run.plan.jobs if job.name == speaker), None)
    measured, heard = False, list[float]()
    for told in _calls_told(events, listener):
        audio = told.get("audio") or {}
        measured |= audio.get("received_level_dbov") is not None
        for name, level in (audio.get("tone_hz") or {}).items():
            if isinstance(level, int | float) and (name == speaker or _is_tone(name, plays)):
                heard.append(float(level))
    return measured, max(heard, default=None)


def _is_tone(name: str, plays: object) -> bool:
    return name.isdigit() and isinstance(plays, int) and abs(int(name) - plays) <= TONE_TOLERANCE_HZ


def _calls_told(events: Iterable[Json], name: str) -> Iterable[Json]:
    """Yield the calls in the results of agent *name*; the world adds "agent" and may wrap the agent's own line."""
    for event in events:
        if event.get("agent") != name and event.get("name") != name:
            continue
        line = event.get("line") if isinstance(event.get("line"), dict) else event
        if isinstance(line, dict):
            yield from (call for call in line.get("calls") or () if isinstance(call, dict))
