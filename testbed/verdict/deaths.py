"""The judgement of a leg that is meant to fail: PASS where it died exactly as the scenario says, and in no other way.

Rests on the captures (the way of the packets, both directions) and on the kernel's evidence (the log of drops with
the rule, connection tracking at the time of the drop, the reverse-path filter's counter). What an agent says of it, the
symptom, is judged only where events.jsonl is there.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.analysis.drops import Drop
from testbed.analysis.legs import LegTraffic, Part
from testbed.analysis.run import Run
from testbed.analysis.tracking import Entry, State, entry_at, state_of
from testbed.scenario import Death, Disposition, Leg
from testbed.verdict.causes import attempts_at, drops_of, explain_loss
from testbed.verdict.legs import LegJudgement, Ways, leg_traffic
from testbed.verdict.obituary import sentence


@dataclass(frozen=True, slots=True)
class DeathSeen:
    """How a leg's packets died, as captures and kernel show it."""

    disposition: Disposition
    at: str
    rule: str | None
    state: State | None
    is_return: bool
    "Whether the answers died; else what the leg's `from` sent."
    dying: tuple[Part, ...]
    passing: tuple[Part, ...]
    "Parts of the other direction."
    drops: tuple[Drop, ...]
    entry: Entry | None
    "What connection tracking knew of the first dropped packet."
    elsewhere: dict[str, int]
    "Last node of packets of the dying way that no firewall dropped, and how many they are."
    text: str
    "The cause, as an ordinary leg would tell it."

    def ways(self) -> Ways:
        """Return the links of the forward and of the return way."""
        dying, passing = _main(self.dying).links, _main(self.passing).links if self.passing else ()
        return {"forward": passing, "return": dying} if self.is_return else {"forward": dying, "return": passing}

    def end(self) -> str:
        """Return how it ended as a prediction writes it: NAME:node or NAME:node:rule."""
        return ":".join(filter(None, (self.disposition, self.at, self.rule)))


def judge_death(run: Run, leg: Leg) -> LegJudgement:
    """Judge *leg*, which has `dies`."""
    assert leg.dies is not None
    traffic = leg_traffic(run, leg)
    if not traffic.parts and leg.flow == "media":
        traffic = attempts_at(run, leg)
    judgement = LegJudgement(leg, traffic)
    if leg.dies.disposition == "NEVER_SENT" or not traffic.parts:
        _judge_unsent(run, judgement, leg.dies)
    elif _is_delivered(traffic):
        judgement.faults.append(f"was to die as {leg.dies.disposition}, but packets arrived both ways")
    else:
        _judge_seen(run, judgement, leg.dies, _observe(run, traffic))
    if symptom := _judge_symptom(run, judgement, leg.dies):
        judgement.story = "; ".join(filter(None, (judgement.story, symptom)))
    if judgement.story:
        judgement.evidence.insert(0, judgement.story)
    _judge_completeness(run, judgement)
    return judgement


def _judge_unsent(run: Run, judgement: LegJudgement, wanted: Death) -> None:
    judgement.disposition = "NEVER_SENT"
    if judgement.traffic.parts:
        judgement.disposition = (
            "DELIVERED" if _is_delivered(judgement.traffic) else explain_loss(run, judgement.traffic).disposition
        )
        first = min(step.first_frame for part in judgement.traffic.parts for step in part.steps)
        judgement.faults.append(f"was to send nothing, but did from frame {first} on")
        return
    if wanted.disposition != "NEVER_SENT":
        judgement.doubts.append(f"was to die as {wanted.disposition}, but nothing of it was sent")
        return
    judgement.story = f"no packet between {judgement.leg.from_} and {judgement.leg.to} was seen"


def _is_delivered(traffic: LegTraffic) -> bool:
    """Whether something that says anything arrived both ways."""
    return all(any(part.arrived and part.walk.has_payload for part in way) for way in (traffic.forward, traffic.back))


def _observe(run: Run, traffic: LegTraffic) -> DeathSeen:
    is_return = any(part.arrived for part in traffic.forward) and not any(part.arrived for part in traffic.back)
    ways = traffic.forward, traffic.back
    lost = [part for part in ways[is_return] if not part.arrived]
    # An ICE check to a private address, for one, is lost as well, and is no part of this.
    dying = tuple(part for part in lost if drops_of(run, part)) or tuple(lost)
    passing = tuple(part for part in ways[not is_return] if part.arrived)
    cause = explain_loss(run, traffic)
    by_frame = {drop.frame: drop for part in dying for drop in drops_of(run, part)}
    drops = tuple(by_frame[frame] for frame in sorted(by_frame))
    if not dying:
        return DeathSeen(cause.disposition, "", None, None, is_return, (), passing, (), None, {}, cause.text)
    first = drops[0] if drops else None
    entry = _entry(run, first) if first else None
    at = first.firewall if first else _main(dying).nodes[-1]
    return DeathSeen(
        disposition=cause.disposition,
        at=at,
        rule=first.rule if first else None,
        state=state_of(first, entry) if first else None,
        is_return=is_return,
        dying=dying,
        passing=passing,
        drops=drops,
        entry=entry,
        elsewhere=_ended(lost, at),
        text=cause.text,
    )


