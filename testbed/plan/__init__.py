"""Pure: a topology and a scenario in, everything that is to be built and looked for out."""

from testbed.plan.make import make_plan

__all__ = ["make_plan"]
