"""How long parties waited, and how long media was silent after a change during the call.

Each is one number a run, so that no run tells its spread. What the rig adds it does tell: how long the event loop of
each agent was held up at most. An exchange with one server is held up by the worst of them once, a setup by each.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from testbed.comparison.model import Changed, Figure
from testbed.comparison.sides import Document, Side
from testbed.comparison.spread import SIGMAS, Delays, retransmissions_ms

NAMES: Final = {
    "registration_ms": "registration",
    "post_dial_delay_ms": "post-dial delay",
    "setup_ms": "setup",
    "bye_ms": "bye",
    "turn_allocate_ms": "TURN allocation",
    "ice_first_valid_pair_ms": "first valid ICE pair",
    "ice_selected_pair_ms": "selected ICE pair",
}
_LONG: Final = ("post_dial_delay_ms", "setup_ms", "ice_selected_pair_ms")
_LEAST_MS: Final = 50.0
"Agents do this much in the time of a setup beside waiting: keys, certificates, gathering."
_TRIPS: Final = 12
"One-way trips of the longest exchange: INVITE over two proxies, with TURN allocated before the answer."
_P90_SIGMAS: Final = 1.2816
_SILENCE_LEAST_MS: Final = 1000.0
_HOLD_TIME_SHARE: Final = 1 / 3
"A hold timer runs from the last of three keepalives, so that an outage is found up to a third of it sooner or later."


@dataclass(frozen=True, slots=True)
class Needed:
    """By how much timings must differ, in ms."""

    short: float
    "Of an exchange with one server."
    long: float
    "Of one that passes proxies, or begins with what others have to do first."


def timing_needs(one: Side, other: Side, media: list[Delays], share_lost: float) -> Needed | None:
    """Return by how much a party's timings must differ; None if they cannot be compared.

    *media* are the delays end to end, whose spread every trip has; *share_lost* of packets were or may be lost.
    """
    held_up = one.held_up_ms, other.held_up_ms
    retries_ms = retransmissions_ms(max(share_lost, one.lost_on_purpose, other.lost_on_purpose))
    if not all(held_up) or retries_ms is None:
        return None
    spread_ms = max((told.above_ms for told in media), default=0.0) / _P90_SIGMAS * math.sqrt(2 * _TRIPS)
    least_ms = _LEAST_MS + SIGMAS * spread_ms + retries_ms
    return Needed(least_ms + sum(lags[0] for lags in held_up), least_ms + sum(map(sum, held_up)))


def timing_figures(one: Document, other: Document, needed: Needed) -> Iterator[Figure]:
    """Yield what each party waited for in both runs."""
    before, after = _parties(one), _parties(other)
    for party in (party for party in before if party in after):
        for key, name in NAMES.items():
            values = before[party][key], after[party][key]
            if values[0] is not None and values[1] is not None:
                needed_ms = needed.long if key in _LONG else needed.short
                different = abs(values[1] - values[0]) > needed_ms
                yield Figure("party", party, "", "", name, "ms", *values, needed_ms, None, different)


def timing_changes(one: Document, other: Document) -> Iterator[Changed]:
    """Yield, a party a row, what it waited for in one run only.

    A BYE is the last there is: whether its answer was seen depends on when the capture ended.
    """
    before, after = _parties(one), _parties(other)
    for party in (*before, *(party for party in after if party not in before)):
        told = [_told(parties.get(party) or {}) for parties in (before, after)]
        only = [" ".join(f"{name} {told[i][name]}" for name in told[i] if name not in told[1 - i]) for i in (0, 1)]
        if any(only):
            yield Changed("timing", f"{party} waited for", only[0] or "no other", only[1] or "no other")


def _told(timings: Document) -> dict[str, str]:
    return {
        name: f"{timings[key]:.0f} ms"
        for key, name in NAMES.items()
        if timings.get(key) is not None and key != "bye_ms"
    }


def _parties(quality: Document) -> dict[str, Document]:
    return {timings["party"]: timings for timings in quality["timings"]}


def silence_figures(one: Document, other: Document) -> Iterator[Figure]:
    """Yield how long each listener heard nothing after each change during the call; not of a silence for good."""
    for number, (before, after) in enumerate(zip(_changes(one), _changes(other), strict=False), 1):
        for ends in (ends for ends in before if ends in after):
            values = before[ends].get("silence_ms"), after[ends].get("silence_ms")
            if values[0] is None or values[1] is None:
                continue
            needed_ms = max(_SILENCE_LEAST_MS, _HOLD_TIME_SHARE * max(values))
            sender, _, receiver = ends.partition(" -> ")
            different = abs(values[1] - values[0]) > needed_ms
            yield Figure(
                "during", f"change {number}", sender, receiver, "silence", "ms", *values, needed_ms, None, different
            )


def _changes(verdict: Document) -> list[dict[str, Any]]:
    observed = [check.get("observed") for check in verdict.get("checks") or () if check["check"] == "during"]
    return [dict(told.get("audio") or {}) if isinstance(told, dict) else {} for told in observed]
