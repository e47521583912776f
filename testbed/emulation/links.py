"""Shaped links, by netem or by the wire: choose, start, stop, and say how well they kept time.

Link n of a plan goes through the switchboard namespace by two interfaces: `w<n>a` towards end A, `w<n>b` towards end B.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, Protocol

from testbed.emulation import netem
from testbed.emulation.child import Child
from testbed.errors import MissingTool
from testbed.plan.model import LinkPlan
from testbed.topology import LinkShape

Backend = Literal["netem", "wire"]
WIRE_CORE: Final = "TESTBED_WIRE_CORE"
"Environment variable: `compiled` or `python` instead of whichever is there."


@dataclass(frozen=True, slots=True)
class ShapedLink:
    """A link of the plan and its index there, which names its two interfaces."""

    index: int
    plan: LinkPlan

    @property
    def interface_a(self) -> str:
        """Name of the interface towards end A, in the switchboard."""
        return f"w{self.index}a"

    @property
    def interface_b(self) -> str:
        """Name of the interface towards end B, in the switchboard."""
        return f"w{self.index}b"


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """How the links did: the `health.wire` part of emulation.json, and counters per link and direction."""

    wire: dict[str, Any] | None
    """{"core": "C" or "Python", "precedes": bool, "cpu_ns", "frames", "lateness_ns": {"p50", "p99", "max"},
    "receive_drops", "send_failures"}; None for netem, where the kernel keeps time."""
    links: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Link name to {"forward": counters, "return": counters}: received, sent, lost, queue_drops, duplicated, reordered,
    send_failures (netem: sent, dropped); where the shape has classes class_drops too, by class."""


class LinksHandle(Protocol):
    """Running links."""

    backend: Backend
    pid: int | None
    "Process that carries frames; None for netem."

    @property
    def failure(self) -> str:
        """Why the links died, in one line, once `ended` returned."""

    async def ready(self, *, timeout_s: float = 20) -> None:
        """Wait until frames pass; raise RigError if that does not come about."""

    async def ended(self) -> None:
        """Return when the links died by themselves; for netem never."""

    async def reshape(self, link: LinkPlan) -> None:
        """Give a link the shapes of *link* from now on; raise RigError where the backend cannot."""

    async def stop(self) -> LinkHealth:
        """Stop carrying frames and return what was counted; raise RigError if the links had died."""


async def choose_backend(wanted: Literal["auto", "netem", "wire"] = "auto") -> Backend:
    """Return the backend to use: netem where this kernel has all of it, else the wire.

    Raise MissingTool if netem is *wanted* and the kernel lacks it. Nothing is left behind.
    """
    if wanted == "wire":
        return "wire"
    obstacle = await netem.obstacle()
    if obstacle is None:
        return "netem"
    if wanted == "netem":
        raise MissingTool(f"this kernel cannot do netem links: {obstacle}", "modprobe sch_netem, or take the wire")
    return "wire"


def choose_backend_in_a_namespace() -> Backend:
    """Return the backend a world would use on this machine; for callers without an event loop, outside of any world."""
    return asyncio.run(choose_backend())


async def start(links: Sequence[ShapedLink], *, switchboard_fd: int, backend: Backend, seed: int) -> LinksHandle:
    """Join `w<n>a` and `w<n>b` of each link in the switchboard. Both interfaces must exist and be up.

    *switchboard_fd* is open on the switchboard's network namespace. Await `ready` of what is returned before traffic.
    """
    if backend == "netem":
        await netem.apply({(x.interface_a, x.interface_b): x.plan for x in links}, netns_fd=switchboard_fd)
        return NetemLinks({x.plan.name: x for x in links}, switchboard_fd)
    job = {
        "core": os.environ.get(WIRE_CORE, "auto"),
        "netns_fd": switchboard_fd,
        "seed": seed,
        "links": [
            {
                "name": x.plan.name,
                "interface_a": x.interface_a,
                "interface_b": x.interface_b,
                "shape_forward": _values(x.plan.shape_forward),
                "shape_return": _values(x.plan.shape_return),
            }
            for x in links
        ],
    }
    return WireLinks(await Child.start("the wire", "testbed.emulation.wire_process", job, fds=(switchboard_fd,)))


def _values(shape: LinkShape) -> dict[str, Any]:
    """Return a shape in numbers, not as people write it."""
    burst_loss = dict(shape.burst_loss) if shape.burst_loss else None
    return {**dict(shape), "burst_loss": burst_loss, "classes": [dict(each) for each in shape.classes]}


class WireLinks:
    """Links carried by one wire process."""

    backend: Backend = "wire"

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid: int | None = child.pid

    async def ready(self, *, timeout_s: float = 20) -> None:
        """Wait until the wire has all its sockets open."""
        await self._child.ready(timeout_s=timeout_s)

    async def ended(self) -> None:
        """Return when the process died by itself; `failure` says why."""
        await self._child.ended()

    @property
    def failure(self) -> str:
        """Why it died, in one line."""
        return self._child.last_words

    async def reshape(self, link: LinkPlan) -> None:
        """Tell the process; it heeds that before the next frame."""
        shapes = {"shape_forward": _values(link.shape_forward), "shape_return": _values(link.shape_return)}
        await self._child.give({"name": link.name, **shapes})

    async def stop(self) -> LinkHealth:
        """End the process; frames still under way are lost."""
        result = await self._child.stop()
        return LinkHealth(wire=result["health"], links=result["links"])


class NetemLinks:
    """Links carried by the kernel."""

    backend: Backend = "netem"
    pid: int | None = None

    def __init__(self, links: dict[str, ShapedLink], switchboard_fd: int) -> None:
        self._links, self._switchboard_fd = links, switchboard_fd

    @property
    def failure(self) -> str:
        """Say that nothing can have died."""
        return "netem has no process"

    async def ready(self, *, timeout_s: float = 20) -> None:
        """Do nothing: the kernel joined the links when `start` returned."""

    async def ended(self) -> None:
        """Never return: there is no process that could die."""
        await asyncio.get_running_loop().create_future()

    async def reshape(self, link: LinkPlan) -> None:
        """Put the new qdiscs in the place of the old ones, and read them back."""
        old = self._links[link.name]
        self._links[link.name] = replace(old, plan=link)
        await netem.replace({(old.interface_a, old.interface_b): link}, netns_fd=self._switchboard_fd)

    async def stop(self) -> LinkHealth:
        """Read the counters; the qdiscs go with the namespace."""
        shapes = {x.interface_b: x.plan.shape_forward for x in self._links.values()}
        shapes |= {x.interface_a: x.plan.shape_return for x in self._links.values()}
        sent = await netem.counters(shapes, netns_fd=self._switchboard_fd)
        return LinkHealth(
            wire=None,
            links={
                name: {"forward": sent.get(x.interface_b, {}), "return": sent.get(x.interface_a, {})}
                for name, x in self._links.items()
            },
        )
