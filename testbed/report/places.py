"""Where a tag stands on its link so that it hides no words: what is drawn, as rectangles, and the first free place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from testbed.report.scene import Line
from testbed.report.svg import Point

SIZES: Final = {"name": 11.5, "role": 9.5, "count": 10.0, "segment-title": 13.0, "segment-note": 10.5}
"Of the letters, by class, as picture.css has them."
LETTER: Final = 0.56
"Width of a letter against its height, on average: a little more than that of the usual fonts."
ASCENT: Final = 0.75
SIGN: Final = (14.0, 17.0)
"Half the width and height of a node's sign."
CLEARANCE: Final = 2.0
SHARES: Final = tuple(sorted((n / 50 for n in range(9, 42)), key=lambda share: (abs(share - 0.5), share)))
"Places along a link, the middle first."


@dataclass(frozen=True, slots=True)
class Rectangle:
    """What something takes of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, centre: Point, half_width: float, half_height: float) -> "Rectangle":
        """Return the one with this centre."""
        x, y = centre
        return cls(x - half_width, y - half_height, x + half_width, y + half_height)

    def overlap(self, other: "Rectangle") -> float:
        """Return the area that both take."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0.0


def words_in(*parts: Element) -> Iterator[Rectangle]:
    """Yield what the words drawn in *parts* take: names, roles, counts and titles."""
    for element in (element for part in parts for element in part.iter("text")):
        css = element.get("class", "").split(" ")[0]
        if size := SIZES.get(css):
            x, y = float(element.get("x", 0)), float(element.get("y", 0))
            width = LETTER * size * len(element.text or "")
            left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[element.get("text-anchor", "start")] * width
            yield Rectangle(left, y - ASCENT * size, left + width, y + (1 - ASCENT) * size)


def free_place(line: Line, size: tuple[float, float], taken: Sequence[Rectangle]) -> Point:
    """Return the place on *line*, nearest to its middle, where a tag of *size* hides nothing that is *taken*.

    Where there is none, the one where it hides least.
    """

    def hidden(share: float) -> float:
        mine = Rectangle.around(line.at(share), size[0] / 2 + CLEARANCE, size[1] / 2 + CLEARANCE)
        return sum(mine.overlap(other) for other in taken)

    return line.at(min(SHARES, key=hidden))
