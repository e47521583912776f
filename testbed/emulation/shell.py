"""`testbed shell`: a world on the terminal, with routing and servers running and Mininet's prompt."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from testbed.emulation import precedence, tools
from testbed.emulation.world import order_line, stage_command, world_environment
from testbed.errors import RigError
from testbed.plan.model import Plan

_NEEDED = ("unshare", "nsenter", "mnexec", "iptables-restore", "iptables-save", "bird", "turnserver")


def run_shell(plan: Plan) -> int:
    """Start the world of *plan* on this terminal and return once its prompt is left; raise RigError if it breaks."""
    tools.check_tools(_NEEDED)
    tools.check_namespaces()
    orders_out, orders_in = os.pipe()
    said_out, said_in = os.pipe()
    with os.fdopen(said_out, encoding="utf-8") as said:
        # Ctrl-C belongs to the command at the prompt: the world and we take no notice, the prompt itself does.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = subprocess.Popen(
                stage_command("--control", str(orders_out), str(said_in)),
                pass_fds=(orders_out, said_in), env=world_environment(),
            )  # fmt: skip
            os.close(orders_out)
            os.close(said_in)
            with os.fdopen(orders_in, "wb", buffering=0) as orders:
                orders.write(order_line(plan, None, "auto", prompt=True))
                error = _follow(said.readline, process.pid)
                process.wait()
        finally:
            signal.signal(signal.SIGINT, before)
    if error is not None:
        raise RigError(error)
    return 0


def _follow(read_line: Any, launcher: int) -> str | None:
    """Show progress until the prompt takes over; return what broke the world, None if it was left in peace."""
    error: str | None = "the world ended before its prompt was left"
    while line := read_line():
        event = json.loads(line)
        match event["type"]:
            case "progress":
                sys.stderr.write(f"{event['stage']}: {event['text']}\n" if event["text"] else f"{event['stage']}\n")
            case "urgent":
                precedence.give(event["pid"], launcher=launcher)
            case "notice":
                sys.stderr.write(f"{event['text']}\n")
            case "error":
                error = event["text"]
            case "done":
                error = None
    return error
