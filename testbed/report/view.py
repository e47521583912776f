"""A scenario as the page shows it: the record's values, arranged side by side. No markup but the picture's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from testbed.plan.model import LinkPlan, Plan, PredictedPath
from testbed.readings import NOTHING_SEEN
from testbed.report.drops import NodeDrops, node_drops
from testbed.report.figures import QualityView, quality_view
from testbed.report.picture import draw_picture
from testbed.report.principles import PrincipleView, principle_views
from testbed.report.record import CheckJudged, Document, LegJudged, LinkSeen, ScenarioRecord, read_events
from testbed.report.story import StoryView, story_view
from testbed.report.summary import SummaryRow, segment_kinds
from testbed.report.traffic import is_forbidden, prediction, scenario_traffic
from testbed.report.words import facts, plain, shape_words
from testbed.scenario import Control

EVIDENCE_FILES: Final = (
    "capture.pcapng",
    "dropped.pcapng",
    "verdict.json",
    "manifest.json",
    "firewalls.json",
    "events.jsonl",
    "quality.json",
    "timeline.json",
    "media_streams.parquet",
    "links.parquet",
)
EVENTS_SHOWN: Final = 80
"More than that is a file to read, not a table."
_NOT_TOLD: Final = ("type", "t_ns", "agent", "event", "line")
"Keys of an event that are told apart from the rest, or by it."


@dataclass(frozen=True, slots=True)
class HopView:
    """One link of a leg: predicted and observed side by side."""

    link: str
    kind: str
    predicted: str
    'Which way the prediction takes it: "forward", "return", "both ways" or "".'
    seen: LinkSeen | None
    forbidden: bool
    differs: bool
    "Whether this is the first link, along the leg, on which prediction and observation differ."


@dataclass(frozen=True, slots=True)
class LegView:
    """One leg."""

    leg: LegJudged
    kinds: tuple[str, ...]
    predicted: PredictedPath | None
    predicted_kinds: tuple[str, ...]
    others: int
    "How many other paths were predicted: ICE may have taken any."
    agrees: bool | None
    hops: tuple[HopView, ...]
    disposition: str


@dataclass(frozen=True, slots=True)
class ShapeView:
    """What a link of the picture was configured to do, one direction a row."""

    link: str
    direction: str
    configured: str
    achieved: str | None


@dataclass(frozen=True, slots=True)
class EventView:
    """Something an agent said."""

    after_s: float | None
    "Since the first thing any agent said."
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class ControlView:
    """The negative control that this is: a change that must turn the scenario red for the right reason."""

    name: str
    control: Control
    holds: bool


@dataclass(frozen=True, slots=True)
class ScenarioView:
    """One scenario of the page."""

    identity: str
    record: ScenarioRecord
    summary: SummaryRow
    picture: Markup | None
    drops: tuple[NodeDrops, ...] | None
    "None where nobody could look."
    legs: tuple[LegView, ...]
    checks: tuple[CheckJudged, ...]
    principles: tuple[PrincipleView, ...]
    control: ControlView | None
    relays: str
    pair: str
    "As observed; a dash where the row's media is not asked about."
    degraded: tuple[str, ...]
    "Why the run's numbers are not to be trusted; empty when they are, or when nothing is known of it."
    health: tuple[tuple[str, str], ...]
    shapes: tuple[ShapeView, ...]
    quality: QualityView | None
    story: StoryView | None
    events: tuple[EventView, ...]
    events_left_out: int
    files: tuple[tuple[str, str], ...]
    "Name and address, relative to the page."


def scenario_view(record: ScenarioRecord, summary: SummaryRow) -> ScenarioView:
    """Arrange everything known of a scenario."""
    identity = re.sub(r"[^a-z0-9]+", "-", record.name.lower()).strip("-")
    checks = record.verdict.checks if record.verdict else ()
    drops = node_drops(record.verdict)
    traffic = scenario_traffic(record, record.plan) if record.plan else None
    picture = None
    if record.plan and traffic and traffic.links:
        identity_of_picture = f"picture-{identity}"
        picture = Markup(draw_picture(record.plan, traffic, drops or (), record.segments, identity=identity_of_picture))
    events = list(_events(record))
    health = (record.verdict.health if record.verdict else None) or (record.emulation or {}).get("health") or {}
    return ScenarioView(
        identity=identity,
        record=record,
        summary=summary,
        picture=picture,
        drops=drops,
        legs=tuple(_leg_view(leg, record) for leg in record.legs),
        checks=checks,
        principles=principle_views(record),
        control=_control(record),
        relays=_told(record, "relays", _relays(checks)),
        pair=_told(record, "selected-pair", _selected_pairs(checks)),
        degraded=_degraded(health),
        health=facts({key: value for key, value in health.items() if key not in ("degraded", "reasons")}),
        shapes=_shapes(record, [one.link for one in traffic.links] if traffic else []),
        quality=quality_view(record.quality),
        story=story_view(record, traffic, identity),
        events=tuple(events[:EVENTS_SHOWN]),
        events_left_out=max(0, len(events) - EVENTS_SHOWN),
        files=tuple(
            (name, quote(f"{record.entry.directory}/{name}")) for name in EVIDENCE_FILES if name in record.files
        ),
    )


def _control(record: ScenarioRecord) -> ControlView | None:
    if record.control is None:
        return None
    return ControlView(record.name.partition("@")[2], record.control, not record.control_fault)


def _degraded(health: Document) -> tuple[str, ...]:
    if not health.get("degraded"):
        return ()
    said = health["degraded"] if isinstance(health["degraded"], list) else health.get("reasons") or []
    return tuple(plain(reason) for reason in said) or ("over a limit of its health",)


def _told(record: ScenarioRecord, check: str, seen: str | None) -> str:
    """Return what a check saw; where there is nothing, whether nobody looked, or the row has no such check."""
    if record.verdict is None or not (record.legs or record.verdict.checks):
        return "not measured"
    asked = any(one.check == check for one in record.verdict.checks)
    return seen or (NOTHING_SEEN if asked else "—")


def _relays(checks: tuple[CheckJudged, ...]) -> str | None:
    """Return the numbers of relays on the media's ways: {"alice -> carol": [1, 2]} gives "1 or 2"."""
    counts = {count for _, told in _observed(checks, "relays") for count in told}
    return " or ".join(map(str, sorted(counts))) or None


