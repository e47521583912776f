"""Works a spec out to a plan: everything that the emulation does and the analysis must know, as values."""

from collections.abc import Iterator, Set
from dataclasses import replace

from testbed.errors import SpecError
from testbed.plan.addresses import interfaces, netlink_routes, owners
from testbed.plan.adjacency import Adjacency
from testbed.plan.bgp import active_static_routes, connected_prefixes, converge, static_routes
from testbed.plan.firewall import iptables_text
from testbed.plan.jobs import Jobs
from testbed.plan.model import End, LinkPlan, NodePlan, Phase, Plan, Route, RouteFact
from testbed.plan.prediction import predict
from testbed.plan.routing import bird_configurations
from testbed.plan.settings import sysctls
from testbed.plan.shared_state import conntrackd_text
from testbed.plan.signaling import SIP_PORTS, endpoints
from testbed.plan.traffic import plan_traffic, traffic_jobs
from testbed.spec import Spec
from testbed.topology import Topology, shape_of


def make_plan(spec: Spec, *, duration_ns: int, seed: int) -> Plan:
    """Work *spec* out; raise SpecError for what cannot be built.

    *duration_ns* is how long media flows in each call once it is up. *seed* decides every secret and, later, every
    random draw of the links: equal arguments give equal plans.
    """
    topology, scenario = spec.topology, spec.scenario
    adjacency = Adjacency(topology)
    writer = Jobs(spec, adjacency, seed=seed)
    jobs, addresses = writer.jobs(), owners(topology)
    plan = Plan(
        scenario=scenario.id,
        row=scenario.row,
        seed=seed,
        nodes=tuple(_nodes(topology, adjacency)),
        links=tuple(_links(topology)),
        converged=tuple(_facts(topology, adjacency)),
        jobs=jobs,
        calls=writer.calls(),
        messages=writer.messages(),
        roles=_roles(spec),
        addresses=addresses,
        sip_ports=SIP_PORTS,
        signaling_endpoints=endpoints(jobs, addresses),
        predicted=(),
        duration_ns=max(duration_ns, scenario.lasts),
        setup_limit_ns=scenario.setup_limit,
        name_servers=writer.name_servers,
    )
    traffic = plan_traffic(spec, adjacency, duration_ns=plan.duration_ns)
    plan = plan.model_copy(update={"traffic": traffic, "jobs": (*jobs, *traffic_jobs(spec, traffic, plan.duration_ns))})
    return plan.model_copy(update={"predicted": predict(spec, plan), "phases": tuple(_phases(spec, plan))})


def _phases(spec: Spec, plan: Plan) -> Iterator[Phase]:
    """Work out what to do for each change during the calls: the plan of what it leads to, held against that before."""
    before = plan
    for number, (during, topology) in enumerate(zip(spec.scenario.during, spec.phases, strict=True)):
        scenario = spec.scenario.model_copy(update={"legs": during.legs, "during": ()})
        changed = replace(spec, scenario=scenario, topology=topology, phases=())
        after = make_plan(changed, duration_ns=plan.duration_ns, seed=plan.seed)
        if spec.scenario.ice_restart is None:
            after = after.model_copy(update={"predicted": predict(changed, after, set_up_in=spec.topology)})
        if obstacle := next(_obstacles(before, after), None):
            raise SpecError(spec.scenario.id, f"during.{number}", obstacle)
        links = {link.name: link for link in before.links}
        birds = {node.name: node.bird for node in before.nodes}
        yield Phase(
            at_ns=during.at,
            within_ns=during.within,
            why=during.why,
            birds={each.name: each.bird for each in after.nodes if each.bird and each.bird != birds[each.name]},
            links=tuple(link for link in after.links if link != links[link.name]),
            converged=after.converged,
            predicted=after.predicted,
        )
        before = after


def lasting_routes(node: NodePlan, switched: Set[str]) -> list[Route]:
    """Return a node's static routes but those over links that are *switched* on or off, which come and go with them."""
    over = {port.name: port.link for port in node.interfaces}
    return [route for route in node.routes if over[route.interface] not in switched]


