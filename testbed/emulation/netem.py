"""Links by the kernel's netem (not written yet)."""

from collections.abc import Mapping

from testbed.plan.model import LinkPlan


async def obstacle() -> str | None:
    """Return what keeps netem links from working on this kernel, or None."""
    return "not written yet"


async def apply(links: Mapping[tuple[str, str], LinkPlan], *, netns_fd: int) -> None:
    """Join each pair of interfaces."""
    raise NotImplementedError


async def counters(*, netns_fd: int) -> dict[str, dict[str, int]]:
    """Counters by interface."""
    raise NotImplementedError
