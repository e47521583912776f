"""Cross-references of a topology's services: whether their nodes exist, and whom name servers serve and ask."""

from collections.abc import Iterator

from testbed.spec.faults import Fault, Key, name_faults
from testbed.topology import Topology

_NAME_SERVERS = ("resolver", "name-server")


def service_faults(topology: Topology) -> Iterator[Fault]:
    """Yield what is wrong in the services of a topology whose nodes and pools are right."""
    hosts = [name for name, node in topology.nodes.items() if node.kind == "host"]
    roles = {f"{pool}-{role}" for pool, table in topology.pools.items() for role in table.roles}
    for name, service in topology.services.items():
        key: Key = ("services", name)
        yield from name_faults((*key, "node"), [service.node], hosts, "host")
        if name in roles:
            yield Fault(key, "is the name of a role too; choose another")
        if name in topology.nodes and name != service.node:
            yield Fault(key, f"is the name of another node; choose another, or let it be at {name}")
    yield from _client_faults(topology)
    yield from _forward_faults(topology)


def _client_faults(topology: Topology) -> Iterator[Fault]:
    organisations = {segment.organisation for segment in topology.segments.values()}
    served: dict[str, str] = {}
    for name, service in topology.services.items():
        key: Key = ("services", name, "clients")
        yield from name_faults(key, service.clients, organisations, "organisation")
        for organisation in service.clients:
            if (first := served.setdefault(organisation, name)) != name:
                yield Fault(key, f"{organisation}'s machines ask {first!r} already")


def _forward_faults(topology: Topology) -> Iterator[Fault]:
    servers = [name for name, service in topology.services.items() if service.kind in _NAME_SERVERS]
    for name, service in topology.services.items():
        key: Key = ("services", name, "forward")
        if service.forward is None:
            if service.kind == "resolver":
                yield Fault(key, "missing; a resolver asks another name server for what it does not know")
            elif service.kind == "cdn":
                yield Fault(key, "missing; a cdn asks an origin for what it does not have")
            continue
        if service.kind == "cdn":
            origins = [each for each, other in topology.services.items() if other.kind == "origin"]
            yield from name_faults(key, [service.forward], origins, "origin")
            continue
        if service.kind != "resolver":
            yield Fault(key, f"belongs to kind 'resolver' or 'cdn', not {service.kind!r}")
            continue
        yield from name_faults(key, [service.forward], servers, "name server")
        if name in _asked(topology, service.forward):
            yield Fault(key, f"what {name} asks {service.forward!r} would come back to {name}")


def _asked(topology: Topology, first: str) -> list[str]:
    """Return *first* and the services that it asks in turn, each once."""
    chain: list[str] = []
    at: str | None = first
    while at is not None and at in topology.services and at not in chain:
        chain.append(at)
        at = topology.services[at].forward
    return chain
