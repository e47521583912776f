"""Traffic that competes with calls: where it goes, what is refused, what iperf3 is told, and whether it was there."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import ALICE, FE, Wire, leg, make_plan, make_scenario
from capture_bytes import Tcp

from agents.traffic import Settings
from testbed import catalogue
from testbed import plan as planning
from testbed.conditions import condition_change
from testbed.errors import SpecError, UsageError
from testbed.plan.model import Plan, TrafficPlan
from testbed.plan.text import plan_lines
from testbed.scenario import Scenario
from testbed.spec.reader import read_spec
from testbed.verdict import judge

SLUG = "online/conference-internal"
BULK = {"from": "er-pe1", "to": "msee1", "protocol": "udp", "rate": "6Mbit", "packet_bytes": 1228, "flows": 2}


def planned(duration_s: int = 5, **changed: Any) -> Plan:
    changes = catalogue.parse_changes(["traffic.bulk=" + _inline({**BULK, **changed})])
    spec = read_spec(catalogue.find_scenario(SLUG), tuple(changes))
    return planning.make_plan(spec, duration_ns=duration_s * 10**9, seed=1)


def _inline(table: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in table.items()) + "}"


def test_it_is_planned_from_node_to_node_with_its_way_and_two_programs() -> None:
    plan = planned()
    (traffic,) = plan.traffic
    assert (traffic.address, traffic.port, traffic.links) == ("100.64.1.2", 5201, ("er-pe1-msee1",))
    sink, sender = (job for job in plan.jobs if job.name.startswith("traffic-"))
    assert (sink.node, sink.stage, sender.node, sender.stage) == ("msee1", "service", "er-pe1", "traffic")
    assert any("bulk: er-pe1 sends UDP to msee1 (100.64.1.2:5201), at most 6Mbit" in line for line in plan_lines(plan))


def test_iperf3_is_told_the_rate_of_each_flows_payload() -> None:
    sender = next(job for job in planned().jobs if job.stage == "traffic")
    words = " ".join(Settings.from_job(sender.arguments).arguments())
    payload_bps = round(6_000_000 * 1200 / 1228 / 2)
    assert f"--client 100.64.1.2 --port 5201 --bitrate {payload_bps} --parallel 2 --time 65" in words
    assert words.endswith("--udp --length 1200")
    tcp = next(job for job in planned(protocol="tcp").jobs if job.stage == "traffic")
    assert "--bitrate 3000000" in (words := " ".join(Settings.from_job(tcp.arguments).arguments()))
    assert "--udp" not in words


def test_the_scenarios_own_predictions_do_not_change() -> None:
    spec = read_spec(catalogue.find_scenario(SLUG))
    assert planning.make_plan(spec, duration_ns=5 * 10**9, seed=1).predicted == planned().predicted


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"from": "carol", "to": "alice"}, "traffic.bulk: cannot go from carol to alice: TCP ends as NO_ROUTE"),
        ({"from": "er-p1"}, "traffic.bulk.from: no node with an address 'er-p1'; did you mean 'er-pe1'"),
        ({"to": "er-pe1"}, "traffic.bulk.to: 'er-pe1' sends to itself"),
        ({"rate": "1Gbit"}, "traffic.bulk.rate: .* is 625 MB; at most 500 MB: lower the rate or the duration"),
        ({"packet_bytes": 1501}, "traffic.bulk.packet_bytes: "),
        ({"rate": "fast"}, "traffic.bulk.rate: "),
    ],
)
def test_what_cannot_be_is_one_clear_line(changed: dict[str, Any], fault: str) -> None:
    with pytest.raises(SpecError, match=fault):
        planned(**changed)


def test_a_condition_with_traffic_stays_on_its_link() -> None:
    change = condition_change("conditions/circuit-congested@er-pe1-msee1")
    assert {"traffic.circuit-udp-up", "traffic.circuit-tcp-down"} <= set(change.set)
    with pytest.raises(UsageError, match="goes over er-pe1-msee1, so it cannot be put on ce-inet-transit1"):
        condition_change("conditions/circuit-congested@ce-inet-transit1")


@pytest.mark.parametrize("missing", ["to", "rate_bps"])
def test_a_job_without_a_key_says_so(missing: str) -> None:
    job = dict(next(job for job in planned().jobs if job.stage == "traffic").arguments)
    del job[missing]
    with pytest.raises(ValueError, match=missing):
        Settings.from_job(job)


def run_with(
    directory: Path, *, packets: int, spacing_ns: int, protocol: Any = "udp", by_class: dict[str, int] | None = None
) -> dict[str, Any]:
    """Return the check of a run of 2 s in which alice was to send 1 Mbit/s of traffic to the Front End."""
    way = ("alice", "core", "fw-er", "ms", "fe")
    links = ("alice-core", "core-fw-er", "er", "ms-fe")
    traffic = TrafficPlan(
        name="bulk", sender="traffic-bulk", from_="alice", to="fe", address=FE, port=5201,
        protocol=protocol, rate_bps=1_000_000, links=links,
    )  # fmt: skip
    wire = Wire(plan=make_plan().model_copy(update={"traffic": (traffic,), "duration_ns": 2 * 10**9}))
    for number in range(packets):
        tcp = Tcp(sequence=number * 1172, acknowledged=1) if protocol == "tcp" else None
        wire.carry(way, (ALICE, 40000), (FE, 5201), b"0123456789" * 117, tcp=tcp)
        wire.now_ns += spacing_ns
    scenario: Scenario = make_scenario(leg("signaling", "alice", "online-front-end", "expressroute"))
    drops: Any = {"er": {"forward": {"queue_drops": 7}, "return": {"queue_drops": 9}}}
    if by_class:
        drops["er"]["forward"]["class_drops"] = by_class
    verdict = judge(wire.write(directory, scenario, links=drops))
    found: dict[str, Any] = next(check for check in verdict["checks"] if check["check"] == "traffic")
    return found


def test_traffic_that_was_there_is_told_with_what_found_a_queue_full(tmp_path: Path) -> None:
    check = run_with(tmp_path, packets=200, spacing_ns=9_500_000)
    assert check["verdict"] == "PASS"
    seen = check["observed"]["bulk"]
    assert (seen["packets"], seen["dropped"]) == (200, {"er": 7})
    assert seen["rate_bps"] == pytest.approx(1_010_000, rel=0.02)
    assert "1.01 Mbit/s of UDP for 1.9 s from alice to fe; packets that found a queue full: 7 at er" in check["reason"]


def test_packets_that_found_a_queue_full_are_told_by_class(tmp_path: Path) -> None:
    by_class = {"46": 0, "34 36": 2, "rest": 5}
    check = run_with(tmp_path, packets=200, spacing_ns=9_500_000, by_class=by_class)
    assert check["observed"]["bulk"]["class_drops"] == {"er": by_class}
    assert check["reason"].endswith("7 at er (0 of DSCP 46, 2 of DSCP 34 36, 5 of the rest)")


@pytest.mark.parametrize(
    ("packets", "spacing_ns", "protocol", "why"),
    [
        (0, 0, "udp", "bulk was never sent: no packet of it on alice-core"),
        (100, 19_500_000, "udp", "Mbit/s, less than 0.8 Mbit/s"),
        (80, 9_500_000, "udp", "bulk lasted 0.8 s, less than 1.0 s"),
        (2, 2_000_000_000, "tcp", "Mbit/s, less than 0.01 Mbit/s"),
    ],
)
def test_figures_under_a_load_that_was_not_there_are_in_doubt(
    tmp_path: Path, packets: int, spacing_ns: int, protocol: str, why: str
) -> None:
    check = run_with(tmp_path, packets=packets, spacing_ns=spacing_ns, protocol=protocol)
    assert check["verdict"] == "INCONCLUSIVE"
    assert why in check["reason"]
