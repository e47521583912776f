"""The world's own file system: /tmp and /run are memory that ends with it; what must stay visible is bound back."""

import contextlib
import ctypes
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_MS_BIND: Final = 0x1000
_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
MEMORY: Final = Path("/tmp")
"What a world writes here ends with it, once its file system is sealed."
_COVERED: Final = (MEMORY, Path("/run"))
NETWORKS: Final = Path("/run/netns")
"Where the network namespaces of a world have names, so that `ip netns` and nsenter find them."

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _mount(source: Path | str, target: Path, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind else None
    if _libc.mount(str(source).encode(), str(target).encode(), encoded, flags, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def seal_file_system(keep: Iterable[Path]) -> None:
    """Cover /tmp and /run with empty memory file systems, except for the folders *keep*. Only inside a world."""
    _mount("none", Path("/"), None, _MS_REC | _MS_PRIVATE)
    with contextlib.ExitStack() as stack:
        kept = []
        for folder in sorted({x.resolve() for x in keep}):
            if any(covered in folder.parents for covered in _COVERED):
                fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, fd)
                kept.append((folder, fd))
        for covered in _COVERED:
            _mount("tmpfs", covered, "tmpfs", 0)
        for folder, fd in kept:
            if not folder.is_dir():
                folder.mkdir(parents=True)
                _mount(f"/proc/self/fd/{fd}", folder, None, _MS_BIND | _MS_REC)
    NETWORKS.mkdir()


def name_network(name: str, netns_fd: int) -> Path:
    """Give the network namespace *netns_fd* a name below /run/netns."""
    path = NETWORKS / name
    path.touch()
    _mount(f"/proc/self/fd/{netns_fd}", path, None, _MS_BIND)
    return path


def name_world(name: str) -> None:
    """Set the world's host name."""
    socket.sethostname(name[:63])
