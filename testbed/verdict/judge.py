"""The verdict on a run directory. The worst of its parts decides, and the first of those says why."""

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from testbed.analysis.run import Run, read_run
from testbed.errors import TestbedError
from testbed.files import write_json
from testbed.readings import ReadLeg, Way, expected_crossing, observed_crossing, path_cells
from testbed.scenario import Leg, Verdict
from testbed.targets import Target
from testbed.verdict.accounting import judge_accounting
from testbed.verdict.checks import SIGNED_IN, Check, judge_audio, judge_heard, judge_signed_in
from testbed.verdict.conversations import conversations
from testbed.verdict.deaths import judge_death
from testbed.verdict.description import describe_leg
from testbed.verdict.during import before_changes, judge_change, never_judged, stretches
from testbed.verdict.foresight import judge_prediction, observed_ways
from testbed.verdict.health import judge_health
from testbed.verdict.ladder import judge_relay_transport
from testbed.verdict.legs import LegJudgement, judge_leg
from testbed.verdict.marking import judge_marking
from testbed.verdict.media_checks import judge_kinds, judge_shared
from testbed.verdict.messages import judge_messages
from testbed.verdict.principles import describe_principles
from testbed.verdict.quality import remove_quality, write_quality
from testbed.verdict.relaying import judge_pair, judge_relays
from testbed.verdict.streaming import judge_delivery, judge_playing
from testbed.verdict.timeline import remove_timeline, write_timeline
from testbed.verdict.traffic import judge_traffic
from testbed.verdict.visiting import judge_visits

FORMAT: Final = 1
_SEVERITY: Final[tuple[Verdict, ...]] = ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")


def judge(directory: Path) -> dict[str, Any]:
    """Return verdict.json of the run in *directory*; one that cannot be read is an ERROR with the reason.

    A run whose manifest names a fault of the rig is an ERROR for that reason, whatever was seen before it broke.
    """
    return _judge(directory)[0]


def write_judgement(directory: Path, targets: Sequence[Target] | None = None) -> dict[str, Any]:
    """Judge *directory*, write what follows from that, each file in one step, and return the verdict.

    Besides verdict.json these are quality.json, its tables, and timeline.json. Figures are judged by Microsoft's
    targets and by *targets*; where None, by those of the manifest.

    Its `targets` counts the targets met, missed and unknown; None where nothing could be measured or the rig broke.
    """
    verdict, run = _judge(directory)
    verdict["targets"] = None
    remove_quality(directory)
    remove_timeline(directory)
    if run is not None:
        try:
            verdict["targets"] = write_quality(run, targets)["outcomes"]
            write_timeline(run)
        except OSError:
            raise
        except Exception as error:
            # Figures that cannot be worked out are this program's fault: the paths stand, and the run is no success.
            fault = f"{directory}: cannot be measured: {type(error).__name__}: {error}"
            verdict |= {"verdict": "ERROR", "reason": fault}
    write_json(directory / "verdict.json", verdict)
    return verdict


def _judge(directory: Path) -> tuple[dict[str, Any], Run | None]:
    """Return verdict.json, and the run where it is whole: then its figures mean something."""
    fault = _fault(directory)
    try:
        run = read_run(directory)
        verdict = judge_run(run)
    except TestbedError as error:
        return _error(directory, fault or str(error)), None
    except Exception as error:  # what is judged came from outside: whatever is wrong with it must be told, not thrown
        reason = fault or f"{directory}: cannot be judged: {type(error).__name__}: {error}"
        return _error(directory, reason), None
    return (verdict | {"verdict": "ERROR", "reason": fault}, None) if fault else (verdict, run)


