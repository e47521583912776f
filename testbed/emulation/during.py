"""Changes made to a running world: BIRDs told their new configurations, cables pulled and shaped; what routing did."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from testbed.emulation import links, routing
from testbed.emulation.network import EmulatedNetwork
from testbed.plan.model import Phase

Table = Mapping[tuple[str, str], str | None]


class WorldChange:
    """One change of a running world: made, then followed until routing is as the plan says."""

    def __init__(self, network: EmulatedNetwork, carrier: links.LinksHandle | None, phase: Phase) -> None:
        self._network, self._carrier, self._phase = network, carrier, phase
        self._convergence = routing.Convergence(network, phase.converged)
        self.record: dict[str, Any] = {
            "why": phase.why,
            "began_ns": None,
            "settled_ns": None,
            "missing": ["the calls were over before routing had settled"],
            "reconfigured": sorted(phase.birds),
            "links": [{"link": x.name, "up": x.up} for x in phase.links],
            "routes": [],
        }
        "As emulation.json has it."

    async def make(self) -> None:
        """Make it; raise RigError where BIRD or the kernel refuses."""
        self._convergence.missing()
        self._before = self._convergence.held
        self.record["began_ns"] = time.time_ns()
        for link in self._phase.links:
            self._network.set_link(link)
        if self._carrier is not None:
            await asyncio.gather(*(self._carrier.reshape(link) for link in self._phase.links if link.is_shaped))
        await asyncio.gather(*(routing.reconfigure(node, text) for node, text in self._phase.birds.items()))

    async def settle(self) -> None:
        """Follow the kernels' tables until every fact of the plan is true, or the phase's time is up."""
        missing = await self._convergence.follow(limit_s=self._phase.within_ns / 1e9)
        self.record["settled_ns"] = None if missing else time.time_ns()
        self.record["missing"] = missing
        self.record["routes"] = _differences(self._before, self._convergence.held)


def _differences(before: Table, after: Table) -> list[dict[str, str | None]]:
    """Return every route that is another than before; a next hop of None is no route."""
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return [{"node": n, "prefix": p, "before": before.get((n, p)), "after": after.get((n, p))} for n, p in changed]
