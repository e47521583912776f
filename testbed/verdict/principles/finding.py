"""What became of one principle in one run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Outcome = Literal["holds", "broken", "cannot tell", "does not apply"]
_SHOWN: Final = 8
"Sentences of evidence kept: a page has one cell for them."


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome, and the packets that show it."""

    outcome: Outcome
    reason: str
    evidence: tuple[str, ...] = ()


def counted(packets: int) -> str:
    """Say how many packets."""
    return f"{packets} {'packet' if packets == 1 else 'packets'}"


def not_applicable(why: str) -> Finding:
    """Return that the run has nothing that the principle speaks of."""
    return Finding("does not apply", why)


def conclude(*, broken: Iterable[str], unknown: Iterable[str], held: Iterable[str]) -> Finding:
    """Return what sentences about single flows add up to: one breach breaks it, one gap leaves it open.

    With no sentence at all there was nothing to judge by.
    """
    breaches, gaps, shown = (tuple(dict.fromkeys(sentences)) for sentences in (broken, unknown, held))
    evidence = (*breaches, *gaps, *shown)
    left_out = len(evidence) - _SHOWN
    told = evidence[:_SHOWN] + ((f"and {left_out} more of the kind",) if left_out > 0 else ())
    if breaches:
        return Finding("broken", breaches[0], told)
    if gaps or not shown:
        return Finding("cannot tell", gaps[0] if gaps else "nothing that it speaks of was seen", told)
    return Finding("holds", f"seen on {len(shown)} {'flow' if len(shown) == 1 else 'flows'}: {shown[0]}", told)
