"""A small world on paper, and captures of it written byte by byte, for tests of the analysis and the verdict.

alice - core - fw-er ---(expressroute)--- ms - edge1 - conf
          |                                |-- edge2
        fw-inet --(internet)-- transit ----+-- fe
                                 |
          hotel-nat ------------- +   carol - hotel-nat
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from capture_bytes import Endpoint, Tcp, channel_data, ip_packet, option, packet_block, pcapng, rtp

from testbed.plan.model import End, Interface, Job, LinkPlan, NodePlan, Plan, PredictedPath
from testbed.scenario import Call, Leg, Party, Scenario
from testbed.topology import LinkShape

ALICE, CAROL, BOB = "10.0.0.10", "192.168.0.10", "10.0.0.20"
EDGE1, EDGE2, FE, CONF = "198.18.64.1", "198.18.64.2", "198.18.64.3", "10.250.0.4"
EDGE1_INSIDE = "10.250.0.1"
ER_POOL, INET_POOL, HOTEL_POOL = "192.0.2.65", "192.0.2.1", "198.19.0.7"
_NODES: dict[str, tuple[Any, str, str]] = {
    "alice": ("host", "customer", "contoso"),
    "bob": ("host", "customer", "contoso"),
    "core": ("router", "customer", "contoso"),
    "fw-er": ("firewall", "customer", "contoso"),
    "fw-inet": ("firewall", "customer", "contoso"),
    "transit": ("router", "internet", "transit"),
    "hotel-nat": ("firewall", "internet", "transit"),
    "carol": ("host", "internet", "transit"),
    "ms": ("router", "microsoft", "microsoft"),
    "edge1": ("host", "microsoft", "microsoft"),
    "edge2": ("host", "microsoft", "microsoft"),
    "fe": ("host", "microsoft", "microsoft"),
    "conf": ("host", "microsoft", "microsoft"),
    "fabrikam": ("router", "fabrikam", "fabrikam"),
    "dave": ("host", "fabrikam", "fabrikam"),
}
_LINKS = {
    "alice-core": ("alice", "core", "customer"),
    "bob-core": ("bob", "core", "customer"),
    "core-fw-er": ("core", "fw-er", "customer"),
    "core-fw-inet": ("core", "fw-inet", "customer"),
    "er": ("fw-er", "ms", "expressroute"),
    "inet": ("fw-inet", "transit", "internet"),
    "border": ("transit", "ms", "internet"),
    "wifi": ("carol", "hotel-nat", "internet"),
    "hotel": ("hotel-nat", "transit", "internet"),
    "ms-edge1": ("ms", "edge1", "microsoft"),
    "ms-edge2": ("ms", "edge2", "microsoft"),
    "ms-fe": ("ms", "fe", "microsoft"),
    "edge1-conf": ("edge1", "conf", "microsoft"),
    "core-fabrikam": ("core", "fabrikam", "fabrikam"),
    "dave-fabrikam": ("dave", "fabrikam", "fabrikam"),
}
_ADDRESSES = {
    ALICE: "alice",
    BOB: "bob",
    CAROL: "carol",
    EDGE1: "edge1",
    EDGE1_INSIDE: "edge1",
    EDGE2: "edge2",
    FE: "fe",
    CONF: "conf",
    ER_POOL: "fw-er",
    INET_POOL: "fw-inet",
    HOTEL_POOL: "hotel-nat",
    "10.9.0.1": "core",
    "10.8.0.9": "dave",
}
_JOBS: tuple[tuple[str, str, Any], ...] = (
    ("edge1", "edge", "service"),
    ("edge2", "edge", "service"),
    ("alice", "client", "party"),
    ("carol", "client", "party"),
    ("bob", "client", "party"),
)
_TONES = {"alice": {"tone_hz": 400}, "bob": {"tone_hz": 500}}
BY_ER = ("alice", "core", "fw-er", "ms", "edge1")
BY_INTERNET = ("alice", "core", "fw-inet", "transit", "ms", "edge1")


def _kind(segment: str) -> Any:
    return "customer" if segment == "fabrikam" else segment


def mac(node: str, link: str) -> bytes:
    """Return the MAC address of *node*'s end of *link*."""
    return bytes((2, 0, 0, 0, list(_NODES).index(node) + 1, list(_LINKS).index(link) + 1))


