"""The capture of a world: every link into `capture.pcapng`, firewalls' drops into `dropped.pcapng`, by one process."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.emulation.child import Child

CAPTURE_FILE: Final = "capture.pcapng"
DROPPED_FILE: Final = "dropped.pcapng"
NFLOG_GROUP: Final = 100


@dataclass(frozen=True, slots=True)
class CapturePoint:
    """End A of a link: where its packets are captured."""

    link: str
    description: str
    '"A -> B (segment)".'
    netns_fd: int
    "Open on the namespace that holds *interface*: A's own, or the switchboard."
    interface: str
    is_switchboard: bool = False
    "Whether *interface* is `w<n>a` in the switchboard: received there is forward. The wire's own sending is unseen."


@dataclass(frozen=True, slots=True)
class DropPoint:
    """A firewall: its NFLOG group says what it dropped, and by which rule."""

    firewall: str
    netns_fd: int


@dataclass(frozen=True, slots=True)
class CaptureCounters:
    """What was captured: parts of emulation.json."""

    capture: dict[str, dict[str, int]]
    'Link to {"packets", "dropped"}; dropped counts packets the kernel or a full disk kept from the file.'
    dropped_log: dict[str, dict[str, int]]
    'Firewall to {"packets", "lost"}.'
    faults: tuple[str, ...] = ()
    "Why a file is incomplete, one line each (no space left on the disk); then packets count as dropped."


class CaptureHandle:
    """A running capture."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid: int = child.pid

    async def ready(self, *, timeout_s: float = 20) -> None:
        """Wait until every socket is open: what is sent from now on is captured. Raise RigError if that fails."""
        await self._child.ready(timeout_s=timeout_s)

    async def ended(self) -> None:
        """Return when the process died by itself; `failure` says why."""
        await self._child.ended()

    @property
    def failure(self) -> str:
        """Why it died, in one line."""
        return self._child.last_words

    async def stop(self) -> CaptureCounters:
        """Write all that has arrived, close both files, end the process; raise RigError if it had died."""
        result = await self._child.stop(timeout_s=30)
        return CaptureCounters(
            capture=result["capture"], dropped_log=result["dropped_log"], faults=tuple(result["faults"])
        )


async def prepare() -> Child:
    """Start the process before there is anything to capture: its imports take as long as building a network."""
    return await Child.start("the capture", "testbed.emulation.capture_process")


async def start(
    points: Sequence[CapturePoint], firewalls: Sequence[DropPoint], directory: Path, *, prepared: Child | None = None
) -> CaptureHandle:
    """Start capturing into *directory*, which must exist. Await `ready` of what is returned before the first packet."""
    job = {
        "packets": str(directory / CAPTURE_FILE),
        "drops": str(directory / DROPPED_FILE),
        "nflog_group": NFLOG_GROUP,
        "points": [
            {
                "link": x.link,
                "description": x.description,
                "netns": _path(x.netns_fd),
                "interface": x.interface,
                "is_switchboard": x.is_switchboard,
            }
            for x in points
        ],
        "firewalls": [{"firewall": x.firewall, "netns": _path(x.netns_fd)} for x in firewalls],
    }
    child = prepared or await prepare()
    await child.give(job)
    return CaptureHandle(child)


def _path(fd: int) -> str:
    """Return by what path a descriptor of this process can be opened in another."""
    return f"/proc/{os.getpid()}/fd/{fd}"
