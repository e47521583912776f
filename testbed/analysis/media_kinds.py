"""Which kind of media a captured packet is: audio, video, application sharing or file transfer.

Descriptions (SDP) in the captured SIP name the sources (SSRC) of each media section. Where none can be read (signaling
over TLS, a capture that began late), the payload type tells G.711; where calls have audio alone all RTP is that; and
the port at which a client or server of the plan sends or receives tells video from application sharing, if the topology
gives each its own. Data over DTLS is a file.
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from testbed.analysis.demux import Bools, Kind, distinct, is_among
from testbed.analysis.packets import Packets
from testbed.analysis.sip_text import sip_texts
from testbed.analysis.space import lots
from testbed.plan.marks import has_port, marks_at
from testbed.plan.model import Plan
from testbed.topology import MediaKind

KINDS: Final[tuple[MediaKind, ...]] = get_args(MediaKind)
NO_KIND: Final = 0
"Code of packets that are no media, or of no known kind; others are one more than their place in KINDS."
_STATIC_AUDIO: Final = (0, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 18)
"Payload types of audio (RFC 3551 table 4)."
_SECTION: Final = re.compile(rb"^m=(?=(?:audio|video|application) )", re.MULTILINE)
_SOURCE: Final = re.compile(rb"^a=ssrc:(\d+)\b", re.MULTILINE)
_SLIDES: Final = re.compile(rb"^a=content:slides\r?$", re.MULTILINE)
_BY_PORT: Final[tuple[MediaKind, ...]] = ("video", "application-sharing")
"Audio's ports are those of bundled media too, so they tell nothing; file transfer is no RTP."


def code_of(kind: MediaKind) -> int:
    """Return the number that stands for *kind* in a column."""
    return KINDS.index(kind) + 1


def kind_named(code: int) -> MediaKind | None:
    """Return the kind that a column's number stands for."""
    return None if code == NO_KIND else KINDS[code - 1]


def media_kinds(packets: Packets, plan: Plan) -> NDArray[np.uint8]:
    """Return the code of each row's kind of media."""
    codes = packets.space.zeros(len(packets), np.uint8)
    sources = _sources(packets)
    described = described_sources(packets)
    named = np.zeros(len(sources), np.uint8)
    for index, source in enumerate(sources.tolist()):
        if (kind := described.get(source) or _told_by_packets(packets, source, plan)) is not None:
            named[index] = code_of(kind)
    for lot in lots(len(packets)):
        kind_of, ssrc = packets.kind[lot], packets.ssrc[lot]
        codes[lot][kind_of == Kind.DATA] = code_of("file-transfer")
        media = _is_media(kind_of)
        if media.all():
            codes[lot] = named[np.searchsorted(sources, ssrc)]
        else:
            codes[lot][media] = named[np.searchsorted(sources, ssrc[media])]
    return codes


def _sources(packets: Packets) -> NDArray[np.uint32]:
    """Return the sources of all media, sorted."""
    found = np.zeros(0, np.uint32)
    for lot in lots(len(packets)):
        ssrc = packets.ssrc[lot][_is_media(packets.kind[lot])]
        if not (known := is_among(ssrc, found)).all():
            found = distinct(np.concatenate((found, ssrc[~known])))
    return found


def _is_media(kind: NDArray[Any]) -> Bools:
    return np.asarray((kind == Kind.RTP) | (kind == Kind.RTCP), np.bool_)


def described_sources(packets: Packets) -> dict[int, MediaKind]:
    """Return the kind of media of each SSRC that a captured description names."""
    found: dict[int, MediaKind] = {}
    for text in sip_texts(packets):
        for section in _SECTION.split(text)[1:]:
            kind = _kind_of(section)
            found.update((int(source), kind) for source in _SOURCE.findall(section))
    return found


def _kind_of(section: bytes) -> MediaKind:
    if section.startswith(b"audio"):
        return "audio"
    if section.startswith(b"application"):
        return "file-transfer"
    return "application-sharing" if _SLIDES.search(section) else "video"


def _told_by_packets(packets: Packets, source: int, plan: Plan) -> MediaKind | None:
    """Return the kind of one source that no description names: by its payload type, else by its ports."""
    p, is_first, ends = packets, True, set[int]()
    for lot in lots(len(p)):
        mine = p.ssrc[lot] == source
        if is_first and (media := mine & (p.kind[lot] == Kind.RTP)).any():
            is_first = False
            if int(p.payload_type[lot][np.argmax(media)]) in _STATIC_AUDIO:
                return "audio"
        rows = np.flatnonzero(mine & _is_media(p.kind[lot])) + lot.start
        for address, port in ((p.source, p.source_port), (p.destination, p.destination_port)):
            ends.update(distinct(address[rows].astype(np.int64) << 16 | port[rows]).tolist())
    if {kind for call in plan.calls for kind in call.media} == {"audio"}:
        return "audio"
    told = {kind for end in ends for kind in _kinds_at(plan, end >> 16, end & 0xFFFF)}
    return told.pop() if len(told) == 1 else None


def _kinds_at(plan: Plan, address: int, port: int) -> Iterator[MediaKind]:
    node = plan.addresses.get(str(IPv4Address(address)))
    for kind, mark in marks_at(plan, node).items() if node is not None else ():
        if kind in _BY_PORT and has_port(mark, port):
            yield kind