def _ended(lost: Sequence[Part], at: str) -> dict[str, int]:
    """Return how many packets of *lost* ended at which node other than *at*.

    Counted by frames in and out: of copies of one packet that overlap in time one walk has another's last hops.
    """
    balance = Counter[str]()
    for part in lost:
        for place, step in enumerate(part.steps):
            balance[step.hop.target] += step.packets
            if place:
                balance[step.hop.source] -= step.packets
    return {node: count for node, count in balance.items() if count > 0 and node != at}


def _entry(run: Run, drop: Drop) -> Entry | None:
    packet = drop.protocol, drop.source, drop.source_port, drop.destination, drop.destination_port
    return entry_at(run.firewalls.get(drop.firewall, {}), packet, drop.time_ns)


def _judge_seen(run: Run, judgement: LegJudgement, wanted: Death, seen: DeathSeen) -> None:
    judgement.disposition = seen.disposition
    if not seen.dying:
        judgement.faults.append(f"was to die as {wanted.disposition}: {seen.disposition}: {seen.text}")
        return
    judgement.ways, judgement.end = seen.ways(), (seen.is_return, seen.end())
    facts: tuple[tuple[str, object, object], ...] = (
        ("disposition", wanted.disposition, seen.disposition),
        ("node", wanted.at, seen.at),
        ("rule", wanted.rule, seen.rule),
        ("connection tracking", wanted.state, seen.state),
        ("forward segments", list(wanted.forward), _kinds(run, judgement.ways["forward"])),
        ("return segments", list(wanted.return_), _kinds(run, judgement.ways["return"])),
    )
    told = sentence(run, judgement.leg, seen)
    wrong = [f"{name} is {got or 'none'}, not {want or 'none'}" for name, want, got in facts if want != got]
    if others := sorted({(d.firewall, d.rule) for d in seen.drops} - {(seen.at, seen.rule)}):
        wrong.append(f"{others[0][0]} dropped packets too, by rule {others[0][1]}")
    target = judgement.doubts if seen.disposition == "CAPTURE_INCOMPLETE" else judgement.faults
    target += [f"did not die as it was to: {'; '.join(wrong)}: {told}"] if wrong else []
    judgement.story = told
    judgement.evidence += [f"{count} packets of it ended elsewhere: {where}" for where, count in seen.elsewhere.items()]


def _kinds(run: Run, links: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(run.network.links[name].segment_kind for name in links))


def _main(parts: Sequence[Part]) -> Part:
    """Return the part that got furthest, of those with most packets."""
    return max(parts, key=lambda part: (part.walk.packets, len(part.steps)))


def _judge_symptom(run: Run, judgement: LegJudgement, wanted: Death) -> str:
    """Return what the agent said of the failure, and when; note a fault where it did not say it."""
    if wanted.symptom is None or run.events is None:
        return ""
    agent = wanted.symptom_of or judgement.leg.from_
    lines = [event for event in run.events if event.get("agent") == agent and event.get("line") in ("error", "event")]
    shown = next((line for line in lines if re.search(wanted.symptom, json.dumps(line))), None)
    if shown is None:
        said = next((json.dumps(line) for line in reversed(lines)), "nothing")
        judgement.faults.append(f"{agent} did not show the symptom {wanted.symptom!r}; it last said {said}")
        return ""
    sent = judgement.traffic.forward
    packets = sum(part.steps[0].packets for part in sent)
    after_s = (shown["t_ns"] - min((part.walk.first_ns for part in sent), default=shown["t_ns"])) / 1e9
    words = shown.get("what") or " ".join(str(shown[key]) for key in ("event", "cause") if shown.get(key))
    return f"{judgement.leg.from_} sent {packets} packets, and after {after_s:.1f} s {agent} said: {words}"


def _judge_completeness(run: Run, judgement: LegJudgement) -> None:
    """Turn every finding into a doubt where a capture that it needs is missing or lost packets."""
    gaps = [gap for part in judgement.traffic.parts for gap in part.gaps]
    used = {step.hop.link for part in judgement.traffic.parts for step in part.steps}
    near = {
        name
        for name in run.incomplete
        if not used or any({link.a.node, link.b.node} & set(gap) for gap in gaps for link in (run.network.links[name],))
    }
    doubtful = sorted(near | (used & set(run.incomplete)))
    if doubtful and "packets arrived both ways" not in judgement.reason:
        judgement.doubts[:] = [f"capture of link {doubtful[0]} {run.incomplete[doubtful[0]]}", *judgement.faults]
        judgement.faults.clear()
        judgement.disposition = "CAPTURE_INCOMPLETE"