def make_plan(
    *, uncaptured: Sequence[str] = (), down: Sequence[str] = (), predicted: Sequence[PredictedPath] = ()
) -> Plan:
    """Return the plan of the world above."""
    nodes = []
    for name, (kind, segment, organisation) in _NODES.items():
        interfaces = tuple(
            Interface(name=b if name == a else a, mac=mac(name, link).hex(":"), address=None, link=link)
            for link, (a, b, _) in _LINKS.items()
            if name in (a, b)
        )
        nodes.append(
            NodePlan(
                name=name,
                kind=kind,
                segment=segment,
                segment_kind=_kind(segment),
                organisation=organisation,
                title="",
                interfaces=interfaces,
                routes=(),
                sysctls={},
            )
        )
    shape = LinkShape()
    links = tuple(
        LinkPlan(
            name=name,
            segment=segment,
            segment_kind=_kind(segment),
            a=End(node=a, interface=b),
            b=End(node=b, interface=a),
            shape_forward=shape,
            shape_return=shape,
            up=name not in down,
            captured=name not in uncaptured,
        )
        for name, (a, b, segment) in _LINKS.items()
    )
    jobs = tuple(
        Job(name=name, node=name, program=program, arguments=_TONES.get(name, {}), stage=stage)
        for name, program, stage in _JOBS
    )
    return Plan(
        scenario="test/one",
        row="T-1",
        seed=1,
        nodes=tuple(nodes),
        links=links,
        converged=(),
        jobs=jobs,
        calls=(),
        roles={
            "alice": ("alice",),
            "bob": ("bob",),
            "carol": ("carol",),
            "online-edge": ("edge1", "edge2"),
            "online-front-end": ("fe",),
            "online-conference": ("conf",),
        },
        addresses=_ADDRESSES,
        sip_ports=(5060,),
        predicted=tuple(predicted),
        duration_ns=1,
        setup_limit_ns=1,
    )


def leg(flow: Any, from_: str, to: str, crosses: str, never: str = "") -> Leg:
    """Return a leg; *crosses* and *never* are kinds separated by blanks."""
    return Leg.model_validate(
        {"flow": flow, "from": from_, "to": to, "crosses": crosses.split(), "never": never.split()}
    )


MEDIA_ER = leg("media", "alice", "online-edge", "customer expressroute microsoft", "internet")
MEDIA_CAROL = leg("media", "carol", "online-edge", "internet microsoft", "expressroute customer")
SIGNALING_ER = leg("signaling", "alice", "online-front-end", "customer expressroute microsoft", "internet")


def make_scenario(*legs: Leg, calls: Sequence[Call] = (), **more: Any) -> Scenario:
    """Return a scenario that expects *legs*."""
    parties = {
        name: Party(node=name, home="online", uri=f"sip:{name}@contoso.example") for name in ("alice", "bob", "carol")
    }
    return Scenario(
        id="test/one",
        row="T-1",
        table="online",
        title="test",
        topology="test",
        parties=parties,
        calls=tuple(calls),
        legs=legs,
        **more,
    )


@dataclass
class Wire:
    """What the capture processes of a run would have written."""

    plan: Plan = field(default_factory=make_plan)
    now_ns: int = 1_700_000_000_000_000_000
    packets: list[bytes] = field(default_factory=list)
    drops: list[bytes] = field(default_factory=list)
    lost: dict[str, int] = field(default_factory=dict)

    @property
    def captured(self) -> list[str]:
        """Return the links that are captured."""
        return [link.name for link in self.plan.links if link.captured]

    def carry(
        self,
        way: Sequence[str],
        source: Endpoint,
        destination: Endpoint,
        payload: bytes,
        *,
        nat: Mapping[str, tuple[Endpoint, Endpoint]] | None = None,
        tcp: Tcp | None = None,
        dscp: Mapping[str, int] | None = None,
    ) -> None:
        """Let a packet go along *way* (nodes); a node in *nat* or *dscp* sends it on with other addresses or DSCP."""
        ends, mark = (source, destination), 46
        for a, b in pairwise(way):
            ends, mark = (nat or {}).get(a, ends), (dscp or {}).get(a, mark)
            self.frame(a, b, ip_packet(*ends, payload, tcp, dscp=mark))

    def frame(self, a: str, b: str, packet: bytes, *, mac_destination: bytes | None = None) -> None:
        """Let one IP packet pass the link between *a* and *b*."""
        self.now_ns += 10_000
        link = next(link for link in self.plan.links if {link.a.node, link.b.node} == {a, b})
        if link.name not in self.captured:
            return
        data = (mac_destination or mac(b, link.name)) + mac(a, link.name) + b"\x08\x00" + packet
        flags = option(2, struct.pack("<I", 2 if link.a.node == a else 1))
        self.packets.append(packet_block(self.captured.index(link.name), self.now_ns, data, flags))

    def drop(self, firewall: str, rule: str, packet: bytes) -> None:
        """Let *firewall* log that it dropped *packet*."""
        number = self._firewalls().index(firewall)
        comment = option(1, f"rule={rule} hook=FORWARD in=a out=b".encode())
        self.drops.append(packet_block(number, self.now_ns, packet, comment))

    def _firewalls(self) -> list[str]:
        return [node.name for node in self.plan.nodes if node.kind == "firewall"]

    def write(self, directory: Path, scenario: Scenario, **emulation: Any) -> Path:
        """Write the run directory."""
        directory.mkdir(parents=True, exist_ok=True)
        capture = {name: {"packets": 1, "dropped": self.lost.get(name, 0)} for name in self.captured}
        state = {
            "format": 1,
            "capture": capture,
            "dropped_log": {n: {"packets": 0, "lost": 0} for n in self._firewalls()},
            "health": {"wire": None, "agents": {}, "cpu_pressure": None},
            **emulation,
        }
        manifest = {
            "format": 1,
            "scenario": scenario.id,
            "given": {},
            "in_force": scenario.model_dump(mode="json", by_alias=True),
            "plan": self.plan.model_dump(mode="json"),
            "emulation": state,
            "changes": [],
        }
        (directory / "manifest.json").write_text(json.dumps(manifest))
        (directory / "firewalls.json").write_text(json.dumps({name: {} for name in self._firewalls()}))
        (directory / "capture.pcapng").write_bytes(pcapng(self.captured, b"".join(self.packets), lost=self.lost))
        (directory / "dropped.pcapng").write_bytes(pcapng(self._firewalls(), b"".join(self.drops), link_type=101))
        return directory


