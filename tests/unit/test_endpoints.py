"""Endpoint files: read, announced from, held against the topology, and shown with the way each destination takes."""

import json
from io import StringIO
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from testbed.catalogue import read_topology_with
from testbed.endpoints import Endpoint, all_prefixes, expressroute_prefixes, overlaps
from testbed.errors import SpecError, UsageError
from testbed.plan import destinations
from testbed.plan.destinations_text import as_json, endpoints_table, summary_lines
from testbed.scenario import Change
from testbed.spec.endpoints import read_endpoints
from testbed.spec.reader import read_topology
from testbed.topology import Topology

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"
OFFICE365 = TOPOLOGIES / "office365.toml"
ALLOWED: dict[str, Any] = {
    "id": 11,
    "serviceArea": "Skype",
    "serviceAreaDisplayName": "Skype for Business Online and Microsoft Teams",
    "urls": ["*.online.example"],
    "ips": ["198.18.64.0/20", "2001:db8:1::/48"],
    "tcpPorts": "443,5060-5061",
    "udpPorts": "3478,3479,3480,3481",
    "expressRoute": True,
    "category": "Optimize",
    "required": True,
}
REFUSED: dict[str, Any] = ALLOWED | {
    "id": 16,
    "urls": ["*.streaming.example"],
    "ips": ["198.18.64.21/32"],
    "udpPorts": "3478",
    "expressRoute": False,
    "category": "Default",
    "required": False,
    "notes": "The stream of a broadcast",
}


def written(tmp_path: Path, *entries: object) -> Path:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(entries))
    return path


def with_endpoints(tmp_path: Path, *entries: object, **changes: object) -> Topology:
    change = Change(set={"endpoints": str(written(tmp_path, *entries)), **changes})
    return read_topology(OFFICE365, (change,))


def ipv4_only(entry: dict[str, Any], *prefixes: str) -> dict[str, Any]:
    return entry | {"ips": list(prefixes)}


def test_microsofts_format_is_read_with_what_it_may_gain_one_day(tmp_path: Path) -> None:
    path = written(tmp_path, ALLOWED | {"lifecycle": "general"}, REFUSED)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    first, second = read_endpoints(path)
    assert (first.id, first.express_route, first.ipv4) == (11, True, (IPv4Network("198.18.64.0/20"),))
    assert (second.notes, second.required, second.category) == ("The stream of a broadcast", False, "Default")


