"""The SIP ladder: who sent which message to whom and when, with its addresses. One picture that stands by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, SubElement

from testbed.report import glyphs, svg
from testbed.report.record import Document

COLUMN: Final = 250.0
ROW: Final = 34.0
LEFT: Final = 96.0
"Room for the times."
TOP: Final = 52.0
MOST: Final = 120
"More messages than that are a file to read."
_LONGEST: Final = 36


@dataclass(frozen=True, slots=True)
class Message:
    """One SIP message between two neighbours on the application's way."""

    after_ms: float
    sender: str
    receiver: str
    words: str
    ends: str
    "Addresses as they were where it was first seen."
    frame: int
    lost: bool


def messages(timeline: Document) -> tuple[Message, ...]:
    """Return the SIP messages of timeline.json, in order of time; a segment that continues one is none."""
    dropped = {drop["packet"] for drop in timeline["drops"] if drop["packet"] is not None}
    found = []
    first_ns: int | None = None
    for place, packet in enumerate(timeline["packets"]):
        if packet["kind"] != "SIP" or not any(layer == "SIP" for layer, _ in packet["layers"]):
            continue
        if packet["title"] == "SIP, continued":
            continue
        first_ns = packet["t"] if first_ns is None else first_ns
        sighting = packet["way"][0]
        found.append(
            Message(
                after_ms=(packet["t"] - first_ns) / 1e6,
                sender=packet["from"],
                receiver=packet["to"],
                words=packet["title"],
                ends=timeline["ends"][sighting[4]],
                frame=sighting[3],
                lost=place in dropped,
            )
        )
    return tuple(found)


def draw_ladder(told: Sequence[Message], scenario: str, *, identity: str) -> str:
    """Return the ladder as an SVG element."""
    shown = told[:MOST]
    columns = list(dict.fromkeys(node for one in shown for node in (one.sender, one.receiver)))
    place = {node: LEFT + COLUMN * (at + 0.35) for at, node in enumerate(columns)}
    width, height = LEFT + COLUMN * (len(columns) - 0.3) + 20, TOP + ROW * len(shown) + 24
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "class": "ladder",
            "role": "img",
            "aria-labelledby": f"{identity}-title",
            "aria-describedby": f"{identity}-desc",
            "viewBox": f"0 0 {svg.number(width)} {svg.number(height)}",
            "width": svg.number(width),
            "height": svg.number(height),
        },
    )
    SubElement(root, "title", {"id": f"{identity}-title"}).text = f"SIP messages of {scenario}"
    told_words = [f"{one.after_ms:.0f} ms {one.sender} to {one.receiver}: {one.words}" for one in shown]
    SubElement(root, "desc", {"id": f"{identity}-desc"}).text = ". ".join(told_words)
    for node, x in place.items():
        svg.line(root, (x, TOP - 14), (x, height - 12), "lifeline")
        svg.text(root, (x, TOP - 24), node, "name")
    for row, one in enumerate(shown):
        _draw_message(root, one, place, TOP + ROW * (row + 0.5))
    return svg.as_text(root)


def _draw_message(root: Element, one: Message, place: dict[str, float], y: float) -> None:
    group = svg.group(root, "message lost" if one.lost else "message", f"frame {one.frame}: {one.words}, {one.ends}")
    svg.text(group, (LEFT - 26, y + 4), f"{one.after_ms:,.1f} ms", "time", "end")
    start, end = place[one.sender], place[one.receiver]
    rightwards = end > start
    tip = (end - 2 if rightwards else end + 2, y)
    svg.line(group, (start, y), tip, "arrow")
    if one.lost:  # it came as far as the node that dropped it
        glyphs.draw_drop(group, (end - 8, y), "")
    else:
        glyphs.draw_arrow(group, tip, 0 if rightwards else 3.14159265, "head")
    words = one.words if len(one.words) <= _LONGEST else one.words[: _LONGEST - 1] + "…"
    svg.text(group, ((start + end) / 2, y - 5), words, "words")
    svg.text(group, ((start + end) / 2, y + 12), one.ends, "addresses")
