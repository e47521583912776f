"""pyroute2's messages of routing netlink, without the rest of pyroute2.

Its `__init__` imports all of it, which would be a quarter of a second at the start of every world.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec

__all__ = ["ifaddrmsg", "ifinfmsg", "rtmsg", "tcmsg"]


@contextmanager
def _without_init(package: str) -> Iterator[None]:
    """Have modules of *package* imported meanwhile without running its own `__init__`, which a later import does."""
    spec = find_spec(package)
    if package in sys.modules or spec is None:
        yield
        return
    sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with _without_init("pyroute2"):
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg
    from pyroute2.netlink.rtnl.tcmsg import tcmsg
