"""The kinds of media a call may have, how SDP names them, and the sockets that each of them is to use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Kind = Literal["audio", "video", "application-sharing", "file-transfer"]
KINDS: Final[tuple[Kind, ...]] = ("audio", "video", "application-sharing", "file-transfer")
"In the order of their media sections."
Codec = Literal["PCMU", "opus"]
"Of audio, as a=rtpmap names it."
PICTURES: Final[tuple[Kind, ...]] = ("video", "application-sharing")
SLIDES: Final = "a=content:slides"
"What tells application sharing from video: both are m=video (RFC 4796 section 5)."
_SECTION: Final = re.compile(r"^(?=m=)", re.MULTILINE)
_OPUS: Final = re.compile(r"^a=rtpmap:\d+ opus/48000", re.MULTILINE | re.IGNORECASE)
_MU_LAW: Final = re.compile(r"^m=audio \d+ \S+(?: \d+)*? 0(?:\s|$)", re.MULTILINE)
_MID: Final = re.compile(r"^a=mid:[^\r\n]*", re.MULTILINE)
_GROUP: Final = re.compile(r"^a=group:BUNDLE[^\n]*\n", re.MULTILINE)
_MID_EXTENSION: Final = re.compile(r"^a=extmap:\d+ urn:ietf:params:rtp-hdrext:sdes:mid\r?\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mark:
    """What the sockets of one kind of media are to have."""

    first_port: int
    last_port: int
    dscp: int
    "Differentiated services code point, 0 to 63 (RFC 2474)."

    @property
    def tos(self) -> int:
        """The byte of the IP header, whose upper six bits are the code point."""
        return self.dscp << 2


def marks_of(job: Mapping[str, Any]) -> dict[Kind, Mark]:
    """Read the job's `media`: `{kind: {"ports": "50000-50019", "dscp": 46}}`; raise ValueError where it is wrong."""
    marks: dict[Kind, Mark] = {}
    for kind, told in (job.get("media") or {}).items():
        if kind not in KINDS:
            raise ValueError(f"no kind of media {kind!r}; there are {', '.join(KINDS)}")
        try:
            first, _, last = str(told["ports"]).partition("-")
            mark = Mark(int(first), int(last or first), int(told["dscp"]))
        except KeyError as missing:
            raise ValueError(f"media.{kind} needs the key {missing}") from None
        if not (0 < mark.first_port <= mark.last_port < 1 << 16 and 0 <= mark.dscp < 64):
            raise ValueError(f"media.{kind}: ports must be a range below 65536 and dscp below 64, not {told}")
        marks[kind] = mark
    return marks


def kinds_of(sdp: str) -> tuple[Kind, ...]:
    """Return the kind of each media section that has one, in order; raise ValueError for a section of no kind."""
    return tuple(_kind_of(section) for section in _SECTION.split(sdp)[1:])


def _kind_of(section: str) -> Kind:
    word = section[2:].split(" ", 1)[0]
    match word:
        case "audio":
            return "audio"
        case "video":
            return "application-sharing" if SLIDES in section.split() else "video"
        case "application":
            return "file-transfer"
    raise ValueError(f"no kind of media is m={word}")


def codec_of(sdp: str) -> Codec:
    """Return the codec of the audio that *sdp* offers: mu-law where that is among them, as everybody here speaks it."""
    return "opus" if _OPUS.search(sdp) and not _MU_LAW.search(sdp) else "PCMU"


def is_bundled(sdp: str) -> bool:
    """Whether all media of *sdp* share one transport (RFC 9143)."""
    return _GROUP.search(sdp) is not None


def name_contents(sdp: str, kinds: Sequence[Kind]) -> str:
    """Return *sdp*, whose sections are of *kinds*, with what application sharing is called."""
    session, *sections = _SECTION.split(sdp)
    named = [
        f"{section}{SLIDES}\r\n" if kind == "application-sharing" else section
        for kind, section in zip(kinds, sections, strict=True)
    ]
    return session + "".join(named)


def with_mids(answer: str, offer: str) -> str:
    """Return *answer* with the identifications that its sections lack: those of *offer*, section by section.

    Who does not know them (RFC 5888) leaves them out, and then the order tells (RFC 9429 section 5.10).
    """
    session, *sections = _SECTION.split(answer)
    mids = [_MID.search(section) for section in _SECTION.split(offer)[1:]]
    named = [
        section if mid is None or _MID.search(section) else f"{section.rstrip()}\r\n{mid[0]}\r\n"
        for section, mid in zip(sections, mids, strict=False)
    ]
    return "".join([session, *named, *sections[len(mids) :]])


def split(sdp: str, *, mid: str | None = None) -> list[str]:
    """Return one description for each media section, with *mid* for its own identification where given."""
    session, *sections = _SECTION.split(_GROUP.sub("", sdp))
    return [session + (section if mid is None else _MID.sub(f"a=mid:{mid}", section)) for section in sections]


def join(descriptions: Mapping[Kind, str]) -> str:
    """Return one description of all sections, each with a transport and an identification of its own.

    Without a group each section keeps its transport (RFC 9143 section 7.3.1). Its identification in each RTP packet is
    left out: the transport says it.
    """
    session, sections = "", []
    for number, description in enumerate(descriptions.values()):
        head, section = _SECTION.split(_GROUP.sub("", description))
        session = session or head
        sections.append(_MID_EXTENSION.sub("", _MID.sub(f"a=mid:{number}", section)))
    return session + "".join(sections)
