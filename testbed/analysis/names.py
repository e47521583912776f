"""Questions to name servers, as captured: who asked whom for what, and which answer came back to the one who asked."""

from collections.abc import Iterator
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import numpy as np

from testbed.analysis.demux import Kind
from testbed.analysis.network import Network
from testbed.analysis.packets import UDP, Packets
from testbed.analysis.sightings import hops_of

_PORT = 53


@dataclass(frozen=True, slots=True)
class Question:
    """One name that one host asked one name server for, however often it repeated itself."""

    asker: str
    server: str
    name: str
    kind: str
    "A, SRV ..."
    first_frame: int
    rcode: str | None
    "What the asker was told (RFC 1035 section 4.1.1); None where no answer reached it."
    answer_frame: int | None
    has_records: bool
    "Whether the answer has a record of that kind."


@dataclass(slots=True)
class _Asked:
    first_frame: int
    rcode: str | None = None
    answer_frame: int | None = None
    has_records: bool = False


def questions(packets: Packets, network: Network) -> tuple[Question, ...]:
    """Return every question in the order in which it was first asked."""
    asked: dict[tuple[str, str, str, str], _Asked] = {}
    for row, sender, receiver, message in _messages(packets, network):
        (question,) = message.question
        name, kind = str(question.name).rstrip("."), dns.rdatatype.to_text(question.rdtype)
        frame = int(packets.frame[row])
        if not message.flags & dns.flags.QR:
            asked.setdefault((sender, receiver, name, kind), _Asked(frame))
        elif (known := asked.get((receiver, sender, name, kind))) is not None and not known.has_records:
            known.rcode, known.answer_frame = dns.rcode.to_text(message.rcode()), frame
            known.has_records = any(records.rdtype == question.rdtype for records in message.answer)
    return tuple(
        Question(*key, first_frame=each.first_frame, rcode=each.rcode, answer_frame=each.answer_frame,
                 has_records=each.has_records)
        for key, each in asked.items()
    )  # fmt: skip


def _messages(packets: Packets, network: Network) -> Iterator[tuple[int, str, str, dns.message.Message]]:
    """Yield row, sender, receiver and content of each message at its client: questions as sent, answers as received."""
    hop, usable = hops_of(packets, network)
    rows = np.flatnonzero((packets.kind == Kind.DNS) & (packets.protocol == UDP) & usable)
    for row in rows[np.argsort(packets.time_ns[rows], kind="stable")].tolist():
        direction = network.directions[int(hop[row])]
        is_question = int(packets.destination_port[row]) == _PORT
        at_client = direction.source if is_question else direction.target
        client, server = packets.source[row], packets.destination[row]
        if not is_question:
            client, server = server, client
        owner, asked = network.owner(int(client)), network.owner(int(server))
        if owner != at_client or asked is None or not network.is_host(owner):
            continue
        try:
            message = dns.message.from_wire(packets.payload(row))
        except dns.exception.DNSException:
            continue  # not DNS, whatever its port says
        if len(message.question) == 1:
            yield row, *((owner, asked) if is_question else (asked, owner)), message
