"""The judgement of one leg: which kinds of segment carried it, both ways, and whether the captures can prove it.

Presence on a forbidden link is FAIL even where captures lost packets; silence is only believed of a complete capture.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from testbed.analysis.legs import KINDS, MEDIA, LegTraffic, find_traffic
from testbed.analysis.run import Run
from testbed.scenario import Disposition, Leg, Verdict
from testbed.verdict.causes import Cause, drops_of, explain_end, explain_loss, explain_silence
from testbed.verdict.marking import arrival_faults

Ways = dict[str, tuple[str, ...]]
"""Under "forward" and "return" the links in the order of travel."""
_NAMED_LINKS: Final = 3
"How many links a sentence names before it says how many more there are."


@dataclass(slots=True)
class LegJudgement:
    """The verdict on a leg, with what it rests on."""

    leg: Leg
    traffic: LegTraffic
    faults: list[str] = field(default_factory=list)
    "Wrong behaviour, proven."
    doubts: list[str] = field(default_factory=list)
    "What the captures cannot prove."
    evidence: list[str] = field(default_factory=list)
    disposition: Disposition = "DELIVERED"
    ways: Ways | None = None
    "The ways of a leg that died; None: those of most packets."
    story: str = ""
    "How a leg died that was to die."
    end: tuple[bool, str] | None = None
    "Of a leg that died: whether on the return way, and how it ended, as a prediction writes it."
    when: str = ""
    "What it follows, of a leg that is judged after a change during the call."

    @property
    def verdict(self) -> Verdict:
        """Return FAIL where a fault is proven, INCONCLUSIVE where something is not, else PASS."""
        return "FAIL" if self.faults else "INCONCLUSIVE" if self.doubts else "PASS"

    @property
    def title(self) -> str:
        """Return how a reader calls the leg."""
        when = f" ({self.when})" if self.when else ""
        return f"{self.leg.media or self.leg.flow} {self.leg.from_} -> {self.leg.to}{when}"

    @property
    def reason(self) -> str:
        """Return the weightiest finding in one sentence."""
        found = self.faults or self.doubts
        return f"{self.title}: {found[0]}" if found else f"{self.title}: {self.story or 'as expected'}"


def leg_traffic(run: Run, leg: Leg) -> LegTraffic:
    """Return the traffic of *leg*: the packets of its kind of flow, and of media, between its ends."""
    kinds = KINDS[leg.flow]
    walks = [walk for walk in run.walks.walks if walk.kind in kinds and leg.media in (None, walk.media)]
    roles = run.network.plan.roles
    others = {
        node
        for other in run.scenario.legs
        if other.flow == leg.flow and other.from_ == leg.from_ and other.to != leg.to
        for node in roles.get(other.to, (other.to,))
    }
    return find_traffic(leg, run.network, walks, others)


def judge_leg(run: Run, leg: Leg) -> LegJudgement:
    """Judge *leg* by the captures."""
    traffic = leg_traffic(run, leg)
    judgement = LegJudgement(leg, traffic)
    if not traffic.parts:
        _conclude(judgement, explain_silence(run, leg, traffic), "no packet was seen")
        return judgement
    _judge_forbidden(run, judgement)
    _judge_arrival(run, judgement)
    if leg.flow == "media":
        _judge_strays(run, judgement)
        _judge_drops(run, judgement)
        _judge_loss(run, judgement)
        if leg.dscp is not None:
            judgement.faults.extend(found := list(arrival_faults(run, leg, traffic)))
            judgement.evidence.extend(found)
        if leg.media is not None:
            _judge_unnamed(run, judgement)
    _judge_crossings(run, judgement)
    _judge_over(run, judgement)
    _judge_completeness(run, judgement)
    return judgement


def _conclude(judgement: LegJudgement, cause: Cause, what: str) -> None:
    sentence = f"{what}, {cause.disposition}: {cause.text}"
    judgement.disposition = cause.disposition
    (judgement.faults if cause.is_certain else judgement.doubts).append(sentence)
    judgement.evidence.append(sentence)


def allowed(run: Run, leg: Leg, link: str) -> bool:
    """Return whether packets of *leg* may be on *link*.

    "customer" means the networks of the organisations at the leg's ends: another customer's network is none of them.
    """
    kind = run.network.links[link].segment_kind
    if kind not in leg.crosses or kind in leg.never:
        return False
    roles, nodes = run.network.plan.roles, run.network.nodes
    ends = [nodes[name] for end in (leg.from_, leg.to) for name in roles.get(end, (end,)) if name in nodes]
    at_home = {node.organisation for node in ends if node.segment_kind == "customer"}
    return kind != "customer" or not at_home or run.network.organisation(link) in at_home


def _judge_forbidden(run: Run, judgement: LegJudgement) -> None:
    leg, by_kind = judgement.leg, dict[str, dict[str, int]]()
    counts = dict[str, int]()
    for part in judgement.traffic.parts:
        for step in part.steps:
            if not allowed(run, leg, step.hop.link):
                kind = step.hop.segment_kind
                frames = by_kind.setdefault(kind, {})
                frames[step.hop.link] = min(step.first_frame, frames.get(step.hop.link, step.first_frame))
                counts[kind] = counts.get(kind, 0) + step.packets
    for kind, frames in by_kind.items():
        names = _names(sorted(frames, key=lambda name: frames[name]))
        rule = "which it must never" if kind in leg.never else "which is not on its way"
        whose = "" if kind not in leg.crosses else " of another organisation"
        fault = f"crossed {kind}{whose} (links {names}; first frame {min(frames.values())}), {rule}"
        judgement.faults.append(fault)
        judgement.evidence.append(f"{counts[kind]} frames on {kind} links {names}, first frame {min(frames.values())}")


def _judge_arrival(run: Run, judgement: LegJudgement) -> None:
    leg, traffic = judgement.leg, judgement.traffic
    for parts, end, start in ((traffic.forward, leg.to, leg.from_), (traffic.back, leg.from_, leg.to)):
        told = [part for part in parts if part.arrived and part.walk.has_payload]
        if not told:
            cause = explain_loss(run, traffic) if traffic.forward else explain_silence(run, leg, traffic)
            _conclude(judgement, cause, f"no packet reached {end}")
            return
        count = sum(part.walk.packets for part in told)
        first = min(part.steps[0].first_frame for part in told)
        judgement.evidence.append(f"{count} packets went from {start} to {end}, first frame {first}")


def _judge_strays(run: Run, judgement: LegJudgement) -> None:
    """Find media that got to its receiver without passing the leg's far end."""
    leg, traffic = judgement.leg, judgement.traffic
    for part in traffic.parts:
        last = part.nodes[-1]
        if part.arrived or not run.network.is_host(last):
            continue
        step = part.steps[-1]
        if last in traffic.targets:
            continue
        what = f"{part.walk.packets} packets from {part.nodes[0]} reached {last} without passing {leg.to}"
        judgement.faults.append(f"{what} (first frame {step.first_frame} on {step.hop.link})")
        judgement.evidence.append(judgement.faults[-1])


