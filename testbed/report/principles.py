"""The article's principles as the page shows them: one cell a scenario and principle, and the evidence behind it."""

from dataclasses import dataclass
from typing import Final

from testbed.report.record import RunRecord, ScenarioRecord

MARKS: Final = {"holds": "✓", "broken": "✕", "cannot tell": "?", "does not apply": "–"}
_SLUGS: Final = {"ER+": "er-used", "ER-": "er-not-used"}


@dataclass(frozen=True, slots=True)
class PrincipleView:
    """What became of one principle in one scenario."""

    name: str
    slug: str
    "For ids in the page."
    rule: str
    outcome: str
    mark: str
    reason: str
    evidence: tuple[str, ...]


def principle_views(record: ScenarioRecord) -> tuple[PrincipleView, ...]:
    """Return the principles of a scenario, in the article's order; none where nothing could be judged."""
    judged = record.verdict.principles if record.verdict else ()
    return tuple(
        PrincipleView(
            name=one.principle.replace("-", "−"),
            slug=_SLUGS.get(one.principle, one.principle.lower()),
            rule=one.rule,
            outcome=one.outcome,
            mark=MARKS.get(one.outcome, "?"),
            reason=one.reason,
            evidence=one.evidence,
        )
        for one in judged
    )


def principle_rules(record: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return name and rule of every principle that a scenario of the run was held to."""
    rules = {one.name: one.rule for scenario in record.scenarios for one in principle_views(scenario)}
    return tuple(rules.items())
