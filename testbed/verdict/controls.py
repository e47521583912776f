"""Negative controls: whether a change that must turn a scenario red did so, for the reason that its file says."""

import re

from testbed.scenario import Control


def control_fault(control: Control, verdict: str, reason: str) -> str:
    """Return how a control came out otherwise than its file says; empty if it came out so."""
    if verdict != control.verdict:
        return f"must be {control.verdict}, but was {verdict}: {reason}"
    if not re.search(control.reason, reason):
        return f"was {verdict} as it must, but its reason does not match {control.reason!r}: {reason}"
    return ""
