"""The very same packet sent twice, both under way at once: each goes its own way, and none vanishes."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from analysis_samples import ALICE, ER_POOL, FE, SIGNALING_ER, Wire, make_plan, make_scenario
from capture_bytes import ip_packet

from testbed.analysis import read_run
from testbed.analysis.paths import Walk
from testbed.verdict import judge

BACK = ("fe", "ms", "fw-er", "core", "alice")
ANSWER = b"SIP/2.0 401 Unauthorized\r\nCSeq: 1 REGISTER\r\n\r\n"
FROM, TO, INSIDE = (FE, 5060), (ER_POOL, 40010), (ALICE, 50010)


def send(wire: Wire, steps: Sequence[int], way: Sequence[str] = BACK) -> None:
    """Let copies of the answer make their steps in this order: each number is a copy's, each time its next hop."""
    places = {copy: iter(pairwise(way)) for copy in steps}
    for copy in steps:
        a, b = next(places[copy])
        wire.frame(a, b, ip_packet(FROM, INSIDE if a in ("fw-er", "core") else TO, ANSWER))


def walks_of(wire: Wire, directory: Path) -> tuple[Walk, ...]:
    nodes = (n.model_copy(update={"iptables": "*filter" if n.name == "fw-er" else None}) for n in wire.plan.nodes)
    wire.plan = wire.plan.model_copy(update={"nodes": tuple(nodes)})
    return read_run(wire.write(directory, make_scenario(SIGNALING_ER))).walks.walks


@pytest.mark.parametrize(
    "steps",
    [(1, 1, 1, 1, 2, 2, 2, 2), (1, 2, 1, 2, 1, 2, 1, 2), (1, 1, 2, 1, 1, 2, 2, 2), (1, 1, 1, 2, 2, 2, 1, 2)],
    ids=["apart", "in step", "one at the firewall when the other sets out", "one waits behind the firewall"],
)
def test_two_copies_go_the_same_way(steps: Sequence[int], tmp_path: Path) -> None:
    wire = Wire()
    send(wire, steps)
    (walk,) = walks_of(wire, tmp_path)
    assert (walk.nodes, walk.packets) == (BACK, 2)
    assert [step.packets for step in walk.steps] == [2, 2, 2, 2]
    (check,) = [c for c in judge(tmp_path)["checks"] if c["check"] == "accounting"]
    assert check["verdict"] == "PASS", check


def test_of_two_copies_under_way_at_once_one_may_vanish(tmp_path: Path) -> None:
    wire = Wire()
    send(wire, (1, 1, 2, 2, 1, 1))
    gone, arrived = sorted(walks_of(wire, tmp_path), key=lambda walk: len(walk.nodes))
    assert (gone.nodes, arrived.nodes) == (BACK[:3], BACK)
    (tmp_path / "firewalls.json").write_text(json.dumps({"fw-er": {}}))
    (check,) = [c for c in judge(tmp_path)["checks"] if c["check"] == "accounting"]
    assert check["reason"].startswith("fw-er: 1 packets came and did not leave"), check


def test_copies_over_a_link_that_is_not_captured_are_told_apart_too(tmp_path: Path) -> None:
    wire = Wire(make_plan(uncaptured=["core-fw-er"]))
    send(wire, (1, 1, 2, 1, 1, 2, 2, 2))
    (walk,) = walks_of(wire, tmp_path)
    assert (walk.packets, walk.gaps) == (2, (("fw-er", "core"),))
