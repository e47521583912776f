"""When ExpressRoute is used and when it is not: the article's two rules, for every flow from socket to socket."""

from testbed.verdict.principles.finding import Finding, conclude, not_applicable
from testbed.verdict.principles.world import WIDE, AppHop, World, circuits


def judge_expressroute_used(world: World) -> Finding:
    """ER+: between a customer's network with a circuit that is up and Microsoft's, packets cross ExpressRoute alone."""
    up = circuits(world.run)
    mine = [hop for hop in world.hops if _customer_of(world, hop) in up]
    if not mine:
        return not_applicable("no flow between Office 365 and a customer's network that has a circuit")
    judged = [hop for hop in mine if up[_customer_of(world, hop) or ""]]
    if not judged:
        return not_applicable("no circuit is up")
    broken = [hop for hop in judged if "internet" in hop.kinds or (hop.delivered and "expressroute" not in hop.kinds)]
    return conclude(
        broken=[hop.words() for hop in broken],
        unknown=(),
        held=[hop.words() for hop in judged if hop not in broken and hop.delivered],
    )


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
