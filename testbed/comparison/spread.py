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
WAY_MS: Final = 2.0
"The same of a p90 over several links, where what the rig adds on each comes together."
_PACKETS_PER_SAMPLE: Final = 4
"Packets of a stream that stand for one independent one: they queue behind each other, and keep their order."
_P90_SIGMAS: Final = 1.2816
_MEDIAN_ERROR: Final = 1.2533
_P90_ERROR: Final = 1.71
"Standard errors of median and p90 of a normal distribution, in standard deviations over the root of the count."
CHANCE_LIMIT: Final = 1e-5
SENDER_MS: Final = 5.0
"""What the rig moves a mean of RFC 3550's J by, which has in it how evenly the sender sends: of audio up to 2.7 ms
between runs of the same, on two processors with four worlds at once."""
_PACKETS_OF_J: Final = 32
_MAX_DEVIATIONS: Final = 1.5
_LEAST_MOS: Final = 0.1
"Less is not heard."
_MOS_OF_R: Final = 0.04
_TIMER_MS: Final = 500.0
_MOST_LOST: Final = 0.3
"From here on, retransmissions alone make any setup time."


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

    def spread_needs_ms(self, other: "Delays", least_ms: float) -> float:
        """Return by how much p90 less median must differ.

        Stolen time slices come in lots, of which the count of packets tells nothing: what the rig adds is on top.
        """
        errors = self._error_ms(_P90_ERROR), other._error_ms(_P90_ERROR)
        return least_ms + SIGMAS * math.hypot(*errors)


@dataclass(frozen=True, slots=True)
class DelayChanges:
    """A mean over packets of how much the delay changed from each to the next, in ms; several streams' together."""

    packets: int
    mean_ms: float
    error_ms: float
    "Standard error of the mean."

    @staticmethod
    def measured(packets: int, mean_ms: float, ipdv_ms: tuple[float, float]) -> "DelayChanges":
        """Return a stream's; *ipdv_ms* are mean and standard deviation of its absolute changes' source, IPDV."""
        mean_size_ms, deviation_ms = ipdv_ms
        # The mean of the squares is the same of a change and of its size, so this is the deviation of the sizes.
        size_deviation_ms = math.sqrt(max(0.0, deviation_ms**2 - mean_size_ms**2))
        return DelayChanges(packets, mean_ms, size_deviation_ms / math.sqrt(max(1.0, packets / _PACKETS_PER_SAMPLE)))

    @staticmethod
    def smoothed(packets: int, mean_ms: float, max_ms: float) -> "DelayChanges":
        """Return a stream's J: each value remembers some 16 packets, and the greatest lies some deviations out."""
        error_ms = (max_ms - mean_ms) / _MAX_DEVIATIONS / math.sqrt(max(1.0, packets / _PACKETS_OF_J))
        return DelayChanges(packets, mean_ms, error_ms)

    @staticmethod
    def of(parts: Sequence["DelayChanges"]) -> "DelayChanges":
        """Return several streams' as one, each weighted by its packets."""
        packets = sum(part.packets for part in parts)
        mean_ms = sum(part.packets * part.mean_ms for part in parts) / packets
        error_ms = math.hypot(*(part.packets * part.error_ms for part in parts)) / packets
        return DelayChanges(packets, mean_ms, error_ms)

    def needs_ms(self, other: "DelayChanges", least_ms: float) -> float:
        """Return by how much the means must differ to be different."""
        return max(least_ms, SIGMAS * math.hypot(self.error_ms, other.error_ms))


def mos_needs(lost: tuple[int, int], packets: tuple[int, int], together: float, loss_robustness: float) -> float:
    """Return by how much two MOS must differ, as far as they do through losses, to be different.

    One packet more than were lost is taken for lost, so that a run without a loss has a spread, too. Ie,eff is
    95 P / (P + Bpl) (G.107), P in percent; a point of R is at most 0.04 of MOS.
    """
    errors = []
    for some, of in zip(lost, packets, strict=True):
        share = min(0.5, (some + together) / of)
        error_percent = 100 * math.sqrt(share * (1 - share) * together / of)
        errors.append(95 * loss_robustness / (100 * some / of + loss_robustness) ** 2 * error_percent)
    return max(_LEAST_MOS, SIGMAS * _MOS_OF_R * math.hypot(*errors))


def retransmissions_ms(share_lost: float) -> float | None:
    """Return how much longer an exchange may take by chance because packets of it are lost; None: no telling.

    SIP, STUN and TURN ask again after 500 ms, then after twice that, and so on (RFC 3261 timers A and E, RFC 8489
    section 6.2.1); so many losses of the same question count as are likelier than CHANCE_LIMIT.
    """
    if share_lost <= CHANCE_LIMIT:
        return 0.0
    if share_lost >= _MOST_LOST:
        return None
    losses = math.ceil(math.log(CHANCE_LIMIT) / math.log(share_lost))
    return float(_TIMER_MS * (2**losses - 1))


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
