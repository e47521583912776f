"""What firewalls dropped, per firewall and rule."""

from dataclasses import dataclass

from testbed.report.record import RuleDrops, VerdictFile


@dataclass(frozen=True, slots=True)
class NodeDrops:
    """Packets that one firewall dropped."""

    node: str
    rules: tuple[RuleDrops, ...]
    "Most packets first."

    @property
    def packets(self) -> int:
        """Packets dropped here by all rules."""
        return sum(rule.packets for rule in self.rules)

    @property
    def words(self) -> str:
        """The rules, as people read them."""
        return ", ".join(f"rule {rule.rule}: {rule.packets}" for rule in self.rules)


def node_drops(verdict: VerdictFile | None) -> tuple[NodeDrops, ...] | None:
    """Return the drops of each firewall that dropped; None, not empty, where nobody could look."""
    if verdict is None or verdict.dropped is None or verdict.verdict == "ERROR":
        return None
    firewalls = dict.fromkeys(drops.firewall for drops in verdict.dropped)
    return tuple(
        NodeDrops(
            firewall,
            tuple(sorted((d for d in verdict.dropped if d.firewall == firewall), key=lambda d: (-d.packets, d.rule))),
        )
        for firewall in firewalls
    )
