"""What each link did to the media that passed it, all streams together, by its direction."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

from testbed.analysis.quality.figures import Passage
from testbed.analysis.quality.streams import Stream, Stretch, smallest_stretches

Document = dict[str, Any]


@dataclass(slots=True)
class _Pool:
    """Packets of all streams on one stretch, and mean and spread of their delays."""

    part: Stretch
    entered: int = 0
    lost: int = 0
    left: int = 0
    mean_ns: float = 0.0
    squares: float = 0.0
    "Sum of the squared distances from the mean."

    def add(self, passage: Passage) -> None:
        """Count one stream's packets in."""
        self.entered += len(passage.entered_ns)
        self.lost += int(passage.lost.sum())
        delay_ns = passage.delay_ns
        if not len(delay_ns):
            return
        # Means and squares of two sets give those of both (Chan, Golub and LeVeque 1979, equation 2.1).
        mean_ns, left = float(delay_ns.mean()), self.left + len(delay_ns)
        apart = mean_ns - self.mean_ns
        self.squares += float(((delay_ns - mean_ns) ** 2).sum()) + apart**2 * self.left * len(delay_ns) / left
        self.mean_ns, self.left = self.mean_ns + apart * len(delay_ns) / left, left

    def figures(self) -> Document:
        """Return packets, lost, and mean and standard deviation of the delay in ns: None where no packet left."""
        document: Document = {"packets": self.entered, "lost": self.lost, "delay_mean_ns": None, "delay_std_ns": None}
        if self.left:
            std_ns = sqrt(self.squares / self.left)
            document |= {"delay_mean_ns": round(self.mean_ns), "delay_std_ns": round(std_ns)}
        return document


class Achieved:
    """Takes in stream by stream."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, ...], _Pool] = {}

    def add(self, stream: Stream) -> None:
        """Count the packets of *stream*, on each stretch once."""
        done = set()
        for part in (part for way in stream.ways for part in smallest_stretches(way)):
            hops = part.way.hops[part.first : part.behind]
            if part.problem is not None or part.entry is None or part.exit is None or hops in done:
                continue
            done.add(hops)
            self._pools.setdefault(hops, _Pool(part)).add(stream.passage(part.entry, part.exit))

    def links(self) -> Document:
        """Return the figures of each link, by direction."""
        links: Document = {}
        for pool in self._pools.values():
            for direction in pool.part.way.directions[pool.part.first : pool.part.behind]:
                others = [name for name in pool.part.links if name != direction.link]
                word = "forward" if direction.forward else "return"
                document = pool.figures() | ({"together_with": others} if others else {})
                links.setdefault(direction.link, {})[word] = document
        return links
