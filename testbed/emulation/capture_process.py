"""The capture process: `python -m testbed.emulation.capture_process`, started and told its job by `capture`.

Its sources are dealt to a few threads, each with a table of descriptors of its own. To close an AF_PACKET socket the
kernel waits for all processors, some 15 ms, one socket after the other: so threads give theirs back side by side, be it
at the end or when all are killed.
"""

import os
import select
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from testbed.emulation.capture_sources import DropSource, LinkSource, Source
from testbed.emulation.parent import one_line, read_job, say
from testbed.emulation.pcapng import LINKTYPE_ETHERNET, LINKTYPE_RAW, Writer
from testbed.emulation.syscalls import leave_shared_files
from testbed.errors import RigError

_BURST: Final = 64
"Frames read from one socket before the others get a turn."
_ALL: Final = 1 << 18
"More frames than a socket's buffer holds, so that the end comes even if someone goes on sending."
_FLUSH_SECONDS: Final = 0.5
_COUNT_SECONDS: Final = 60.0
_THREADS: Final = 8


class End:
    """The moment up to which every source is read, set by the first thread that sees standard input end.

    So the files hold each packet on all links that it had passed by then, and none on a later one only.
    """

    def __init__(self) -> None:
        self._deciding = threading.Lock()
        self._at_ns: int | None = None

    def reached(self) -> int:
        """Return it, in ns since 1970."""
        with self._deciding:
            if self._at_ns is None:
                self._at_ns = time.time_ns()
            return self._at_ns


class Reader(threading.Thread):
    """Some of the sources, read until standard input ends."""

    def __init__(self, sources: Sequence[Source], writing: threading.Lock, end: End) -> None:
        super().__init__(daemon=True)
        self.fault: Exception | None = None
        self.is_open = threading.Event()
        "Set when all sockets are open, or one could not be."
        self._sources = sources
        self._writing = writing
        self._end = end

    def run(self) -> None:
        """Open, read, close."""
        try:
            leave_shared_files()
            by_fd = {source.open(): source for source in self._sources}
            self.is_open.set()
            self._read(by_fd)
            until_ns = self._end.reached()
            for source in self._sources:
                with self._writing:
                    source.drain(_ALL, until_ns)
                source.count_drops()
            for source in self._sources:
                source.close()
        except (OSError, RigError, ValueError) as error:
            self.fault = error
            self.is_open.set()

    def _read(self, by_fd: dict[int, Source]) -> None:
        poller = select.epoll()
        for fd in by_fd:
            poller.register(fd, select.EPOLLIN)
        poller.register(0, 0)  # tells its end (EPOLLHUP), which each thread must see
        count_at = time.monotonic() + _COUNT_SECONDS
        while True:
            for fd, _ in poller.poll():
                if fd == 0:
                    return
                with self._writing:
                    by_fd[fd].drain(_BURST)
            if time.monotonic() >= count_at:
                count_at = time.monotonic() + _COUNT_SECONDS
                for source in self._sources:
                    source.count_drops()


class Capture:
    """All sources and both files."""

    def __init__(self, job: dict[str, Any]) -> None:
        system = f"Linux {os.uname().release}"
        self.packets = Writer(Path(job["packets"]), system=system)
        self.drops = Writer(Path(job["drops"]), system=system)
        self.links = [
            LinkSource(x, self.packets.add_interface(x["link"], x["description"], LINKTYPE_ETHERNET), self.packets)
            for x in job["points"]
        ]
        self.logs = [
            DropSource(
                x,
                job["nflog_group"],
                self.drops.add_interface(x["firewall"], f"dropped by {x['firewall']}", LINKTYPE_RAW),
                self.drops,
            )
            for x in job["firewalls"]
        ]
        for writer in (self.packets, self.drops):
            writer.flush()
            if writer.fault is not None:
                raise RigError(writer.fault)
        sources: list[Source] = [*self.links, *self.logs]
        self._writing = threading.Lock()
        end = End()
        self._readers = [Reader(sources[n::_THREADS], self._writing, end) for n in range(_THREADS)]
        for reader in self._readers:
            reader.start()
        for reader in self._readers:
            reader.is_open.wait()
        self._raise_fault()
        self.started_ns = time.time_ns()
        self._told: set[str] = set()

    def _raise_fault(self) -> None:
        for reader in self._readers:
            if reader.fault is not None:
                raise reader.fault

    def run(self) -> None:
        """Write packets until standard input ends; raise what a thread met."""
        poller = select.poll()
        poller.register(0, 0)
        while not poller.poll(_FLUSH_SECONDS * 1000):
            self._raise_fault()
            self._flush()

    def _flush(self) -> None:
        for writer in (self.packets, self.drops):
            with self._writing:
                writer.flush()
            if writer.fault is not None and writer.fault not in self._told:
                self._told.add(writer.fault)
                say("error", what=writer.fault)

    def finish(self) -> dict[str, Any]:
        """Write what still waits, close the files and return the counters."""
        for reader in self._readers:
            reader.join()
        self._raise_fault()
        ended_ns = time.time_ns()
        for writer, sources in ((self.packets, self.links), (self.drops, self.logs)):
            dropped = [x.kernel_dropped for x in sources]
            writer.close(started_ns=self.started_ns, ended_ns=ended_ns, kernel_dropped=dropped)
        return {
            "capture": {
                x.link: {
                    "packets": self.packets.written[x.interface],
                    "dropped": x.kernel_dropped + self.packets.lost[x.interface],
                }
                for x in self.links
            },
            "dropped_log": {
                x.firewall: {
                    "packets": self.drops.written[x.interface],
                    "lost": x.kernel_dropped + self.drops.lost[x.interface],
                }
                for x in self.logs
            },
            "faults": [x.fault for x in (self.packets, self.drops) if x.fault is not None],
        }


def main() -> int:
    """Run the process; return its exit status."""
    job = read_job()
    try:
        capture = Capture(job)
        say("ready")
        capture.run()
        say("result", **capture.finish())
    except (OSError, RigError, ValueError, KeyError) as error:
        say("error", what=one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
