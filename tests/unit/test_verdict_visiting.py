"""The check of visits: told by the client itself, red when one failed, undecided when nothing was told."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from analysis_samples import make_scenario

from testbed.analysis.run import Run
from testbed.verdict.visiting import judge_visits


def run_with(*services: str) -> Run:
    scenario = make_scenario()
    parties = {
        "alice": scenario.parties["alice"].model_copy(update={"visits": services}),
        "bob": scenario.parties["bob"],
    }
    return cast(Run, SimpleNamespace(scenario=scenario.model_copy(update={"parties": parties})))


def event(what: str, service: str, **more: Any) -> dict[str, Any]:
    return {"type": "agent", "agent": "alice", "line": "event", "event": what, "service": service, **more}


REVOKED = event("visit-failed", "telemetry", cause="it is revoked")
VISITED = event("visited", "portal", status=200)


@pytest.mark.parametrize(
    ("events", "verdict", "reason"),
    [
        ([VISITED, event("visited", "telemetry", status=204)], "PASS", "every visit was answered"),
        ([VISITED, REVOKED], "FAIL", "alice's visit to telemetry failed: it is revoked"),
        ([VISITED], "INCONCLUSIVE", "alice told nothing of a visit to telemetry"),
        ([VISITED, {**event("visited", "telemetry"), "agent": "bob"}], "INCONCLUSIVE", "alice told nothing"),
    ],
)
def test_visits_are_judged_by_what_their_client_told(events: list[Any], verdict: str, reason: str) -> None:
    check = judge_visits(run_with("portal", "telemetry"), events)
    assert (check.check, check.verdict) == ("visits", verdict)
    assert check.reason.startswith(reason)
