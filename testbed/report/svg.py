"""SVG elements by name, so that pictures read as what they draw. Colours are classes of the page's style sheet."""

from xml.etree.ElementTree import Element, SubElement, tostring

Point = tuple[float, float]


def number(value: float) -> str:
    """Write a coordinate with at most one decimal."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def group(parent: Element, css: str, title: str = "") -> Element:
    """Add a group; *title* is shown when one points at it."""
    element = SubElement(parent, "g", {"class": css})
    if title:
        SubElement(element, "title").text = title
    return element


def line(parent: Element, start: Point, end: Point, css: str) -> Element:
    places = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    return SubElement(parent, "line", {"class": css, **{name: number(value) for name, value in places.items()}})


def rectangle(parent: Element, x: float, y: float, width: float, height: float, css: str, radius: float = 0) -> Element:
    places = {"x": x, "y": y, "width": width, "height": height, "rx": radius}
    return SubElement(parent, "rect", {"class": css, **{name: number(value) for name, value in places.items()}})


def circle(parent: Element, centre: Point, radius: float, css: str) -> Element:
    places = {"cx": centre[0], "cy": centre[1], "r": radius}
    return SubElement(parent, "circle", {"class": css, **{name: number(value) for name, value in places.items()}})


def polygon(parent: Element, points: list[Point], css: str) -> Element:
    return SubElement(
        parent, "polygon", {"class": css, "points": " ".join(f"{number(x)},{number(y)}" for x, y in points)}
    )


def path(parent: Element, data: str, css: str) -> Element:
    return SubElement(parent, "path", {"class": css, "d": data})


def text(parent: Element, place: Point, words: str, css: str, anchor: str = "middle") -> Element:
    element = SubElement(
        parent, "text", {"class": css, "x": number(place[0]), "y": number(place[1]), "text-anchor": anchor}
    )
    element.text = words
    return element


def as_text(element: Element) -> str:
    """Return the markup of an element."""
    return tostring(element, encoding="unicode")
