"""SIP transactions as captured: what was asked, what was answered and when, on each link (RFC 3261 section 17)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

import numpy as np
import pandas as pd

from testbed.analysis.packets import Kind
from testbed.analysis.run import Run

_START: Final = re.compile(rb"^(?:SIP/2\.0 (\d{3})[^\r\n]*|([A-Z]+) (\S+) SIP/2\.0)\r?$", re.MULTILINE)
_CALL_ID: Final = re.compile(rb"^(?:Call-ID|i)[ \t]*:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)
_CSEQ: Final = re.compile(rb"^CSeq[ \t]*:[ \t]*(\d+)[ \t]+([A-Z]+)", re.MULTILINE | re.IGNORECASE)
_BRANCH: Final = re.compile(rb"^(?:Via|v)[ \t]*:[^\r\n]*?;[ \t]*branch=([^;,\s]+)", re.MULTILINE | re.IGNORECASE)
COLUMNS: Final = [
    "link",
    "method",
    "request_uri",
    "call_id",
    "cseq",
    "branch",
    "source",
    "source_port",
    "destination",
    "destination_port",
    "transport",
    "requests",
    "request_ns",
    "provisional_ns",
    "final_ns",
    "final_status",
    "response_ms",
]


@dataclass(frozen=True, slots=True)
class _Message:
    row: int
    status: int | None
    method: str
    uri: str
    call_id: str
    cseq: int
    branch: str


def sip_transactions(run: Run) -> pd.DataFrame:
    """Return a row a transaction and link, in order of time; null where an answer was not seen.

    The top Via's branch, the method and CSeq tell a transaction; an ACK has no answer. Signaling in TLS is not read.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    order = np.argsort(run.packets.time_ns, kind="stable")
    for row in order[run.packets.kind[order] == Kind.SIP].tolist():
        for message in _messages(run.packets.payload(row), row):
            key = int(run.packets.link[row]), message.branch, message.method, message.cseq, message.call_id
            if message.status is None:
                _note_request(run, found, key, message)
            elif key in found:
                _note_response(found[key], message.status, int(run.packets.time_ns[row]))
    # Column by column: times beside a null would pass through floating point and lose their last digits.
    kinds = {name: "Int64" for name in ("provisional_ns", "final_ns", "final_status")} | {"response_ms": "Float64"}
    columns = {name: [one[name] for one in found.values()] for name in COLUMNS}
    typed = {name: pd.array(values, dtype=kinds[name]) for name, values in columns.items() if name in kinds}
    return pd.DataFrame({**columns, **typed})


def _messages(payload: bytes, row: int) -> Iterator[_Message]:
    """Yield the messages that begin in a packet; over TCP there may be several."""
    starts = list(_START.finditer(payload))
    for start, behind in zip(starts, [*(one.start() for one in starts[1:]), len(payload)], strict=False):
        text = payload[start.start() : behind]
        call_id, cseq, branch = _CALL_ID.search(text), _CSEQ.search(text), _BRANCH.search(text)
        if call_id is not None and cseq is not None and branch is not None:
            status = int(start[1]) if start[1] else None
            uri = (start[3] or b"").decode("utf-8", "replace")
            ends = [one.decode("latin-1") for one in (cseq[2], call_id[1], branch[1])]
            yield _Message(row, status, ends[0], uri, ends[1], int(cseq[1]), ends[2])


def _note_request(run: Run, found: dict[tuple[Any, ...], dict[str, Any]], key: Any, message: _Message) -> None:
    packets, row = run.packets, message.row
    if key in found:
        found[key]["requests"] += 1
        return
    found[key] = {
        "link": packets.interfaces[int(packets.link[row])].name,
        "method": message.method,
        "request_uri": message.uri,
        "call_id": message.call_id,
        "cseq": message.cseq,
        "branch": message.branch,
        "source": str(IPv4Address(int(packets.source[row]))),
        "source_port": int(packets.source_port[row]),
        "destination": str(IPv4Address(int(packets.destination[row]))),
        "destination_port": int(packets.destination_port[row]),
        "transport": "TCP" if int(packets.protocol[row]) == 6 else "UDP",
        "requests": 1,
        "request_ns": int(packets.time_ns[row]),
        "provisional_ns": None,
        "final_ns": None,
        "final_status": None,
        "response_ms": None,
    }


def _note_response(transaction: dict[str, Any], status: int, at_ns: int) -> None:
    if status < 200:
        transaction["provisional_ns"] = transaction["provisional_ns"] or at_ns
    elif transaction["final_ns"] is None:
        transaction["final_ns"], transaction["final_status"] = at_ns, status
        transaction["response_ms"] = (at_ns - transaction["request_ns"]) / 1e6
