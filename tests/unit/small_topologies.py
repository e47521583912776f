"""Small topologies for the tests of the plan, written as a person would and validated like a file."""

from ipaddress import IPv4Network
from typing import Any

from testbed.plan.bgp import BestRoute, converge
from testbed.topology import Topology

ANYWHERE = IPv4Network("203.0.113.0/24")
"The prefix that `origin` announces in the speakers' tests."

Document = dict[str, Any]


def topology(**tables: Document) -> Topology:
    """Return a topology of one segment per kind; nodes and links that name none stand in the customer's."""
    segments = {
        kind: {"kind": kind, "organisation": kind, "title": kind}
        for kind in ("customer", "internet", "expressroute", "microsoft", "pstn")
    }
    document: Document = {"name": "small", "title": "Small", "segments": segments, **tables}
    for table in ("nodes", "links"):
        document[table] = {name: {"segment": "customer", **entry} for name, entry in document[table].items()}
    return Topology.model_validate(document)


def speakers(
    asns: dict[str, int],
    cables: list[tuple[str, str]],
    *,
    announcements: Document | None = None,
    transit: tuple[str, ...] = (),
    sessions: dict[str, Document] | None = None,
    links: dict[str, Document] | None = None,
    nodes: dict[str, Document] | None = None,
    firewalls: Document | None = None,
) -> Topology:
    """Return routers joined by *cables* with a BGP session over each; cable n is 100.64.n.0/30, first end .1.

    *sessions*, *links* and *nodes* add keys to those named "a-b", or whole tables under new names.
    """
    tables: Document = {"nodes": {name: {"kind": "router"} for name in asns}, "links": {}, "sessions": {}}
    for number, (a, b) in enumerate(cables):
        addresses = {a: f"100.64.{number}.1/30", b: f"100.64.{number}.2/30"}
        tables["links"][f"{a}-{b}"] = {"ends": [a, b], "addresses": addresses}
        if a in asns and b in asns:
            tables["sessions"][f"{a}-{b}"] = {"ends": [a, b]}
    for table, more in (("nodes", nodes), ("links", links), ("sessions", sessions)):
        for name, entry in (more or {}).items():
            tables[table][name] = {**tables[table].get(name, {}), **entry}
    tables["bgp"] = {name: {"asn": asn, "transit": name in transit} for name, asn in asns.items()}
    return topology(**tables, announcements=announcements or {}, firewalls=firewalls or {})


def told_by_origin(*neighbours: str, communities: tuple[str, ...] = ()) -> Document:
    """Return the announcement of ANYWHERE by the node `origin`."""
    return {"it": {"prefix": str(ANYWHERE), "at": "origin", "to": neighbours, "communities": communities}}


def route_at(node: str, world: Topology, prefix: IPv4Network = ANYWHERE) -> BestRoute | None:
    """Return what BGP gives *node* for a prefix."""
    return converge(world)[node].get(prefix)


def neighbour_at(node: str, world: Topology) -> str | None:
    """Return the neighbour that *node* sends packets for ANYWHERE to, or None without a route."""
    route = route_at(node, world)
    return None if route is None else route.neighbour
