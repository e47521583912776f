"""Calibrate netem in a kernel that has it: `python -m benchmarks.uml_netem` boots user-mode Linux (package
user-mode-linux), for machines whose own kernel lacks netem.

The machine's files are its root, read-only. This very module is its init: it loads netem and runs the calibration; the
rows come out by the console. It needs no privilege and touches no network but its own.
"""

import asyncio
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from testbed.emulation import netem
from testbed.emulation.calibration import Row

LIMIT_S: Final = 120
MODULES: Final = Path("/usr/lib/uml/modules")
SCHEDULERS: Final = "sch_netem", "sch_htb", "sch_prio", "sch_ingress"
WANTED: Final = ("veth", *SCHEDULERS, "cls_u32", "act_mirred", "act_pedit", "act_csum")
MARK: Final = "calibration: "
_SYS_FINIT_MODULE: Final = 313  # x86-64
_POWER_OFF: Final = 0x4321FEDC
_libc: Final = ctypes.CDLL(None, use_errno=True)


def with_dependencies(wanted: str, table: dict[str, list[str]], loaded: set[str]) -> Iterator[str]:
    """Yield the paths of modules to load for *wanted*, those it needs first."""
    path = next((x for x in table if Path(x).stem == wanted), None)
    if path is None:
        return  # built in
    for needed in reversed(table[path]):
        if needed not in loaded:
            loaded.add(needed)
            yield needed
    if path not in loaded:
        loaded.add(path)
        yield path


def load_modules() -> None:
    """Load what netem links need, as modprobe would."""
    folder = MODULES / os.uname().release
    lines = (folder / "modules.dep").read_text().splitlines()
    table = {path: needs.split() for path, needs in (x.split(":") for x in lines)}
    loaded: set[str] = set()
    for wanted in WANTED:
        for path in with_dependencies(wanted, table, loaded):
            with (folder / path).open("rb") as module:
                if _libc.syscall(_SYS_FINIT_MODULE, module.fileno(), b"", 0):
                    print(f"cannot load {path}: {os.strerror(ctypes.get_errno())}")


def mount(kind: str, where: str) -> None:
    """Mount a virtual file system; raise OSError."""
    if _libc.mount(kind.encode(), where.encode(), kind.encode(), 0, None):
        raise OSError(ctypes.get_errno(), f"mount {where}")


def be_init(python: str) -> None:
    """Be process 1 of user-mode Linux: mount, load, calibrate, switch the power off."""
    try:
        for kind, where in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp"), ("tmpfs", "/run")):
            mount(kind, where)
        load_modules()
        os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", PYTHONDONTWRITEBYTECODE="1")
        if obstacle := asyncio.run(netem.obstacle()):  # `run` would take the wire on such a kernel
            print(f"\n{MARK}{json.dumps({'fault': obstacle})}", flush=True)
            return
        done = subprocess.run(
            [python, "-m", "testbed.emulation.calibration_process", "netem"],
            capture_output=True,
            text=True,
            check=False,
        )
        print(f"\n{MARK}{done.stdout or json.dumps({'fault': done.stderr})}", flush=True)
    finally:
        _libc.reboot(_POWER_OFF)


def boot() -> list[Row]:
    """Boot, calibrate, and return the rows; raise SystemExit with one line if that is impossible."""
    kernel = shutil.which("linux.uml")
    if kernel is None:
        raise SystemExit("linux.uml is missing: apt-get install user-mode-linux")
    here = Path(__file__).resolve().parents[1]
    # The kernel hands words it does not know to init, as its arguments or (with "=") its environment.
    command = [
        kernel,
        "mem=512M",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        "con=null",
        "con0=null,fd:1",
        f"init={sys.executable}",
        f"PYTHONPATH={here}",
        "--",
        "-m",
        "benchmarks.uml_netem",
        "init",
        sys.executable,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=LIMIT_S,
        cwd=here,
        stdin=subprocess.DEVNULL,
    )
    found = re.search(rf"{MARK}(.*)", done.stdout)
    if found is None:
        raise SystemExit(f"user-mode Linux said nothing: {done.stdout[-500:]}")
    rows = json.loads(found[1])
    if isinstance(rows, dict):
        raise SystemExit(f"netem cannot be calibrated in user-mode Linux: {rows['fault']}")
    return [Row(**x) for x in rows]


def main() -> int:
    """Print the table; return 0 if every row is within its tolerance."""
    rows = boot()
    for row in rows:
        print(
            f"{row.what:30} {row.configured:9.4f} configured {'-' if row.achieved is None else f'{row.achieved:9.4f}'}"
            f" achieved ± {row.tolerance:.4f} {row.unit:8} {'ok' if row.ok else 'NOT OK'}"
        )
    return 0 if all(x.ok for x in rows) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["init"]:
        be_init(sys.argv[2])
    sys.exit(main())