def _judge_drops(run: Run, judgement: LegJudgement) -> None:
    """Find media of the leg that firewalls dropped: no packet of it may be unaccounted for."""
    dropped = {drop.frame: drop for part in judgement.traffic.parts for drop in drops_of(run, part)}
    if not dropped:
        return
    first = dropped[min(dropped)]
    fault = (
        f"{first.firewall} dropped {len(dropped)} of its packets (rule {first.rule}; first {first.describe()},"
        f" dropped.pcapng frame {first.frame})"
    )
    judgement.faults.append(fault)
    judgement.evidence.append(fault)
    if judgement.disposition == "DELIVERED":
        judgement.disposition = "DENIED_BY_RULE"


def _judge_loss(run: Run, judgement: LegJudgement) -> None:
    """Find a direction in which more packets were lost than arrived: links lose some, a broken route loses the rest."""
    leg, traffic = judgement.leg, judgement.traffic
    ways = (
        (traffic.forward, traffic.back, f"from {leg.from_} to {leg.to}", False),
        (traffic.back, traffic.forward, f"from {leg.to} to {leg.from_}", True),
    )
    for parts, others, which, returning in ways:
        arrived = sum(part.walk.packets for part in parts if part.arrived)
        lost = sum(part.walk.packets for part in parts if not part.arrived)
        if arrived and lost > arrived:
            cause = explain_end(run, parts, others, returning=returning)
            _conclude(judgement, cause, f"{lost} of {lost + arrived} packets {which} did not arrive")


