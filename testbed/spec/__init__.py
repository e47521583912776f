"""A spec: a scenario and its topology, read, changed and checked; what `testbed.plan` starts from."""

from dataclasses import dataclass

from testbed.scenario import Change, Scenario
from testbed.topology import Document, Topology


@dataclass(frozen=True, slots=True)
class Spec:
    """One scenario in its topology, both after all changes and valid, also against each other."""

    scenario: Scenario
    topology: Topology
    given: Document
    "The scenario's document as its author wrote it, before any change."
    changes: tuple[Change, ...] = ()
    "The changes asked for beyond the scenario's own, in the order they were made."
    phases: tuple[Topology, ...] = ()
    "The topology after each of the scenario's `during`, in order: what it is by then."
