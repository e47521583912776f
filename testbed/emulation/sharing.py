"""conntrackd in a world: one in each firewall that shares its connection table, ready before anybody sends."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.emulation import commands, tools
from testbed.emulation.network import EmulatedNetwork
from testbed.errors import RigError
from testbed.plan.shared_state import DIRECTORY

_DIRECTORY: Final = Path(DIRECTORY)
_READY_LIMIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sharing:
    """One conntrackd at work."""

    node: str
    process: asyncio.subprocess.Process
    log: Path


async def start_sharing(network: EmulatedNetwork) -> list[Sharing]:
    """Start conntrackd wherever the plan has a configuration; raise RigError where it does not come up."""
    wanted = [node.plan for node in network.nodes if node.plan.conntrackd]
    if wanted:
        tools.check_tools(["conntrackd"])
        _DIRECTORY.mkdir(exist_ok=True)
    return list(await asyncio.gather(*(_start(plan.name, plan.conntrackd or "") for plan in wanted)))


async def _start(node: str, configuration: str) -> Sharing:
    config, log, control = (_DIRECTORY / f"{node}.{kind}" for kind in ("conf", "log", "ctl"))
    config.write_text(configuration)
    process = await asyncio.create_subprocess_exec(
        *commands.in_node(node, "conntrackd", "-C", str(config)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    # Its control socket is the last thing that it opens before it begins.
    if not await commands.wait_until(
        lambda: control.exists() or process.returncode is not None, limit_s=_READY_LIMIT_S
    ):
        raise RigError(f"{node}: conntrackd was not ready after {_READY_LIMIT_S:.0f} s")
    if process.returncode is not None:
        raise RigError(f"{node}: conntrackd did not start: {commands.read_last_line(log)}")
    return Sharing(node, process, log)
