"""A small plan: alice - r1 = r2 - fw - bob, with BGP between the routers, a shaped cable and a firewall that tracks."""

from testbed.plan.model import End, Interface, Job, LinkPlan, NodePlan, Plan, Route, RouteFact
from testbed.topology import LinkShape

_PLAIN = {"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.rp_filter": "0", "net.ipv6.conf.all.disable_ipv6": "1"}
_ROUTER = {**_PLAIN, "net.ipv4.ip_forward": "1"}
_BIRD = """
log stderr all;
router id {own};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ export where source = RTS_BGP; import none; }}; }}
protocol direct {{ ipv4; }}
protocol static {{ ipv4; {static} }}
protocol bgp {{
  local {own} as {asn}; neighbor {peer} as {peer_asn};
  connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 9;
  ipv4 {{ import all; export where source ~ [RTS_DEVICE, RTS_STATIC]; next hop self; }};
}}
"""
RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment invalid -j NFLOG --nflog-prefix invalid --nflog-group 100
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment invalid -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment established -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 5060 -m conntrack --ctstate NEW -m comment --comment sip -j ACCEPT
-A FORWARD -m comment --comment default -j NFLOG --nflog-prefix default --nflog-group 100
-A FORWARD -m comment --comment default -j DROP
COMMIT
"""
_LINKS = (("alice", "r1", "10.0.1"), ("r1", "r2", "10.0.2"), ("r2", "fw", "10.0.3"), ("fw", "bob", "10.0.4"))
_ROUTES = {
    "alice": [("0.0.0.0/0", "10.0.1.2", "r1")],
    "fw": [("10.0.0.0/16", "10.0.3.1", "r2")],
    "bob": [("0.0.0.0/0", "10.0.4.1", "fw")],
}
_BIRDS = {
    "r1": _BIRD.format(own="10.0.2.1", asn=64496, peer="10.0.2.2", peer_asn=64497, static=""),
    "r2": _BIRD.format(
        own="10.0.2.2", asn=64497, peer="10.0.2.1", peer_asn=64496, static="route 10.0.4.0/24 via 10.0.3.2;"
    ).replace("source = RTS_BGP", "source ~ [RTS_BGP, RTS_STATIC]"),
}


def small_plan(*, jobs: tuple[Job, ...] = (), down: tuple[str, ...] = (), scenario: str = "test/small") -> Plan:
    """Return the plan; *down* names links that are not up."""
    names = list(dict.fromkeys(x for a, b, _ in _LINKS for x in (a, b)))
    interfaces: dict[str, list[Interface]] = {x: [] for x in names}
    links = []
    for n, (a, b, net) in enumerate(_LINKS):
        name = f"{a}-{b}"
        interfaces[a].append(Interface(name=b, mac=f"02:00:00:00:{n:02x}:0a", address=f"{net}.1/24", link=name))
        interfaces[b].append(Interface(name=a, mac=f"02:00:00:00:{n:02x}:0b", address=f"{net}.2/24", link=name))
        shape = LinkShape.model_validate({"delay": "5ms"} if name == "r1-r2" else {})
        links.append(
            LinkPlan(
                name=name, segment="lab", segment_kind="customer", a=End(node=a, interface=b),
                b=End(node=b, interface=a), shape_forward=shape, shape_return=shape, up=name not in down, captured=True,
            )
        )  # fmt: skip
    nodes = tuple(
        NodePlan(
            name=x, kind="firewall" if x == "fw" else "host" if x in ("alice", "bob") else "router", segment="lab",
            segment_kind="customer", organisation="contoso", title="", interfaces=tuple(interfaces[x]),
            routes=tuple(Route(prefix=p, via=v, interface=i) for p, v, i in _ROUTES.get(x, [])),
            sysctls={**(_PLAIN if x in ("alice", "bob") else _ROUTER),
                     **{f"net.ipv4.conf.{i.name}.rp_filter": "0" for i in interfaces[x]}},
            bird=_BIRDS.get(x), iptables=RULES if x == "fw" else None,
        )
        for x in names
    )  # fmt: skip
    facts = (
        RouteFact(node="r1", prefix="10.0.4.0/24", via="10.0.2.2"),
        RouteFact(node="r2", prefix="10.0.1.0/24", via="10.0.2.1"),
    )
    return Plan(
        scenario=scenario, row="", seed=1, nodes=nodes, links=tuple(links), converged=facts, jobs=jobs, calls=(),
        roles={}, addresses={}, sip_ports=(5060,), predicted=(), duration_ns=1_000_000_000,
        setup_limit_ns=3_000_000_000,
    )  # fmt: skip
