"""The article's six principles and its two rules on ExpressRoute, held against the packets of any run.

Nothing here knows a scenario by name: who is held to what follows from the parties' homes and places, from the calls,
and from the roles of the nodes. What a principle finds changes no verdict: a case that reproduces a failure breaks one
on purpose.
"""

from collections.abc import Callable
from typing import Any, Final

from testbed.analysis.run import Run
from testbed.verdict.principles.calls import judge_direct_media, judge_home_server
from testbed.verdict.principles.conferences import (
    judge_edge_for_online,
    judge_edge_for_own,
    judge_hosting_server,
    judge_organiser,
)
from testbed.verdict.principles.expressroute import judge_expressroute_not_used, judge_expressroute_used
from testbed.verdict.principles.finding import Finding, Outcome
from testbed.verdict.principles.world import World

__all__ = ["OUTCOMES", "PRINCIPLES", "describe_principles", "judge_principles"]

OUTCOMES: Final[tuple[Outcome, ...]] = ("holds", "broken", "cannot tell", "does not apply")
PRINCIPLES: Final[dict[str, tuple[str, Callable[[World], Finding]]]] = {
    "P1": ("A conference lives where its organiser is homed.", judge_organiser),
    "P2": (
        "Media of a conference goes to the server that hosts it; to one hosted Online, always through an Edge.",
        judge_hosting_server,
    ),
    "P3": ("Media between two parties takes the most direct way open to it; else Edges relay it.", judge_direct_media),
    "P4": ("Signaling goes to the user's home server, through an Edge where it cannot be reached.", judge_home_server),
    "P5": ("Who joins an Online conference uses an Edge, or two.", judge_edge_for_online),
    "P6": (
        "Who joins a conference on an organisation's own server uses no Edge inside its network, one or two outside.",
        judge_edge_for_own,
    ),
    "ER+": (
        "ExpressRoute is used between a customer's network that has a circuit and Office 365.",
        judge_expressroute_used,
    ),
    "ER-": (
        "ExpressRoute is not used inside one customer's network, nor where an end is on the Internet.",
        judge_expressroute_not_used,
    ),
}
"Each principle's rule, and who judges it."


def judge_principles(run: Run) -> dict[str, Finding]:
    """Return what became of each principle in *run*.

    "Always" and "never" rest on silence elsewhere, so nothing holds for certain where a capture may have gaps.
    """
    world = World(run)
    return {name: _certain(run, judge(world)) for name, (_, judge) in PRINCIPLES.items()}


def describe_principles(run: Run) -> list[dict[str, Any]]:
    """Return `principles` of verdict.json."""
    return [
        {
            "principle": name,
            "rule": PRINCIPLES[name][0],
            "outcome": found.outcome,
            "reason": found.reason,
            "evidence": list(found.evidence),
        }
        for name, found in judge_principles(run).items()
    ]


def _certain(run: Run, found: Finding) -> Finding:
    if found.outcome != "holds" or not run.incomplete:
        return found
    link = sorted(run.incomplete)[0]
    return Finding("cannot tell", f"{found.reason}; but capture of link {link} {run.incomplete[link]}", found.evidence)
