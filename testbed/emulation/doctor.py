"""Look at this machine: what a run needs, whether it is there, and the command that brings it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from testbed.errors import MissingTool, UsageError

ROOT: Final = Path(__file__).parents[2]
SYSTEM_PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"An ordinary user's PATH lacks the folders in which Debian keeps bird, iptables and conntrack."


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. *mend* is the command that brings what is missing."""

    what: str
    ok: bool
    state: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "ok": self.ok, "state": self.state, "mend": self.mend}


@dataclass(frozen=True, slots=True)
class Package:
    """A line of setup/packages.txt."""

    name: str
    found_by: str
    needed_for: str
    why: str

    def is_there(self) -> bool:
        kind, _, module = self.found_by.partition(":")
        if kind == "python":
            return find_spec(module) is not None
        return (
            Path(self.found_by).exists()
            if self.found_by.startswith("/")
            else bool(shutil.which(self.found_by, path=SYSTEM_PATH))
        )


def read_packages(path: Path = ROOT / "setup/packages.txt") -> list[Package]:
    """Read the list of Debian packages that make and the Vagrantfile read too."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; run the testbed from its own folder, set up by `make setup`"
        ) from None
    rows = (line.split(maxsplit=3) for line in lines if line.strip() and not line.startswith("#"))
    return [Package(*row) for row in rows]


def examine() -> list[Finding]:
    """Look at everything a run needs."""
    return [_python(), _namespaces(), *_packages(), _firewall(), _links(), _size()]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(
        "Python",
        sys.version_info >= (3, 11),
        version,
        "" if sys.version_info >= (3, 11) else "install Python 3.11 or later",
    )


def _packages() -> list[Finding]:
    findings = []
    for package in read_packages():
        there = package.is_there()
        purpose = "" if package.needed_for == "run" else ", for the tests"
        state = f"{'there' if there else 'missing'} ({package.why}{purpose})"
        findings.append(
            Finding(f"package {package.name}", there, state, "" if there else f"apt-get install {package.name}")
        )
    return findings


def _namespaces() -> Finding:
    from testbed.emulation.world import check_namespaces

    try:
        check_namespaces()
    except MissingTool as fault:
        return Finding("user namespaces", False, fault.what, fault.mend)
    return Finding("user namespaces", True, "allowed: no root needed")


def _in_a_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": SYSTEM_PATH},
    )


def _firewall() -> Finding:
    rules = "iptables -A FORWARD -m conntrack --ctstate INVALID -j NFLOG --nflog-group 100"
    answer = _in_a_namespace("sh", "-c", f"{rules} && iptables -t nat -A POSTROUTING -j MASQUERADE")
    if answer.returncode == 0:
        return Finding(
            "stateful firewall", True, "iptables with connection tracking, NFLOG and NAT works in a namespace"
        )
    fault = (answer.stderr.strip().splitlines() or ["no message"])[-1]
    modules = "nf_conntrack nf_nat xt_conntrack xt_NFLOG nfnetlink_log xt_comment"
    return Finding("stateful firewall", False, fault, f"modprobe -a {modules}")


def _links() -> Finding:
    from testbed.emulation import wire_core
    from testbed.emulation.links import choose_backend_in_a_namespace

    if choose_backend_in_a_namespace() == "netem":
        return Finding("link shaping", True, "netem (the kernel has sch_netem)")
    how = "compiled" if wire_core.load() else "in Python: slower; apt-get install gcc libc6-dev, then make setup"
    return Finding("link shaping", True, f"wire (the kernel has no sch_netem: a userspace wire, {how})")


def _size() -> Finding:
    cpus = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    enough = cpus >= 2 and memory_gib >= 2
    return Finding(
        "size", enough, f"{cpus} cores, {memory_gib:.1f} GiB", "" if enough else "two cores and 2 GiB are the least"
    )
