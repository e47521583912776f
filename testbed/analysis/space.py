"""Where columns lie: in memory, or those of a large capture in files without a name, which the kernel can write out.

So the memory that an analysis cannot do without does not grow with the capture. Both look the same to whoever uses
them: numpy arrays of zeros at first, of which only what was written to takes room.
"""

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

AT_ONCE: Final = 1 << 15
"Rows that are worked on together where all are: what they need on the way stays in the processor's cache."
IN_MEMORY_ROWS: Final = 3 << 20
"Longer columns lie in files."
IN_MEMORY_BYTES: Final = 32 << 20
"So do the bytes of captures of more."
FORGET_EVERY: Final = 1 << 20
"Rows worked on, after which pages are let go: a multiple of AT_ONCE."


class Space:
    """Gives out columns; *folder* is where files may lie, on a disk that has room for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()

    def zeros(self, count: int, kind: DTypeLike, in_memory: int | None = None) -> NDArray[Any]:
        """Return *count* zeros, in a file if they are more than *in_memory* (IN_MEMORY_ROWS) and it has room."""
        is_large = count > (IN_MEMORY_ROWS if in_memory is None else in_memory)
        mapped = self._mapped(count * np.dtype(kind).itemsize) if is_large else None
        return np.zeros(count, kind) if mapped is None else np.frombuffer(mapped, kind)

    def longer(self, values: NDArray[Any], more: NDArray[Any], in_memory: int | None = None) -> NDArray[Any]:
        """Return *values* with *more* behind them."""
        joined = self.zeros(len(values) + len(more), values.dtype, in_memory)
        for lot in lots(len(values), FORGET_EVERY):
            joined[lot] = values[lot]
            self.forget()
        joined[len(values) :] = more
        return joined

    def forget(self) -> None:
        """Let the pages of all files go from this process; whoever reads there again gets them from the file."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def _mapped(self, size: int) -> mmap.mmap | None:
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                # Writing to a page for which the disk has no room would kill the process (SIGBUS), so it is had now.
                os.posix_fallocate(file.fileno(), 0, size)
                mapped = mmap.mmap(file.fileno(), size)
        except OSError:
            return None
        self._maps.add(mapped)
        return mapped


def lots(count: int, size: int = AT_ONCE) -> Iterator[slice]:
    """Yield slices that together are *count* rows."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
