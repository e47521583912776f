"""What of this machine a world needs: programs, and the right to make user namespaces."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from testbed.errors import MissingTool

_PACKAGES: Final = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "bird": "bird2",
    "iptables-restore": "iptables",
    "iptables-save": "iptables",
    "conntrack": "conntrack",
    "conntrackd": "conntrackd",
    "turnserver": "coturn",
    "mnexec": "mininet",
    "dnsmasq": "dnsmasq-base",
    "nginx": "nginx-light",
    "tinyproxy": "tinyproxy-bin",
    "iperf3": "iperf3",
}
"Program to the Debian package that brings it."
_PROC_SYS: Final = Path("/proc/sys")
_ENABLE: Final = "sysctl -w {}={}"


def search_path() -> str:
    """Return PATH with the folders that an ordinary user's lacks, where Debian keeps bird, iptables and conntrack."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([*folders, *(x for x in ("/usr/sbin", "/sbin") if x not in folders)])


def find_tool(name: str) -> str:
    """Return the path of a program; raise MissingTool with the package that brings it."""
    if path := shutil.which(name, path=search_path()):
        return path
    raise MissingTool(f"program {name} is missing", f"apt-get install {_PACKAGES.get(name, name)}")


def sealed(*command: str, more: Iterable[str] = ()) -> list[str]:
    """Return the command that runs *command* as root of new user, network, mount and PID namespaces.

    They end with it, and it with whoever runs it. *more* are further words of unshare. Raises MissingTool.
    """
    words = "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"
    return [find_tool("unshare"), *words, *more, "--", *command]


def check_tools(names: Iterable[str]) -> None:
    """Raise MissingTool for the first of *names* that this machine lacks."""
    for name in names:
        find_tool(name)


def check_namespaces() -> None:
    """Raise MissingTool if this user may not make user and network namespaces, naming the setting that forbids it."""
    if fault := _forbidding_setting(_PROC_SYS):
        what, mend = fault
        raise MissingTool(f"user namespaces are forbidden: {what}", mend)
    trial = [find_tool("unshare"), "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"]
    answer = subprocess.run(trial, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    if answer.returncode:
        said = " ".join(answer.stderr.split()) or f"unshare ended with {answer.returncode}"
        if restriction := _apparmor_restriction(_PROC_SYS):
            what, mend = restriction
            raise MissingTool(f"user namespaces are forbidden: {what} ({said})", mend)
        raise MissingTool(
            f"user namespaces are forbidden: {said}",
            "allow them in the kernel, or, in a container, run it with --security-opt seccomp=unconfined",
        )


def _setting(proc_sys: Path, name: str) -> int | None:
    path = proc_sys / name.replace(".", "/")
    return int(path.read_text()) if path.exists() else None


def _forbidding_setting(proc_sys: Path) -> tuple[str, str] | None:
    """Return the setting that surely forbids user namespaces, and its mend."""
    if not (proc_sys / "user/max_user_namespaces").exists():
        return "this kernel has none (CONFIG_USER_NS)", "boot a kernel with user namespaces"
    for name, least in (("user.max_user_namespaces", 1), ("user.max_net_namespaces", 1)):
        value = _setting(proc_sys, name)
        if value is not None and value < least:
            return f"{name}={value}", _ENABLE.format(name, 15000)
    # Debian's own switch; root is not bound by it.
    if _setting(proc_sys, "kernel.unprivileged_userns_clone") == 0 and os.geteuid() != 0:
        return "kernel.unprivileged_userns_clone=0", _ENABLE.format("kernel.unprivileged_userns_clone", 1)
    return None


def _apparmor_restriction(proc_sys: Path) -> tuple[str, str] | None:
    """Return Ubuntu 24.04's restriction, if it is on: a profile may still allow it, so only a failed trial convicts."""
    name = "kernel.apparmor_restrict_unprivileged_userns"
    return (f"{name}=1", _ENABLE.format(name, 0)) if _setting(proc_sys, name) == 1 else None
