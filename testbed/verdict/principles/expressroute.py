"""When ExpressRoute is used and when it is not: the article's two rules, for every flow from socket to socket."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network, ip_interface

from testbed.topology import SegmentKind
from testbed.verdict.principles.finding import Finding, conclude, not_applicable
from testbed.verdict.principles.world import WIDE, AppHop, World, circuits


def judge_expressroute_used(world: World) -> Finding:
    """ER+: between a customer's network with a circuit that is up and Microsoft's, packets cross ExpressRoute alone.

    Nothing is asked of a server whose address is announced on the Internet and on no circuit: whether servers meet
    there is the customer's to say, and the article does not (docs/contradictions.md, X2).
    """
    up = circuits(world.run)
    mine = [hop for hop in world.hops if _customer_of(world, hop) in up]
    if not mine:
        return not_applicable("no flow between Office 365 and a customer's network that has a circuit")
    judged = [hop for hop in mine if up[_customer_of(world, hop) or ""]]
    if not judged:
        return not_applicable("no circuit is up")
    left = [hop for hop in judged if _is_on_the_internet_alone(world, hop)]
    told = tuple(f"not asked of a server that is announced on the Internet alone: {hop.words()}" for hop in left)
    asked = [hop for hop in judged if hop not in left]
    if not asked:
        return Finding("does not apply", "no other flow than of servers announced on the Internet alone", told)
    broken = [hop for hop in asked if "internet" in hop.kinds or (hop.delivered and "expressroute" not in hop.kinds)]
    found = conclude(
        broken=[hop.words() for hop in broken],
        unknown=(),
        held=[hop.words() for hop in asked if hop not in broken and hop.delivered],
    )
    return replace(found, evidence=(*found.evidence, *told))


def _is_on_the_internet_alone(world: World, hop: AppHop) -> bool:
    """Whether the customer's end has an address that routers of the Internet know by BGP, and none of a provider's."""
    end = next(node for node in (hop.start, hop.end) if world.kind(node) == "customer")
    interfaces = world.run.network.nodes[end].interfaces
    own = [ip_interface(each.address).ip for each in interfaces if each.address is not None]

    def is_known(kind: SegmentKind) -> bool:
        return any(address in prefix for prefix in _learned(world, kind) for address in own)

    return is_known("internet") and not is_known("expressroute")


def _learned(world: World, kind: SegmentKind) -> Iterator[IPv4Network]:
    """Yield the prefixes that routers in segments of *kind* have a way to, the default route apart."""
    for fact in world.run.plan.converged:
        if fact.via is not None and world.kind(fact.node) == kind and (prefix := IPv4Network(fact.prefix)).prefixlen:
            yield prefix


def _customer_of(world: World, hop: AppHop) -> str | None:
    """Return the customer at one end of a flow whose other end is in Microsoft's network; None for other flows."""
    ends = {world.kind(node): node for node in (hop.start, hop.end)}
    return world.organisation(ends["customer"]) if set(ends) == {"customer", "microsoft"} else None


def judge_expressroute_not_used(world: World) -> Finding:
    """ER-: inside one customer's network packets stay there; with an end on the Internet they keep off ExpressRoute."""
    broken, held = [], []
    for hop in world.hops:
        if (barred := _barred(world, hop)) is None:
            continue
        if set(hop.kinds) & set(barred):
            broken.append(hop.words())
        elif hop.delivered:
            held.append(hop.words())
    if not broken and not held:
        return not_applicable("no flow inside one customer's network or with an end on the Internet")
    return conclude(broken=broken, unknown=(), held=held)


def _barred(world: World, hop: AppHop) -> tuple[str, ...] | None:
    """Return the kinds of segment that a flow must not cross; None for a flow that the rule does not speak of."""
    kinds = {world.kind(hop.start), world.kind(hop.end)}
    if kinds == {"customer"}:
        one_network = world.organisation(hop.start) == world.organisation(hop.end)
        return WIDE if one_network else ("expressroute",)
    return ("expressroute",) if "internet" in kinds and "pstn" not in kinds else None