def _selected_pairs(checks: tuple[CheckJudged, ...]) -> str | None:
    """Return the selected pairs, once for both directions: "alice srflx – carol relay (on-edge2)"."""
    pairs: dict[frozenset[str], str] = {}
    for name, told in _observed(checks, "selected-pair"):
        for row in told:
            ends = [_end_words(name, row["local"]), _end_words(row["peer"], row["remote"])]
            pairs.setdefault(frozenset(ends), " – ".join(ends))
    return ", ".join(pairs.values()) or None


def _end_words(name: str, end: Document) -> str:
    edge = f" ({end['edge']})" if end.get("edge") else ""
    return f"{name} {end['type']}{edge}"


def _observed(checks: tuple[CheckJudged, ...], name: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield, per end or direction, what a check saw; nothing where there was nothing to see."""
    for check in checks:
        if check.check == name and isinstance(check.observed, dict):
            yield from check.observed.items()


def _leg_view(leg: LegJudged, record: ScenarioRecord) -> LegView:
    predicted = prediction(leg, record.plan) if record.plan else None
    paths = record.plan.predictions(leg.flow, leg.from_, leg.to, leg.media) if record.plan else ()
    kind_of = {link.name: link.segment_kind for link in record.plan.links} if record.plan else {}
    way = (*predicted.forward, *predicted.return_) if predicted else ()
    return LegView(
        leg=leg,
        kinds=segment_kinds(record, leg),
        predicted=predicted,
        predicted_kinds=tuple(dict.fromkeys(str(kind_of[name]) for name in way if name in kind_of)),
        others=max(0, len(paths) - 1),
        agrees=(leg.predicted or {}).get("agrees"),
        hops=_hops(leg, predicted, record.plan),
        disposition=leg.disposition or "not measured",
    )


def _hops(leg: LegJudged, predicted: PredictedPath | None, plan: Plan | None) -> tuple[HopView, ...]:
    links = {link.name: link for link in plan.links} if plan else {}
    seen = {one.link: one for one in leg.observed.links if one.packets}
    ahead = predicted.forward if predicted else ()
    back = predicted.return_ if predicted else ()
    compare = predicted is not None and (leg.predicted or {}).get("agrees") is not True
    hops: list[HopView] = []
    for name in dict.fromkeys([*ahead, *reversed(back), *seen]):
        one, link = seen.get(name), links.get(name)
        differs = (name in ahead, name in back) != (bool(one and one.packets_forward), bool(one and one.packets_return))
        way = ("both ways" if name in back else "forward") if name in ahead else ("return" if name in back else "")
        hops.append(
            HopView(
                link=name,
                kind=link.segment_kind if link else (one.segment if one else None) or "",
                predicted=way,
                seen=one,
                forbidden=bool(one and link and plan and is_forbidden(leg, link, plan)),
                differs=compare and differs and not any(hop.differs for hop in hops),
            )
        )
    return tuple(hops)


def _shapes(record: ScenarioRecord, links: list[LinkPlan]) -> tuple[ShapeView, ...]:
    achieved = (record.quality or {}).get("links") or {}
    views = []
    for link in links:
        if not link.is_shaped:
            continue
        for direction, shape, ends in (
            ("forward", link.shape_forward, (link.a.node, link.b.node)),
            ("return", link.shape_return, (link.b.node, link.a.node)),
        ):
            got = (achieved.get(link.name) or {}).get(direction)
            arrow = f"{ends[0]} → {ends[1]}"
            views.append(ShapeView(link.name, arrow, shape_words(shape), plain(got) if got else None))
    return tuple(views)


def _events(record: ScenarioRecord) -> Iterator[EventView]:
    first_ns: int | None = None
    for line in read_events(record):
        if line.get("type") not in ("agent", "error", "notice"):
            continue
        time_ns = line.get("t_ns")
        if first_ns is None and isinstance(time_ns, int):
            first_ns = time_ns
        after_s = (time_ns - first_ns) / 1e9 if isinstance(time_ns, int) and first_ns is not None else None
        # What an agent leaves open (null) it does not say; lists and tables are for the file.
        said = {key: value for key, value in line.items() if key not in _NOT_TOLD and _is_short(value)}
        name = str(line.get("event") or line.get("line") or line["type"])
        words = ", ".join(f"{key} {plain(value)}" for key, value in said.items())
        yield EventView(after_s, str(line.get("agent", "")), f"{name}: {words}" if words else name)


def _is_short(value: object) -> bool:
    return value is not None and not isinstance(value, dict | list)
