"""What `quality.json` says (docs/figures.md defines every figure): the model of its published schema.

Times are ns since 1970 where a name ends in `_ns`, durations ms; ratios are from 0 to 1. A figure that cannot be told
is null, and `missing` of the same table says why.
"""

from typing import Literal

from pydantic import Field

from testbed.report.file_part import FilePart


class Percentiles(FilePart):
    """Of packets; null where fewer packets passed than one that lies beyond it needs."""

    median: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Delays(Percentiles):
    """One-way delay, of packets seen at both ends of the stretch."""

    min: float
    mean: float
    max: float


class DelayChange(FilePart):
    """IPDV (RFC 3393): delay less that of the packet before."""

    min: float
    max: float
    std: float


class LossRuns(FilePart):
    """How losses hang together: runs of packets sent one after the other and all lost."""

    count: int
    longest: int
    weighted_mean: float
    "Length of the run that a lost packet is in, on average."


class Window(FilePart):
    """The worst of all windows of one length that lie within the media; one may begin at any moment."""

    ratio: float
    lost: int
    packets: int
    "That entered in it."
    from_ns: int
    windows: int
    "How many of them begin at a packet."


class Jitter(FilePart):
    """Interarrival jitter J (RFC 3550 section 6.4.1) as a receiver at the stretch's end would have it."""

    last: float
    mean: float
    max: float


class Figures(FilePart):
    """One stream between two capture points; a stretch with a `problem` has no figures."""

    links: tuple[str, ...]
    from_: str = Field(alias="from")
    to: str
    problem: str | None
    "Why nothing can be measured here."
    packets_entered: int | None = None
    packets_left: int | None = None
    lost: int | None = None
    "Seen neither at the stretch's end nor at the receiver by another way."
    loss_ratio: float | None = None
    loss_runs: LossRuns | None = None
    one_way_delay_ms: Delays | None = None
    pdv_ms: Percentiles | None = None
    "RFC 5481 section 4.2: delay less the smallest."
    ipdv_ms: DelayChange | None = None
    mean_delay_change_ms: float | None = None
    "Mean of the size of IPDV: what Microsoft calls jitter."
    mean_delay_change_15s_ms: float | None = None
    "The same in the worst 15 s."
    reordered: int | None = None
    "RFC 4737 section 3.3."
    reordered_ratio: float | None = None
    burst_loss_200ms: Window | None = None
    loss_15s: Window | None = None
    interarrival_jitter_ms: Jitter | None = None
    missing: dict[str, str] = Field(default_factory=dict)
    "Name of a figure that is null, and why."


class Stretch(Figures):
    """A part of the stream's way."""

    what: Literal["link", "segment", "path"]
    name: str


class EndToEnd(Figures):
    """From the sender's own link to the receiver's, with the E-model's rating (ITU-T G.107) of G.711.

    Of a stream of which nothing arrived: to where its packets died.
    """

    r: float | None
    mos: float | None
    mouth_to_ear_ms: float | None
    "One-way delay, packetisation and the receiver's buffer."


class Way(FilePart):
    """Links in order, and how many of the stream's packets took them."""

    links: tuple[str, ...]
    packets: int


class LossPlace(FilePart):
    """Where packets of a stream were lost."""

    where: str
    links: tuple[str, ...]
    firewall: str | None
    packets: int


class MediaStream(FilePart):
    """One RTP stream (SSRC) in one direction, from sender to receiver through all relays."""

    ssrc: int
    from_: str = Field(alias="from")
    to: str | None
    "Where nothing arrived: the host that it was addressed to when last seen, null where that was no host's address."
    payload_type: int
    media: str | None
    clock_rate_hz: int | None
    packets: int
    first_ns: int
    last_ns: int
    sequence_gaps: int
    duplicates: int
    ways: tuple[Way, ...]
    "To the receiver; none where nothing arrived."
    lost_where: tuple[LossPlace, ...]
    end_to_end: EndToEnd | None
    stretches: tuple[Stretch, ...]
    note: str | None = None


class LinkDirection(FilePart):
    """What a link did to all media that passed it in one direction."""

    packets: int
    lost: int
    delay_mean_ns: int | None
    delay_std_ns: int | None
    together_with: tuple[str, ...] = ()
    "Links that only these figures together can be told of: there is no capture point between them."


class LinkFigures(FilePart):
    """A link in both directions; one that no media passed is not there."""

    forward: LinkDirection | None = None
    return_: LinkDirection | None = Field(default=None, alias="return")


class PartyTimings(FilePart):
    """From captured SIP (RFC 6076), STUN and TURN at the party's own link; null for what was not seen whole."""

    party: str
    registration_ms: float | None
    post_dial_delay_ms: float | None
    setup_ms: float | None
    bye_ms: float | None
    turn_allocate_ms: float | None
    ice_first_valid_pair_ms: float | None
    ice_selected_pair_ms: float | None


class RoundTripTold(FilePart):
    """What an agent says of a call's round trip; RTCP travels encrypted, so no capture tells it."""

    agent: str | None
    peer: str | None
    rtt_ms: float | None


class EModel(FilePart):
    """The constants that the rating was worked out with."""

    r_default: float
    equipment_impairment: float
    loss_robustness: float
    burst_ratio: float
    dejitter_buffer_ms: float


class StreamNamed(FilePart):
    """Which stream."""

    ssrc: int
    from_: str = Field(alias="from")
    to: str | None


class TargetJudged(FilePart):
    """A figure of a stream's part against a target: met below the limit."""

    target: str
    path: str
    from_: str = Field(alias="from")
    to: str
    stream: StreamNamed
    figure: str
    limit: float
    observed: float | None
    packets: int | None
    outcome: Literal["met", "missed", "unknown"]
    reason: str


class Assessment(FilePart):
    """A stream in the columns of Microsoft's Network Assessment Tool."""

    CallStartTime: str
    PacketLossRate: float | None
    RoundTripLatencyInMs: float | None
    PacketsSent: int
    PacketsReceived: int | None
    AverageJitterInMs: float | None
    PacketReorderRatio: float | None
    From: str
    To: str | None
    Media: str | None


class Trusted(FilePart):
    """Whether the rig was fast enough for times to count, and captures whole."""

    timing: bool
    complete: bool
    reasons: tuple[str, ...]


class QualityFile(FilePart):
    """`quality.json`: the figures of one scenario's media, all from captured packets but for what agents tell."""

    format: Literal[1]
    scenario: str
    trusted: Trusted
    streams: tuple[MediaStream, ...]
    links: dict[str, LinkFigures]
    timings: tuple[PartyTimings, ...]
    rtt_told_by_agents: tuple[RoundTripTold, ...] | None
    e_model: EModel
    targets: tuple[TargetJudged, ...]
    outcomes: dict[str, int]
    "How many targets were met, missed and unknown."
    assessment: tuple[Assessment, ...]
