"""What firewalls dropped, per firewall and rule, counted from `dropped.pcapng`."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testbed.analysis.pcapng import CaptureError, read_blocks

_RULE: Final = re.compile(r"(?:^|\s)rule=(\S+)")


@dataclass(frozen=True, slots=True)
class NodeDrops:
    """Packets that one firewall dropped."""

    node: str
    rules: tuple[tuple[str, int], ...]
    "Rule and packets, most packets first."

    @property
    def packets(self) -> int:
        """Packets dropped here by all rules."""
        return sum(packets for _, packets in self.rules)

    @property
    def words(self) -> str:
        """The rules, as people read them."""
        return ", ".join(f"rule {rule}: {packets}" for rule, packets in self.rules)


@dataclass(frozen=True, slots=True)
class Drops:
    """What `dropped.pcapng` holds."""

    nodes: tuple[NodeDrops, ...]
    problem: str | None
    "Why the file could not be read, or not to its end."


def read_drops(path: Path) -> Drops:
    """Count drops; a file that cannot be read gives none and says why, for a page must not show that as no drops."""
    try:
        blocks = read_blocks(path)
    except CaptureError as error:
        return Drops((), str(error))
    counts: dict[str, Counter[str]] = {}
    for row, number in enumerate(blocks.interface):
        match = _RULE.search(blocks.comment(row))
        counts.setdefault(blocks.interfaces[number].name, Counter())[match[1] if match else "not named"] += 1
    nodes = (NodeDrops(node, tuple(rules.most_common())) for node, rules in sorted(counts.items()))
    return Drops(tuple(nodes), f"{path.name}: {blocks.damage}" if blocks.damage else None)
