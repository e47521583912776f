"""PID 1 reaps whose parents ended before them, and never takes an end from the one who waits for it."""

import subprocess
import sys
from textwrap import dedent

PATIENCE_S = 0.2
BEGIN = f"""
    import asyncio, ctypes, os, sys, time
    from pathlib import Path
    from testbed.emulation import orphans

    PR_SET_CHILD_SUBREAPER = 36
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    orphans._PATIENCE_S = {PATIENCE_S}
    if sys.version_info < (3, 12):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
"""


def told_by(script: str) -> str:
    """Run *script* as a process to which orphans fall, and return what it prints."""
    program = dedent(BEGIN) + dedent(script)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_a_process_whose_parent_ended_is_reaped() -> None:
    script = """
        async def main():
            orphans.reap_orphans()
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", "sh -c 'exit 3' & echo $!", stdout=asyncio.subprocess.PIPE)
            orphan = int((await process.communicate())[0])
            async with asyncio.timeout(30):
                while Path(f"/proc/{orphan}").exists():
                    await asyncio.sleep(0.01)  # the kernel tells nobody that it is gone
            print("gone")
        asyncio.run(main())
    """
    assert told_by(script) == "gone\n"


def test_an_end_that_a_busy_loop_has_not_heard_of_yet_is_left_to_who_waits_for_it() -> None:
    # In one turn of the loop, late because of what came before: the child ends, a look, a long while, another look.
    script = f"""
        async def main():
            loop = asyncio.get_running_loop()
            orphans.reap_orphans()
            process = await asyncio.create_subprocess_exec("sleep", "60")
            for _ in range(4):  # each end asks for a look
                await (await asyncio.create_subprocess_exec("true")).wait()
                await asyncio.sleep({PATIENCE_S} / 4)
            loop.call_soon(time.sleep, {PATIENCE_S} * 2)
            loop.call_later(0.001, os.kill, process.pid, 15)
            for step in range(8):
                loop.call_later(0.002 + step * {PATIENCE_S} / 8, time.sleep, {PATIENCE_S} * 1.2)
            print(await process.wait())
        asyncio.run(main())
    """
    assert told_by(script) == "-15\n"
