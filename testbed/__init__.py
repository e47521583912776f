"""A packet-level emulation testbed for real-time calls over ExpressRoute and the Internet."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from testbed.tables import read_run

__all__ = ["read_run"]


def __getattr__(name: str) -> Any:
    """Give `read_run`, with pandas imported only for those who ask: the commands do without."""
    if name == "read_run":
        from testbed.tables import read_run

        return read_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
