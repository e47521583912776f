"""Why packets of a leg did not get through: the disposition, and node, rule, link and frame that show it.

Tells apart what looks alike to the user: a rule that denies, a firewall that never saw the flow begin, a reverse-path
filter, a missing route, a relay that refuses, a peer that is silent, and packets that nobody sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from testbed.analysis.drops import Drop
from testbed.analysis.legs import LegTraffic, Part, find_traffic
from testbed.analysis.messages import ALLOCATE, METHODS, StunMessage, Unreachable
from testbed.analysis.packets import Kind
from testbed.analysis.paths import Step, Walk
from testbed.analysis.run import Run
from testbed.analysis.segments import Ends
from testbed.analysis.tls import KEY_LOG
from testbed.plan.jobs import TURN_TCP_PORT, TURN_UDP_PORT
from testbed.plan.marks import has_port, marks_at, transport_kind
from testbed.scenario import Disposition, Leg
from testbed.verdict.link_loss import losses_behind, unless_lost, unless_unheard
from testbed.verdict.naming import explain_unresolved

_ATTEMPTS: Final = frozenset({Kind.STUN, Kind.DTLS, Kind.TCP, Kind.TURN_INDICATION, Kind.CHANNEL_DATA})
"What a party sends before its media flows: TURN requests, ICE checks, DTLS handshakes, TCP connections to a relay."
_TURN_PORTS: Final = frozenset({TURN_UDP_PORT, TURN_TCP_PORT})
_PORT_UNREACHABLE: Final = 3
_PROHIBITED: Final = (9, 10, 13)
_UNCERTAIN: Final = ("CAPTURE_INCOMPLETE", "NEVER_SENT")


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a leg has no traffic, or none in one direction."""

    disposition: Disposition
    text: str
    "Node, rule, link and frame."

    @property
    def is_certain(self) -> bool:
        """Return whether this is wrong behaviour, and not a lack of evidence."""
        return self.disposition not in _UNCERTAIN


def explain_silence(run: Run, leg: Leg, traffic: LegTraffic) -> Cause:
    """Say why nothing of *leg* was seen: what the party tried instead, and where that ended."""
    walks = run.walks.walks
    if leg.flow == "media":
        tried = attempts_at(run, leg)
        if tried.forward:
            return _explain_attempt(run, tried)
    unseen = any(_ends(run, name) & (traffic.sources | traffic.targets) for name in run.incomplete)
    servers = _proxies(run) if leg.flow == "media" else frozenset[str]()  # which did not find another organisation's
    for nodes in () if unseen else (traffic.sources, traffic.targets, servers):
        if unresolved := explain_unresolved(run, nodes, leg, lambda run, traffic: explain_loss(run, traffic).text):
            return Cause("NAME_NOT_RESOLVED", unresolved)
    if leg.flow not in ("signaling", "media"):
        return _never_sent(run, leg, traffic)
    sip = _signaling_of(run, traffic.sources, [walk for walk in walks if walk.kind == Kind.SIP], leg)
    if sip is not None and not _is_hidden(run, leg, traffic):
        return _explain_signaling_only(run, leg, sip)
    return _never_sent(run, leg, traffic)


def _proxies(run: Run) -> frozenset[str]:
    """Return the nodes that pass SIP requests on."""
    every = run.plan.roles.items()
    return frozenset(node for role, nodes in every if role.endswith(("-front-end", "-edge")) for node in nodes)


def _is_hidden(run: Run, leg: Leg, traffic: LegTraffic) -> bool:
    """Whether signaling may have gone out by a link that nobody watched, whatever else was signaled: as a proxy's."""
    return leg.flow == "signaling" and any(_ends(run, name) & traffic.sources for name in run.incomplete)


def _never_sent(run: Run, leg: Leg, traffic: LegTraffic) -> Cause:
    unseen = sorted(name for name in run.incomplete if _ends(run, name) & (traffic.sources | traffic.targets))
    if unseen:
        return Cause("CAPTURE_INCOMPLETE", f"capture of link {unseen[0]} {run.incomplete[unseen[0]]}")
    return Cause("NEVER_SENT", f"{leg.from_} sent nothing: no {leg.flow}, no attempt at it")


