"""A conference with all kinds of media on paper: alice and the conference server, by an Edge over ExpressRoute."""

from collections.abc import Mapping
from typing import Any

from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, FE, Wire, make_plan
from capture_bytes import Tcp, channel_data, rtp

from testbed.plan.model import Job, Plan
from testbed.scenario import Call, Leg
from testbed.topology import LinkShape, MediaKind

MEDIA: Mapping[MediaKind, Any] = {
    "audio": {"ports": "50000-50019", "dscp": 46},
    "video": {"ports": "50020-50039", "dscp": 34},
    "application-sharing": {"ports": "50040-50059", "dscp": 18},
    "file-transfer": {"ports": "50040-50059", "dscp": 10},
}
SOURCES = {"audio": 0xA0, "video": 0xB0, "application-sharing": 0xC0}
PORTS = {"audio": 50000, "video": 50020, "application-sharing": 50040, "file-transfer": 50041}
APART = Call(kind="conference", participants=("alice",), host="online-conference", media=tuple(MEDIA), bundled=False)
SDP = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=ssrc:160 cname:x\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 97 98\r\na=ssrc:176 cname:x\r\na=ssrc:177 cname:x\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 97 98\r\na=ssrc:192 cname:x\r\na=content:slides\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
)


def told_plan(*, bleached: str = "", **jobs: Any) -> Plan:
    """Return the plan in which alice was told ports and DSCP, and where a link sets every DSCP to 0."""
    plan = make_plan()
    alice = Job(name="alice", node="alice", program="client", arguments={"tone_hz": 400, "media": MEDIA}, stage="party")
    links = tuple(
        link.model_copy(update={"shape_forward": LinkShape(dscp="bleach"), "shape_return": LinkShape(dscp="bleach")})
        if link.name == bleached
        else link
        for link in plan.links
    )
    others = tuple(job for job in plan.jobs if job.name != "alice")
    return plan.model_copy(update={"jobs": (*others, alice), "links": links})


def media_leg(kind: Any, **more: Any) -> Leg:
    """Return the leg of one kind of media from alice to her Edge."""
    expected = {"crosses": ["customer", "expressroute", "microsoft"], "never": ["internet"]}
    return Leg.model_validate(
        {"flow": "media", "media": kind, "from": "alice", "to": "online-edge", **expected, **more}
    )


def describe_media(wire: Wire, text: str = SDP, *, cut: int = 100) -> None:
    """Let alice tell her media to the Front End, in two TCP segments that are captured in the wrong order."""
    inner, server = (ALICE, 51000), (FE, 5060)
    data = f"INVITE sip:conference-1@contoso.example SIP/2.0\r\n\r\n{text}".encode()
    for start, part in ((cut, data[cut:]), (0, data[:cut])):
        wire.carry((*BY_ER[:-1], "fe"), inner, server, part, tcp=Tcp(0xFFFFFFF0 + start & 0xFFFFFFFF, ip_id=start))


def payload_of(kind: str, number: int, *, back: bool = False) -> bytes:
    """Return a packet of one kind of media."""
    if kind == "file-transfer":
        return bytes([23, 254, 253]) + bytes(8) + bytes([number, back]) + bytes(20)
    ssrc = SOURCES[kind] + 0x1000 * back
    return rtp(number, ssrc=ssrc, payload_type=0 if kind == "audio" else 97)


def exchange_media(
    wire: Wire, kind: MediaKind, *, port: int | None = None, dscp: int | None = None, arrives: int = -1
) -> None:
    """Let alice and edge1 exchange three packets of one kind; *arrives*, if given, is the DSCP from the firewall on."""
    mark = MEDIA[kind]["dscp"] if dscp is None else dscp
    inner, relay = (ALICE, port or PORTS[kind]), (EDGE1, 3478)
    outer = (ER_POOL, inner[1])
    on_way = {"alice": mark, "edge1": mark} | ({} if arrives < 0 else {"fw-er": arrives})
    for number in range(3):
        forth, back = (channel_data(payload_of(kind, number, back=each)) for each in (False, True))
        wire.carry(BY_ER, inner, relay, forth, nat={"fw-er": (outer, relay)}, dscp=on_way)
        wire.carry(BY_ER[::-1], relay, outer, back, nat={"fw-er": (relay, inner)}, dscp=on_way)