def media_by_er(wire: Wire, *, sequence: int = 1, answer: bool = True) -> None:
    """Let alice and edge1 exchange a packet of relayed media over ExpressRoute, through alice's NAT."""
    inner, outer = (ALICE, 50000), (ER_POOL, 40000)
    relay = (EDGE1, 3478)
    wire.carry(BY_ER, inner, relay, channel_data(rtp(sequence)), nat={"fw-er": (outer, relay)})
    if answer:
        back = channel_data(rtp(sequence, ssrc=0xED6E))
        wire.carry(BY_ER[::-1], relay, outer, back, nat={"fw-er": (relay, inner)})


def relayed_call(wire: Wire, *, relays: int, sequence: int = 1) -> None:
    """Let alice and carol exchange a packet of media, by one relay (alice's) or two."""
    inner, outer, relay1, relay2 = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 3478), (EDGE2, 3478)
    carol, hotel = (CAROL, 50002), (HOTEL_POOL, 41000)
    hops = ("ms", "transit", "hotel-nat", "carol")
    forth, back = rtp(sequence), rtp(sequence, ssrc=0xCA401)
    allocated1, allocated2 = (EDGE1, 50500), (EDGE2, 50600)
    wire.carry(BY_ER, inner, relay1, channel_data(forth), nat={"fw-er": (outer, relay1)})
    if relays == 1:
        wire.carry(("edge1", *hops), allocated1, hotel, forth, nat={"hotel-nat": (allocated1, carol)})
        wire.carry((*hops[::-1], "edge1"), carol, allocated1, back, nat={"hotel-nat": (hotel, allocated1)})
    else:
        wire.carry(("edge1", "ms", "edge2"), allocated1, allocated2, forth)
        wire.carry(("edge2", *hops), relay2, hotel, channel_data(forth), nat={"hotel-nat": (relay2, carol)})
        wire.carry((*hops[::-1], "edge2"), carol, relay2, channel_data(back), nat={"hotel-nat": (hotel, relay2)})
        wire.carry(("edge2", "ms", "edge1"), allocated2, allocated1, back)
    wire.carry(BY_ER[::-1], relay1, outer, channel_data(back), nat={"fw-er": (relay1, inner)})


def signaling_by_er(wire: Wire) -> None:
    """Let alice and the Front End exchange a TCP handshake, a request and a response."""
    inner, outer, server = (ALICE, 50010), (ER_POOL, 40010), (FE, 5060)
    way = (*BY_ER[:-1], "fe")
    talk = (
        (True, Tcp(100, 0, 2, 1), b""),
        (False, Tcp(900, 101, 0x12, 0), b""),
        (True, Tcp(101, 901, 0x10, 2), b""),
        (True, Tcp(101, 901, 0x18, 3), b"REGISTER sip:contoso.example SIP/2.0\r\n\r\n"),
        (False, Tcp(901, 141, 0x18, 1), b"SIP/2.0 200 OK\r\n\r\n"),
    )
    for out, tcp, payload in talk:
        if out:
            wire.carry(way, inner, server, payload, nat={"fw-er": (outer, server)}, tcp=tcp)
        else:
            wire.carry(way[::-1], server, outer, payload, nat={"fw-er": (server, inner)}, tcp=tcp)
