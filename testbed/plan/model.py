"""What a plan is: values only, so that it can be printed, compared, saved in the manifest and carried out.

`testbed.plan` makes it from a topology and a scenario; `testbed.emulation` carries it out and reads it back;
`testbed.analysis` uses it to know which address belongs to which node. JSON in and out: `Plan.model_validate_json`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from testbed.topology import LinkShape, SegmentKind

UNKNOWN = "UNKNOWN"
"End of a predicted path that cannot be worked out; its note says why."


class Value(BaseModel):
    """Base of the plan's parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Interface(Value):
    """One end of a link, inside its node's network namespace."""

    name: str
    "Name of the neighbour (for a link that is not up too)."
    mac: str
    address: str | None
    "IPv4 address with prefix length; None on a switch."
    link: str
    mtu: int = 1500


class Route(Value):
    """A static route that is set by netlink (a BGP speaker's are in its BIRD configuration instead)."""

    prefix: str
    "CIDR; 0.0.0.0/0 for the default."
    via: str
    "Address of the next hop."
    interface: str


class NodePlan(Value):
    """One network namespace."""

    name: str
    kind: Literal["host", "router", "firewall", "switch"]
    segment: str
    segment_kind: SegmentKind
    organisation: str
    title: str
    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...]
    sysctls: dict[str, str]
    "Every setting that matters, standard ones and the node's own, by dotted name; read back after writing."
    bird: str | None = None
    "BIRD configuration, whole."
    iptables: str | None = None
    "iptables-restore text, written as `iptables-save` prints it."
    conntrackd: str | None = None
    "conntrackd configuration, whole, of a firewall that shares its connection table."


class End(Value):
    """One end of a link."""

    node: str
    interface: str


class LinkPlan(Value):
    """A link with its shapes. Forward is from A to B."""

    name: str
    segment: str
    segment_kind: SegmentKind
    a: End
    b: End
    shape_forward: LinkShape
    shape_return: LinkShape
    up: bool
    captured: bool

    @property
    def is_shaped(self) -> bool:
        """Whether either direction does anything to packets: if so, it goes through the switchboard."""
        plain = LinkShape()
        return self.shape_forward != plain or self.shape_return != plain


class RouteFact(Value):
    """What the kernel's table of a node must hold before traffic starts: routing has converged when all do."""

    node: str
    prefix: str
    via: str | None
    "Address of the next hop; None where the prefix must be absent."


class Job(Value):
    """A program of `agents` in a node. *arguments* is the JSON job it is given, whole."""

    name: str
    "Unique in the scenario: alice, on-fe, on-edge1 ..."
    node: str
    program: str
    "Module below agents/: client, front_end, edge, conference, mediation, phone ..."
    arguments: dict[str, Any]
    stage: Literal["service", "party", "traffic"]
    "Services are ready before parties start; traffic is sent while calls have media."


class DnsRecord(Value):
    """One record of the DNS: an A record, or an SRV record of priority 0 and weight 0 (RFC 2782)."""

    name: str
    kind: Literal["A", "SRV"]
    target: str
    "Address, or host name."
    port: int | None = None
    "Of an SRV record."


class NameServer(Value):
    """What one name server knows, and whom it asks for the rest."""

    name: str
    "Of the service, in the topology."
    node: str
    address: str
    clients: tuple[str, ...]
    "Organisations whose machines ask it."
    forward: str | None
    "Name server that it asks for what is in none of its zones."
    zones: tuple[str, ...]
    "Domains for which its records are all there is."
    records: tuple[DnsRecord, ...]


class CallPlan(Value):
    """What the conductor tells a party to do once all are ready."""

    party: str
    "Job that acts."
    call: str
    "Name of the call, as the events tell it."
    target: str
    "SIP URI."
    answerers: tuple[str, ...]
    "Jobs that take part from the other side."
    media: tuple[str, ...]
    bundled: bool
    codec: str = "PCMU"
    "Of audio."


