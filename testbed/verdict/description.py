"""A judged leg as verdict.json has it: expected, observed, and what was predicted before anything started."""

from collections.abc import Iterable
from typing import Any

from testbed.analysis.legs import LegTraffic, Part
from testbed.analysis.network import Direction
from testbed.analysis.run import Run
from testbed.verdict.legs import LegJudgement, Ways


def describe_leg(run: Run, judgement: LegJudgement) -> dict[str, Any]:
    """Return the leg's entry of verdict.json."""
    leg = judgement.leg
    links = _observed_links(judgement.traffic)
    ways = observed_ways(judgement)
    dies = {"dies": leg.dies.model_dump(mode="json", by_alias=True, exclude_none=True)} if leg.dies else {}
    return {
        "flow": leg.flow,
        "from": leg.from_,
        "to": leg.to,
        "expected": {"crosses": list(leg.crosses), "never": list(leg.never), **dies},
        "observed": {
            "segments": list(dict.fromkeys(run.network.links[row["link"]].segment_kind for row in links)),
            "links": links,
            "forward": list(ways["forward"]),
            "return": list(ways["return"]),
        },
        "predicted": compare_prediction(run, judgement),
        "disposition": judgement.disposition,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "evidence": list(dict.fromkeys(judgement.evidence)),
    }


def _main_way(parts: Iterable[Part]) -> tuple[str, ...]:
    """Return the links by which most packets arrived; those of the weightiest lost way where none did."""
    main = max(parts, key=lambda part: (part.arrived, part.walk.packets), default=None)
    return main.links if main is not None else ()


def _observed_links(traffic: LegTraffic) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    in_order = sorted(traffic.forward, key=_weight) + sorted(traffic.back, key=_weight)
    for part in in_order:
        for step in part.steps:
            hop: Direction = step.hop
            row = rows.setdefault(
                hop.link,
                {
                    "link": hop.link,
                    "segment": hop.segment,
                    "kind": hop.segment_kind,
                    "packets_forward": 0,
                    "packets_return": 0,
                    "first_frame": step.first_frame,
                },
            )
            row["first_frame"] = min(row["first_frame"], step.first_frame)
    for key, parts in (("packets_forward", traffic.forward), ("packets_return", traffic.back)):
        for part in parts:
            for step in part.steps:
                rows[step.hop.link][key] += step.packets
    return list(rows.values())


def _weight(part: Part) -> tuple[bool, int]:
    return not part.arrived, -part.walk.packets


def observed_ways(judgement: LegJudgement) -> Ways:
    """Return the links by which the leg's packets went, forward and return."""
    traffic = judgement.traffic
    return judgement.ways or {"forward": _main_way(traffic.forward), "return": _main_way(traffic.back)}


def compare_prediction(run: Run, judgement: LegJudgement) -> dict[str, Any] | None:
    """Return the plan's prediction for a leg, and whether its packets did so.

    `agrees` is null where nothing was seen, the predictor says that it cannot tell, or a link that either names was not
    captured completely.
    """
    leg = judgement.leg
    key = (leg.flow, leg.from_, leg.to)
    told = next((p for p in run.plan.predicted if (p.flow, p.from_, p.to) == key), None)
    if told is None:
        return None
    ways = observed_ways(judgement)
    agrees: bool | None = (told.forward, told.return_) == (ways["forward"], ways["return"])
    if judgement.end is not None:
        is_return, end = judgement.end
        agrees = agrees and end == (told.return_end if is_return else told.forward_end)
    named = {*told.forward, *told.return_, *ways["forward"], *ways["return"]}
    unknown = "UNKNOWN" in (told.forward_end, told.return_end) or bool(named & set(run.incomplete))
    if not (ways["forward"] or ways["return"]) or (unknown and not agrees):
        agrees = None
    return {
        "forward": list(told.forward),
        "return": list(told.return_),
        "forward_end": told.forward_end,
        "return_end": told.return_end,
        "note": told.note,
        "agrees": agrees,
    }