def _obstacles(before: Plan, after: Plan) -> Iterator[str]:
    """Yield what a change needs that cannot be done to a running world."""
    nodes, links = {node.name: node for node in before.nodes}, {link.name: link for link in before.links}
    if nodes.keys() != {node.name for node in after.nodes} or links.keys() != {link.name for link in after.links}:
        yield "adds or removes nodes or links, which cannot be done during a call"
        return
    switched = {name for name, link in links.items() if any(x.name == name and x.up != link.up for x in after.links)}
    for node in after.nodes:
        ignored = {"bird": None, "routes": ()}
        is_as_before = node.model_copy(update=ignored) == nodes[node.name].model_copy(update=ignored)
        if not is_as_before or lasting_routes(node, switched) != lasting_routes(nodes[node.name], switched):
            yield f"changes {node.name} beyond its BGP; during a call only BGP and links can change"
        if bool(node.bird) != bool(nodes[node.name].bird):
            yield f"makes or unmakes {node.name} a BGP speaker, which cannot be done during a call"
    for link in after.links:
        if link.is_shaped != links[link.name].is_shaped:
            yield f"link {link.name} has no shape before or after: give it one, such as a delay, both times"
    if before.jobs != after.jobs or before.calls != after.calls:
        yield "changes the programs that run, which cannot be done during a call"


def _nodes(topology: Topology, adjacency: Adjacency) -> Iterator[NodePlan]:
    birds = bird_configurations(topology, adjacency)
    ports = interfaces(topology)
    for name, node in topology.nodes.items():
        segment = topology.segments[node.segment]
        firewall = topology.firewalls.get(name)
        yield NodePlan(
            name=name,
            kind=node.kind,
            segment=node.segment,
            segment_kind=segment.kind,
            organisation=segment.organisation,
            title=node.title,
            interfaces=ports[name],
            routes=netlink_routes(topology, adjacency, name),
            sysctls=sysctls(
                node, (port.name for port in ports[name]), is_stateful=firewall is not None and firewall.stateful
            ),
            bird=birds.get(name),
            iptables=None if firewall is None else iptables_text(topology, name),
            conntrackd=conntrackd_text(topology, name),
        )


def _links(topology: Topology) -> Iterator[LinkPlan]:
    for name, link in topology.links.items():
        a, b = link.ends
        yield LinkPlan(
            name=name,
            segment=link.segment,
            segment_kind=topology.segments[link.segment].kind,
            a=End(node=a, interface=b),
            b=End(node=b, interface=a),
            shape_forward=shape_of(link, forward=True),
            shape_return=shape_of(link, forward=False),
            up=link.up,
            captured=link.captured,
        )


def _facts(topology: Topology, adjacency: Adjacency) -> Iterator[RouteFact]:
    """Yield, for every speaker, each route that BIRD must give it, and each announced prefix that it must not have."""
    announced = list(dict.fromkeys(each.prefix for each in topology.announcements.values()))
    for node, routes in converge(topology).items():
        for prefix, neighbour in active_static_routes(topology, adjacency, node).items():
            yield RouteFact(node=node, prefix=str(prefix), via=str(adjacency.between(node, neighbour).peer_address.ip))
        for prefix, route in routes.items():
            if route.via is not None:
                yield RouteFact(node=node, prefix=str(prefix), via=str(route.via))
        known = routes.keys() | static_routes(topology, node).keys() | connected_prefixes(topology, node).keys()
        for prefix in announced:
            if prefix not in known:
                yield RouteFact(node=node, prefix=str(prefix), via=None)


def _roles(spec: Spec) -> dict[str, tuple[str, ...]]:
    pools = spec.topology.pools.items()
    roles = {f"{name}-{role}": nodes for name, pool in pools for role, nodes in pool.roles.items()}
    roles |= {name: (service.node,) for name, service in spec.topology.services.items()}
    return roles | {name: (party.node,) for name, party in spec.scenario.parties.items()}
