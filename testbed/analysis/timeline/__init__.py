"""What happened when: packets chosen for showing, each with its headers and every link on which it was seen."""

from testbed.analysis.timeline.document import LANES, Story, tell

__all__ = ["LANES", "Story", "tell"]
