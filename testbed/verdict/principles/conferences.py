"""Principles on conferences: P1 where they live, P2 where their media goes, P5 and P6 who needs an Edge."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from testbed.scenario import Call, Party
from testbed.verdict.conversations import Conversation
from testbed.verdict.principles.finding import Finding, conclude, counted, not_applicable
from testbed.verdict.principles.world import World

_EDGES: Final = (1, 2)


@dataclass(frozen=True, slots=True)
class _Joiner:
    """A party of a conference, and the media it exchanged."""

    call: Call
    name: str
    party: Party
    spoken: tuple[Conversation, ...]
    "Both ways."

    def far_end(self, each: Conversation) -> str:
        """Return the node at the other end."""
        return each.receiver.node if each.sender.node == self.party.node else each.sender.node


def _joiners(world: World) -> Iterator[_Joiner]:
    for call in world.scenario.calls:
        if call.kind != "conference":
            continue
        for name, party in world.parties_of(call).items():
            spoken = [each for each in world.spoken if party.node in (each.sender.node, each.receiver.node)]
            yield _Joiner(call, name, party, tuple(spoken))


def _silent(joiners: list[_Joiner]) -> list[str]:
    return [f"no media of {one.name} was followed from end to end" for one in joiners if not one.spoken]


def _words(each: Conversation) -> str:
    relays = ", ".join(relay.node for relay in each.relays)
    by = f" through {relays}" if relays else " through no Edge"
    return f"{each.title}{by} ({counted(each.packets)}, first frame {each.first_frame})"


def judge_organiser(world: World) -> Finding:
    """P1: the server that media goes to stands in the pool that is home to who organised the conference."""
    joiners = list(_joiners(world))
    if not joiners:
        return not_applicable("no conference")
    broken, held, unknown = list[str](), list[str](), _silent(joiners)
    for one in joiners:
        organiser = one.call.organiser
        home = world.scenario.parties[organiser].home if organiser is not None else None
        for each in one.spoken:
            server = one.far_end(each)
            pool = world.pool_of(server)
            if pool is None:
                broken.append(f"media of {one.name} went to {server}, which is no pool's server: {_words(each)}")
            elif home is None:
                unknown.append(f"it lives at {server} of {pool}, and nothing says who organised it: {_words(each)}")
            elif pool != home:
                what = f"{organiser}, who organised it, is homed in {home}"
                broken.append(f"it lives at {server} of pool {pool}, though {what}: {_words(each)}")
            else:
                held.append(f"it lives at {server}, where {organiser}, who organised it, is homed: {_words(each)}")
    return conclude(broken=broken, unknown=unknown, held=held)


def judge_hosting_server(world: World) -> Finding:
    """P2: a joiner's media ends at the host, and gets into Microsoft's network through an Edge of the host's pool."""
    joiners = list(_joiners(world))
    if not joiners:
        return not_applicable("no conference")
    broken, held = [], []
    for one in joiners:
        hosts = world.hosts(one.call)
        for each in one.spoken:
            server = one.far_end(each)
            pool = world.pool_of(server)
            if server not in hosts:
                broken.append(f"media of {one.name} did not go to {', '.join(hosts) or 'a host'}: {_words(each)}")
            elif _is_online(world, server) and not set(world.edges_on(each)) & world.servers(pool or "", "edge"):
                broken.append(f"media of {one.name} passed no Edge of pool {pool}: {_words(each)}")
            else:
                held.append(_words(each))
    return conclude(broken=broken, unknown=_silent(joiners), held=held)


def _is_online(world: World, node: str) -> bool:
    return world.kind(node) == "microsoft"


def _hosted(world: World, *, online: bool) -> list[_Joiner]:
    return [one for one in _joiners(world) if any(_is_online(world, node) == online for node in world.hosts(one.call))]


def judge_edge_for_online(world: World) -> Finding:
    """P5: one or two Edges on the way of whoever joins a conference in Microsoft's network."""
    joiners = _hosted(world, online=True)
    if not joiners:
        return not_applicable("no conference that is hosted Online")
    spoken = [each for one in joiners for each in one.spoken]
    return conclude(
        broken=[f"{len(each.relays)} Edges: {_words(each)}" for each in spoken if len(each.relays) not in _EDGES],
        unknown=_silent(joiners),
        held=[_words(each) for each in spoken if len(each.relays) in _EDGES],
    )


def judge_edge_for_own(world: World) -> Finding:
    """P6: no Edge for whoever is in the network of the server, one or two for whoever is not."""
    joiners = _hosted(world, online=False)
    if not joiners:
        return not_applicable("no conference on an organisation's own server")
    broken, held = list[str](), list[str]()
    for one in joiners:
        for each in one.spoken:
            server = one.far_end(each)
            place = world.kind(one.party.node), world.organisation(one.party.node)
            is_inside = place == (world.kind(server), world.organisation(server))
            right = len(each.relays) == 0 if is_inside else len(each.relays) in _EDGES
            where = f"{one.name} is {'inside' if is_inside else 'outside'} the network of {server}"
            (held if right else broken).append(f"{where}: {_words(each)}")
    return conclude(broken=broken, unknown=_silent(joiners), held=held)
