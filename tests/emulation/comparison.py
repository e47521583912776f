"""Prediction against packets: the ways of a mutation's probes as captured, and where they ended."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from testbed.analysis.drops import Drop, find_drops
from testbed.analysis.network import Network
from testbed.analysis.packets import TCP, UDP, Packets, decode
from testbed.analysis.paths import Walk, follow
from testbed.plan.model import Plan
from testbed.plan.walk import GOES_ROUND
from testbed.plan.walk import Walk as PredictedWalk
from testbed.scenario import Change
from testbed.spec.change import apply_edits, edits_of
from testbed.topology import Topology

from .mutation_world import base_spec, probes_of
from .probes import Probe

DELIVERED: Final = "DELIVERED"
ROUND: Final = "and round again"
"End of a packet that is sent to and fro until its TTL is used up: its links are told once each."
_PROTOCOLS: Final = {"tcp": TCP, "udp": UDP}
Way = tuple[tuple[str, ...], str]
"Links, and the end: DELIVERED, node:rule of a firewall that dropped, or the node that sent nothing on."


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What was predicted otherwise than it was seen."""

    seed: int
    change: Mapping[str, Any]
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}: {json.dumps(self.change)}: {self.what}"


def disagreements(directory: Path) -> Iterator[Disagreement]:
    """Yield every difference between prediction and captures in a world's *directory*."""
    plan = Plan.model_validate_json((directory / "plan.json").read_text())
    packets = decode(directory / "capture.pcapng", sip_ports=())
    dropped = decode(directory / "dropped.pcapng", sip_ports=())
    network = Network(plan)
    for told in json.loads((directory / "mutations.json").read_text()):
        for what in _differences(told, packets, dropped, network):
            yield Disagreement(told["seed"], told["change"], what)


def _differences(told: dict[str, Any], packets: Packets, dropped: Packets, network: Network) -> Iterator[str]:
    span = told["began_ns"], told["ended_ns"]
    walks = follow(packets, network, span)
    seen = _Seen(walks.walks, (x for x in find_drops(dropped, walks) if span[0] <= x.time_ns <= span[1]))
    yield from (f"routes: {what}" for what in told["missing"])
    topology = _mutated(Change.model_validate(told["change"]))
    for probe, predicted in probes_of(topology, told["first_port"]):
        for is_answer, walk in enumerate(predicted):
            wanted = ((), "") if walk is None or not walk.links else _as_way(walk)
            observed = seen.way(probe, is_answer=bool(is_answer))
            if wanted != observed:
                title = f"{probe.client} -> {probe.server} {probe.protocol} {probe.port}"
                direction = "the answer" if is_answer else "the request"
                name = walk.disposition if walk else "nothing"
                yield f"{title}: {direction} was predicted by {_words(wanted)} ({name}), went by {_words(observed)}"


def _words(way: Way) -> str:
    return f"{' '.join(way[0]) or 'no link'} to {way[1] or 'nowhere'}"


def _mutated(change: Change) -> Topology:
    document = base_spec().topology.model_dump(mode="json", by_alias=True)
    return Topology.model_validate(apply_edits(document, edits_of(change, "mutation"), Topology))


def _as_way(walk: PredictedWalk) -> Way:
    if walk.note == GOES_ROUND:
        return tuple(dict.fromkeys(walk.links)), ROUND
    _, _, where = walk.disposition.partition(":")
    return walk.links, DELIVERED if walk.is_delivered else where


class _Seen:
    """The packets of one mutation's probes."""

    def __init__(self, walks: Iterable[Walk], drops: Iterable[Drop]) -> None:
        self._walks = list(walks)
        self._rule = {(x.protocol, x.source_port, x.destination_port, x.firewall): x.rule for x in drops}

    def way(self, probe: Probe, *, is_answer: bool) -> Way:
        """Return the way of what a probe's client sends, or of the answers: the first that did not arrive, if any."""
        mine = [walk for walk in self._walks if _is_of(walk, probe, is_answer=is_answer)]
        ways = [self._way(walk, probe.client if is_answer else probe.server) for walk in mine]
        return next((way for way in ways if way[1] != DELIVERED), ways[0] if ways else ((), ""))

    def _way(self, walk: Walk, target: str) -> Way:
        if any(step.packets > walk.packets for step in walk.steps):
            return tuple(dict.fromkeys(walk.links)), ROUND
        last, flow = walk.nodes[-1], walk.steps[-1].flow
        rule = self._rule.get((flow.protocol, flow.source_port, flow.destination_port, last))
        return walk.links, DELIVERED if last == target else ":".join(filter(None, (last, rule)))


def _is_of(walk: Walk, probe: Probe, *, is_answer: bool) -> bool:
    flow = walk.steps[0].flow
    port = flow.destination_port if is_answer else flow.source_port
    return flow.protocol == _PROTOCOLS[probe.protocol] and port == probe.source_port
