"""A judged leg as verdict.json has it: expected, observed, and what was predicted before anything started."""

from typing import Any

from testbed.analysis.legs import LegTraffic, Part
from testbed.analysis.network import Direction
from testbed.analysis.run import Run
from testbed.verdict.foresight import compare_prediction, observed_ways
from testbed.verdict.legs import LegJudgement


def describe_leg(run: Run, judgement: LegJudgement) -> dict[str, Any]:
    """Return the leg's entry of verdict.json."""
    leg = judgement.leg
    links = _observed_links(judgement.traffic)
    ways = observed_ways(judgement)
    more: dict[str, Any] = {} if leg.dscp is None else {"dscp": leg.dscp}
    more |= {"over": list(leg.over)} if leg.over else {}
    dies = {"dies": leg.dies.model_dump(mode="json", by_alias=True, exclude_none=True)} if leg.dies else {}
    return {
        "flow": leg.flow,
        **({"media": leg.media} if leg.media else {}),
        "from": leg.from_,
        "to": leg.to,
        **({"after": judgement.when} if judgement.when else {}),
        "expected": {"crosses": list(leg.crosses), "never": list(leg.never), **more, **dies},
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
