"""The RTP clock rate of payload types: the static ones of RFC 3551, others from `a=rtpmap` in captured SDP."""

import re
from collections import defaultdict
from typing import Final

import numpy as np

from testbed.analysis.packets import Kind, Packets

PCMU: Final = 0
STATIC_HZ: Final = {0: 8000, 3: 8000, 4: 8000, 8: 8000, 9: 8000, 18: 8000, 26: 90000, 31: 90000, 34: 90000}
_RTPMAP: Final = re.compile(rb"a=rtpmap:(\d{1,3}) [^/\s]+/(\d+)")


def clock_rates(packets: Packets) -> dict[int, int]:
    """Return the clock rate, in Hz, of each payload type about which all that was offered agrees."""
    told: defaultdict[int, set[int]] = defaultdict(set)
    for row in np.flatnonzero(packets.kind == Kind.SIP).tolist():
        for payload_type, rate in _RTPMAP.findall(packets.payload(row)):
            told[int(payload_type)].add(int(rate))
    agreed = {payload_type: rates.pop() for payload_type, rates in told.items() if len(rates) == 1}
    return agreed | STATIC_HZ
