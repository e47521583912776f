"""Whether a link itself may have lost what was last seen on it: words beside a verdict, which rests on captures.

A link is captured at end A, so what goes from A to B is seen before the link's shape: B may never have got it.
"""

from dataclasses import dataclass

from testbed.analysis.network import Direction
from testbed.analysis.run import Run


@dataclass(frozen=True, slots=True)
class LinkLoss:
    """What one direction of a link says that it lost, of all that it was given in the run."""

    link: str
    given: int
    by_loss: int
    by_queue: int
    unsorted: int = 0
    "By one of both: netem does not tell which."

    @property
    def lost(self) -> int:
        """Return how many packets it lost."""
        return self.by_loss + self.by_queue + self.unsorted

    @property
    def is_whole(self) -> bool:
        """Whether nothing got over the link."""
        return self.lost >= self.given

    @property
    def words(self) -> str:
        """Return how many it lost, of how many, and by what."""
        ways = [(self.by_loss, "by its loss"), (self.by_queue, "in its full queue")]
        told = [f"{count} {how}" for count, how in ways if count]
        return ", ".join([f"{self.lost} of its {self.given} packets", *told])


def loss_behind(run: Run, hop: Direction) -> LinkLoss | None:
    """Return what the link of *hop* lost between where it is captured and the node that *hop* leads to; None: nothing.

    None too where the link has no shape, and so nothing to lose packets by.
    """
    if not hop.forward:
        return None
    counted = ((run.emulation.get("links") or {}).get(hop.link) or {}).get("forward") or {}
    by_loss, by_queue, unsorted = (int(counted.get(key, 0)) for key in ("lost", "queue_drops", "dropped"))
    if not by_loss + by_queue + unsorted:
        return None
    given = int(counted.get("received", counted.get("sent", 0) + unsorted))
    return LinkLoss(hop.link, given, by_loss, by_queue, unsorted)


def unless_lost(run: Run, hop: Direction, told: str) -> str:
    """Return *told* of packets last seen on *hop*, which holds if they got to its end, and what else may have been."""
    loss = loss_behind(run, hop)
    if loss is None:
        return told
    lost = f"lost on link {loss.link} ({loss.words})"
    return f"they were {lost}" if loss.is_whole else f"{told}, unless they were {lost}"
