"""Whether two figures differ by more than chance and the rig's own share make them differ.

A delay is compared by its median, which a stolen time slice does not move, and its spread by p90 less median. Both have
a standard error; packets 20 ms apart are not independent of each other, so that only some of them count. Shares of lost
packets are compared by the exact test for two binomials (Fisher's), in which packets that were lost together, one after
the other, count as one: an outage of two seconds is one event and not a hundred.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SIGMAS: Final = 4.5
"As in calibration: of 150,000 equal pairs one is called different."
RIG_MS: Final = 1.0
"What the rig itself moves a median by, calibration's tolerance: less than that is no difference of the network's."
_PACKETS_PER_SAMPLE: Final = 4
"Packets of a stream that stand for one independent one: they queue behind each other, and keep their order."
_P90_SIGMAS: Final = 1.2816
_MEDIAN_ERROR: Final = 1.2533
_P90_ERROR: Final = 1.71
"Standard errors of median and p90 of a normal distribution, in standard deviations over the root of the count."
CHANCE_LIMIT: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Delays:
    """Delays of packets over one stretch, in ms; several streams' together."""

    packets: int
    median_ms: float
    above_ms: float
    "p90 less median."

    @staticmethod
    def of(parts: Sequence["Delays"]) -> "Delays":
        """Return several streams' as one, each weighted by its packets."""
        packets = sum(part.packets for part in parts)
        median_ms, above_ms = (
            sum(part.packets * value for part, value in zip(parts, values, strict=True)) / packets
            for values in ([part.median_ms for part in parts], [part.above_ms for part in parts])
        )
        return Delays(packets, median_ms, above_ms)

    def _error_ms(self, factor: float) -> float:
        return factor * self.above_ms / _P90_SIGMAS / math.sqrt(max(1.0, self.packets / _PACKETS_PER_SAMPLE))

    def median_needs_ms(self, other: "Delays") -> float:
        """Return by how much the medians must differ to be different."""
        errors = self._error_ms(_MEDIAN_ERROR), other._error_ms(_MEDIAN_ERROR)
        return max(RIG_MS, SIGMAS * math.hypot(*errors))

    def spread_needs_ms(self, other: "Delays") -> float:
        """Return by how much p90 less median must differ."""
        errors = self._error_ms(_P90_ERROR), other._error_ms(_P90_ERROR)
        return max(RIG_MS, SIGMAS * math.hypot(*errors))


def chance_of_runs(lost: tuple[int, int], packets: tuple[int, int], together: float) -> float:
    """Return `chance_of_losses` of packets lost in runs: a lost one's is *together* packets long on average.

    Counts that come in such lots vary by so many times more (the design effect of a sample in clusters).
    """
    return chance_of_losses(
        (round(lost[0] / together), round(lost[1] / together)),
        (max(1, round(packets[0] / together)), max(1, round(packets[1] / together))),
    )


def chance_of_losses(lost: tuple[int, int], packets: tuple[int, int]) -> float:
    """Return how likely it is that losses fall on two runs as unevenly as this, or more, if the two are alike.

    *lost* of *packets*, before and after. Fisher's exact test, two-sided.
    """
    total_lost, total = sum(lost), sum(packets)
    if not total_lost or not all(packets):
        return 1.0

    def log_probability(first: int) -> float:
        ways = _log_choose(packets[0], first) + _log_choose(packets[1], total_lost - first)
        return ways - _log_choose(total, total_lost)

    observed = log_probability(lost[0])
    least, most = max(0, total_lost - packets[1]), min(total_lost, packets[0])
    logs = (log_probability(first) for first in range(least, most + 1))
    return min(1.0, math.fsum(math.exp(one) for one in logs if one <= observed + 1e-9))


def _log_choose(of: int, some: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(some + 1) - math.lgamma(of - some + 1)
