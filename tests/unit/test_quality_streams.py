"""Faults of known size, written into captures: they come out as put in, on the right link."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import BY_INTERNET, EDGE1, MEDIA_ER, Wire, make_scenario
from capture_bytes import ip_packet
from quality_samples import MS, SHAPED, media, send, shaped_plan

from testbed import catalogue
from testbed.analysis import read_run
from testbed.analysis.network import Direction, Network
from testbed.analysis.quality import measure
from testbed.analysis.quality.streams import Way, smallest_stretches
from testbed.plan import make_plan
from testbed.spec.reader import read_spec


def flat(link: str, number: int) -> int:
    """Two milliseconds on alice's link, ten on ExpressRoute, nothing elsewhere."""
    return {"alice-core": 2 * MS, "er": 10 * MS}.get(link, 0)


def measured(wire: Wire, directory: Path) -> dict[str, Any]:
    return measure(read_run(wire.write(directory, make_scenario(MEDIA_ER))))


def part(document: dict[str, Any], what: str, name: str, stream: int = 0) -> dict[str, Any]:
    found = [p for p in document["streams"][stream]["stretches"] if (p["what"], p["name"]) == (what, name)]
    assert len(found) == 1
    return dict(found[0])


def test_delays_are_split_by_link_and_segment(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(100), flat)
    document = measured(wire, tmp_path)
    stream = document["streams"][0]
    assert (stream["from"], stream["to"], stream["packets"]) == ("alice", "edge1", 100)
    assert stream["end_to_end"]["one_way_delay_ms"]["median"] == 12
    assert part(document, "link", "alice-core")["one_way_delay_ms"]["max"] == 2
    assert part(document, "link", "er")["one_way_delay_ms"]["min"] == 10
    assert part(document, "segment", "customer")["one_way_delay_ms"]["p99"] == 2
    assert part(document, "segment", "expressroute")["one_way_delay_ms"]["p99"] == 10
    assert part(document, "path", "client to Microsoft edge")["one_way_delay_ms"]["mean"] == 12
    assert part(document, "path", "customer edge to Microsoft edge")["one_way_delay_ms"]["mean"] == 10
    assert document["links"]["er"]["forward"]["delay_mean_ns"] == 10 * MS
    assert stream["lost_where"] == []
    assert stream["end_to_end"]["mos"] > 4.4


def test_a_step_of_delay_is_on_the_link_that_made_it(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(100), lambda link, n: flat(link, n) + (20 * MS if link == "er" and n >= 50 else 0))
    document = measured(wire, tmp_path)
    assert part(document, "link", "er")["pdv_ms"]["p99"] == 20
    assert part(document, "link", "alice-core")["pdv_ms"]["p99"] == 0


def test_loss_is_on_the_link_that_lost(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    lost = {n: "er" for n in range(100, 107)} | {20: "alice-core", 70: "alice-core"}
    send(wire, range(200), flat, lost_on=lost.get)
    document = measured(wire, tmp_path)
    stream = document["streams"][0]
    assert [(p["where"], p["packets"]) for p in stream["lost_where"]] == [("er", 7), ("alice-core", 2)]
    assert stream["end_to_end"]["lost"] == 9
    assert part(document, "link", "er")["lost"] == 7
    assert part(document, "link", "er")["burst_loss_200ms"]["ratio"] == 0.7
    assert part(document, "link", "alice-core")["burst_loss_200ms"]["ratio"] == 0.1
    assert part(document, "segment", "microsoft")["problem"] is not None
    assert document["links"]["er"]["forward"]["lost"] == 7


def test_a_firewall_that_logs_the_drop_is_named(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(50), flat, lost_on=lambda n: "core-fw-er" if n in (10, 11) else None)
    for number in (10, 11):
        wire.drop("fw-er", "default", ip_packet(("10.0.0.10", 50000), (EDGE1, 3478), media(number)))
    stream = measured(wire, tmp_path)["streams"][0]
    assert [(p["where"], p["packets"]) for p in stream["lost_where"]] == [("fw-er (rule default)", 2)]


def test_reordering_is_on_the_link_that_did_it(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(2000), lambda link, n: flat(link, n) + (25 * MS if link == "er" and n % 500 == 250 else 0))
    document = measured(wire, tmp_path)
    assert part(document, "link", "er")["reordered"] == 4
    assert part(document, "link", "alice-core")["reordered"] == 0


def test_a_burst_of_three_percent_is_in_its_windows_on_the_link_that_lost(tmp_path: Path) -> None:
    # 15 s hold 750 packets: 23 of them are more than 3 %, and the burst itself is three packets long at most.
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(1500), flat, lost_on=lambda n: "er" if 500 <= n < 1250 and n % 100 in (0, 1, 2) else None)
    document = measured(wire, tmp_path)
    er, alice = part(document, "link", "er"), part(document, "link", "alice-core")
    assert (er["lost"], er["loss_ratio"]) == (24, 24 / 1500)
    assert (er["loss_15s"]["lost"], er["loss_15s"]["packets"]) == (24, 750)
    assert (er["burst_loss_200ms"]["lost"], er["burst_loss_200ms"]["packets"]) == (3, 10)
    assert er["loss_runs"] == {"count": 8, "longest": 3, "weighted_mean": 3.0}
    assert (alice["lost"], alice["loss_15s"]["ratio"], alice["loss_runs"]) == (0, 0.0, None)


