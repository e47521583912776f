"""Tones: what a party plays, and how a receiver proves whom it hears."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agents import g711

TONE_LEVEL_DBOV: Final = -23.0
"""Root mean square of a party's tone against the overload point (RFC 6465: 32768 is 0 dBov). Eight parties together
stay below the overload point (a tone's peak is 3 dB above its root mean square)."""
HEARD_DBOV: Final = -45.0
"A tone at least this strong is heard: 22 dB below what a party plays, 15 dB and more above mu-law's noise."


def tone(frequency_hz: int, *, level_dbov: float = TONE_LEVEL_DBOV) -> g711.Samples:
    """Return one second of a sine of a whole number of Hz; played in a circle it has no seam."""
    amplitude = 32768 * math.sqrt(2) * 10 ** (level_dbov / 20)
    seconds = np.arange(g711.SAMPLE_RATE_HZ) / g711.SAMPLE_RATE_HZ
    return np.round(amplitude * np.sin(2 * np.pi * frequency_hz * seconds)).astype(np.int16)


def tone_frames(frequency_hz: int, *, level_dbov: float = TONE_LEVEL_DBOV) -> tuple[bytes, ...]:
    """Return the 50 mu-law frames of that second."""
    payload = g711.encode(tone(frequency_hz, level_dbov=level_dbov))
    return tuple(payload[i : i + g711.FRAME_SAMPLES] for i in range(0, len(payload), g711.FRAME_SAMPLES))


SILENCE_DBOV: Final = -127.0
"The lowest level there is, by definition: digital silence (RFC 6464 section 3)."


def level_dbov(mean_square: float) -> float:
    """Return the level of audio of that mean square."""
    return max(SILENCE_DBOV, 10 * math.log10(mean_square / 32768**2)) if mean_square > 0 else SILENCE_DBOV


class Listener:
    """What was heard over a call: the level of the whole and of every frequency.

    Each whole second of received audio goes through one discrete Fourier transform of 8000 samples, which is a bank of
    4001 Goertzel filters of 1 Hz: so no list of expected tones is needed, and an unexpected one is found too.
    """

    def __init__(self) -> None:
        self._second = np.zeros(g711.SAMPLE_RATE_HZ, np.int16)
        self._filled = 0
        self._seconds = 0
        self._mean_squares: NDArray[np.float64] = np.zeros(g711.SAMPLE_RATE_HZ // 2 + 1)

    @property
    def seconds(self) -> int:
        """Whole seconds heard."""
        return self._seconds

    def hear(self, samples: g711.Samples) -> None:
        """Take in the next samples."""
        while len(samples):
            taken = samples[: g711.SAMPLE_RATE_HZ - self._filled]
            self._second[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            samples = samples[len(taken) :]
            if self._filled == g711.SAMPLE_RATE_HZ:
                self._end_second()

    def _end_second(self) -> None:
        spectrum = np.abs(np.fft.rfft(self._second)) / g711.SAMPLE_RATE_HZ
        self._mean_squares += 2 * spectrum**2  # a sine of amplitude a has two lines of a / 2
        self._seconds += 1
        self._filled = 0

    def received_level_dbov(self) -> float | None:
        """Level of everything heard but direct current; None before the first whole second."""
        return level_dbov(float(self._mean_squares[1:].sum()) / self._seconds) if self._seconds else None

    def level_of(self, frequency_hz: int) -> float | None:
        """Level of one frequency; None before the first whole second.

        A tone seldom falls on one line for good (a lost frame shifts its phase), so the lines within 10 Hz count.
        """
        if not self._seconds:
            return None
        near = self._mean_squares[max(1, frequency_hz - 10) : frequency_hz + 11]
        return level_dbov(float(near.sum()) / self._seconds)

    def levels(self, tones_hz: Mapping[str, int]) -> dict[str, float | None]:
        """Return the level of each known tone by its player's name, and of every other tone heard by its frequency."""
        known = {name: self.level_of(hz) for name, hz in tones_hz.items()}
        others = {
            str(hz): level
            for hz, level in self.tones().items()
            if all(abs(hz - known_hz) >= 50 for known_hz in tones_hz.values())
        }
        return {**{name: None if level is None else round(level, 1) for name, level in known.items()}, **others}

    def tones(self) -> dict[int, float]:
        """Return the tones heard (local maxima of at least HEARD_DBOV, 50 Hz apart): frequency to level in dBov.

        The frequency is to the nearest 10 Hz, for the same reason that lines within 10 Hz count as one."""
        heard: dict[int, float] = {}
        if not self._seconds:
            return heard
        for line in map(int, np.argsort(self._mean_squares[100:])[::-1] + 100):
            level = self.level_of(line)
            if level is None or level < HEARD_DBOV:
                break
            if all(abs(line - other) >= 50 for other in heard):
                heard[round(line, -1)] = round(level, 1)
        return dict(sorted(heard.items()))
