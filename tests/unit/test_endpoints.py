"""Endpoint files: read, announced from, held against the topology, and shown with the way each destination takes."""

import json
from io import StringIO
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from testbed.catalogue import find_scenario, read_topology_with
from testbed.cli import app
from testbed.endpoints import Endpoint, all_prefixes, covers, expressroute_prefixes, overlaps
from testbed.errors import SpecError, UsageError
from testbed.plan import destinations, make_plan
from testbed.plan.destinations_text import as_json, endpoints_table, summary_lines
from testbed.plan.names import served_names
from testbed.scenario import Change
from testbed.spec.endpoints import read_endpoints
from testbed.spec.reader import read_spec, read_topology
from testbed.topology import Topology

TOPOLOGIES = Path(__file__).resolve().parents[2] / "topologies"
OFFICE365 = TOPOLOGIES / "office365.toml"
OWN_FILE = TOPOLOGIES / "office365-endpoints.json"
MICROSOFTS = Path(__file__).with_name("microsoft-endpoints.json")
"Sets as Microsoft published them on 28 July 2022 (version 2022072800), a few IPv6 prefixes left out."
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
    path = written(tmp_path, ALLOWED | {"lifecycle": "general", "ipsV6": [], "expressRoutes": ["x"]}, REFUSED)
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
        (
            {key.replace("expressRoute", "expressroute"): ALLOWED[key] for key in ALLOWED},
            "expressroute: unknown key; did you mean 'expressRoute'?",
        ),
        (ALLOWED | {"urls": ["https://lync.com/"]}, "urls.0: must be a host name .* not 'https://lync.com/'"),
        (ALLOWED | {"urls": "*.lync.com"}, "urls: must be an array, not '.*.lync.com'"),
        (ALLOWED | {"ips": [3]}, "ips.0: must be an IPv4 or IPv6 prefix .* not 3"),
        (ALLOWED | {"ips": None}, "ips: must be an array"),
        (ALLOWED | {"tcpPorts": 443}, "tcpPorts: must be text in quotes, not 443"),
        (ALLOWED | {"id": "11"}, r"id: must be a whole number, not '11'"),
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
    [
        ("{", "is not JSON: Expecting .* line 1 column 2"),
        ("{}", "must be an array"),
        ("[]", "must be an array"),
        ("null", "must be an array"),
        ("[" * 100_000, "is nested too deeply"),
        ('[{"id": ' + "9" * 5000 + "}]", "is not JSON: Exceeds the limit"),
        (None, "cannot be read"),
    ],
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
    lines = summary_lines(topology.endpoints, list(overlaps(topology.endpoints)), ways)
    console.print("\n".join(lines), soft_wrap=True)
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
    topology = read_topology_with("office365", OWN_FILE)
    client = destinations.first_client(topology)
    document = as_json(topology.endpoints, [], destinations.ways(topology, client), client)
    rows = document["endpoints"]
    assert isinstance(rows, list) and client == "alice" == document["from"]
    found = [(row["expressRoute"], way) for row in rows for way in row["ways"]]
    assert all(way["end"] == "DELIVERED" and way["allowed"] for _, way in found)
    assert {(allowed, tuple(way["forward"])) for allowed, way in found if "prefix" in way} == {
        (True, ("customer", "expressroute", "microsoft")),
        (False, ("customer", "internet", "microsoft")),
    }
    assert {way["url"] for allowed, way in found if not allowed and "url" in way} == {"cdn.internet.example"}


def test_ports_are_told_as_ranges() -> None:
    topology = read_topology(OFFICE365)
    assert "udp 3478-3481" in shown(topology, destinations.ways(topology, "alice"))
    assert "Way from" not in shown(topology, None)


@pytest.mark.parametrize(
    ("url", "name", "is_covered"),
    [
        ("*.lync.com", "webdir.online.LYNC.com", True),
        ("*.lync.com", "lync.com", False),
        ("*.lync.com", "lync.com.example", False),
        ("*.lync.com", "xlync.com", False),
        ("*cdn.onenote.net", "site-cdn.onenote.net", True),
        ("autodiscover.*.onmicrosoft.com", "autodiscover.contoso.onmicrosoft.com", True),
        ("aka.ms", "akaxms", False),
        ("a[b].example", "ab.example", False),
    ],
)
def test_a_wildcard_stands_for_any_characters(url: str, name: str, is_covered: bool) -> None:
    assert covers(url, name) is is_covered


@pytest.mark.parametrize(
    "scenario",
    [
        "general/internet-only-traffic",
        "online/meeting-broadcast",
        "online/message-rest-external",
        "cloud-connector/pstn-external",
        "hybrid/p2p-federated-tls",
        "asymmetric/prefix-shared-with-other-service",
    ],
)
def test_names_that_the_topology_serves_are_those_that_the_plans_name_servers_have(scenario: str) -> None:
    spec = read_spec(find_scenario(scenario))
    known = {name for name, _ in served_names(spec.topology)}
    plan = make_plan(spec, duration_ns=1_000_000_000, seed=1)
    asked = {record.name for server in plan.name_servers for record in server.records if record.kind == "A"}
    assert asked and asked <= known


