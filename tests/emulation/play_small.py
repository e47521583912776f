"""Run by test_world as a conductor of its own: play the small network with an agent that waits, tell what is said."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from testbed.emulation.world import World
from testbed.errors import TestbedError
from testbed.plan.model import CallPlan, Job

from .small_world import small_plan


def _say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def play(directory: Path) -> int:
    """Play until it is over; on SIGINT stop early as the conductor does."""
    # Nobody answers it, and it is patient: the world lives until something ends it.
    phone = {
        "uri": "sip:bob@pstn.example", "address": "10.0.4.2", "tone_hz": 500, "setup_limit_ns": 60_000_000_000,
        "listen": [{"transport": "udp", "port": 5060}],
        "server": {"address": "10.0.1.1", "port": 5060, "transport": "udp"},
    }  # fmt: skip
    job = Job(name="bob", node="bob", program="phone", arguments=phone, stage="party")
    call = CallPlan(
        party="bob", call="never", target="sip:nobody@pstn.example", answerers=(), media=("audio",), bundled=True
    )
    plan = small_plan(jobs=(job,)).model_copy(update={"calls": (call,), "setup_limit_ns": 60_000_000_000})
    interrupt = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupt.set)
    try:
        async with World.start(plan, directory=directory, on_event=_say) as world:
            finished = asyncio.ensure_future(world.finished())
            stopping = asyncio.ensure_future(interrupt.wait())
            await asyncio.wait({finished, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not finished.done():
                await world.stop()
            await finished
    except TestbedError as error:
        _say({"type": "raised", "text": str(error)})
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(play(Path(sys.argv[1]))))
