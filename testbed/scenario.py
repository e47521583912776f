"""What a scenario file may say: who calls whom in which topology, what must be seen, and what must turn it red."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from testbed.topology import MediaKind, Name, NodeName, SegmentKind, Table
from testbed.units import Duration, Rate

FlowKind = Literal["signaling", "media", "dns", "crl", "portal", "telemetry", "cdn", "stream"]
Contradiction = Annotated[str, StringConstraints(pattern=r"^X[1-9][0-9]*$")]
TurnTransport = Literal["udp", "tcp", "tls"]
"Between a client and its relay: UDP on port 3478, TCP or TLS on port 443."
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]


class Party(Table):
    """A user or telephone, and where it is."""

    node: NodeName
    home: Name | None = None
    "Pool that holds the user's account; None for a guest or a PSTN telephone."
    uri: str
    "Address of record, like sip:alice@contoso.example or sip:+4684001234@pstn.example."
    transport: Literal["udp", "tcp", "tls", "https"] = "tcp"
    "Of SIP, between client and server; https: no SIP but the Front End's web service, for messages alone."
    turn_transports: tuple[TurnTransport, ...] = Field(default=("udp",), min_length=1)
    """To the relay, in the order in which the client tries them at sign-in: the rungs of the fallback ladder. UDP
    alone unless told: a row's path is that of UDP, and over another transport a firewall in its way would go unseen."""
    proxy: Name | None = None
    "Service of kind proxy that signaling goes through, by HTTP CONNECT (RFC 9110 section 9.3.6); media never does."
    visits: tuple[Name, ...] = ()
    """Services of kind portal, telemetry and cdn that the client visits when it has signed in. It looks up in the list
    of the authority (kind crl) that their certificates are not revoked."""
    ice: bool = True
    "False: plain RTP, as of an old IP telephone: no ICE, no relay, no encryption; the other end must be the same."
    file_bytes: int = Field(default=65_536, ge=1, le=1_048_576)
    "Size of the file that the party shares in a call with file transfer."


class Call(Table):
    """One call: peer to peer, to the PSTN, or into a conference."""

    kind: Literal["p2p", "pstn", "conference"]
    caller: Name | None = None
    callee: Name | None = None
    "Party called, for kind p2p and pstn."
    participants: tuple[Name, ...] = ()
    "Parties that join, for kind conference."
    organiser: Name | None = None
    "Party that scheduled the conference: its home's conference server hosts it, unless `host` names another."
    host: str | None = None
    """Role that takes a PSTN call (default: the mediation of the home), or hosts a conference. One of another pool than
    the organiser's home is a fault made on purpose: it breaks principle P1."""
    media: tuple[MediaKind, ...] = ("audio",)
    "Audio always; the others beside it."
    codec: Literal["PCMU", "opus"] = "PCMU"
    "Of its audio: G.711 mu-law, or Opus (RFC 7587), in which clients speak to one another only."
    bundled: bool = True
    "Whether all media share one transport, with the ports and the mark of audio; else each kind has its own."


class Broadcast(Table):
    """A conference that is broadcast: an audience pulls it from a content delivery network as a buffered stream."""

    call: int = Field(default=0, ge=0)
    "Which of the calls, counted from 0: a conference."
    cdn: Name
    "Service that the audience asks; what it asks in turn is the origin."
    attendees: tuple[Name, ...] = Field(min_length=1)
    "Parties who watch. They take part in no call."
    viewers: int = Field(default=3, ge=1, le=100)
    "Players at each attendee's node."
    buffer: Duration = 3_000_000_000
    "How much of the stream a player wants to have before it plays: three segments (RFC 8216 section 6.3.3)."


class Message(Table):
    """One instant message (SIP MESSAGE, RFC 3428), sent before any call."""

    from_: Name = Field(alias="from")
    "Party that sends it; both are users of a pool."
    to: Name
    text: str = Field(min_length=1, max_length=1000)
    "Different in each message of a scenario: that tells them apart."


class Traffic(Table):
    """Traffic of others, sent by iperf3 from one node to another while the calls have media, so that links fill up."""

    from_: NodeName = Field(alias="from")
    to: NodeName
    protocol: Literal["tcp", "udp"]
    rate: Rate
    "Most that is sent, all flows together: UDP's IP packets go at this rate, TCP fits what it finds below it."
    flows: int = Field(default=1, ge=1, le=16)
    packet_bytes: int = Field(default=1200, ge=64, le=1500)
    "Of UDP: length of an IP packet. TCP fills its segments."
    dscp: int = Field(default=0, ge=0, le=63)


Disposition = Literal[
    "DELIVERED",
    "DENIED_BY_RULE",
    "NO_SESSION_ON_RETURN",
    "HALF_SEEN_FLOW",
    "REVERSE_PATH_FILTER",
    "NO_ROUTE",
    "NAT_MISMATCH",
    "TURN_REFUSED",
    "NAME_NOT_RESOLVED",
    "TIMEOUT",
    "CAPTURE_INCOMPLETE",
    "NEVER_SENT",
]
"What became of a leg's packets."