def test_the_shipped_file_lists_all_that_is_emulated_and_nothing_else() -> None:
    topology = read_topology_with("office365-internet-only", OWN_FILE)
    ways = destinations.ways(topology, "alice")
    assert all(way.end == "DELIVERED" and way.is_allowed for way in ways)
    taken = {
        way.destination: (way.nodes, "expressroute" in way.forward) for way in ways if isinstance(way.destination, str)
    }
    assert taken == {
        "on-fe.microsoft.example": (("on-fe",), True),
        "on-edge*.microsoft.example": (("on-edge1", "on-edge2"), True),
        "cdn.internet.example": (("cdn",), False),
        "skype-*.internet.example": (("skype-fe", "skype-edge"), False),
        "telemetry.microsoft.example": (("telemetry",), False),
        "crl.internet.example": (("crl",), False),
        "admin-portal.microsoft.example": (("admin-portal",), False),
    }
    assert "no host" not in shown(topology, ways).lower()
    listed = {node for way in ways for node in way.nodes}
    parts = [topology.pools["online"].roles["front-end"], topology.pools["online"].roles["edge"]]
    assert listed == {
        *parts[0],
        *parts[1],
        "on-cast",
        "cdn",
        "skype-fe",
        "skype-edge",
        "telemetry",
        "crl",
        "admin-portal",
    }


def test_a_name_goes_against_the_file_where_its_hosts_prefix_is_announced_on_the_circuit() -> None:
    leak = [
        """nodes.msee1.routes."198.18.130.0/24"="ms-near\"""",
        """announcements.leak={prefix="198.18.130.0/24", at="msee1", to=["er-pe1"], communities=["12076:5030"]}""",
    ]
    topology = read_topology_with("general/internet-only-traffic", OWN_FILE, leak)
    against = {way.destination for way in destinations.ways(topology, "alice") if not way.is_allowed}
    assert against == {"telemetry.microsoft.example", "admin-portal.microsoft.example"}
    assert "ExpressRoute, against the file: admin-portal" in shown(topology, destinations.ways(topology, "alice"))


def test_ones_own_organisation_is_told_the_inner_address(tmp_path: Path) -> None:
    names = {key: value for key, value in ALLOWED.items() if key != "ips"} | {"urls": ["dc-edge.contoso.example"]}
    topology = read_topology_with("office365", written(tmp_path, names))
    assert [way.forward for way in destinations.ways(topology, "alice")] == [("customer",)]
    assert [way.forward for way in destinations.ways(topology, "carol")] == [("internet", "customer")]


def run_command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["endpoints", *arguments], env={"COLUMNS": "160"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


@pytest.mark.parametrize("topology", ["office365", "general/internet-only-traffic"])
def test_a_download_of_microsofts_is_shown_though_nothing_of_it_is_emulated(topology: str) -> None:
    status, text = run_command(str(MICROSOFTS), "--topology", topology)
    assert status == 0
    assert "14 sets: 5 may go over ExpressRoute, 9 never do" in text
    assert "No host at 41 of 41 destinations (IPv4 prefixes and names)" in text
    assert "IPv6 is not emulated; prefixes left out: 11" in text
    document = json.loads(run_command(str(MICROSOFTS), "--topology", topology, "--json")[1])
    relays = document["endpoints"][0]
    assert (relays["ways"], relays["not_emulated"]) == ([], ["2603:1063::/38"])
    assert relays["without_host"] == ["13.107.64.0/18", "52.112.0.0/14", "52.120.0.0/14"]


def test_an_own_file_may_mix_what_is_emulated_and_what_is_not(tmp_path: Path) -> None:
    mixed = ALLOWED | {"urls": ["on-fe.microsoft.example", "*.lync.com"], "ips": ["198.18.64.0/19", "198.18.96.0/20"]}
    path = written(tmp_path, mixed, ipv4_only(REFUSED, "198.18.64.16/28") | {"urls": ["aka.ms"]})
    status, text = run_command(str(path), "--topology", "office365")
    assert status == 1
    assert "ExpressRoute: on-fe, on-edge1, on-edge2" in text and "no host there: 198.18.96.0/20, *.lync.com" in text
    assert "ExpressRoute, against the file: on-edge1, on-edge2" in text and "no host there: aka.ms" in text
    assert "Overlap: 198.18.64.16/28 (id 16, never over ExpressRoute) overlaps 198.18.64.0/19 (id 11" in text


def test_what_is_to_run_takes_ipv6_and_refuses_what_would_announce_nothing(tmp_path: Path) -> None:
    assert with_endpoints(tmp_path, ALLOWED | {"ips": ["198.18.64.0/19", "2001:db8::/32"]}).endpoints
    with pytest.raises(SpecError, match=r"microsoft-endpoints.json: endpoints: id 11: 13.107.64.0/18: no node"):
        read_topology(OFFICE365, (Change(set={"endpoints": str(MICROSOFTS)}),))
    problem = r"o365-er-contoso1.endpoints: would announce nothing: .*mine.json has no IPv4 prefix with expressRoute"
    for ips in (["2001:db8::/32"], []):
        with pytest.raises(SpecError, match=problem):
            with_endpoints(tmp_path, ALLOWED | {"ips": ips}, ipv4_only(REFUSED, "198.18.64.0/19"))
    with pytest.raises(SpecError, match=r"o365-internet.endpoints: would announce nothing: .* no IPv4 prefix$"):
        with_endpoints(tmp_path, ALLOWED | {"ips": []})


def test_only_a_host_of_the_topology_can_ask() -> None:
    with pytest.raises(UsageError, match="no host 'alic' in topology office365; did you mean 'alice'"):
        destinations.ways(read_topology(OFFICE365), "alic")
