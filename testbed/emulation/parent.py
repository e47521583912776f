"""In a program that `child` has started: its parent, by the job it gives and the lines it is told.

Apart from `child`, because importing asyncio takes such a program longer than all that it does until it is ready.
"""

import json
import os
import signal
import sys
from typing import Any

from testbed.errors import RigError


def read_job() -> dict[str, Any]:
    """Read the job. Later, standard input turns readable when it is to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1 << 16)
        if not chunk:
            raise SystemExit(0)
        line += chunk
    job: dict[str, Any] = json.loads(line)
    return job


def say(kind: str, **fields: Any) -> None:
    """Write one line to the parent."""
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\n")
    sys.stdout.flush()


def one_line(error: BaseException) -> str:
    """Put an exception into one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, RigError) else f"{type(error).__name__}: {text}"