def attempts_at(run: Run, leg: Leg) -> LegTraffic:
    """Return what was sent between the ends of a media leg before any media: TURN requests, checks, handshakes.

    A party that its relay never answered has no relayed candidate: then what it asked the relay for is all that is
    returned, whatever became of checks towards the relayed candidates of others.
    """
    attempts = [walk for walk in run.walks.walks if walk.kind in _ATTEMPTS and _may_set_up(run, leg, walk)]
    traffic = find_traffic(leg.model_copy(update={"flow": "signaling"}), run.network, attempts)
    if not traffic.targets <= run.network.relays:
        return traffic
    asked = [part for part in traffic.forward if part.steps[-1].flow.destination_port in _TURN_PORTS]
    answers = [part for part in traffic.back if part.steps[0].flow.source_port in _TURN_PORTS]
    if not asked or (_arrived(asked) and _arrived(answers)):
        return traffic
    return replace(traffic, forward=asked, back=answers)


def _may_set_up(run: Run, leg: Leg, walk: Walk) -> bool:
    """Return whether an attempt may be at the leg's kind of media: by the ports, where a kind has ports of its own."""
    if leg.media is None:
        return True
    kind = transport_kind(run.scenario, leg.media)
    first, last = walk.steps[0].flow, walk.steps[-1].flow
    ends = (walk.nodes[0], first.source_port), (walk.nodes[-1], last.destination_port)
    told = [(marks[kind], port) for node, port in ends if kind in (marks := marks_at(run.plan, node))]
    return not told or any(has_port(mark, port) for mark, port in told)


def explain_loss(run: Run, traffic: LegTraffic) -> Cause:
    """Say why packets that were sent did not go both ways."""
    forward, back = traffic.forward, traffic.back
    if not _arrived(forward):
        return explain_end(run, forward, back, returning=False)
    if not _arrived(back):
        if back:
            return explain_end(run, back, forward, returning=True)
        return _unanswered(run, traffic)
    for lost, others, returning in ((forward, back, False), (back, forward, True)):
        mute = [part for part in lost if not part.arrived and part.walk.has_payload]
        if mute and not _arrived(part for part in lost if part.walk.has_payload):
            return explain_end(run, mute, others, returning=returning)
    return _unanswered(run, traffic)


def _arrived(parts: Iterable[Part]) -> bool:
    return any(part.arrived for part in parts)


def _unanswered(run: Run, traffic: LegTraffic) -> Cause:
    leg, sent = traffic.leg, [part for part in traffic.forward if part.arrived]
    tuples = {step.flow.tuple5 for part in sent for step in part.steps}
    if closed := next((u for u in run.unreachables if u.quoted5 in tuples and u.code == _PORT_UNREACHABLE), None):
        return Cause("TIMEOUT", f"nothing listens at {leg.to}: {closed.describe()} (frame {closed.frame})")
    part = max(sent, key=lambda part: part.walk.packets)
    last, count = part.steps[-1], sum(each.walk.packets for each in sent)
    first = f"first frame {last.first_frame} on {last.hop.link}"
    told = f"{part.nodes[-1]} received {count} packets ({first}) and sent no answer"
    return Cause("TIMEOUT", unless_unheard(run, last.hop, told))


def explain_end(run: Run, parts: Sequence[Part], others: Sequence[Part], *, returning: bool) -> Cause:
    """Say where the packets of *parts* ended; *others* are those of the other direction."""
    lost = [part for part in parts if not part.arrived]
    dropped = [(drop, part) for part in lost for drop in drops_of(run, part)]
    if dropped:
        drop, part = min(dropped, key=lambda pair: pair[0].frame)
        return _dropped(drop, part, others, returning=returning)
    part = max(lost, key=lambda part: (len(part.steps), part.walk.packets))
    tuples = {step.flow.tuple5 for each in lost for step in each.steps}
    if said := next((u for u in run.unreachables if u.quoted5 in tuples), None):
        return _unreachable(run, said)
    return _vanished(run, part, others, returning=returning)


def drops_of(run: Run, part: Part) -> list[Drop]:
    """Return the packets of *part* that firewalls on its way dropped."""
    tuples = {step.flow.tuple5 for step in part.steps}
    return [
        drop
        for drop in run.drops
        if drop.firewall in part.nodes
        and (
            part.walk.number in drop.walks
            or (not drop.walks and not part.arrived and _tuple_of(drop) in tuples and drop.firewall == part.nodes[-1])
        )
    ]


