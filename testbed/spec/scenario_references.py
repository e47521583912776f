"""Cross-references of a scenario: whether its parties, calls, legs and controls fit each other and the topology."""

import re
from collections.abc import Iterator

from testbed.plan.policy import BUILT_IN_RULES
from testbed.scenario import Call, Leg, Party, Scenario
from testbed.spec.faults import Fault, Key, name_faults, suggest
from testbed.topology import Topology

CANDIDATE_TYPES = ("host", "srflx", "prflx", "relay")
"ICE candidate types (RFC 8445 section 5.1.1), as SDP writes them."
_SIP_URI = re.compile(r"sip:[^@\s;]+@([A-Za-z0-9.-]+)")


def roles_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    """Return each role a leg may name, as <pool>-<role>, and its nodes."""
    return {f"{pool}-{role}": nodes for pool, table in topology.pools.items() for role, nodes in table.roles.items()}


def servers_of(topology: Topology) -> dict[str, tuple[str, ...]]:
    """Return each name of servers that a leg may use: roles and services, with their nodes."""
    return roles_of(topology) | {name: (service.node,) for name, service in topology.services.items()}


def scenario_faults(scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    """Yield what is wrong in a scenario that is right part by part, in its topology."""
    if not scenario.parties:
        yield Fault(("parties",), "names nobody; a scenario needs parties")
    if not scenario.calls and not scenario.messages:
        yield Fault(("calls",), "there is none; a scenario needs a call or a message")
    if not scenario.legs:
        yield Fault(("legs",), "there is none; without legs nothing would be judged")
    for name, party in scenario.parties.items():
        yield from _party_faults(name, party, topology)
        yield from _name_taken(name, party, topology)
    yield from _shared_faults(scenario)
    for index, call in enumerate(scenario.calls):
        yield from _call_faults(("calls", index), call, scenario, topology)
        yield from _https_faults(("calls", index), call, scenario)
    yield from _broadcast_faults(scenario, topology)
    yield from _message_faults(scenario)
    yield from _traffic_faults(scenario, topology)
    yield from _leg_faults(("legs",), scenario.legs, scenario, topology)
    yield from _during_faults(scenario, topology)
    yield from _expectation_faults(scenario)
    yield from _control_faults(scenario)


def _party_faults(name: str, party: Party, topology: Topology) -> Iterator[Fault]:
    key: Key = ("parties", name)
    hosts = [node for node, table in topology.nodes.items() if table.kind == "host"]
    yield from name_faults((*key, "node"), [party.node], hosts, "host")
    match = _SIP_URI.fullmatch(party.uri)
    if match is None:
        yield Fault((*key, "uri"), f"must be an address of record like 'sip:alice@contoso.example', not {party.uri!r}")
    yield from _proxy_faults((*key, "proxy"), party, topology)
    yield from _visit_faults((*key, "visits"), party, topology)
    if party.home is None:
        return
    yield from name_faults((*key, "home"), [party.home], topology.pools, "pool")
    if match is not None and party.home in topology.pools:
        domains = topology.pools[party.home].domains
        if match[1] not in domains:
            hint = suggest(match[1], domains, what="its domains")
            yield Fault((*key, "uri"), f"pool {party.home} has no users of {match[1]!r}; {hint}")


def _shared_faults(scenario: Scenario) -> Iterator[Fault]:
    """Packets are told apart by the node that sent them, and requests by whom they are for."""
    for field in ("node", "uri"):
        first: dict[str, str] = {}
        for name, party in scenario.parties.items():
            value = getattr(party, field)
            if (other := first.setdefault(value, name)) != name:
                yield Fault(("parties", name, field), f"{value!r} is that of {other!r}; each party needs its own")


def _visit_faults(key: Key, party: Party, topology: Topology) -> Iterator[Fault]:
    if not party.visits:
        return
    services = topology.services.items()
    web = [name for name, service in services if service.kind in ("portal", "telemetry", "cdn")]
    yield from name_faults(key, party.visits, web, "service of kind portal, telemetry or cdn")
    organisation = (
        topology.segments[topology.nodes[party.node].segment].organisation if party.node in topology.nodes else ""
    )
    if not any(organisation in service.clients for _, service in services):
        yield Fault(key, f"are found by name, and no name server has {organisation!r} among its clients")
    if not any(service.kind == "crl" for _, service in services):
        yield Fault(key, "need a service of kind crl, in whose list certificates are looked up")


def _proxy_faults(key: Key, party: Party, topology: Topology) -> Iterator[Fault]:
    if party.proxy is None:
        return
    proxies = [name for name, service in topology.services.items() if service.kind == "proxy"]
    yield from name_faults(key, [party.proxy], proxies, "service of kind proxy")
    if party.transport == "udp":
        yield Fault(key, "takes connections only; give the party transport = 'tcp'")


def _name_taken(name: str, party: Party, topology: Topology) -> Iterator[Fault]:
    """A leg's `from` and `to` must mean one thing, and programs are named after their party or their server."""
    roles = servers_of(topology)
    servers = {node for nodes in roles.values() for node in nodes}
    if name in roles:
        yield Fault(("parties", name), "is the name of a role too, or of a service; choose another")
    if name in servers and party.node != name:
        yield Fault(("parties", name), "is the name of a server too; choose another")


def _call_faults(key: Key, call: Call, scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    if "audio" not in call.media:
        yield Fault((*key, "media"), "has no 'audio', by which a call is set up and counted")
    for kind in sorted({kind for kind in call.media if call.media.count(kind) > 1}):
        yield Fault((*key, "media"), f"names {kind!r} twice")
    yield from _codec_faults((*key, "codec"), call, scenario)
    if call.kind == "pstn" and set(call.media) != {"audio"}:
        yield Fault((*key, "media"), "a telephone has audio alone")
    for field in ("caller", "callee"):
        name = getattr(call, field)
        if name is not None:
            yield from name_faults((*key, field), [name], scenario.parties, "party")
        elif call.kind != "conference":
            yield Fault((*key, field), f"missing; a call of kind {call.kind!r} needs one of the parties")
    yield from name_faults((*key, "participants"), call.participants, scenario.parties, "party")
    yield from _telephone_faults(key, call, scenario, topology)
    if call.kind == "conference":
        yield from _conference_faults(key, call, scenario, topology)
        return
    if call.caller is not None and call.caller == call.callee:
        yield Fault((*key, "callee"), f"{call.callee!r} calls itself")
    if call.participants:
        yield Fault((*key, "participants"), f"belongs to kind 'conference', not {call.kind!r}")
    if call.organiser is not None:
        yield Fault((*key, "organiser"), f"belongs to kind 'conference', not {call.kind!r}")
    if call.host is not None and call.kind == "p2p":
        yield Fault((*key, "host"), "belongs to kind 'conference' or 'pstn', not 'p2p'")
    elif call.host is not None:
        mediations = [role for role in roles_of(topology) if role.endswith("-mediation")]
        yield from name_faults((*key, "host"), [call.host], mediations, "role of a Mediation Server")


def _codec_faults(key: Key, call: Call, scenario: Scenario) -> Iterator[Fault]:
    if call.codec == "PCMU":
        return
    if call.kind != "p2p":
        yield Fault(key, f"must be 'PCMU' in a call of kind {call.kind!r}: servers mix and pass on nothing else")
    for name in (call.caller, call.callee):
        if name in scenario.parties and not scenario.parties[name].ice:
            yield Fault(key, f"must be 'PCMU': {name!r} has ice = false, and plain RTP here carries nothing else")


def _telephone_faults(key: Key, call: Call, scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    """A telephone is reached through a Mediation Server, by calls of kind pstn alone; and those are for telephones."""
    named = [(field, name) for field in ("caller", "callee") if (name := getattr(call, field)) in scenario.parties]
    named += [("participants", name) for name in call.participants if name in scenario.parties]
    telephones = [(field, name) for field, name in named if _is_telephone(scenario.parties[name], topology)]
    if call.kind != "pstn":
        for field, name in telephones:
            yield Fault((*key, field), f"{name!r} is a telephone; calls with one are of kind 'pstn', not {call.kind!r}")
    elif len(named) == 2 and len(telephones) != 1:
        these = "neither end is" if not telephones else "both ends are"
        yield Fault(key, f"{these} a telephone (a party at a node in a segment of kind 'pstn'); one must be")


def _is_telephone(party: Party, topology: Topology) -> bool:
    node = topology.nodes.get(party.node)
    return node is not None and topology.segments[node.segment].kind == "pstn"


def _https_faults(key: Key, call: Call, scenario: Scenario) -> Iterator[Fault]:
    for name in (call.caller, call.callee, *call.participants):
        if name in scenario.parties and scenario.parties[name].transport == "https":
            yield Fault(key, f"{name!r} signals by https, which carries messages only")


def _message_faults(scenario: Scenario) -> Iterator[Fault]:
    users = [name for name, party in scenario.parties.items() if party.home is not None]
    texts = [message.text for message in scenario.messages]
    for index, message in enumerate(scenario.messages):
        key: Key = ("messages", index)
        yield from name_faults((*key, "from"), [message.from_], users, "user of a pool")
        yield from name_faults((*key, "to"), [message.to], users, "user of a pool")
        if message.from_ == message.to:
            yield Fault((*key, "to"), f"{message.to!r} writes to itself")
        if message.text in texts[:index]:
            yield Fault((*key, "text"), "is that of another message; each needs a text of its own")


def _traffic_faults(scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    nodes = [name for name, node in topology.nodes.items() if node.kind != "switch"]
    for name, traffic in scenario.traffic.items():
        key: Key = ("traffic", name)
        yield from name_faults((*key, "from"), [traffic.from_], nodes, "node with an address")
        yield from name_faults((*key, "to"), [traffic.to], nodes, "node with an address")
        if traffic.from_ == traffic.to:
            yield Fault((*key, "to"), f"{traffic.to!r} sends to itself, which crosses no link")
        if not scenario.calls:
            yield Fault(key, "is sent while calls have media, and there is no call")


def _conference_faults(key: Key, call: Call, scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    if not call.participants:
        yield Fault((*key, "participants"), "names nobody")
    for name in sorted({name for name in call.participants if call.participants.count(name) > 1}):
        yield Fault((*key, "participants"), f"names {name!r} twice")
    for field in ("caller", "callee"):
        if getattr(call, field) is not None:
            yield Fault((*key, field), "belongs to kind 'p2p' or 'pstn'; who joins a conference is in `participants`")
    users = {name: party.home for name, party in scenario.parties.items() if party.home is not None}
    if call.organiser is None:
        yield Fault((*key, "organiser"), "missing; a conference is hosted by the home of the party that scheduled it")
    else:
        yield from name_faults((*key, "organiser"), [call.organiser], users, "user of a pool")
    if call.host is not None:
        yield from name_faults((*key, "host"), [call.host], _conference_roles(topology), "role of a conference server")
    elif (home := users.get(call.organiser or "")) in topology.pools and "conference" not in topology.pools[home].roles:
        yield Fault((*key, "organiser"), f"is homed in {home}, which has no conference server; name one with `host`")


def _conference_roles(topology: Topology) -> list[str]:
    """Return the roles that host conferences: `conference`, and others of a pool's like `conference-far`."""
    return [
        f"{pool}-{role}"
        for pool, table in topology.pools.items()
        for role in table.roles
        if role == "conference" or role.startswith("conference-")
    ]


def _during_faults(scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    ready = 0
    for index, during in enumerate(scenario.during):
        key: Key = ("during", index)
        if not during.set and not during.remove:
            yield Fault(key, "changes nothing; give it `set` or `remove`")
        if during.at < ready:
            yield Fault(
                (*key, "at"), f"comes before the one before has settled, {ready / 1e9:g} s after the calls are up"
            )
        if during.gap is not None and during.gap[0] > during.gap[1]:
            yield Fault((*key, "gap"), "the least silence is longer than the greatest")
        ready = during.at + during.within
        yield from _leg_faults((*key, "legs"), during.legs, scenario, topology)
    if scenario.during and scenario.lasts <= ready:
        yield Fault(("lasts",), f"must be more than {ready / 1e9:g} s, when the last of `during` has settled")


def _broadcast_faults(scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    broadcast = scenario.broadcast
    if broadcast is None:
        return
    cdns = [name for name, service in topology.services.items() if service.kind == "cdn"]
    yield from name_faults(("broadcast", "cdn"), [broadcast.cdn], cdns, "service of kind cdn")
    conferences = [index for index, call in enumerate(scenario.calls) if call.kind == "conference"]
    if broadcast.call not in conferences:
        there = ", ".join(map(str, conferences)) or "there is none"
        yield Fault(("broadcast", "call"), f"call {broadcast.call} is no conference; conferences: {there}")
    yield from name_faults(("broadcast", "attendees"), broadcast.attendees, scenario.parties, "party")
    for name, party in scenario.parties.items():
        if broadcast.cdn in party.visits:
            yield Fault(("parties", name, "visits"), f"{broadcast.cdn!r} has the broadcast, and no page besides")
    calling = {n for call in scenario.calls for n in (call.caller, call.callee, *call.participants) if n is not None}
    for name in broadcast.attendees:
        if name in calling:
            yield Fault(("broadcast", "attendees"), f"{name!r} takes part in a call, so it is no attendee")
        node = topology.nodes.get(scenario.parties[name].node) if name in scenario.parties else None
        if node is not None and node.local_ports is not None:
            low, _, high = node.local_ports.partition("-")
            if (ports := int(high or low) - int(low) + 1) < broadcast.viewers:
                yield Fault(("broadcast", "viewers"), f"{name!r} has local ports for {ports}, one for each player")


def _leg_faults(where: Key, legs: tuple[Leg, ...], scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    roles = servers_of(topology)
    switches = {node for node, table in topology.nodes.items() if table.kind == "switch"}
    named = {*scenario.parties, *roles, *topology.nodes} - (switches - {*scenario.parties})
    kinds = {segment.kind for segment in topology.segments.values()}
    link_kinds = {name: topology.segments[link.segment].kind for name, link in topology.links.items()}
    for index, leg in enumerate(legs):
        key: Key = (*where, index)
        for field, name in (("from", leg.from_), ("to", leg.to)):
            if name not in named:
                yield from name_faults((*key, field), [name], {*scenario.parties, *roles}, "party, role or node")
        if leg.from_ == leg.to:
            yield Fault((*key, "to"), f"the leg goes from {leg.from_!r} to itself")
        if not leg.crosses:
            yield Fault((*key, "crosses"), "names no kind of segment, so nothing would be judged")
        yield from name_faults((*key, "crosses"), leg.crosses, kinds, "segment of kind")
        for field in ("forward_only", "return_only"):
            yield from name_faults((*key, field), getattr(leg, field), leg.crosses, "kind in `crosses`")
        of_kinds = [link for link, kind in link_kinds.items() if kind in leg.crosses]
        yield from name_faults((*key, "over"), leg.over, of_kinds, "link of a kind in `crosses`")
        for field in ("media", "dscp") if leg.flow != "media" else ():
            if getattr(leg, field) is not None:
                yield Fault((*key, field), "belongs to a leg of flow 'media'")
        if leg.media is not None and all(leg.media not in call.media for call in scenario.calls):
            yield Fault((*key, "media"), f"no call has {leg.media!r}")
        for kind in sorted({*leg.crosses} & {*leg.never}):
            yield Fault((*key, "never"), f"{kind!r} stands in `crosses` too")
        if leg.dies is not None:
            yield from _pattern_faults((*key, "dies", "symptom"), leg.dies.symptom or "")
            symptom_of = [leg.dies.symptom_of] if leg.dies.symptom_of else []
            yield from name_faults((*key, "dies", "symptom_of"), symptom_of, scenario.parties, "party")


def death_faults(scenario: Scenario, topology: Topology) -> Iterator[Fault]:
    """Yield where a leg is to die at a firewall, or by a rule, that is not there.

    Of the scenario as it is written: a control may well take away the rule by which a leg dies.
    """
    during = [(("during", index, "legs"), each.legs) for index, each in enumerate(scenario.during)]
    for where, legs in ((("legs",), scenario.legs), *during):
        for index, leg in enumerate(legs):
            if leg.dies is None or leg.dies.at is None:
                continue
            key: Key = (*where, index, "dies")
            yield from name_faults((*key, "at"), [leg.dies.at], topology.firewalls, "firewall")
            if leg.dies.rule is not None and leg.dies.at in topology.firewalls:
                rules = (*topology.firewalls[leg.dies.at].rules, *BUILT_IN_RULES)
                yield from name_faults((*key, "rule"), [leg.dies.rule], rules, f"rule of {leg.dies.at}")


def _expectation_faults(scenario: Scenario) -> Iterator[Fault]:
    for flow in ("signaling", "media"):
        yield from name_faults(("article", flow), getattr(scenario.article, flow), scenario.parties, "party")
    if any(count < 0 for count in scenario.relays):
        yield Fault(("relays",), "a number of relays is 0 or more")
    yield from name_faults(("relay_transports",), scenario.relay_transports, scenario.parties, "party")
    yield from name_faults(("selected_pair",), scenario.selected_pair or (), CANDIDATE_TYPES, "candidate type")


def _control_faults(scenario: Scenario) -> Iterator[Fault]:
    for name, control in scenario.controls.items():
        key: Key = ("controls", name)
        if not control.set and not control.remove:
            yield Fault(key, "changes nothing; give it `set` or `remove`")
        yield from _pattern_faults((*key, "reason"), control.reason)


def _pattern_faults(key: Key, pattern: str) -> Iterator[Fault]:
    try:
        re.compile(pattern)
    except re.error as error:
        yield Fault(key, f"is no regular expression: {error}")