def test_faults_of_all_kinds_at_once_are_told_apart_link_by_link(tmp_path: Path) -> None:
    def delay_ns(link: str, number: int) -> int:
        step = 20 * MS if link == "alice-core" and number >= 1000 else 0
        overtaken = 25 * MS if link == "er" and number % 500 == 250 else 0
        return flat(link, number) + step + overtaken

    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(2000), delay_ns, lost_on=lambda n: "er" if n == 777 else None)
    document = measured(wire, tmp_path)
    er, alice = part(document, "link", "er"), part(document, "link", "alice-core")
    assert (er["reordered"], alice["reordered"]) == (4, 0)
    assert (er["burst_loss_200ms"]["ratio"], alice["burst_loss_200ms"]["ratio"]) == (0.1, 0.0)
    assert (alice["one_way_delay_ms"]["min"], alice["one_way_delay_ms"]["max"]) == (2, 22)
    assert (er["one_way_delay_ms"]["median"], er["one_way_delay_ms"]["p99"]) == (10, 10)
    assert [(p["where"], p["packets"]) for p in document["streams"][0]["lost_where"]] == [("er", 1)]


def test_two_shaped_links_with_no_capture_between_are_measured_together(tmp_path: Path) -> None:
    # `inet` is seen where it begins, `hotel` where it ends: when packets were at transit, nobody saw.
    wire = Wire(shaped_plan("inet", "hotel"))
    way = ("alice", "core", "fw-inet", "transit", "hotel-nat", "carol")
    delays = {"inet": 3 * MS, "hotel": 4 * MS}
    send(wire, range(30), lambda link, n: delays.get(link, 0), way=way, lost_on=lambda n: "hotel" if n == 5 else None)
    document = measured(wire, tmp_path)
    assert part(document, "link", "inet + hotel")["one_way_delay_ms"]["median"] == 7
    assert document["streams"][0]["lost_where"][0]["where"] == "inet or hotel"
    assert document["links"]["inet"]["forward"]["together_with"] == ["hotel"]


def test_links_seen_at_their_ends_are_measured_each(tmp_path: Path) -> None:
    wire = Wire(shaped_plan("hotel", "wifi"))
    way = ("edge1", "ms", "transit", "hotel-nat", "carol")
    send(wire, range(30), lambda link, n: {"hotel": 3 * MS, "wifi": 4 * MS}.get(link, 0), way=way)
    document = measured(wire, tmp_path)
    assert part(document, "link", "hotel")["one_way_delay_ms"]["median"] == 3
    assert part(document, "link", "wifi")["one_way_delay_ms"]["median"] == 4


def test_what_the_first_link_does_before_it_is_captured_is_not_told(tmp_path: Path) -> None:
    wire = Wire(shaped_plan("ms-edge1", "border"))
    way = ("edge1", "ms", "transit", "hotel-nat", "carol")
    send(wire, range(30), lambda link, n: {"ms-edge1": 3 * MS, "border": 4 * MS}.get(link, 0), way=way)
    document = measured(wire, tmp_path)
    assert part(document, "link", "ms-edge1")["problem"] == "where packets enter, edge1, is not a capture point"
    assert part(document, "link", "border")["one_way_delay_ms"]["median"] == 4


def test_sequence_numbers_may_wrap(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(65500, 65600), flat)
    stream = measured(wire, tmp_path)["streams"][0]
    assert (stream["packets"], stream["sequence_gaps"], stream["end_to_end"]["lost"]) == (100, 0, 0)