class MessagePlan(Value):
    """An instant message that the conductor tells a party to send once all are ready."""

    party: str
    "Job that sends it."
    message: str
    "Name of the message, as the events tell it."
    target: str
    "SIP URI."
    text: str


class TrafficPlan(Value):
    """Traffic of others: what competes with the calls for their links."""

    name: str
    sender: str
    "Job that sends; the program that takes it is called after it, with -sink."
    from_: str
    "Node."
    to: str
    address: str
    "Where it is sent."
    port: int
    protocol: Literal["tcp", "udp"]
    rate_bps: int
    "Most that is sent; of UDP, counted in IP packets."
    links: tuple[str, ...]
    "In the order in which its packets cross them."


class PredictedPath(Value):
    """Where packets of a leg should go, worked out from the topology before anything starts."""

    flow: str
    from_: str
    to: str
    forward: tuple[str, ...]
    "Links in order, from `from_` to `to`."
    return_: tuple[str, ...]
    forward_end: str
    "Closed list of dispositions: DELIVERED, NO_ROUTE, DENIED_BY_RULE ..., with the node and rule after a colon."
    return_end: str
    media: str | None = None
    "The kind of media, of a leg that is about one."
    note: str = ""
    "Packets that stand for the leg and, where a leg has several paths, when it takes this one."

    @property
    def leg(self) -> tuple[str, str, str, str | None]:
        """Flow, ends and kind of media: what tells one leg from another."""
        return self.flow, self.from_, self.to, self.media

    @property
    def is_unknown(self) -> bool:
        """Whether the predictor could not work the path out."""
        return UNKNOWN in (self.forward_end, self.return_end)


class Phase(Value):
    """What is done to the running world at one time, and what follows from it."""

    at_ns: int
    "From the moment that every call is established."
    within_ns: int
    "By when routing must have settled; from then on the phase's legs are judged."
    why: str
    birds: dict[str, str]
    "New BIRD configurations, whole, of the speakers whose differ from before."
    links: tuple[LinkPlan, ...]
    "Links that are up or shaped otherwise than before, as they are to be."
    converged: tuple[RouteFact, ...]
    "What the kernels' tables must hold once routing has settled."
    predicted: tuple[PredictedPath, ...]
    "As of a plan: of the phase's own legs."


class Plan(Value):
    """A scenario, worked out: everything the emulation does and the analysis must know."""

    scenario: str
    row: str
    seed: int
    nodes: tuple[NodePlan, ...]
    links: tuple[LinkPlan, ...]
    converged: tuple[RouteFact, ...]
    jobs: tuple[Job, ...]
    calls: tuple[CallPlan, ...]
    messages: tuple[MessagePlan, ...] = ()
    roles: dict[str, tuple[str, ...]]
    "<pool>-<role> and party name to nodes: what a leg's `from` and `to` mean."
    addresses: dict[str, str]
    "Every address and NAT pool address of the world to the node that owns it (a pool address to its firewall)."
    sip_ports: tuple[int, ...]
    "Ports on which signaling is found (5060, 5061 ...)."
    signaling_endpoints: tuple[str, ...] = ()
    "Servers that await signaling at other TCP ports too, as address:port (198.18.64.10:443)."
    predicted: tuple[PredictedPath, ...]
    "By leg, in the scenario's order; several for a leg that ICE may carry on several ways, the most likely first."
    duration_ns: int
    "How long media flows in each call once it is up."
    setup_limit_ns: int
    phases: tuple[Phase, ...] = ()
    "Changes while the calls are up, in order."
    name_servers: tuple[NameServer, ...] = ()
    traffic: tuple[TrafficPlan, ...] = ()

    def predictions(self, flow: str, from_: str, to: str, media: str | None = None) -> tuple[PredictedPath, ...]:
        """Return the paths that a leg may take, the most likely first, each once."""
        return tuple(dict.fromkeys(path for path in self.predicted if path.leg == (flow, from_, to, media)))