def _tuple_of(drop: Drop) -> tuple[int, int, int, int, int]:
    return drop.protocol, drop.source, drop.source_port, drop.destination, drop.destination_port


def _dropped(drop: Drop, part: Part, others: Sequence[Part], *, returning: bool) -> Cause:
    step = part.steps[-1]
    what = (
        f"{drop.firewall} dropped {drop.describe()} by rule {drop.rule}"
        f" (dropped.pcapng frame {drop.frame}; frame {step.first_frame} on {step.hop.link})"
    )
    saw_other_way = any(drop.firewall in other.nodes for other in others)
    if returning and not saw_other_way:
        return Cause("NO_SESSION_ON_RETURN", f"{what}: it never saw the flow begin")
    if returning and not _is_answer(part, drop.firewall, others):
        return Cause("NAT_MISMATCH", f"{what}: its addresses are not those that {drop.firewall} gave the flow")
    if not returning and drop.rule == "invalid" and not saw_other_way and _arrived(others):
        return Cause("HALF_SEEN_FLOW", f"{what}: it saw only one direction of the connection")
    return Cause("DENIED_BY_RULE", what)


def _is_answer(part: Part, firewall: str, others: Sequence[Part]) -> bool:
    """Return whether the packets that reached *firewall* answer what it sent out."""
    sent = {step.flow.answer5 for other in others for step in other.steps if step.hop.source == firewall}
    return any(step.flow.tuple5 in sent for step in part.steps if step.hop.target == firewall)


def _unreachable(run: Run, said: Unreachable) -> Cause:
    text = f"{said.describe()} ({run.network.owner(said.sender) or 'unknown node'}, frame {said.frame})"
    if said.code == _PORT_UNREACHABLE:
        return Cause("TIMEOUT", f"nothing listens there: {text}")
    return Cause("DENIED_BY_RULE" if said.code in _PROHIBITED else "NO_ROUTE", text)


def _vanished(run: Run, part: Part, others: Sequence[Part], *, returning: bool) -> Cause:
    """Say what became of packets that were last seen somewhere, and that nobody reported."""
    node, step = part.nodes[-1], part.steps[-1]
    seen = f"last seen on {step.hop.link} towards {node} (frame {step.first_frame})"
    if run.network.is_leaky(node) or part.gaps:
        return Cause("CAPTURE_INCOMPLETE", f"{seen}, where {_first_incomplete(run, node)}")
    if run.network.nodes[node].kind == "firewall":
        if run.firewalls.get(node, {}).get("reverse_path_filter_drops"):
            count = run.firewalls[node]["reverse_path_filter_drops"]
            text = f"{seen}; {node} counts {count} packets dropped by its reverse-path filter"
            return Cause("REVERSE_PATH_FILTER", text)
        if node in run.drop_log_gaps:
            return Cause("CAPTURE_INCOMPLETE", f"{seen}, whose log of drops {run.drop_log_gaps[node]}")
        if returning and run.network.owner(step.flow.destination) == node:
            known = any(node in other.nodes for other in others)
            text = f"{seen}: {unless_lost(run, step.hop, f'{node} has no translation for them')}"
            return Cause("NAT_MISMATCH" if known else "NO_SESSION_ON_RETURN", text)
    if run.network.is_host(node):
        return Cause("DELIVERED", unless_lost(run, step.hop, f"went to {node} instead ({seen})"))
    told = unless_lost(run, step.hop, f"{node} sent them no further", losses_behind(run, step.hop))
    return Cause("NO_ROUTE", f"{seen}; {told}")


def _first_incomplete(run: Run, node: str) -> str:
    near = sorted(run.incomplete, key=lambda name: (node not in _ends(run, name), name))
    return f"capture of link {near[0]} {run.incomplete[near[0]]}" if near else "a captured link did not show them"


def _ends(run: Run, link: str) -> set[str]:
    plan = run.network.links[link]
    return {plan.a.node, plan.b.node}


