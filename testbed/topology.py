"""What a topology file may say: nodes, links, routing, firewalls, pools and services, keyed by name.

Every thing has a name and sits in a table under it, so that a change can point at it ("links.er-pe1-msee1.up").
Cross-references (does that node exist?) are checked here; what follows from them is worked out by `testbed.plan`.
"""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from testbed.endpoints import Endpoint
from testbed.units import Duration, Rate, Ratio

SegmentKind = Literal["customer", "internet", "expressroute", "microsoft", "pstn"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]
NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=15)]
"Also the name of the interface that each neighbour has towards this node, so Linux's limit of 15 characters holds."
MediaKind = Literal["audio", "video", "application-sharing", "file-transfer"]
PortRange = Annotated[str, StringConstraints(pattern=r"^\d{1,5}(-\d{1,5})?$")]


class Table(BaseModel):
    """Base of every table in a file: a key that is not known is an error, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BurstLoss(Table):
    """Gilbert-Elliott loss: a two-state chain, stepped once a packet."""

    enter: Ratio
    "Probability of going from the good to the bad state."
    leave: Ratio
    "Probability of going from the bad back to the good state."
    loss: Ratio = 1.0
    "Loss while in the bad state."


class QueueClass(Table):
    """A queue of its own for packets with certain marks; they go before all that wait in the classes after it."""

    dscp: tuple[Annotated[int, Field(ge=0, le=63)], ...] = Field(min_length=1)
    queue_packets: int = Field(default=100, ge=1)
    "How many packets of the class wait for the rate or the delay before more are dropped at the tail."
    rate: Rate | None = None
    "Most that the class gets, so that it leaves room for the others; None: all there is."


class LinkShape(Table):
    """What one direction of a link does to the IP packets it carries."""

    delay: Duration = 0
    "One-way delay added to every packet."
    jitter: Duration = 0
    "tc-netem's jitter: the spread of the delay around `delay`."
    jitter_distribution: Literal["uniform", "normal", "pareto"] = "normal"
    loss: Ratio = 0.0
    "Share of packets lost at random, each by itself."
    burst_loss: BurstLoss | None = None
    reorder: Ratio = 0.0
    "Share of packets sent ahead of the delay, so that they overtake."
    duplicate: Ratio = 0.0
    rate: Rate | None = None
    "Bit rate of IP packets; None is unlimited."
    queue_packets: int = Field(default=1000, ge=1)
    "How many packets wait for the rate or the delay before more are dropped at the tail."
    dscp: Literal["preserve", "bleach"] = "preserve"
    "Whether the link keeps the DSCP (ExpressRoute) or sets it to 0 (the Internet)."
    classes: tuple[QueueClass, ...] = Field(default=(), max_length=7)
    """Queues by DSCP, served in strict priority, the first first, by the mark that the link leaves a packet with. What
    is in none goes last, and waits in `queue_packets`. Empty: one queue for all, first in, first out."""

    @model_validator(mode="after")
    def _classes_make_sense(self) -> Self:
        if self.classes and self.rate is None:
            raise ValueError("classes need a rate: without one no packet waits for another")
        marks = [mark for each in self.classes for mark in each.dscp]
        if twice := next((mark for mark in marks if marks.count(mark) > 1), None):
            raise ValueError(f"DSCP {twice} is in two classes")
        return self


class Segment(Table):
    """A part of the world that one party runs: its kind decides what a leg may cross."""

    kind: SegmentKind
    organisation: Name
    title: str


class Node(Table):
    """A network namespace: a host, a router, a stateful firewall or an Ethernet switch."""

    segment: Name
    "Filled in by the reader from the file the node stands in."
    kind: Literal["host", "router", "firewall", "switch"]
    title: str = ""
    routes: dict[str, NodeName] = {}
    'Static routes: prefix (or "default") to the neighbour that takes it; a switch between the two is looked through.'
    sysctl: dict[str, str] = {}
    "Settings beyond the standard ones, by their dotted name (net.ipv4.conf.all.rp_filter)."
    local_ports: PortRange | None = None
    "net.ipv4.ip_local_port_range: the source ports of this node's clients."
    stopped: bool = False
    "Whether its programs are not started: the machine answers pings and nothing else."
    certificate: Literal["valid", "expired", "other-name", "other-authority", "revoked"] = "valid"
    "What its programs show where they serve TLS: the right certificate, or one with a fault."


class Link(Table):
    """A cable between two nodes. The first end is A; forward is from A to B."""

    ends: tuple[NodeName, NodeName]
    segment: Name
    "Filled in from the file where the link does not say it."
    addresses: dict[NodeName, IPv4Interface] = {}
    "Address of each end; a switch has none."
    shape: LinkShape = LinkShape()
    "Both directions, unless `shape_forward` or `shape_return` is given."
    shape_forward: LinkShape | None = None
    shape_return: LinkShape | None = None
    up: bool = True
    captured: bool = True


class BgpSpeaker(Table):
    """A router that runs BIRD."""

    asn: int = Field(ge=1, le=4_294_967_295)
    transit: bool = False
    "Whether it passes on routes learned from one external neighbour to another."


class BgpSession(Table):
    """A BGP session between two speakers: external between different AS numbers, internal within one."""

    ends: tuple[NodeName, NodeName]
    local_preference: dict[NodeName, int] = {}
    "What each end sets on the routes it learns here; 100 where nothing is said."
    accept_communities: dict[NodeName, tuple[str, ...]] = {}
    'Route filter: that end takes only routes with one of these communities ("12076:5030").'
    refuse_default: tuple[NodeName, ...] = ()
    "Ends that drop the default route and private prefixes (RFC 1918), as Microsoft's peering does."
    bfd: bool = False
    "Fast detection that the other end is gone (RFC 5880): 3 times 300 ms, where the hold time is 30 s."
    up: bool = True


class Announcement(Table):
    """A prefix that a speaker originates, and the neighbours it tells."""

    prefix: IPv4Network
    "Filled in by the reader where `endpoints` says it instead."
    at: NodeName
    to: tuple[NodeName, ...]
    communities: tuple[str, ...] = ()
    endpoints: Literal["expressroute", "all"] | None = None
    """Announce the prefixes of the topology's endpoints that may be reached over ExpressRoute, or those of all;
    the second and further prefixes become announcements called <name>-2 and so on."""
    despite_endpoints: bool = False
    "Whether it goes over ExpressRoute although the endpoints do not allow that: a fault made on purpose."


class FirewallRule(Table):
    """One rule of the FORWARD chain; packets that start a flow (NEW) and match are let through."""

    from_: str = Field(alias="from")
    'Zone, or "any".'
    to: str
    source: IPv4Network | None = None
    destination: IPv4Network | None = None
    protocol: Literal["tcp", "udp", "icmp", "any"] = "any"
    source_ports: tuple[PortRange, ...] = ()
    destination_ports: tuple[PortRange, ...] = ()
    action: Literal["accept", "drop"] = "accept"
    payload: Literal["stun"] | None = None
    """For action drop: what the packets carry that it drops, in connections that are established too. "stun": STUN and
    TURN in the clear, known by the magic cookie (RFC 8489 section 5); inside TLS a firewall cannot see it."""
    why: str = ""


class SourceNat(Table):
    """Source NAT of flows that leave towards a zone; how it behaves is said in the words of RFC 4787."""

    to_zone: str
    source: IPv4Network | None = None
    pool: str
    'Public address, range "a-b", or "masquerade".'
    mapping: Literal["endpoint-independent", "address-and-port-dependent"] = "endpoint-independent"
    """Whether a socket inside keeps one public port towards everybody (Linux leaves it as it is while it is free), or
    gets one at random for each address and port it sends to."""
    filtering: Literal["endpoint-independent", "address-dependent", "address-and-port-dependent"] = (
        "address-and-port-dependent"
    )
    """Whose UDP comes in: anybody's; only of addresses that `host` has sent to; only of addresses and ports that the
    same socket has sent to (the last is Linux's own). The first two need `host`."""
    host: IPv4Address | None = None
    """Inside host that gets what `filtering` lets in, whatever the port: Linux itself keeps a mapping for nobody but
    the one it was made for, so all UDP from outside is translated to this host."""


class Firewall(Table):
    """Policy of a node of kind firewall: connection tracking, default DROP, every drop logged with its rule."""

    zones: dict[Name, tuple[NodeName, ...]]
    "Zone to the neighbours (interfaces) in it."
    stateful: bool = True
    rules: dict[Name, FirewallRule] = {}
    "In order."
    nat: dict[Name, SourceNat] = {}
    shares_state_with: NodeName | None = None
    "Firewall that it keeps one connection table with (conntrackd) over the link between the two; each names the other."


class Pool(Table):
    """Servers that belong together: Microsoft's online pool, or an organisation's own."""

    title: str
    domains: tuple[str, ...]
    "SIP domains of its users."
    roles: dict[Name, tuple[NodeName, ...]]
    """Role to nodes: front-end, edge, conference, mediation, gateway ... A leg names "<pool>-<role>".
    Nodes of role edge run coturn (A/V Edge) and, where `access_edge` is true, an Access Edge too."""
    access_edge: bool = False
    "Whether clients outside reach the Front End through the Edge's SIP proxy (Access Edge) instead of directly."
    trunk: Literal["udp", "tcp", "tls"] = "tcp"
    "What other pools' signaling comes by."
    servers: Literal["tcp", "tls"] = "tcp"
    "What the pool's own servers signal to each other by."
    relay_ports: PortRange = "50000-59999"


class MediaClass(Table):
    """The sockets of one kind of media, wherever it has a transport of its own: their ports and their mark."""

    client_ports: PortRange
    server_ports: PortRange
    "Of conference and Mediation Servers."
    dscp: int = Field(ge=0, le=63)
    "Differentiated services code point that clients and servers set (RFC 2474)."


class SignalingClass(Table):
    """The mark of signaling: of SIP, and of the web service that clients without SIP use."""

    dscp: int = Field(default=0, ge=0, le=63)
    "Differentiated services code point that clients and servers set (RFC 2474); 0: none."


class Service(Table):
    """A server program of someone else's (dnsmasq, nginx) at a node. A leg names it by its name.

    It is started where a party of the scenario, or another service, needs it, or a leg names it.
    """

    kind: Literal["resolver", "name-server", "proxy", "origin", "cdn", "crl", "portal", "telemetry"]
    """resolver: answers its organisation's own names, and asks another for the rest;
    name-server: has the names that everybody may see, and answers clients too;
    proxy: a web proxy, which takes requests on its node's inner side and goes out by the node's default route;
    origin: the encoder and web server of Meeting Broadcast; cdn: a web cache before an origin, or, where clients visit
    it, a web server with a page, over TLS;
    crl: a web server with what the run's certificate authority has revoked; portal: one with a page, over TLS;
    telemetry: one that takes what is posted, over TLS."""
    node: NodeName
    title: str = ""
    clients: tuple[Name, ...] = ()
    "Organisations whose users' machines ask it for names."
    forward: Name | None = None
    "Service that a resolver asks for what it does not know, or a cdn for what it does not have."
    caches: bool = True
    "Whether a cdn keeps what it has fetched."


class Topology(Table):
    """An assembly of segments, whole."""

    name: Name
    title: str
    segments: dict[Name, Segment]
    nodes: dict[NodeName, Node]
    links: dict[Name, Link]
    bgp: dict[NodeName, BgpSpeaker] = {}
    sessions: dict[Name, BgpSession] = {}
    announcements: dict[Name, Announcement] = {}
    firewalls: dict[NodeName, Firewall] = {}
    pools: dict[Name, Pool] = {}
    services: dict[Name, Service] = {}
    endpoints: tuple[Endpoint, ...] = ()
    """Content of the file of Microsoft's endpoints that `endpoints` names, relative to the topology's: which
    destinations may be reached over ExpressRoute."""
    media: dict[MediaKind, MediaClass] = {}
    "A kind that is not in it takes any free port and is not marked."
    signaling: SignalingClass = SignalingClass()


def is_dead(link: Link) -> bool:
    """Whether *link* loses every packet in a direction, though both ends see it up: what no carrier tells of."""
    return any(shape_of(link, forward=forward).loss >= 1 for forward in (True, False))


def shape_of(link: Link, *, forward: bool) -> LinkShape:
    """Return what *link* does in one direction."""
    one_way = link.shape_forward if forward else link.shape_return
    return one_way or link.shape


Document = dict[str, Any]
"A file's content as tomllib gives it, before validation; changes are applied to this form."
