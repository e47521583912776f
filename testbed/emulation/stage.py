"""PID 1 of a world: `python -m testbed.emulation.stage`. It takes the order, seals the file system, plays the scenario.

The conductor's pipes are standard input and output, or, for a world with a terminal, `--control IN OUT`.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, NoReturn

from testbed.emulation import mounts
from testbed.emulation.agents import Forkserver
from testbed.emulation.evidence import Journal
from testbed.emulation.lifeline import Lifeline
from testbed.emulation.orphans import reap_orphans
from testbed.emulation.scenario import Play
from testbed.errors import TestbedError
from testbed.plan.model import Plan

_ROOT = Path(__file__).parents[2]
TLS_KEYS_FILE: Final = "tls-keys.log"
_KEPT = (_ROOT, Path(sys.prefix), Path(sys.base_prefix), Path.cwd())


def main(arguments: list[str]) -> int:
    """Be the first process of a world, until the scenario is over or the conductor is gone."""
    control_in, control_out = (int(x) for x in arguments[1:3]) if arguments[:1] == ["--control"] else _claim_pipes()
    lifeline = Lifeline(control_in)
    order = lifeline.read_order()
    kept = None if order["directory"] is None else Path(order["directory"])
    mounts.seal_file_system([*_KEPT, *([kept] if kept else [])])
    directory = kept or Path(tempfile.mkdtemp(dir=mounts.MEMORY))
    os.environ["SSLKEYLOGFILE"] = str(directory / TLS_KEYS_FILE)  # every TLS library that we use follows it
    journal = Journal(control_out, directory)
    try:
        plan = Plan.model_validate(order["plan"])
        mounts.name_world(plan.scenario.replace("/", "-"))
        if sys.version_info < (3, 12):  # later ones do so by themselves; the default was a thread for each child
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
        asyncio.run(_play(plan, directory, order, lifeline, journal))
    except (TestbedError, OSError) as error:
        journal.error(str(error))
    return 1


def _claim_pipes() -> tuple[int, int]:
    """Keep the conductor's pipes from being inherited by, or mixed up with, the output of other programs."""
    control = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return control


async def _play(plan: Plan, directory: Path, order: dict[str, Any], lifeline: Lifeline, journal: Journal) -> NoReturn:
    forkserver = await Forkserver.start() if plan.jobs else None  # imports for long
    play = Play(plan, directory, order["backend"], journal, forkserver)
    loop = asyncio.get_running_loop()

    def obey(command: dict[str, Any]) -> None:
        if command.get("do") == "stop":
            loop.call_soon_threadsafe(play.stop)

    lifeline.follow(obey)
    reap_orphans()
    status = await (play.with_prompt() if order.get("prompt") else play.to_the_end())
    journal.close()
    os._exit(status)  # nothing is worth tidying up: the kernel ends the world with this process


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
