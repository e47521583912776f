"""The thread between a world and its conductor: when the conductor is gone, so is the world, at once."""

import json
import os
import threading
from collections.abc import Callable
from typing import Any, Final

_CHUNK_BYTES: Final = 1 << 16


class Lifeline:
    """The conductor's pipe: first the order, then commands; its end is the world's end."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def read_order(self) -> dict[str, Any]:
        """Wait for the first line."""
        order: dict[str, Any] = json.loads(self._line())
        return order

    def follow(self, on_command: Callable[[dict[str, Any]], None]) -> None:
        """Call *on_command* with each further line, from a thread of its own, so that no work delays the end."""
        threading.Thread(target=self._follow, args=(on_command,), daemon=True, name="lifeline").start()

    def _follow(self, on_command: Callable[[dict[str, Any]], None]) -> None:
        while True:
            on_command(json.loads(self._line()))

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            chunk = os.read(self._fd, _CHUNK_BYTES)
            if not chunk:
                # This is PID 1: the kernel ends all other processes of the world with it.
                os._exit(1)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
