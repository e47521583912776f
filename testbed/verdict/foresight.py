"""What was predicted before anything started, held against what was seen: hop by hop, and how a leg that died ended."""

from collections.abc import Iterable, Sequence
from typing import Any

from testbed.analysis.legs import Part
from testbed.analysis.run import Run
from testbed.plan.model import PredictedPath
from testbed.verdict.checks import Check
from testbed.verdict.legs import LegJudgement, Ways


def observed_ways(judgement: LegJudgement) -> Ways:
    """Return the links by which the leg's packets went, forward and return."""
    traffic = judgement.traffic
    return judgement.ways or {"forward": _main_way(traffic.forward), "return": _main_way(traffic.back)}


def _main_way(parts: Iterable[Part]) -> tuple[str, ...]:
    """Return the links by which most packets arrived; those of the weightiest lost way where none did."""
    main = max(parts, key=lambda part: (part.arrived, part.walk.packets), default=None)
    return main.links if main is not None else ()


def compare_prediction(run: Run, judgement: LegJudgement) -> dict[str, Any] | None:
    """Return the predicted path that the packets took, or the most likely one, and whether they took any.

    "agrees" is None where nothing was seen, where a path that the predictor could not work out may be the one, and
    where a link that was predicted or seen was not captured completely.
    """
    leg = judgement.leg
    paths = run.plan.predictions(leg.flow, leg.from_, leg.to, leg.media)
    if not paths:
        return None
    ways = observed_ways(judgement)
    taken = next((path for path in paths if not path.is_unknown and _is_taken(path, ways, judgement.end)), None)
    named = {name for path in paths for name in (*path.forward, *path.return_)} | {*ways["forward"], *ways["return"]}
    unsure = any(path.is_unknown for path in paths) or bool(named & set(run.incomplete))
    unclear = not (ways["forward"] or ways["return"]) or (taken is None and unsure)
    told = taken or paths[0]
    return {
        "forward": list(told.forward),
        "return": list(told.return_),
        "forward_end": told.forward_end,
        "return_end": told.return_end,
        "note": told.note,
        "alternatives": len(paths),
        "agrees": None if unclear else taken is not None,
    }


def _is_taken(path: PredictedPath, ways: Ways, end: tuple[bool, str] | None) -> bool:
    if (path.forward, path.return_) != (ways["forward"], ways["return"]):
        return False
    return end is None or end[1] == (path.return_end if end[0] else path.forward_end)


def judge_prediction(legs: Sequence[tuple[Run, LegJudgement]]) -> list[Check]:
    """Judge whether every leg went, and ended, as was predicted; no check where nothing was predicted."""
    told = {judged.title: compare_prediction(run, judged) for run, judged in legs}
    observed = {title: each["agrees"] for title, each in told.items() if each is not None}
    if not observed:
        return []
    expected = "every leg goes and ends as predicted"
    wrong = [title for title, agrees in observed.items() if agrees is False]
    if not wrong:
        return [Check("prediction", expected, observed, "PASS", "no leg went or ended otherwise than predicted")]
    judged = next(each for _, each in legs if each.title == wrong[0])
    ways, path = observed_ways(judged), told[wrong[0]] or {}
    seen = ", ".join(f"{way} {' '.join(ways[way]) or 'nothing'}" for way in ("forward", "return"))
    ends = f"{path['forward_end']} and {path['return_end']}"
    reason = f"{wrong[0]} went otherwise than predicted ({ends}); seen: {judged.disposition}, {seen}"
    return [Check("prediction", expected, observed, "FAIL", reason, tuple(wrong))]