def _fault(directory: Path) -> str:
    """Return what broke the rig, from the manifest; nothing where it did not break or the manifest cannot be read."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
    except (OSError, ValueError):
        return ""
    return str(manifest.get("fault") or "") if isinstance(manifest, dict) else ""


def judge_run(run: Run) -> dict[str, Any]:
    """Return verdict.json of *run*."""
    parts = list(_stretches(run))
    legs = [leg for _, leg in parts]
    changes = [judge_change(run, stretch) for stretch in stretches(run)]
    checks = [*_checks(run, legs), *judge_prediction(parts), *changes]
    verdict, reason = _overall(run, legs, checks)
    return {
        "format": FORMAT,
        "scenario": run.scenario.id,
        "row": run.scenario.row,
        "verdict": verdict,
        "reason": reason,
        "legs": [describe_leg(part, leg) for part, leg in parts],
        "checks": [check.describe() for check in checks],
        "principles": describe_principles(run),
        "article": _article(run, legs),
        "health": judge_health(run),
        "dropped": _dropped(run),
    }


def _stretches(run: Run) -> Iterator[tuple[Run, LegJudgement]]:
    """Yield every leg with the part of the run that it was judged by: changes during the call cut a run in parts."""
    first = before_changes(run)
    yield from ((first, leg) for leg in _legs(first))
    for stretch in stretches(run):
        for leg in _legs(stretch.run) if stretch.made is not None else never_judged(stretch):
            leg.when = stretch.name
            yield stretch.run, leg


def _legs(run: Run) -> list[LegJudgement]:
    return [judge_death(run, leg) if leg.dies else judge_leg(run, leg) for leg in run.scenario.legs]


def _checks(run: Run, legs: Sequence[LegJudgement]) -> list[Check]:
    """Return the checks of the row: relays and the selected pair wherever it has a call, asked for or not."""
    spoken, scenario = conversations(run), run.scenario
    if any(each.leg.dies for each in legs):
        # Where a leg is meant to die its call fails: who hears whom is no question.
        return [judge_accounting(run), *([judge_relay_transport(run)] if scenario.relay_transports else [])]
    checks = [] if run.events is None else [judge_signed_in(run, run.events)]
    checks += [judge_accounting(run)] if any(node.iptables is not None for node in run.plan.nodes) else []
    if scenario.calls or any(leg.flow == "media" for leg in scenario.legs):
        checks += [judge_relays(run, spoken), judge_pair(run, spoken)]
    if scenario.relay_transports:
        checks.append(judge_relay_transport(run))
    if scenario.messages:
        checks.append(judge_messages(run))
    if scenario.calls:
        checks += [judge_heard(run, spoken), *judge_kinds(run, spoken)]
        if run.events is not None:
            checks += [judge_audio(run, run.events), *judge_shared(run, run.events)]
    if scenario.calls or scenario.messages:
        checks += judge_marking(run)
    if run.plan.traffic:
        checks.append(judge_traffic(run))
    if run.events is not None and any(party.visits for party in scenario.parties.values()):
        checks.append(judge_visits(run, run.events))
    if scenario.broadcast:
        checks.append(judge_delivery(run, scenario.broadcast))
        if run.events is not None:
            checks.append(judge_playing(run, scenario.broadcast, run.events))
    return checks


def _is_of_party(run: Run, leg: Leg) -> bool:
    """Whether *leg* is the signaling of a party itself, on which all else depends."""
    return leg.flow == "signaling" and bool({leg.from_, leg.to} & run.scenario.parties.keys())


def _overall(run: Run, legs: list[LegJudgement], checks: list[Check]) -> tuple[Verdict, str]:
    # In the order in which one follows from another: who does not reach a server neither signs in nor calls.
    parts: list[tuple[Verdict, str]] = [(leg.verdict, leg.reason) for leg in legs if _is_of_party(run, leg.leg)]
    told = [(check.verdict, f"{check.check}: {check.reason}") for check in checks]
    parts += [part for check, part in zip(checks, told, strict=True) if check.check == SIGNED_IN]
    parts += [(leg.verdict, leg.reason) for leg in legs]
    parts += told
    if not legs:
        return "INCONCLUSIVE", "the scenario expects nothing of any leg, so nothing was judged"
    for verdict in _SEVERITY[:-1]:
        if found := next((reason for each, reason in parts if each == verdict), None):
            return verdict, found
    if changes := [check.reason for check in checks if check.check == "during"]:
        return "PASS", "; ".join(changes)
    if death := next((leg.reason for leg in legs if leg.leg.dies and leg.leg.dies.at), None):
        return "PASS", f"reproduced: {death}"
    return "PASS", f"{len(legs)} legs and {len(checks)} checks are as expected"


def _article(run: Run, legs: list[LegJudgement]) -> dict[str, Any]:
    """Return the article's cell, how it is read, and what was observed, party by party."""
    scenario = run.scenario
    ways = {
        (cell.flow, cell.party): cell.way
        for cell in reversed(path_cells([_read_leg(run, leg) for leg in legs], scenario))
        if cell.way is not None
    }
    return {
        flow: {party: {"article": told, **_read_and_observed(ways.get((flow, party)))} for party, told in table.items()}
        for flow, table in (("signaling", scenario.article.signaling), ("media", scenario.article.media))
    }


def _read_leg(run: Run, judged: LegJudgement) -> ReadLeg:
    leg = judged.leg
    kinds = {step.hop.segment_kind for part in judged.traffic.parts for step in part.steps}
    if leg.dies:
        kinds = {run.network.links[name].segment_kind for way in observed_ways(judged).values() for name in way}
    return ReadLeg(
        leg.flow,
        leg.from_,
        leg.to,
        expected_crossing(leg.crosses, leg.dies.kinds if leg.dies else None),
        observed_crossing(kinds, judged.disposition),
        judged.when,
    )


def _read_and_observed(way: Way | None) -> dict[str, str | None]:
    """Return both in the words that the article's cells have; None where no leg says, or nothing was seen."""
    read, seen = (way.cell, way.cell_observed) if way else (frozenset[str](), None)
    return {"reading": _cell_word(read), "observed": _cell_word(seen or frozenset())}


def _cell_word(kinds: Collection[str]) -> str | None:
    outside = [kind for kind in ("expressroute", "internet") if kind in kinds]
    return (" and ".join(outside) or "local") if kinds else None


def _dropped(run: Run) -> list[dict[str, Any]]:
    """Return how many packets each rule of each firewall dropped."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for drop in run.drops:
        key = drop.firewall, drop.rule
        row = rows.setdefault(
            key,
            {"firewall": drop.firewall, "rule": drop.rule, "packets": 0, "first": drop.describe(), "frame": drop.frame},
        )
        row["packets"] += 1
    return list(rows.values())


def _error(directory: Path, reason: str) -> dict[str, Any]:
    """Return a verdict that says only what is broken, with the scenario's name where that much can be read."""
    scenario, row = directory.name, ""
    try:
        in_force = json.loads((directory / "manifest.json").read_text())["in_force"]
        scenario, row = str(in_force["id"]), str(in_force["row"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # the reason already says what cannot be read
    return {
        "format": FORMAT,
        "scenario": scenario,
        "row": row,
        "verdict": "ERROR",
        "reason": reason,
        "legs": [],
        "checks": [],
        "principles": [],
        "article": {"signaling": {}, "media": {}},
        "health": {"degraded": True, "reasons": [reason]},
        "dropped": [],
    }
