"""timeline.json as the page shows it: ways, replay, timeline, SIP ladder. The page unpacks it when it is looked at."""

import base64
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from testbed.plan.model import Plan
from testbed.report.ladder import MOST, draw_ladder, messages
from testbed.report.record import Document, ScenarioRecord
from testbed.report.traffic import Traffic, prediction
from testbed.report.ways import LegWays, draw_ways, observed_way, predicted_way

_SHOWN_TO_THE_PAGE: Final = ("start_ns", "links", "ends", "packets", "drops", "routes", "legs", "series", "lanes")


@dataclass(frozen=True, slots=True)
class StoryView:
    """What happened in one scenario."""

    packed: str
    "The timeline as zlib's deflate in base64: a tenth of its text."
    ways: Markup | None
    legs: tuple[str, ...]
    "Titles, in the order of the picture's groups."
    shown: int
    "Number of the leg that is shown first: one that died, else the first."
    ladder: Markup | None
    messages: int
    messages_left_out: int
    has_tls: bool
    "Whether signaling was encrypted, so that the ladder lacks what was."
    lanes: tuple[tuple[str, int, int], ...]
    "Lane, packets there are, packets shown."
    dropped: int
    has_series: bool


def story_view(record: ScenarioRecord, traffic: Traffic | None, identity: str) -> StoryView | None:
    """Arrange the timeline of a scenario; None where there is none."""
    timeline = record.timeline
    if timeline is None:
        return None
    legs = leg_ways(record)
    shown = next((number for number, leg in enumerate(legs) if leg.died), 0)
    picture = None
    if record.plan and any(way for leg in legs for way in (*leg.observed, *leg.predicted)):
        parties = record.scenario.parties.items() if record.scenario else ()
        # A party that no leg speaks of is one all the same.
        actors = {party.node: name for name, party in parties} | (traffic.actors if traffic else {})
        picture = draw_ways(
            record.plan,
            legs,
            record.segments,
            actors,
            replayed_links(timeline, timeline["legs"]),
            identity=f"ways-{identity}",
            shown=shown,
        )
    sip = messages(timeline)
    return StoryView(
        packed=_pack(timeline, record.plan),
        ways=Markup(picture) if picture else None,
        legs=tuple(leg.title for leg in legs),
        shown=shown,
        ladder=Markup(draw_ladder(sip, record.name, identity=f"ladder-{identity}")) if sip else None,
        messages=len(sip),
        messages_left_out=max(0, len(sip) - MOST),
        has_tls=any(layer == "TLS" for packet in timeline["packets"] for layer, _ in packet["layers"]),
        lanes=tuple((name, lane["packets"], lane["shown"]) for name, lane in timeline["lanes"].items()),
        dropped=timeline["dropped"],
        has_series=bool(timeline["series"]),
    )


def leg_ways(record: ScenarioRecord) -> tuple[LegWays, ...]:
    """Return the ways of a scenario's legs; none without a plan or a timeline."""
    if record.plan is None or record.timeline is None:
        return ()
    plan = record.plan
    return tuple(_one_leg(record, plan, told) for told in record.timeline["legs"])


def _one_leg(record: ScenarioRecord, plan: Plan, told: Document) -> LegWays:
    key = told["flow"], told["from"], told["to"], told.get("media")
    judged = next((leg for leg in record.legs if (leg.flow, leg.from_, leg.to, leg.media) == key), None)
    path = prediction(judged, plan) if judged else None
    starts = plan.roles.get(told["from"], (told["from"],)), plan.roles.get(told["to"], (told["to"],))
    attempt = " (attempts only)" if told["attempt"] else ""
    return LegWays(
        title=f"{told.get('media') or told['flow']} {told['from']} → {told['to']}{attempt}",
        observed=(observed_way(told["forward"], starts[0]), observed_way(told["return"], starts[1])),
        predicted=(predicted_way(path, plan, back=False), predicted_way(path, plan, back=True))
        if path
        else (None, None),
    )


def replayed_links(timeline: Document, legs: Iterable[Document]) -> set[str]:
    """Return the links that the replayed packets of *legs* cross."""
    packets = {number for leg in legs for number in leg["packets"]}
    return {timeline["links"][seen[0]] for number in packets for seen in timeline["packets"][number]["way"]}


def _pack(timeline: Document, plan: Plan | None) -> str:
    told = {key: timeline[key] for key in _SHOWN_TO_THE_PAGE}
    ends = {link.name: (link.a.node, link.b.node) for link in plan.links} if plan else {}
    told["nodes"] = [ends.get(name, ("?", "?")) for name in timeline["links"]]
    text = json.dumps(told, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()