def test_no_mos_without_agreed_constants(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(60), flat, payload_type=96)
    end_to_end = measured(wire, tmp_path)["streams"][0]["end_to_end"]
    assert end_to_end["mos"] is None
    assert "G.711" in end_to_end["missing"]["r"]
    assert end_to_end["interarrival_jitter_ms"] is None
    assert "clock rate of payload type 96" in end_to_end["missing"]["interarrival_jitter_ms"]


def test_a_stream_that_never_arrives_is_lost_whole_on_the_link_behind_its_last_sighting(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(60), flat, lost_on=lambda n: "er")
    document = measured(wire, tmp_path)
    stream = document["streams"][0]
    whole = stream["end_to_end"]
    assert (whole["packets_entered"], whole["packets_left"], whole["lost"], whole["loss_ratio"]) == (60, 0, 60, 1)
    assert (whole["from"], whole["to"], whole["links"]) == ("alice", "ms", ["alice-core", "core-fw-er", "er"])
    assert whole["burst_loss_200ms"]["ratio"] == 1
    assert (whole["one_way_delay_ms"], whole["mos"], whole["missing"]["r"]) == (None, None, "no packet arrived")
    assert (stream["to"], stream["ways"], stream["note"]) == ("edge1", [], "no packet of it arrived")
    assert [(p["where"], p["links"], p["packets"]) for p in stream["lost_where"]] == [("er", ["er"], 60)]
    assert part(document, "link", "alice-core")["one_way_delay_ms"]["median"] == 2
    assert part(document, "segment", "customer")["lost"] == 0
    assert part(document, "segment", "expressroute")["lost"] == 60
    for path in ("client to Microsoft edge", "customer edge to Microsoft edge"):
        assert part(document, "path", path)["loss_ratio"] == 1


def test_a_stream_that_dies_at_a_node_is_lost_there_and_on_no_link(tmp_path: Path) -> None:
    wire = Wire(shaped_plan(*SHAPED))
    send(wire, range(60), flat, lost_on=lambda n: "core-fw-er")  # a plain veth, so it was the firewall
    places = measured(wire, tmp_path)["streams"][0]["lost_where"]
    assert [(p["where"], p["links"], p["packets"]) for p in places] == [("at fw-er", [], 60)]


def test_a_stream_that_dies_on_its_way_back_got_through_what_is_before(tmp_path: Path) -> None:
    wire = Wire(shaped_plan("inet", "border"))
    send(wire, range(60), flat, way=BY_INTERNET[::-1], lost_on=lambda n: "core-fw-inet")
    document = measured(wire, tmp_path)
    stream = document["streams"][0]
    assert (stream["to"], stream["lost_where"][0]["where"]) == (None, "at fw-inet")  # a pool's address is no host's
    assert part(document, "segment", "internet")["lost"] == 0
    assert part(document, "path", "client to Microsoft edge")["loss_ratio"] == 1


def test_a_run_without_media_has_no_streams(tmp_path: Path) -> None:
    document = measured(Wire(shaped_plan()), tmp_path)
    assert document["streams"] == []
    assert document["links"] == {}


def predicted_way(network: Network, links: tuple[str, ...]) -> Way:
    """Return the way along *links*, from the end of the first that the second does not have."""
    ends = [{network.links[name].a.node, network.links[name].b.node} for name in links]
    meeting = [one & other for one, other in pairwise(ends)]
    hops: list[Direction] = []
    for name, left in zip(links, [ends[0] - meeting[0], *meeting], strict=True):
        hops += [hop for hop in network.directions if hop.link == name and {hop.source} == left]
    numbers = tuple(network.link_index[hop.link] * 2 + hop.forward for hop in hops)
    return Way(numbers, tuple(hops), tuple(network.links[name].is_shaped for name in links), 1)


@pytest.mark.parametrize("slug", ["online/p2p-external", "online/p2p-federated", "asymmetric/two-circuits"])
def test_each_link_between_a_customer_and_microsoft_is_measured_alone(slug: str) -> None:
    spec = read_spec(catalogue.find_scenario(slug))
    plan = make_plan(spec, duration_ns=5_000_000_000, seed=1)
    network, measured = Network(plan), set()
    for path in plan.predicted:
        for links in (path.forward, path.return_):
            if len(links) > 1:
                measured |= {part.links for part in smallest_stretches(predicted_way(network, links))}
    assert any("er-pe" in name and "msee" in name for links in measured for name in links)
    assert [links for links in measured if len(links) > 1] == []