class Death(Table):
    """How a leg must fail: the row is reproduced when its packets die exactly so, and only then."""

    disposition: Literal[
        "DENIED_BY_RULE", "NO_SESSION_ON_RETURN", "HALF_SEEN_FLOW", "REVERSE_PATH_FILTER", "NEVER_SENT"
    ]
    "NEVER_SENT: nothing of the leg is sent, because another leg died."
    at: NodeName | None = None
    "Firewall that drops the packets."
    rule: str | None = None
    "Its rule; None where no rule sees them (reverse-path filter)."
    state: Literal["INVALID", "NEW"] | None = None
    "What connection tracking there makes of a dropped packet; None where no rule sees it."
    forward: tuple[SegmentKind, ...] = ()
    "Kinds of segment, in order, that the packets of the leg's `from` cross, up to where they end."
    return_: tuple[SegmentKind, ...] = Field(default=(), alias="return")
    "Likewise those that answer them."
    symptom: str | None = None
    "Regular expression for what an agent says of the failure; judged where events.jsonl is there."
    symptom_of: Name | None = None
    "Party whose agent says it; None: the leg's `from`."

    @property
    def kinds(self) -> frozenset[SegmentKind]:
        """Return the kinds of segment that its packets cross before they die."""
        return frozenset((*self.forward, *self.return_))


class Leg(Table):
    """One application-layer hop of one flow, and the kinds of segment its packets must and must never cross."""

    flow: FlowKind
    from_: str = Field(alias="from")
    "A party of the scenario, a node, or a role (<pool>-<role>)."
    to: str
    crosses: tuple[SegmentKind, ...]
    never: tuple[SegmentKind, ...] = ()
    forward_only: tuple[SegmentKind, ...] = ()
    "Kinds of `crosses` that only packets of `from` must cross: routes that are asymmetric, and work."
    return_only: tuple[SegmentKind, ...] = ()
    "Kinds of `crosses` that only packets of `to` must cross."
    over: tuple[Name, ...] = ()
    "Links that all its packets must cross, in both directions: where kinds of segment do not tell ways apart."
    media: MediaKind | None = None
    "The kind of media that is judged; None: all of them."
    dscp: int | None = Field(default=None, ge=0, le=63)
    "DSCP that every packet must have where the leg ends, in both directions; None: any."
    dies: Death | None = None
    "How the leg must fail; then `crosses` and `never` hold where a remedy cures it."


class ArticleCell(Table):
    """What the article's table prints for this row, per party."""

    signaling: dict[Name, str] = {}
    media: dict[Name, str] = {}


class Change(Table):
    """An edit of the topology or the scenario by dotted key; see `testbed.spec.change`."""

    set: dict[str, Any] = {}
    remove: tuple[str, ...] = ()


class During(Change):
    """A change that is made to the running world while the calls are up: a route withdrawn, a cable pulled."""

    at: Duration
    "When: from the moment that every call is established."
    why: str
    within: Duration = 2_000_000_000
    "By then routing has settled on what follows, and calls that are to recover have: from then on `legs` hold."
    legs: tuple[Leg, ...] = ()
    "What must be seen from then on, to the next change or the end of the calls."
    gap: tuple[Duration, Duration] | None = None
    "Least and greatest silence that may follow it in the audio between the parties; None: whatever it is."


class Control(Change):
    """A change that must turn the scenario red, and the reason it must give."""

    why: str
    verdict: Literal["FAIL", "INCONCLUSIVE"]
    reason: str
    "Regular expression that the verdict's reason must match, so that it is red for the right reason."


class Remedy(Table):
    """What a scenario that cures another one changes."""

    kind: Literal["microsoft", "extra"]
    "Documented by Microsoft, or beyond that: it works, and is ours."
    why: str


class Scenario(Table):
    """One row of the catalogue, or a user's own."""

    id: str
    "Slug: the path of the file below scenarios/, without .toml."
    row: str
    table: Literal["online", "hybrid", "cloud-connector", "prose", "rules", "fallback", "nat", "asymmetric"]
    title: str
    topology: Name
    parties: dict[Name, Party]
    calls: tuple[Call, ...] = ()
    broadcast: Broadcast | None = None
    messages: tuple[Message, ...] = ()
    traffic: dict[Name, Traffic] = {}
    "What else is sent while the calls have media."
    legs: tuple[Leg, ...]
    article: ArticleCell = ArticleCell()
    contradictions: tuple[Contradiction, ...] = ()
    "Where the article contradicts itself on this row, by the numbers of docs/contradictions.md."
    relays: tuple[int, ...] = ()
    "Allowed numbers of TURN relays between the two ends of the media; empty where the row does not say."
    selected_pair: tuple[str, str] | None = None
    "Required candidate types of the selected pair."
    relay_transports: dict[Name, TurnTransport | Literal["none"]] = {}
    "By which transport each of these parties' media must reach its relay, or none: the rung of the ladder."
    grid: tuple[str, str] | None = None
    "Row and column of this scenario in its table's grid, whose cells the report colours by the route of the media."
    extends: str | None = None
    """Id of the scenario whose document this file's is laid over: keys replace, `changes` are appended, and its
    controls are left out. With `remedy`, no leg dies any more."""
    remedy: Remedy | None = None
    changes: tuple[Change, ...] = ()
    during: tuple[During, ...] = ()
    "Changes of the topology while the calls are up, each on top of those before."
    lasts: Duration = 0
    "Least time that media flows, where that asked for on the command line is shorter."
    ice_restart: Duration | None = None
    """How long a caller hears nothing before it makes its media anew by re-INVITE (ICE restart, RFC 8839); None: never.
    Where its signaling is TCP it first registers over a new connection."""
    controls: dict[Name, Control] = {}
    sip_t1: Duration = 500_000_000
    setup_limit: Duration = 12_000_000_000
    "How long registration and call set-up may take before the parties give up."
    note: str = ""

    def host_of(self, call: Call) -> str | None:
        """Return the role that takes a call: what it names, or a conference server of its organiser's home."""
        organiser = self.parties.get(call.organiser or "")
        if call.host is not None or organiser is None or organiser.home is None:
            return call.host
        return f"{organiser.home}-conference"
