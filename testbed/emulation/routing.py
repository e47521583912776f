"""BGP in a world: a BIRD in every speaker, and the wait until the routes that the plan names are in the kernel."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.emulation import commands
from testbed.emulation.netlink import Netlink
from testbed.emulation.network import EmulatedNetwork
from testbed.emulation.readback import prefix_of
from testbed.errors import RigError
from testbed.plan.model import RouteFact

_DIRECTORY: Final = Path("/run/bird")
_SHOWN: Final = 4
_NUDGE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Bird:
    """One BIRD at work."""

    node: str
    process: asyncio.subprocess.Process
    log: Path


async def start_birds(network: EmulatedNetwork) -> list[Bird]:
    """Start BIRD in every node that has a configuration."""
    _DIRECTORY.mkdir(exist_ok=True)
    return list(await asyncio.gather(*(_start(x.name, x.plan.bird) for x in network.nodes if x.plan.bird)))


async def _start(node: str, configuration: str) -> Bird:
    config, log = _DIRECTORY / f"{node}.conf", _DIRECTORY / f"{node}.log"
    config.write_text(configuration)
    arguments = ["-f", "-c", str(config), "-s", str(_DIRECTORY / f"{node}.ctl"), "-P", str(_DIRECTORY / f"{node}.pid")]
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *commands.in_node(node, "bird", *arguments), stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )
    return Bird(node, process, log)


async def reconfigure(node: str, configuration: str) -> None:
    """Give the BIRD of *node* a new configuration; raise RigError with its own words if it does not take it."""
    (_DIRECTORY / f"{node}.conf").write_text(configuration)
    said = await commands.run(None, "birdc", "-s", str(_DIRECTORY / f"{node}.ctl"), "configure")
    if "Reconfigur" not in said:
        raise RigError(f"{node}: BIRD does not take its new configuration: {commands.last_line(said)}")


def missing_facts(facts: Iterable[RouteFact], tables: dict[str, dict[str, str | None]]) -> list[str]:
    """Return what is not (yet) as *facts* say; *tables* is node to prefix to next hop."""
    missing = []
    for fact in facts:
        table = tables.get(fact.node, {})
        found = f"{fact.prefix} via {table[fact.prefix]}" if fact.prefix in table else "no such route"
        if fact.via is None and fact.prefix in table:
            missing.append(f"{fact.node}: {fact.prefix} must be absent, found {found}")
        elif fact.via is not None and table.get(fact.prefix) != fact.via:
            missing.append(f"{fact.node}: wanted {fact.prefix} via {fact.via}, found {found}")
    return missing


class Convergence:
    """The kernel's routing tables of all nodes with facts, followed until every fact is true."""

    def __init__(self, network: EmulatedNetwork, facts: Iterable[RouteFact]) -> None:
        self.facts = tuple(facts)
        nodes = sorted({x.node for x in self.facts})
        self._readers = {x: Netlink(network.node(x).netns_fd, where=x) for x in nodes}
        # Announcements come on sockets of their own, so that they cannot get between the answers of a dump.
        self._news = {x: Netlink(network.node(x).netns_fd, where=x, follow_routes=True) for x in nodes}
        self._stale = set(nodes)
        self._tables: dict[str, dict[str, str | None]] = {}
        self._changed = asyncio.Event()

    async def wait(self, *, limit_s: float) -> None:
        """Return once all facts are true; raise RigError with those that are not after *limit_s*."""
        missing = await self.follow(limit_s=limit_s, nudge=True)
        if missing:
            others = f"; {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            shown = "; ".join(missing[:_SHOWN])
            raise RigError(f"routing has not converged after {limit_s:g} s: {shown}{others}")

    async def follow(self, *, limit_s: float, nudge: bool = False) -> list[str]:
        """Return once all facts are true, or after *limit_s*, with those that are not.

        *nudge* hurries BIRDs on: not where it is measured how long they take.
        """
        loop = asyncio.get_running_loop()
        self._stale = set(self._readers)  # the kernel announces no route that goes because its interface went down
        for node, news in self._news.items():
            loop.add_reader(news.fileno(), self._note, node)
        try:
            async with asyncio.timeout(limit_s):
                while self.missing():
                    self._changed.clear()
                    await (self._news_or_nudge() if nudge else self._changed.wait())
        except TimeoutError:
            return self.missing()
        finally:
            for news in self._news.values():
                loop.remove_reader(news.fileno())
            self.close()
        return []

    def close(self) -> None:
        """Give the sockets back, as `wait` and `follow` do at their end."""
        for socket_ in (*self._news.values(), *self._readers.values()):
            socket_.close()

    @property
    def held(self) -> dict[tuple[str, str], str | None]:
        """What the kernels held, when last looked, of prefixes that facts are about: node and prefix to next hop."""
        wanted = {(x.node, x.prefix) for x in self.facts}
        every = ((node, prefix, via) for node, table in self._tables.items() for prefix, via in table.items())
        return {(node, prefix): via for node, prefix, via in every if (node, prefix) in wanted}

    async def _news_or_nudge(self) -> None:
        """Wait for a change of a table; wake the BIRDs up whenever there has been none for a while.

        A BIRD that has just brought a session up may have nothing wake it but its next timer, up to a second later,
        before it sends its first UPDATE there (seen with 2.0.12). A visitor at its control socket wakes it, too.
        """
        try:
            async with asyncio.timeout(_NUDGE_S):
                await self._changed.wait()
        except TimeoutError:
            for path in _DIRECTORY.glob("*.ctl"):
                with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visit:
                    visit.setblocking(False)
                    visit.connect(str(path))

    def _note(self, node: str) -> None:
        self._news[node].forget_news()
        self._stale.add(node)
        self._changed.set()

    def missing(self) -> list[str]:
        """Look at the tables that have changed; return what is not as the facts say."""
        for node in self._stale:
            self._tables[node] = {prefix_of(x): _next_hop(x) for x in self._readers[node].routes()}
        self._stale.clear()
        return missing_facts(self.facts, self._tables)


def _next_hop(route: Any) -> str | None:
    gateway: str | None = route.get_attr("RTA_GATEWAY")
    return gateway
