"""Settings below /proc/sys of a network namespace, written and read by their dotted names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from testbed.emulation.syscalls import inside_network
from testbed.errors import RigError

_PROC_SYS: Final = Path("/proc/sys")
_IPV6: Final = "net.ipv6."
_INTERFACE_FAMILIES: Final = (("net", "ipv4", "conf"), ("net", "ipv4", "neigh"), ("net", "ipv6", "conf"))
_FIRST: Final = "net.ipv4.ip_forward"
"Writing it resets others to the defaults of a router or a host."


def of_interface(name: str) -> str | None:
    """Return the interface a setting belongs to, or None for one that exists from the start."""
    parts = name.split(".")
    if len(parts) == 5 and tuple(parts[:3]) in _INTERFACE_FAMILIES and parts[3] not in ("all", "default", "lo"):
        return parts[3]
    return None


def write_sysctls(netns_fd: int, settings: Mapping[str, str], *, where: str) -> None:
    """Write *settings* in the namespace; raise RigError naming the one that cannot be written."""
    # /proc/sys/net is that of the thread that opens it, so entering the namespace is enough.
    with inside_network(netns_fd):
        for name in sorted(settings, key=lambda x: (x != _FIRST, x)):
            if _is_moot(name):
                continue
            try:
                _path(name).write_text(settings[name])
            except OSError as error:
                raise RigError(f"{where}: sysctl {name}={settings[name]}: {error.strerror}") from None


def read_sysctls(netns_fd: int, names: Iterable[str]) -> dict[str, str]:
    """Return what the kernel has for *names*, blanks evened out; "absent" for a setting it does not have."""
    with inside_network(netns_fd):
        return {name: _read(_path(name)) for name in names}


def _read(path: Path) -> str:
    try:
        return " ".join(path.read_text().split())
    except FileNotFoundError:
        return "absent"


def is_met(name: str, *, wanted: str, found: str) -> bool:
    """Whether *found* is what was wanted; a kernel without IPv6 has it switched off as wanted."""
    if found == "absent":
        return name.startswith(_IPV6) and name.endswith("disable_ipv6") and wanted == "1"
    return found == " ".join(wanted.split())


def _path(name: str) -> Path:
    return _PROC_SYS / name.replace(".", "/")


def _is_moot(name: str) -> bool:
    return name.startswith(_IPV6) and not (_PROC_SYS / "net/ipv6").exists()
