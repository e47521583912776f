"""The E-model (ITU-T G.107, narrowband): how a listener would rate a G.711 call of given delay and loss.

Everything but delay and loss is at its default, so R starts at 93.2. Ie and Bpl are those of G.113 for G.711 with
packet loss concealment, losses taken as random (BurstR 1).
"""

from math import log2
from typing import Final

R_DEFAULT: Final = 93.2
EQUIPMENT_IMPAIRMENT: Final = 0.0
"Ie of G.711 (G.113)."
LOSS_ROBUSTNESS: Final = 25.1
"Bpl of G.711 with packet loss concealment (G.113)."
LOSS_ROBUSTNESS_PLAIN: Final = 4.3
"Bpl of G.711 without concealment."
BURST_RATIO: Final = 1.0
DEJITTER_BUFFER_MS: Final = 40.0
"Assumed: two packets of 20 ms; the de-jitter buffer is inside the receiver, where no capture looks."


def delay_impairment(delay_ms: float) -> float:
    """Return Idd for an absolute one-way delay Ta (G.107 section 7.4); 0 up to 100 ms."""
    if delay_ms <= 100:
        return 0.0
    x = log2(delay_ms / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def loss_impairment(loss_percent: float, robustness: float = LOSS_ROBUSTNESS) -> float:
    """Return Ie,eff for a packet loss in percent (G.107 section 7.5)."""
    if loss_percent <= 0:
        return EQUIPMENT_IMPAIRMENT
    spread = loss_percent / (loss_percent / BURST_RATIO + robustness)
    return EQUIPMENT_IMPAIRMENT + (95 - EQUIPMENT_IMPAIRMENT) * spread


def rating(delay_ms: float, loss_ratio: float) -> float:
    """Return R for mouth-to-ear delay *delay_ms* and *loss_ratio* from 0 to 1."""
    return R_DEFAULT - delay_impairment(delay_ms) - loss_impairment(100 * loss_ratio)


def mean_opinion_score(r: float) -> float:
    """Return the estimated MOS for a rating R (G.107 annex B), from 1 to 4.5."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    # The cubic dips below 1 for R under 6.5; a score cannot.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)
