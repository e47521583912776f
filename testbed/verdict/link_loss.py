"""Whether a link itself may have lost what was last seen on it: words beside a verdict, which rests on captures.

A link is captured at end A. What goes from A to B is seen before the link's shape: B may never have got it. What goes
from B to A is seen after it: B may have sent what nobody saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
        """Return which link lost how many, of how many, and by what."""
        ways = [(self.by_loss, "by its loss"), (self.by_queue, "in its full queue")]
        told = [f"{count} {how}" for count, how in ways if count]
        return f"link {self.link} ({', '.join([f'{self.lost} of its {self.given} packets', *told])})"


def loss_before(run: Run, hop: Direction) -> LinkLoss | None:
    """Return what the link of *hop* lost between where it is captured and the node that *hop* leads to; None: nothing.

    None too where the link has no shape, and so nothing to lose packets by.
    """
    return _counted(run, hop) if hop.forward else None


def losses_behind(run: Run, hop: Direction, *, back: bool = False) -> list[LinkLoss]:
    """Return what links lost that show packets only at their far end, of those that lead on from where *hop* leads.

    Where predicted paths go on from *hop* by some of them, these alone. *back*: the answers' ways, *hop*'s own too.
    """
    ways = [way for way in run.network.directions if way.source == hop.target and not way.forward]
    if not back:
        after = {pair for path in run.plan.predicted for way in (path.forward, path.return_) for pair in pairwise(way)}
        ways = [way for way in ways if way.link != hop.link]
        ways = [way for way in ways if (hop.link, way.link) in after] or ways
    return [loss for way in ways if (loss := _counted(run, way))]


def unless_lost(run: Run, hop: Direction, told: str, behind: Sequence[LinkLoss] = ()) -> str:
    """Return *told* of packets last seen on *hop*, which holds if they got to its end, and what else may have been.

    *behind* are losses of links behind that end, which may be why nothing was seen there.
    """
    before = loss_before(run, hop)
    if before is not None and before.is_whole:
        return f"they were lost on {before.words}"
    may_be = [loss.words for loss in (before, *behind) if loss is not None]
    return f"{told}, unless they were lost on {' or on '.join(may_be)}" if may_be else told


def unless_unheard(run: Run, hop: Direction, told: str) -> str:
    """Return *told* of a node that *hop* leads to and that was not heard, and which links may be why."""
    behind = [loss.words for loss in losses_behind(run, hop, back=True)]
    may_be = f"{told}, unless answers were lost on {' or on '.join(behind)}" if behind else told
    return unless_lost(run, hop, may_be)


def _counted(run: Run, hop: Direction) -> LinkLoss | None:
    ways = (run.emulation.get("links") or {}).get(hop.link) or {}
    counted = ways.get("forward" if hop.forward else "return") or {}
    by_loss, by_queue, unsorted = (int(counted.get(key, 0)) for key in ("lost", "queue_drops", "dropped"))
    if not by_loss + by_queue + unsorted:
        return None
    given = int(counted.get("received", counted.get("sent", 0) + unsorted))
    return LinkLoss(hop.link, given, by_loss, by_queue, unsorted)
