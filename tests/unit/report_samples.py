"""Results directories as runs leave them, for the report's tests: the office365 topology in small, legs by their walks.

The packets are made up; which link, direction, segment and verdict goes with which is worked out from the walks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

Document = dict[str, Any]

SEGMENTS: Final = {
    "contoso": ("customer", "Contoso's network"),
    "fabrikam": ("customer", "Fabrikam's network"),
    "tailspin": ("customer", "Tailspin's network"),
    "internet": ("internet", "The Internet"),
    "expressroute": ("expressroute", "ExpressRoute"),
    "microsoft": ("microsoft", "Microsoft's network"),
    "pstn": ("pstn", "Telephone network"),
}
NODES: Final = {
    "contoso": "host:alice host:bob switch:lan-a switch:lan-b router:site-a router:site-b router:core "
    "firewall:fw-internet router:ce-inet firewall:fw-er router:ce-er host:dc-fe host:dc-edge",
    "fabrikam": "host:dave switch:fab-lan router:fab-core firewall:fab-fw-er router:fab-ce-er",
    "tailspin": "switch:tail-dmz firewall:tail-fw router:tail-ce host:tail-edge",
    "internet": "router:transit1 router:transit2 firewall:hotel-nat switch:hotel-lan host:carol host:frank",
    "expressroute": "router:er-pe1 router:er-pe2 router:fab-er-pe1",
    "microsoft": "router:msborder router:msee1 router:msee2 router:ms-near switch:ms-lan switch:ms-int-lan "
    "host:on-fe host:on-edge1 host:on-edge2 host:on-conf host:on-med",
    "pstn": "host:phone",
}
LINKS: Final = {
    "contoso": "alice/lan-a bob/lan-b site-a/lan-a site-b/lan-b site-a/core site-b/core core/fw-internet "
    "fw-internet/ce-inet core/fw-er fw-er/ce-er dc-fe/core dc-edge/core",
    "fabrikam": "dave/fab-lan fab-core/fab-lan fab-core/fab-fw-er fab-fw-er/fab-ce-er",
    "tailspin": "tail-fw/tail-ce tail-fw/tail-dmz tail-edge/tail-dmz",
    "internet": "ce-inet/transit1 transit1/transit2 transit1/msborder transit2/msborder tail-ce/transit2 "
    "hotel-nat/transit1 hotel-nat/hotel-lan carol/hotel-lan frank/hotel-lan",
    "expressroute": "ce-er/er-pe1 msee1/er-pe1 ce-er/er-pe2 msee2/er-pe2 fab-ce-er/fab-er-pe1 msee1/fab-er-pe1",
    "microsoft": "msborder/ms-near msee1/ms-near msee2/ms-near ms-near/ms-lan on-fe/ms-lan on-edge1/ms-lan "
    "on-edge2/ms-lan on-fe/ms-int-lan on-edge1/ms-int-lan on-edge2/ms-int-lan on-conf/ms-int-lan on-med/ms-int-lan",
    "pstn": "on-med/phone",
}
ROLES: Final = {
    "online-front-end": ["on-fe"],
    "online-edge": ["on-edge1", "on-edge2"],
    "online-conference": ["on-conf"],
    "online-mediation": ["on-med"],
    "tailspin-edge": ["tail-edge"],
    "onprem-front-end": ["dc-fe"],
    "onprem-edge": ["dc-edge"],
    **{party: [party] for party in ("alice", "bob", "carol", "dave", "frank", "phone")},
}
_SHAPED: Final = {
    "ce-er/er-pe1": {"delay": "2ms", "rate": "200Mbit"},
    "ce-inet/transit1": {"delay": "9ms", "jitter": "1ms", "dscp": "bleach"},
    "hotel-nat/transit1": {"delay": "6ms", "jitter": "2ms", "rate": "20Mbit", "dscp": "bleach"},
}

CE = "alice lan-a site-a core fw-er ce-er er-pe1 msee1 ms-near ms-lan"
"Alice's way to Microsoft over ExpressRoute."
CI = "alice lan-a site-a core fw-internet ce-inet transit1 msborder ms-near ms-lan"
"... and over the Internet."
HI = "carol hotel-lan hotel-nat transit1 msborder ms-near ms-lan"
FE = "dave fab-lan fab-core fab-fw-er fab-ce-er fab-er-pe1 msee1 ms-near ms-lan"
ER_PATH = ("customer", "expressroute", "microsoft")
INTERNET_PATH = ("internet", "microsoft")


@dataclass(frozen=True)
class Leg:
    """A leg, by the nodes its packets passed; *back* is the return walk where it is another."""

    flow: str
    from_: str
    to: str
    crosses: Sequence[str]
    never: Sequence[str]
    walk: str
    back: str | None = None
    predicted: str | None = None
    packets: tuple[int, int] = (750, 748)
    disposition: str = "DELIVERED"
    verdict: str = "PASS"
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sample:
    """One scenario of a sample run."""

    name: str
    row: str
    title: str
    parties: Sequence[str]
    article: dict[str, dict[str, str]]
    legs: Sequence[Leg]
    verdict: str = "PASS"
    reason: str = "every leg took the path it must"
    drops: dict[str, dict[str, int]] | None = None
    uncaptured: Sequence[str] = ()
    changes: Sequence[Document] = ()
    health: Document | None = None
    checks: Sequence[Document] = ()
    principles: Sequence[Document] = ()
    controls: Document | None = None
    manifest: bool = True
    homes: Mapping[str, str] = field(default_factory=dict)
    contradictions: Sequence[str] = ()

    @property
    def directory(self) -> str:
        return self.name.replace("/", "-")


def write_run(directory: Path, samples: Sequence[Sample]) -> Path:
    """Write a results directory and return it."""
    directory.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        _write_scenario(directory / sample.directory, sample)
    run = {
        "format": 1,
        "run": "20261122-201500",
        "started": "2026-11-22T20:15:00+00:00",
        "ended": "2026-11-22T20:17:31+00:00",
        "command": ["testbed", "run", "--all"],
        "interrupted": False,
        "environment": {"kernel": "6.18.5", "cpus": 2, "memory_bytes": 8 << 30, "versions": {"BIRD": "2.0.12"}},
        "scenarios": [
            {
                "name": sample.name,
                "scenario": sample.name.partition("@")[0],
                "row": sample.row,
                "verdict": sample.verdict,
                "reason": sample.reason,
                "directory": sample.directory,
                "duration_s": 19.25,
                "media_s": 15.0,
                "overhead_s": 4.25,
            }
            for sample in samples
        ],
    }
    (directory / "run.json").write_text(json.dumps(run), encoding="utf-8")
    return directory


def _write_scenario(place: Path, sample: Sample) -> None:
    place.mkdir(parents=True)
    verdict: Document = {
        "format": 1,
        "scenario": sample.name.partition("@")[0],
        "row": sample.row,
        "verdict": sample.verdict,
        "reason": sample.reason,
        "legs": [_leg_document(leg) for leg in sample.legs],
        "checks": list(sample.checks),
        "principles": list(sample.principles),
        "article": sample.article,
        "dropped": [
            {"firewall": firewall, "rule": rule, "packets": packets, "first": "UDP 10.1.1.10:50004", "frame": 3}
            for firewall, rules in sample.drops.items()
            for rule, packets in rules.items()
        ]
        if sample.drops is not None
        else None,
        "health": sample.health or {"degraded": False, "wire": {"lateness_ns": {"p99": 410_000}}},
    }
    (place / "verdict.json").write_text(json.dumps(verdict), encoding="utf-8")
    if not sample.manifest:
        return
    links = [name for group in LINKS.values() for name in group.split()]
    captured = {
        _dashed(link): {"packets": 10, "dropped": 0} for link in links if _dashed(link) not in sample.uncaptured
    }
    manifest = {
        "format": 1,
        "scenario": sample.name.partition("@")[0],
        "in_force": scenario_document(sample),
        "topology": {"segments": {n: {"kind": k, "organisation": n, "title": t} for n, (k, t) in SEGMENTS.items()}},
        "plan": plan_document(sample),
        "changes": list(sample.changes),
        "emulation": {"format": 1, "capture": captured},
    }
    (place / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for name in ("capture.pcapng", "dropped.pcapng"):
        (place / name).touch()


def scenario_document(sample: Sample) -> Document:
    """Return the scenario in force, as the manifest holds it."""
    return {
        "id": sample.name.partition("@")[0],
        "row": sample.row,
        "table": "asymmetric" if sample.row.startswith("AS") else "online",
        "title": sample.title,
        "topology": "office365",
        "parties": {
            party: {"node": party, "home": sample.homes.get(party), "uri": f"sip:{party}@contoso.example"}
            for party in sample.parties
        },
        "calls": [{"kind": "p2p", "caller": sample.parties[0], "callee": sample.parties[-1]}],
        "legs": [
            {"flow": leg.flow, "from": leg.from_, "to": leg.to, "crosses": leg.crosses, "never": leg.never}
            for leg in sample.legs
        ],
        "article": sample.article,
        "contradictions": sample.contradictions,
        "controls": sample.controls or {},
    }


def plan_document(sample: Sample) -> Document:
    """Return the plan, as the manifest holds it."""
    nodes = []
    for segment, names in NODES.items():
        for kind, name in (item.split(":") for item in names.split()):
            nodes.append(
                {
                    "name": name,
                    "kind": kind,
                    "segment": segment,
                    "segment_kind": SEGMENTS[segment][0],
                    "organisation": segment,
                    "title": "",
                    "interfaces": [],
                    "routes": [],
                    "sysctls": {},
                }
            )
    links = []
    for segment, names in LINKS.items():
        for name in names.split():
            a, b = name.split("/")
            shape = _SHAPED.get(name, {})
            links.append(
                {
                    "name": _dashed(name),
                    "segment": segment,
                    "segment_kind": SEGMENTS[segment][0],
                    "a": {"node": a, "interface": b},
                    "b": {"node": b, "interface": a},
                    "shape_forward": shape,
                    "shape_return": shape,
                    "up": True,
                    "captured": _dashed(name) not in sample.uncaptured,
                }
            )
    jobs = [
        {"name": party, "node": party, "program": "client", "arguments": {}, "stage": "party"}
        for party in sample.parties
    ]
    if "phone" in sample.parties:
        jobs.append({"name": "on-med", "node": "on-med", "program": "mediation", "arguments": {}, "stage": "service"})
    return {
        "scenario": sample.name.partition("@")[0],
        "row": sample.row,
        "seed": 1,
        "nodes": nodes,
        "links": links,
        "converged": [],
        "jobs": jobs,
        "calls": [],
        "roles": ROLES,
        "addresses": {},
        "sip_ports": [5060],
        "predicted": [
            {
                "flow": leg.flow,
                "from_": leg.from_,
                "to": leg.to,
                "forward": walk_links(leg.predicted or leg.walk),
                "return_": walk_links(leg.predicted or leg.walk)[::-1],
                "forward_end": "DELIVERED",
                "return_end": "DELIVERED",
            }
            for leg in sample.legs
        ],
        "duration_ns": 15_000_000_000,
        "setup_limit_ns": 12_000_000_000,
    }


def walk_links(walk: str) -> list[str]:
    """Return the links of a walk over nodes, in order."""
    names = {frozenset(name.split("/")): _dashed(name) for group in LINKS.values() for name in group.split()}
    nodes = walk.split()
    return [names[frozenset(pair)] for pair in pairwise(nodes)]


def _dashed(link: str) -> str:
    return link.replace("/", "-")


def _leg_document(leg: Leg) -> Document:
    kind_of = {_dashed(name): SEGMENTS[segment][0] for segment, names in LINKS.items() for name in names.split()}
    ahead, back = walk_links(leg.walk), walk_links(leg.walk)[::-1] if leg.back is None else walk_links(leg.back)
    order = dict.fromkeys([*ahead, *back]) if any(leg.packets) else {}
    seen = [
        {
            "link": link,
            "segment": kind_of[link],
            "packets_forward": leg.packets[0] if link in ahead else 0,
            "packets_return": leg.packets[1] if link in back else 0,
            "first_frame": 812 + index,
        }
        for index, link in enumerate(order)
    ]
    predicted = walk_links(leg.predicted or leg.walk)
    return {
        "flow": leg.flow,
        "from": leg.from_,
        "to": leg.to,
        "expected": {"crosses": list(leg.crosses), "never": list(leg.never)},
        "observed": {
            "segments": list(dict.fromkeys(kind_of[link] for link in order)),
            "links": seen,
            "forward": ahead if order else [],
            "return": back if order else [],
        },
        "disposition": leg.disposition,
        "verdict": leg.verdict,
        "evidence": list(leg.evidence) or [f"frame {812 + i} on link {link}" for i, link in enumerate(order)][:2],
        "predicted": {"forward": predicted, "agrees": (predicted, predicted[::-1]) == (ahead, back)},
    }


def _alice_signaling(**changed: Any) -> Leg:
    given: Document = {"packets": (14, 11), **changed}
    return Leg("signaling", "alice", "online-front-end", ER_PATH, ["internet"], f"{CE} on-fe", **given)


def _alice_media(**changed: Any) -> Leg:
    given: Document = {"walk": f"{CE} on-edge1", **changed}
    return Leg("media", "alice", "online-edge", ER_PATH, ["internet"], **given)


RELAYS = {
    "check": "relays",
    "expected": [1, 2],
    "observed": {"alice -> carol": [2], "carol -> alice": [2]},
    "verdict": "PASS",
}


def _pair(kind: str, edges: Mapping[str, str | None], **more: Any) -> Document:
    """Return the check of a selected pair, both candidates of one kind; *edges*: its ends, and who relays for each."""
    ends = {name: {"type": kind, "address": "198.18.64.1:1", "base": "1:1", "edge": edges[name]} for name in edges}
    one, other = edges
    observed = {
        name: [{"peer": peer, "local": ends[name], "remote": ends[peer]}] for name, peer in ((one, other), (other, one))
    }
    return {"check": "selected-pair", "expected": None, "observed": observed, "verdict": "PASS", **more}


PAIR = _pair("relay", {"alice": "on-edge1", "carol": "on-edge2"})
BOTH_ER = {"signaling": {"alice": "expressroute"}, "media": {"alice": "expressroute"}}
CAROL_LEGS = (
    Leg("signaling", "carol", "online-front-end", INTERNET_PATH, ["expressroute"], f"{HI} on-fe", packets=(13, 12)),
    Leg("media", "carol", "online-edge", INTERNET_PATH, ["expressroute", "customer"], f"{HI} on-edge2"),
)

P2P_INTERNAL = Sample(
    "online/p2p-internal",
    "ON-1",
    "Peer-to-peer call; two clients, both in the customer network",
    ["alice", "bob"],
    {
        "signaling": {"alice": "expressroute", "bob": "expressroute"},
        "media": {"alice": "local", "bob": "local"},
    },
    [
        _alice_signaling(),
        Leg(
            "signaling",
            "bob",
            "online-front-end",
            ER_PATH,
            ["internet"],
            "bob lan-b site-b core fw-er ce-er er-pe1 msee1 ms-near ms-lan on-fe",
            packets=(12, 12),
        ),
        Leg(
            "media",
            "alice",
            "bob",
            ["customer"],
            ["internet", "expressroute", "microsoft"],
            "alice lan-a site-a core site-b lan-b bob",
        ),
    ],
    drops={},
    checks=[
        {
            "check": "relays",
            "expected": [0],
            "observed": {"alice -> bob": [0], "bob -> alice": [0]},
            "verdict": "PASS",
        },
        _pair("host", {"alice": None, "bob": None}, expected=["host", "host"]),
    ],
)
PRINCIPLES_TOLD: Final = [
    {"principle": name, "rule": f"The rule of {name}.", "outcome": outcome, "reason": reason, "evidence": evidence}
    for name, outcome, reason, evidence in (
        ("P1", "does not apply", "no conference", []),
        ("P3", "holds", "relayed by on-edge1", ["direct checks from carol were dropped by fw-internet, rule default"]),
        ("P4", "cannot tell", "carol sent no signaling", []),
        ("ER-", "broken", "media carol -> bob over expressroute", ["frame 17 on er-pe1-msee1"]),
    )
]
ONWARD = Sample(
    "hybrid/conference-online-organiser",
    "HY-4",
    "On-premises user inside joins a conference scheduled by an Online user",
    ["alice"],
    BOTH_ER,
    [
        Leg("signaling", "alice", "onprem-front-end", ["customer"], ["internet"], "alice lan-a site-a core dc-fe"),
        Leg(
            "signaling",
            "onprem-edge",
            "online-front-end",
            ER_PATH,
            ["internet"],
            "dc-edge core fw-er ce-er er-pe1 msee1 ms-near ms-lan on-fe",
        ),
        _alice_media(),
        Leg("media", "online-edge", "online-conference", ["microsoft"], [], "on-edge1 ms-int-lan on-conf"),
    ],
    homes={"alice": "onprem"},
    contradictions=["X4"],
)
P2P_EXTERNAL = Sample(
    "online/p2p-external",
    "ON-2",
    "Peer-to-peer call; one client in the customer network, the other on the Internet",
    ["alice", "carol"],
    {
        "signaling": {"alice": "expressroute", "carol": "internet"},
        "media": {"alice": "expressroute", "carol": "internet"},
    },
    [_alice_signaling(), _alice_media(), *CAROL_LEGS],
    drops={"fw-internet": {"default": 9}, "hotel-nat": {"default": 5, "invalid": 1}},
    checks=[RELAYS, PAIR],
    principles=PRINCIPLES_TOLD,
)
NOT_ANNOUNCED = Sample(
    "online/conference-internal@not-announced",
    "ON-4",
    "Join an Online conference from the customer network",
    ["alice"],
    BOTH_ER,
    [
        _alice_signaling(),
        _alice_media(
            walk=f"{CI} on-edge1",
            predicted=f"{CE} on-edge1",
            verdict="FAIL",
            evidence=("crossed internet on link ce-inet-transit1, first frame 818", "nothing seen on ce-er-er-pe1"),
        ),
        Leg(
            "media",
            "online-edge",
            "online-conference",
            ["microsoft"],
            ["customer", "internet", "expressroute"],
            "on-edge1 ms-int-lan on-conf",
            packets=(751, 749),
        ),
    ],
    verdict="FAIL",
    reason="media alice -> online-edge: crossed internet (links ce-inet-transit1, transit1-msborder; first frame 818), "
    "which it must never",
    drops={},
    changes=[{"set": {}, "remove": ["announcements.o365-er"]}],
    controls={
        "not-announced": {
            "why": "Office 365 is not announced over ExpressRoute, so everything takes the Internet.",
            "verdict": "FAIL",
            "reason": "crossed .*internet",
            "remove": ["announcements.o365-er"],
        }
    },
    checks=[RELAYS, PAIR],
)
UNCAPTURED = Sample(
    "online/pstn-internal@internet-not-captured",
    "ON-7",
    "PSTN call (Cloud PBX) from the customer network",
    ["alice", "phone"],
    BOTH_ER,
    [
        _alice_signaling(),
        _alice_media(verdict="INCONCLUSIVE", evidence=("capture of link ce-inet-transit1 is missing",)),
        Leg(
            "media",
            "online-edge",
            "online-mediation",
            ["microsoft"],
            ["customer", "internet", "expressroute"],
            "on-edge1 ms-int-lan on-med",
        ),
    ],
    verdict="INCONCLUSIVE",
    reason="media alice -> online-edge: capture of link ce-inet-transit1 is missing, so its silence is not proven",
    uncaptured=["ce-inet-transit1"],
    health={
        "degraded": True,
        "reasons": ["wire lateness p99 7.2 ms is over 5 ms"],
        "wire": {"lateness_ns": {"p50": 220_000, "p99": 7_200_000, "max": 31_000_000}},
    },
    checks=[{**RELAYS, "observed": {"alice -> on-med": [1]}, "evidence": ["one allocation"]}],
)
FEDERATED = Sample(
    "online/p2p-federated",
    "ON-3",
    "Peer-to-peer call to a user of a federated organisation, each inside its own network",
    ["alice", "dave"],
    {
        "signaling": {"alice": "expressroute", "dave": "expressroute"},
        "media": {"alice": "expressroute", "dave": "expressroute"},
    },
    [
        _alice_signaling(),
        Leg("signaling", "dave", "online-front-end", ER_PATH, ["internet"], f"{FE} on-fe", packets=(13, 12)),
        _alice_media(),
        Leg("media", "dave", "online-edge", ER_PATH, ["internet"], f"{FE} on-edge2"),
    ],
    drops={"fw-er": {"default": 4}},
    checks=[RELAYS, PAIR],
)
ASYMMETRIC = Sample(
    "asymmetric/nat-pool-not-announced-over-er",
    "AS-1",
    "The customer's public addresses are not announced over ExpressRoute",
    ["alice"],
    {},
    [
        _alice_signaling(
            back="on-fe ms-lan ms-near msborder transit1 ce-inet fw-internet",
            packets=(6, 6),
            verdict="FAIL",
            disposition="NO_SESSION_ON_RETURN: fw-internet dropped by rule invalid, link fw-internet-ce-inet, frame 31",
            evidence=("SYN-ACK of frame 22 arrives at fw-internet on link fw-internet-ce-inet, frame 31",),
        )
    ],
    verdict="FAIL",
    reason="signaling alice -> online-front-end: answers reached fw-internet, which has no session for them",
    drops={"fw-internet": {"invalid": 6}},
)
BROKEN = Sample(
    "online/conference-external",
    "ON-5",
    "",
    ["carol"],
    {},
    [],
    verdict="ERROR",
    reason="on-edge1: turnserver ended with status 255 before it was ready",
    manifest=False,
)
ALL = (P2P_INTERNAL, P2P_EXTERNAL, FEDERATED, NOT_ANNOUNCED, BROKEN, UNCAPTURED, ASYMMETRIC)
