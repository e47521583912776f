"""The firewalls of a world: rules loaded, connection tracking followed, and the evidence they hold at the end."""

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any, Final

from testbed.emulation import commands
from testbed.emulation.firewall_text import (
    counted_rules,
    kernel_discards,
    parse_event,
    reverse_path_drops,
    summed_statistics,
)
from testbed.emulation.network import EmulatedNetwork, NamespaceNode
from testbed.emulation.syscalls import inside_network
from testbed.errors import RigError

_NETLINK_NETFILTER: Final = 12
_LISTENING_LIMIT_S: Final = 15.0
_DRAIN_LIMIT_S: Final = 2.0
_ASKED_AT_ONCE: Final = 4
"Firewalls: the event loop stands still while programs are started, and a limit on all of it must get its turn."


def filtering_nodes(network: EmulatedNetwork) -> list[NamespaceNode]:
    """Return the nodes with rules."""
    return [node for node in network.nodes if node.plan.iptables is not None]


async def load_rules(network: EmulatedNetwork) -> None:
    """Load every node's rules, all nodes at once; raise RigError with what iptables says of a bad one."""
    await asyncio.gather(
        *(commands.run(x.name, "iptables-restore", given=x.plan.iptables) for x in filtering_nodes(network))
    )


async def saved_rules(node: str) -> str:
    """Return what `iptables-save` prints in a node."""
    return await commands.run(node, "iptables-save")


class ConnectionLog:
    """`conntrack -E` at work in one stateful firewall."""

    def __init__(self, node: str, process: asyncio.subprocess.Process) -> None:
        self.node = node
        self.process = process
        self.events: list[dict[str, Any]] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, node: str) -> "ConnectionLog":
        """Start it; await `ready` before traffic flows."""
        process = await asyncio.create_subprocess_exec(
            *commands.in_node(node, "conntrack", "-E", "-o", "timestamp"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return cls(node, process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            if event := parse_event(line.decode()):
                self.events.append(event)

    async def ready(self) -> None:
        """Wait until it is subscribed to the kernel's events."""
        if not await commands.wait_until(lambda: self._socket() is not None, limit_s=_LISTENING_LIMIT_S):
            raise RigError(f"{self.node}: conntrack -E was not listening after {_LISTENING_LIMIT_S:.0f} s")

    def _socket(self) -> tuple[int, int] | None:
        return commands.socket_of(self.process.pid, _NETLINK_NETFILTER)

    async def stop(self) -> list[dict[str, Any]]:
        """Have it read what the kernel has for it, end it, and return all events."""
        await commands.wait_until(lambda: not (self._socket() or (0, 0))[1], limit_s=_DRAIN_LIMIT_S)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        await self._reading
        await self.process.wait()
        return self.events


async def start_logs(network: EmulatedNetwork) -> list[ConnectionLog]:
    """Start following connection tracking wherever rules ask for it."""
    stateful = [x for x in filtering_nodes(network) if "conntrack" in (x.plan.iptables or "")]
    return list(await asyncio.gather(*(ConnectionLog.start(x.name) for x in stateful)))


async def collect_evidence(network: EmulatedNetwork, logs: list[ConnectionLog]) -> dict[str, Any]:
    """Return firewalls.json: rules with counters, connection tracking and its events, reverse-path drops."""
    following = {log.node: log for log in logs}
    nodes = filtering_nodes(network)
    turn = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def in_turn(node: NamespaceNode) -> dict[str, Any]:
        async with turn:
            return await _evidence_of(node, following.get(node.name))

    found = await asyncio.gather(*(in_turn(node) for node in nodes))
    return {node.name: evidence for node, evidence in zip(nodes, found, strict=True)}


async def _evidence_of(node: NamespaceNode, log: ConnectionLog | None) -> dict[str, Any]:
    began_ns = time.time_ns()
    rules, table, statistics = await asyncio.gather(
        commands.run(node.name, "iptables-save", "-c"),
        commands.run(node.name, "conntrack", "-L"),
        commands.run(node.name, "conntrack", "-S"),
    )
    events = await log.stop() if log else []
    snmp, netstat, interfaces = _read_counters(node)
    return {
        "counted_ns": [began_ns, time.time_ns()],
        "rules": counted_rules(rules),
        "conntrack": table.splitlines(),
        "conntrack_events": events,
        "stats": summed_statistics(statistics),
        "reverse_path_filter_drops": reverse_path_drops(netstat),
        "discards": kernel_discards(snmp, netstat, interfaces),
    }


def _read_counters(node: NamespaceNode) -> tuple[str, str, str]:
    """Return /proc/net/snmp, netstat and dev of a node."""
    with inside_network(node.netns_fd):
        snmp, netstat, dev = (Path("/proc/thread-self/net", name).read_text() for name in ("snmp", "netstat", "dev"))
    return snmp, netstat, dev
