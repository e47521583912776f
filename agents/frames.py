"""Audio on its way through an agent, 20 ms at a time: queues between two clocks, and the mixer of a conference."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from agents import g711

FrameSource = Callable[[int], bytes]
"Gives the mu-law frame with that number (`agents.pace.FrameClock`)."
FrameSink = Callable[[g711.Samples], None]
"Takes received audio, in the order it arrives."

_SAMPLE_BYTES: Final = 2


class FrameQueue:
    """Frames between a sender's clock and ours.

    It gives nothing until *prefill* frames wait, so that ordinary jitter tears no holes; after it ran empty it fills
    up again. Beyond *most* frames the oldest go, so that a burst does not become lasting delay.
    """

    def __init__(self, frame_bytes: int, *, prefill: int = 2, most: int = 10) -> None:
        self._frame_bytes, self._prefill, self._most = frame_bytes, prefill, most
        self._waiting = b""
        self._is_playing = False
        self.dropped = 0
        "Frames thrown away because the queue was full."

    def put(self, data: bytes) -> None:
        """Append audio of any length."""
        self._waiting += data
        excess = len(self._waiting) // self._frame_bytes - self._most
        if excess > 0:
            self._waiting = self._waiting[excess * self._frame_bytes :]
            self.dropped += excess

    def pop(self) -> bytes | None:
        """Return the next frame; None while there is none to play."""
        needed = 1 if self._is_playing else self._prefill
        self._is_playing = len(self._waiting) >= needed * self._frame_bytes
        if not self._is_playing:
            return None
        frame, self._waiting = self._waiting[: self._frame_bytes], self._waiting[self._frame_bytes :]
        return frame


class Mixer:
    """Gives each participant the sum of all the others (mix-minus); who is alone hears the announcement."""

    def __init__(self, announcement: Sequence[bytes]) -> None:
        """*announcement* is a circle of mu-law frames."""
        self._announcement = announcement
        self._queues: dict[str, FrameQueue] = {}
        self._spoken: dict[str, g711.Samples] = {}
        self._total = np.zeros(g711.FRAME_SAMPLES, np.int32)
        self._frame: int | None = None

    def join(self, participant: str) -> None:
        """Add a participant; raise ValueError if that one is in already."""
        if participant in self._queues:
            raise ValueError(f"{participant} takes part already")
        self._queues[participant] = FrameQueue(g711.FRAME_SAMPLES * _SAMPLE_BYTES)

    def leave(self, participant: str) -> None:
        """Remove a participant."""
        del self._queues[participant]

    @property
    def participants(self) -> tuple[str, ...]:
        """Who takes part, in the order of joining."""
        return tuple(self._queues)

    def take(self, participant: str, samples: g711.Samples) -> None:
        """Take in what a participant says; what comes after it left is not wanted any more."""
        if participant in self._queues:
            self._queues[participant].put(samples.tobytes())

    def frame_for(self, participant: str, frame: int) -> bytes:
        """Return what *participant* hears in the frame with that number; the first to ask for a frame has it mixed."""
        if self._frame is None or frame > self._frame:
            self._mix()
            self._frame = frame
        if len(self._queues) <= 1:
            return self._announcement[frame % len(self._announcement)]
        own = self._spoken.get(participant)
        heard = self._total if own is None else self._total - own
        return g711.encode(np.clip(heard, -32768, 32767).astype(np.int16))

    def _mix(self) -> None:
        popped = {participant: queue.pop() for participant, queue in self._queues.items()}
        self._spoken = {p: np.frombuffer(data, np.int16) for p, data in popped.items() if data is not None}
        self._total = np.zeros(g711.FRAME_SAMPLES, np.int32)
        for samples in self._spoken.values():
            self._total += samples