def _judge_unnamed(run: Run, judgement: LegJudgement) -> None:
    """Find media of no known kind at the leg's ends: it may be the leg's, and nobody can say that it is not."""
    ends = judgement.traffic.sources | judgement.traffic.targets
    unnamed = [walk for walk in run.walks.walks if walk.kind in MEDIA and walk.media is None and ends & {*walk.nodes}]
    if unnamed:
        first = min(step.first_frame for walk in unnamed for step in walk.steps)
        count = sum(walk.packets for walk in unnamed)
        judgement.doubts.append(f"{count} packets of media are of no known kind (first frame {first})")


def _judge_crossings(run: Run, judgement: LegJudgement) -> None:
    leg, traffic = judgement.leg, judgement.traffic
    for way, parts in (("forward", traffic.forward), ("return", traffic.back)):
        arrived = [part for part in parts if part.arrived]
        if not arrived:
            continue
        crossed = {step.hop.segment_kind for part in arrived for step in part.steps}
        others = leg.return_only if way == "forward" else leg.forward_only
        for kind in leg.crosses:
            if kind in crossed & {*others}:
                judgement.faults.append(f"crossed {kind} ({way}), which only the other direction must")
            if kind in crossed or kind in others:
                continue
            unseen = [name for name in run.incomplete if run.network.links[name].segment_kind == kind]
            if unseen:
                judgement.doubts.append(f"no packet was seen on {kind} ({way}), but {_incomplete(run, unseen)}")
                judgement.disposition = "CAPTURE_INCOMPLETE"
            else:
                judgement.faults.append(f"no packet crossed {kind} ({way})")
                judgement.evidence.append(f"links of {kind} carried no packet ({way})")


def _judge_over(run: Run, judgement: LegJudgement) -> None:
    """Find packets that arrived without crossing a link that they must."""
    leg, traffic = judgement.leg, judgement.traffic
    for way, parts in (("forward", traffic.forward), ("return", traffic.back)):
        for link in leg.over:
            past = [part for part in parts if part.arrived and link not in part.links]
            if not past:
                continue
            if link in run.incomplete:
                judgement.doubts.append(f"not all was seen on link {link} ({way}), but {_incomplete(run, [link])}")
                judgement.disposition = "CAPTURE_INCOMPLETE"
            else:
                first = min(part.steps[0].first_frame for part in past)
                count = sum(part.walk.packets for part in past)
                judgement.faults.append(f"{count} packets did not cross link {link} ({way}; first frame {first})")
                judgement.evidence.append(judgement.faults[-1])


def _judge_completeness(run: Run, judgement: LegJudgement) -> None:
    """Find what the verdict uses and the captures cannot vouch for."""
    leg, traffic = judgement.leg, judgement.traffic
    gaps = sorted({gap for part in traffic.parts for gap in part.gaps})
    used = {step.hop.link for part in traffic.parts for step in part.steps}
    silent = {name for name in run.network.links if not allowed(run, leg, name)}
    touching = {name for name in run.incomplete for gap in gaps if _touches(run, name, gap)}
    if doubtful := sorted(set(run.incomplete) & (used | silent | touching)):
        judgement.doubts.append(_incomplete(run, doubtful))
    elif gaps:
        judgement.doubts.append(f"capture is incomplete: packets were at {gaps[0][0]} and then at {gaps[0][1]}")
    if not judgement.doubts and not judgement.faults:
        judgement.evidence.extend(_silence(run, leg))
    if judgement.doubts and not judgement.faults:
        judgement.evidence.extend(judgement.doubts)
        if judgement.disposition == "DELIVERED":
            judgement.disposition = "CAPTURE_INCOMPLETE"


def _silence(run: Run, leg: Leg) -> Iterator[str]:
    """Yield, for each kind of segment that the leg must never cross, on how many links that was watched."""
    for kind in leg.never:
        count = sum(link.up and link.segment_kind == kind for link in run.plan.links)
        yield f"no packet of it on any of the {count} links of {kind}, all captured without loss"


def _touches(run: Run, link: str, gap: tuple[str, str]) -> bool:
    plan = run.network.links[link]
    return bool({plan.a.node, plan.b.node}.intersection(gap))


def _incomplete(run: Run, links: Iterable[str]) -> str:
    named = list(links)
    others = f" (and {len(named) - 1} more)" if len(named) > 1 else ""
    return f"capture of link {named[0]} {run.incomplete[named[0]]}{others}"


def _names(links: Iterable[str]) -> str:
    named = list(links)
    more = f" and {len(named) - _NAMED_LINKS} more" if len(named) > _NAMED_LINKS else ""
    return ", ".join(named[:_NAMED_LINKS]) + more
