"""The ports and the DSCP that programs were told to use for media and signaling, read from a plan's jobs."""

from collections.abc import Mapping
from typing import Any

from testbed.plan.model import Plan
from testbed.scenario import Scenario
from testbed.topology import MediaKind

Mark = Mapping[str, Any]
"`ports` and `dscp`, as in a job."


def marks_at(plan: Plan, node: str) -> Mapping[MediaKind, Mark]:
    """Return the marks of the programs at *node*, by kind of media; empty where they have none."""
    told = (job.arguments.get("media") for job in plan.jobs if job.node == node)
    return next(filter(None, told), {})


def signaling_dscp_at(plan: Plan, node: str) -> int | None:
    """Return the DSCP that programs at *node* were told for signaling; None where they were told none."""
    told = (job.arguments.get("signaling_dscp") for job in plan.jobs if job.node == node)
    return next((dscp for dscp in told if dscp is not None), None)


def has_port(mark: Mark, port: int) -> bool:
    """Return whether *port* is in the range of *mark*."""
    first, _, last = str(mark["ports"]).partition("-")
    return int(first) <= port <= int(last or first)


def transport_kind(scenario: Scenario, kind: MediaKind) -> MediaKind:
    """Return the kind whose ports and DSCP *kind* has: its own, or that of audio where calls bundle their media."""
    is_apart = any(not call.bundled and kind in call.media for call in scenario.calls)
    return kind if is_apart else "audio"
