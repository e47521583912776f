"""The errors this package raises, and who can mend each.

    TestbedError
    ├── SpecError       a topology, scenario or change is wrong: its author can mend it   (exit 2)
    ├── UsageError      the command line asks for something that does not exist           (exit 2)
    ├── MissingTool     this machine lacks a program or a kernel feature                  (exit 4)
    └── RigError        the emulated network is not what the plan says, or a part died    (exit 4)

Every message is one line: what is wrong, where, what is allowed, how to mend it.
"""

from pathlib import Path


class TestbedError(Exception):
    """Anything this package can say in one clear line."""

    __test__ = False
    exit_code = 4


class SpecError(TestbedError):
    """A topology, scenario or change is wrong; whoever wrote it can mend it."""

    exit_code = 2

    def __init__(self, source: Path | str, key: str, problem: str) -> None:
        super().__init__(f"{source}: {key}: {problem}" if key else f"{source}: {problem}")
        self.source, self.key, self.problem = source, key, problem


class UsageError(TestbedError):
    """The command line names something that does not exist."""

    exit_code = 2


class MissingTool(TestbedError):
    """This machine lacks a program or a kernel feature; *mend* is the command that brings it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; mend: {mend}")
        self.what, self.mend = what, mend


class RigError(TestbedError):
    """The rig broke: what the kernel has is not what the plan says, or a part of the world died."""