def test_a_set_may_have_names_and_no_addresses(tmp_path: Path) -> None:
    names_only = {key: value for key, value in REFUSED.items() if key not in ("ips", "udpPorts")}
    assert read_endpoints(written(tmp_path, names_only))[0].ips == ()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (ALLOWED | {"ips": ["198.18.64.1/20"]}, r"entry 2 of 2 \(id 11\): ips.0: must be an IPv4 or IPv6 prefix"),
        (ALLOWED | {"tcpPorts": "443,0"}, r"tcpPorts: must be ports and ranges .* not '443,0'"),
        (ALLOWED | {"udpPorts": ""}, "udpPorts: must be ports"),
        (ALLOWED | {"expressRoute": "yes"}, "expressRoute: must be true or false, not 'yes'"),
        (ALLOWED | {"category": "Best"}, "category: must be 'Optimize', 'Allow' or 'Default', not 'Best'"),
        ({key: ALLOWED[key] for key in ALLOWED if key != "expressRoute"}, "expressRoute: missing"),
        (ALLOWED | {"expressroute": True}, "expressroute: unknown key; did you mean 'expressRoute'?"),
        ({key: ALLOWED[key] for key in ALLOWED if key not in ("ips", "urls")}, "has neither urls nor ips"),
        ({k: ALLOWED[k] for k in ALLOWED if not k.endswith("Ports")}, "has neither tcpPorts nor udpPorts"),
        (ALLOWED | {"id": 16}, r"entry 2 of 2 \(id 16\): this id stands in an earlier entry already"),
        ("*.lync.com", "entry 2 of 2: must be an object"),
    ],
)
def test_a_broken_set_is_told_in_one_line(tmp_path: Path, entry: object, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as told:
        read_endpoints(written(tmp_path, REFUSED, entry))
    assert len(str(told.value).splitlines()) == 1
    assert str(told.value).startswith(str(tmp_path / "mine.json"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", "is not JSON"), ("{}", "must be an array"), ("[]", "must be an array"), (None, "cannot be read")],
)
def test_a_file_that_is_no_list_of_sets_is_told(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpecError, match=problem):
        read_endpoints(path)


def test_prefixes_inside_others_are_not_announced_by_themselves() -> None:
    wide, narrow = (Endpoint.model_validate(ipv4_only(ALLOWED, ip)) for ip in ("198.18.64.0/19", "198.18.65.0/24"))
    assert expressroute_prefixes((narrow, wide)) == (IPv4Network("198.18.64.0/19"),)
    other = Endpoint.model_validate(ipv4_only(REFUSED, "198.18.128.0/24"))
    assert all_prefixes((wide, other)) == (IPv4Network("198.18.64.0/19"), IPv4Network("198.18.128.0/24"))


def test_a_range_listed_both_ways_is_named() -> None:
    refused = ipv4_only(REFUSED, "198.18.64.21/32", "198.18.80.0/24", "2001:db8:1:2::/64")
    assert [str(one) for one in overlaps([Endpoint.model_validate(entry) for entry in (ALLOWED, refused)])] == [
        "198.18.64.21/32 (id 16, never over ExpressRoute) overlaps 198.18.64.0/20 (id 11, ExpressRoute)",
        "2001:db8:1:2::/64 (id 16, never over ExpressRoute) overlaps 2001:db8:1::/48 (id 11, ExpressRoute)",
    ]
    assert list(overlaps([Endpoint.model_validate(entry) for entry in (ALLOWED, ALLOWED | {"id": 12})])) == []


def test_the_catalogues_announcements_follow_from_its_file() -> None:
    topology = read_topology(OFFICE365)
    announced = {n: str(a.prefix) for n, a in topology.announcements.items() if a.endpoints == "expressroute"}
    circuit = ("o365-er-contoso1", "o365-er-contoso2", "o365-er-fabrikam1", "o365-er-fabrikam2")
    assert announced == dict.fromkeys(circuit, "198.18.64.0/19")


def test_another_file_changes_what_is_announced_and_how_it_is_reached(tmp_path: Path) -> None:
    split = (ipv4_only(ALLOWED, "198.18.64.16/28"), ipv4_only(REFUSED, "198.18.64.0/28"))
    topology = with_endpoints(tmp_path, *split)
    assert {str(a.prefix) for a in topology.announcements.values() if a.endpoints == "expressroute"} == {
        "198.18.64.16/28"
    }
    assert str(topology.announcements["o365-internet-2"].prefix) == "198.18.64.0/28"
    edges, front_end = destinations.ways(topology, "alice")
    assert (edges.nodes, edges.forward) == (("on-edge1", "on-edge2"), ("customer", "expressroute", "microsoft"))
    assert (front_end.nodes, front_end.forward) == (("on-fe",), ("customer", "internet", "microsoft"))
    assert {way.end for way in (edges, front_end)} == {"DELIVERED"}
    assert edges.is_allowed and front_end.is_allowed


def test_what_shares_a_prefix_with_expressroute_goes_there_against_the_file(tmp_path: Path) -> None:
    shared = (ipv4_only(ALLOWED, "198.18.64.0/20"), ipv4_only(REFUSED, "198.18.64.21/32"))
    topology = with_endpoints(tmp_path, *shared)
    refused = destinations.ways(topology, "alice")[-1]
    assert (refused.endpoint, refused.nodes, refused.is_allowed) == (16, ("on-edge1",), False)
    text = shown(topology, destinations.ways(topology, "alice"))
    assert "ExpressRoute, against the file: on-edge1" in text
    assert "Overlap: 198.18.64.21/32 (id 16" in text


def shown(topology: Topology, ways: tuple[destinations.Way, ...] | None) -> str:
    out = StringIO()
    console = Console(file=out, width=150)
    console.print(endpoints_table(topology.endpoints, ways, "alice"))
    console.print("\n".join(summary_lines(topology.endpoints, list(overlaps(topology.endpoints)))), soft_wrap=True)
    return out.getvalue()


def test_a_prefix_that_no_node_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine.json: endpoints: id 16: 198.18.200.0/24: no node of the topology"):
        with_endpoints(tmp_path, ipv4_only(ALLOWED, "198.18.64.0/19"), ipv4_only(REFUSED, "198.18.200.0/24"))


def test_an_announcement_over_the_circuit_against_the_file_is_named(tmp_path: Path) -> None:
    leak = {"prefix": "198.18.64.0/24", "at": "msee1", "to": ["er-pe1"]}
    split = (ipv4_only(ALLOWED, "198.18.64.16/28"), ipv4_only(REFUSED, "198.18.64.0/28"))
    problem = (
        r"change: announcements.leak.prefix: 198.18.64.0/24 is announced over ExpressRoute \(to er-pe1\), and the "
        r"endpoints do not allow that: id 11 has 198.18.64.16/28 with expressRoute true; .* despite_endpoints = true"
    )
    with pytest.raises(SpecError, match=problem):
        with_endpoints(tmp_path, *split, **{"announcements.leak": leak})
    on_purpose = with_endpoints(tmp_path, *split, **{"announcements.leak": leak | {"despite_endpoints": True}})
    assert on_purpose.announcements["leak"].despite_endpoints
    on_the_internet = leak | {"at": "msborder", "to": ["transit1"]}
    assert with_endpoints(tmp_path, *split, **{"announcements.leak": on_the_internet})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"announcements.o365-internet.prefix": "198.18.64.0/19"}, "has both prefix and endpoints"),
        ({"endpoints": "nowhere.json"}, "nowhere.json: cannot be read"),
        ({"endpoints": 3}, "must name a JSON file, not be 3"),
        ({"announcements.o365-internet.endpoints": "some"}, "must be 'expressroute' or 'all', not 'some'"),
    ],
)
def test_a_wrong_reference_to_endpoints_is_told(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        read_topology(OFFICE365, (Change(set=change),))


def test_announcements_from_endpoints_need_a_file() -> None:
    with pytest.raises(SpecError, match=r"announcements\.o365-internet\.endpoints: the topology names no file"):
        read_topology(OFFICE365, (Change(remove=("endpoints",)),))


def test_every_prefix_has_its_way_in_the_catalogues_world() -> None:
    topology = read_topology_with("office365", TOPOLOGIES / "office365-endpoints.json")
    client = destinations.first_client(topology)
    document = as_json(topology.endpoints, [], destinations.ways(topology, client), client)
    rows = document["endpoints"]
    assert isinstance(rows, list) and client == "alice" == document["from"]
    found = {row["expressRoute"]: [way for way in row["ways"]] for row in rows if row["ways"]}
    assert all(way["end"] == "DELIVERED" and way["allowed"] for ways in found.values() for way in ways)
    assert {tuple(way["forward"]) for way in found[True]} == {("customer", "expressroute", "microsoft")}
    assert {tuple(way["forward"]) for way in found[False]} == {("customer", "internet", "microsoft")}


def test_ports_are_told_as_ranges_and_names_as_deciding_by_themselves() -> None:
    topology = read_topology(OFFICE365)
    text = shown(topology, destinations.ways(topology, "alice"))
    assert "udp 3478-3481" in text and "its name decides" in text
    assert "Way from" not in shown(topology, None)


def test_only_a_host_of_the_topology_can_ask() -> None:
    with pytest.raises(UsageError, match="no host 'alic' in topology office365; did you mean 'alice'"):
        destinations.ways(read_topology(OFFICE365), "alic")
