"""The capture as tables: a row a frame, and a row a flow."""

from ipaddress import IPv4Address
from typing import Any, Final

import numpy as np
import pandas as pd

from testbed.analysis.packets import Encapsulation, Kind
from testbed.analysis.run import Run

_PLAIN: Final = [
    "frame",
    "time_ns",
    "protocol",
    "source_port",
    "destination_port",
    "ttl",
    "dscp",
    "ip_id",
    "ip_length",
    "tcp_sequence",
    "tcp_acknowledged",
    "tcp_flags",
    "icmp_type",
    "icmp_code",
    "payload_length",
    "channel",
    "stun_type",
    "ssrc",
    "sequence",
    "rtp_timestamp",
    "payload_type",
    "media_bytes",
]
_FLOW: Final = ["link", "forward", "protocol", "source", "source_port", "destination", "destination_port", "kind"]


def packets(run: Run) -> pd.DataFrame:
    """Return a row a captured frame, in file order, without its content."""
    decoded = run.packets
    links = [interface.name for interface in decoded.interfaces]
    return pd.DataFrame(
        {
            # As wide as pandas takes them: whoever adds up lengths in a notebook does not think of 16 bits.
            **{name: getattr(decoded, name).astype(np.int64) for name in _PLAIN},
            "forward": decoded.forward,
            "link": pd.Categorical.from_codes(decoded.link.astype(np.int64), categories=links),
            "source": _addresses(decoded.source),
            "destination": _addresses(decoded.destination),
            "kind": pd.Categorical.from_codes(decoded.kind.astype(np.int64), categories=[k.name for k in Kind]),
            "encapsulation": pd.Categorical.from_codes(
                decoded.encapsulation.astype(np.int64), categories=[one.name for one in Encapsulation]
            ),
        }
    )


def _addresses(numbers: Any) -> pd.Categorical:
    known, code = np.unique(numbers, return_inverse=True)
    return pd.Categorical.from_codes(code, categories=[str(IPv4Address(int(number))) for number in known])


def flows(run: Run) -> pd.DataFrame:
    """Return a row a link, direction, five-tuple and kind, in order of their first frame."""
    found = (
        packets(run)
        .groupby(_FLOW, observed=True, sort=False)
        .agg(
            packets=("frame", "size"),
            ip_bytes=("ip_length", "sum"),
            payload_bytes=("payload_length", "sum"),
            first_frame=("frame", "first"),
            first_ns=("time_ns", "min"),
            last_ns=("time_ns", "max"),
        )
    )
    return found.reset_index().sort_values("first_frame", ignore_index=True)
