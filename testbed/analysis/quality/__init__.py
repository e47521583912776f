"""What calls felt like, from captures alone: delay, jitter, loss, reordering and timings, link by link."""

from testbed.analysis.quality.measure import measure

__all__ = ["measure"]
