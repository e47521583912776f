"""Time in an agent: the 20 ms grid that audio is sent on, and how late the event loop runs."""

import asyncio
from typing import Final

from agents import g711

_FRAME_S: Final = g711.FRAME_NS / 1e9
_MOST_CAUGHT_UP_FRAMES: Final = 5


class FrameClock:
    """Numbers the 20 ms frames from its making on; the streams of a process share one and so wake up together."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}
        "Frame to whoever waits for it: one timer wakes all streams."

    async def next_after(self, frame: int) -> int:
        """Wait for the frame after *frame*; return its number.

        Whoever is late gets up to five frames without waiting. Beyond that frames are skipped, not sent in a burst.
        """
        now_s = self._loop.time() - self._start_s
        due = int(now_s / _FRAME_S)
        if due > frame + 1 + _MOST_CAUGHT_UP_FRAMES:
            return due
        if (frame + 1) * _FRAME_S > now_s:
            await self._time_of(frame + 1)
        return frame + 1

    def _time_of(self, frame: int) -> asyncio.Future[None]:
        if frame not in self._waiting:
            self._waiting[frame] = []
            self._loop.call_at(self._start_s + frame * _FRAME_S, self._wake, frame)
        woken = self._loop.create_future()
        self._waiting[frame].append(woken)
        return woken

    def _wake(self, frame: int) -> None:
        for woken in self._waiting.pop(frame):
            if not woken.done():  # whoever waited was cancelled
                woken.set_result(None)

    def current(self) -> int:
        """Number of the frame that is due now."""
        return int((self._loop.time() - self._start_s) / _FRAME_S)


class LatenessHistogram:
    """Lateness in steps of a tenth of a millisecond, so that an hour's call costs no more than a second's."""

    STEP_NS: Final = 100_000

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._total = 0
        self._max_ns = 0

    def add(self, lateness_ns: int) -> None:
        """Count one observation; early is not late."""
        lateness_ns = max(0, lateness_ns)
        step = lateness_ns // self.STEP_NS
        self._counts[step] = self._counts.get(step, 0) + 1
        self._total += 1
        self._max_ns = max(self._max_ns, lateness_ns)

    def percentile_ns(self, percent: float) -> int | None:
        """Return the upper edge of the percentile's step, at most the maximum; None before any observation."""
        seen = 0
        for step in sorted(self._counts):
            seen += self._counts[step]
            if seen * 100 >= percent * self._total:
                return min((step + 1) * self.STEP_NS, self._max_ns)
        return None

    def summary(self) -> dict[str, int | None]:
        """Return p50, p99 and max in ns; None where nothing was observed."""
        return {
            "p50": self.percentile_ns(50),
            "p99": self.percentile_ns(99),
            "max": self._max_ns if self._total else None,
        }


class LoopLag:
    """How late a timer of the event loop fires, every 20 ms: time that a packet, too, would have waited."""

    _PERIOD_S: Final = 0.02

    def __init__(self) -> None:
        self._histogram = LatenessHistogram()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(self._PERIOD_S, self._fire, self._loop.time() + self._PERIOD_S)

    def _fire(self, due_s: float) -> None:
        now_s = self._loop.time()
        self._histogram.add(int((now_s - due_s) * 1e9))
        self._handle = self._loop.call_later(self._PERIOD_S, self._fire, now_s + self._PERIOD_S)

    def stop(self) -> dict[str, int | None]:
        """Stop, and return p50, p99 and max in ns."""
        self._handle.cancel()
        return self._histogram.summary()
