"""The check of what clients visit besides calls: as they tell it themselves."""

from collections.abc import Sequence
from typing import Final

from testbed.analysis.run import Json, Run
from testbed.verdict.checks import Check

_VISITED: Final = "visited"
_FAILED: Final = "visit-failed"


def judge_visits(run: Run, events: Sequence[Json]) -> Check:
    """Judge whether each visit that the scenario names worked: answered, by whom the certificate says, not revoked."""
    observed: dict[str, dict[str, str]] = {}
    failed, untold = [], []
    for name, party in run.scenario.parties.items():
        for service in party.visits:
            told = [each for each in events if each.get("agent") == name and each.get("service") == service]
            last = told[-1] if told else {}
            if last.get("event") == _VISITED:
                outcome = f"answered {last.get('status')}"
            elif last.get("event") == _FAILED:
                outcome = str(last.get("cause"))
                failed.append(f"{name}'s visit to {service} failed: {outcome}")
            else:
                outcome = "nothing told"
                untold.append(f"{name} told nothing of a visit to {service}")
            observed.setdefault(name, {})[service] = outcome
    expected = "every visit is answered by a server whose certificate is in order and not revoked"
    if failed:
        return Check("visits", expected, observed, "FAIL", failed[0], tuple(failed))
    if untold:
        return Check("visits", expected, observed, "INCONCLUSIVE", untold[0], tuple(untold))
    return Check("visits", expected, observed, "PASS", "every visit was answered as it should be")