def _explain_attempt(run: Run, tried: LegTraffic) -> Cause:
    """Say how far TURN requests, ICE checks and handshakes towards the far end got."""
    if refusal := _refusal(run, tried):
        message, text = refusal
        method = METHODS.get(message.method, f"method {message.method}")
        frame = int(run.packets.frame[message.row])
        return Cause("TURN_REFUSED", f"{tried.leg.to} refused {method}: {text} (frame {frame})")
    cause = explain_loss(run, tried)
    spoken = [[part for part in way if part.arrived and part.walk.has_payload] for way in (tried.forward, tried.back)]
    if all(spoken):
        part = max(spoken[0], key=lambda part: part.walk.packets)
        step = part.steps[0]
        if any(_ends_of(each) & run.sealed_tls for part in tried.forward for each in part.steps):
            text = f"{tried.leg.from_} and {tried.leg.to} spoke inside TLS (first frame {step.first_frame})"
            return Cause("CAPTURE_INCOMPLETE", f"{text}, which {KEY_LOG} does not open")
        text = f"{tried.leg.from_} and {tried.leg.to} exchanged {step.flow.kind.name} (first frame {step.first_frame})"
        return Cause("TIMEOUT", f"{text}, but no media followed")
    return Cause(cause.disposition, f"no media was sent; attempts ended: {cause.text}")


def _ends_of(step: Step) -> set[Ends]:
    flow = step.flow
    return {(flow.source, flow.source_port, flow.destination, flow.destination_port)}


def _refusal(run: Run, tried: LegTraffic) -> tuple[StunMessage, str] | None:
    """Return the relay's refusal, if it gave one and never said yes after it."""
    answers = {step.flow.tuple5 for part in tried.back for step in part.steps}
    packets = run.packets
    mine = [message for message in run.stun if not message.is_request and _row5(run, message.row) in answers]
    if any(message.method == ALLOCATE and message.is_success for message in mine):
        mine = [message for message in mine if message.method != ALLOCATE]
    refused = next((message for message in mine if message.is_refusal), None)
    if refused is not None and refused.error is not None:
        return refused, f"{refused.error[0]} {refused.error[1]}".strip()
    challenged = {(message.transaction, _row5(run, message.row)[3:]): message for message in mine if message.error}
    by_client: dict[tuple[int, ...], list[StunMessage]] = {}
    for (_, client), message in challenged.items():
        by_client.setdefault(client, []).append(message)
    again = next((messages for messages in by_client.values() if len(messages) > 1), None)
    if again is None or any(message.is_success and message.method == ALLOCATE for message in mine):
        return None
    second = min(again[1:], key=lambda message: int(packets.frame[message.row]))
    return second, f"{second.error[0] if second.error else 0} again, with credentials"


def _row5(run: Run, row: int) -> tuple[int, int, int, int, int]:
    p = run.packets
    return (
        int(p.protocol[row]),
        int(p.source[row]),
        int(p.source_port[row]),
        int(p.destination[row]),
        int(p.destination_port[row]),
    )


def _signaling_of(run: Run, sources: frozenset[str], sip: Sequence[Walk], leg: Leg) -> LegTraffic | None:
    """Return the traffic between *sources* and whatever they sent SIP to, or None where they sent none."""
    if sources & run.network.relays and leg.flow == "media":
        return None
    meant = {
        owner
        for walk in sip
        if walk.nodes[0] in sources and (owner := run.network.owner(walk.steps[0].flow.destination)) is not None
    }
    for target in sorted(meant):
        towards = leg.model_copy(update={"flow": "signaling", "to": target})
        if (traffic := find_traffic(towards, run.network, sip)).forward:
            return traffic
    return None


def _explain_signaling_only(run: Run, leg: Leg, sip: LegTraffic) -> Cause:
    both = all(_arrived(part for part in way if part.walk.has_payload) for way in (sip.forward, sip.back))
    step = sip.forward[0].steps[0]
    if leg.flow == "signaling":
        if both:
            return Cause("DELIVERED", f"signaling went to {sip.leg.to} instead (first frame {step.first_frame})")
        cause = explain_loss(run, sip)
        return Cause(cause.disposition, f"signaling went to {sip.leg.to} instead, and ended: {cause.text}")
    if both:
        text = f"signaling with {sip.leg.to} went both ways (first frame {step.first_frame})"
        return Cause("TIMEOUT", f"{text}, but {leg.from_} sent no media and no attempt at it towards {leg.to}")
    cause = explain_loss(run, sip)
    return Cause(cause.disposition, f"no media was sent; signaling towards {sip.leg.to} ended: {cause.text}")
