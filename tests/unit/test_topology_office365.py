"""The shipped world is what its documentation says, and the shipped scenarios are the article's first table."""

from collections.abc import Iterable
from functools import cache
from ipaddress import IPv4Address, IPv4Network

import pytest

from testbed import catalogue
from testbed.plan import make_plan
from testbed.plan.adjacency import Adjacency
from testbed.plan.bgp import converge
from testbed.plan.model import Plan
from testbed.scenario import Leg, Scenario
from testbed.spec.reader import read_controls, read_spec
from testbed.topology import Topology, shape_of

O365 = IPv4Network("198.18.64.0/19")
MS = 1_000_000

IN_BY_ER = (("customer", "expressroute", "microsoft"), ("internet",))
IN_BY_INTERNET = (("internet", "microsoft"), ("expressroute", "customer"))
IN_MICROSOFT = (("microsoft",), ("customer", "internet", "expressroute"))
LOCAL = (("customer",), ("internet", "expressroute", "microsoft"))
TO_THIRD_PARTY = (("customer", "internet"), ("expressroute", "microsoft"))

Row = list[tuple[str, str, str, tuple[tuple[str, ...], tuple[str, ...]]]]

ROWS: dict[str, tuple[str, Row]] = {
    "online/p2p-internal": (
        "ON-1",
        [
            ("signaling", "alice", "online-front-end", IN_BY_ER),
            ("signaling", "bob", "online-front-end", IN_BY_ER),
            ("media", "alice", "bob", LOCAL),
        ],
    ),
    "online/p2p-external": (
        "ON-2",
        [
            ("signaling", "alice", "online-front-end", IN_BY_ER),
            ("signaling", "carol", "online-front-end", (("internet", "microsoft"), ("expressroute",))),
            ("media", "alice", "online-edge", IN_BY_ER),
            ("media", "carol", "online-edge", IN_BY_INTERNET),
        ],
    ),
    "online/p2p-federated": (
        "ON-3",
        [
            ("signaling", "alice", "online-front-end", IN_BY_ER),
            ("signaling", "dave", "online-front-end", IN_BY_ER),
            ("media", "alice", "online-edge", IN_BY_ER),
            ("media", "dave", "online-edge", IN_BY_ER),
        ],
    ),
    "online/conference-internal": (
        "ON-4",
        [
            ("signaling", "alice", "online-front-end", IN_BY_ER),
            ("media", "alice", "online-edge", IN_BY_ER),
            ("media", "online-edge", "online-conference", IN_MICROSOFT),
        ],
    ),
    "online/conference-external": (
        "ON-5",
        [
            ("signaling", "carol", "online-front-end", IN_BY_INTERNET),
            ("media", "carol", "online-edge", IN_BY_INTERNET),
            ("media", "online-edge", "online-conference", IN_MICROSOFT),
        ],
    ),
    "online/conference-third-party": (
        "ON-6",
        [
            ("signaling", "alice", "tailspin-edge", TO_THIRD_PARTY),
            ("media", "alice", "tailspin-edge", TO_THIRD_PARTY),
        ],
    ),
    "online/pstn-internal": (
        "ON-7",
        [
            ("signaling", "alice", "online-front-end", IN_BY_ER),
            ("media", "alice", "online-edge", IN_BY_ER),
            ("media", "online-edge", "online-mediation", IN_MICROSOFT),
        ],
    ),
    "online/pstn-external": (
        "ON-8",
        [
            ("signaling", "carol", "online-front-end", IN_BY_INTERNET),
            ("media", "carol", "online-edge", IN_BY_INTERNET),
            ("media", "online-edge", "online-mediation", IN_MICROSOFT),
        ],
    ),
}
ER, INTERNET, INSIDE = "expressroute", "internet", "local"
ARTICLE: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "online/p2p-internal": ({"alice": ER, "bob": ER}, {"alice": INSIDE, "bob": INSIDE}),
    "online/p2p-external": ({"alice": ER, "carol": INTERNET}, {"alice": ER, "carol": INTERNET}),
    "online/p2p-federated": ({"alice": ER, "dave": ER}, {"alice": ER, "dave": ER}),
    "online/conference-internal": ({"alice": ER}, {"alice": ER}),
    "online/conference-external": ({"carol": INTERNET}, {"carol": INTERNET}),
    "online/conference-third-party": ({"alice": INTERNET}, {"alice": INTERNET}),
    "online/pstn-internal": ({"alice": ER}, {"alice": ER}),
    "online/pstn-external": ({"carol": INTERNET}, {"carol": INTERNET}),
}


EVERY = tuple(entry.scenario for entry in catalogue.list_scenarios() if entry.table not in catalogue.OWN_TABLES)
EVERY_ROW = (
    "CC-1 CC-2 HY-1 HY-2 HY-3 HY-4 HY-5 IO-1 MK-1 MK-2 MK-3 NE-1 ON-1 ON-2 ON-3 ON-4 ON-5 ON-6 ON-7 ON-8 "
    "PF-2 PF-2P PF-2R PF-3 PF-3B PF-4 PF-6 PX-1"
)


@cache
def scenario(slug: str) -> Scenario:
    return read_spec(catalogue.choose([slug], everything=False, table=None)[0]).scenario


@cache
def plan(slug: str) -> Plan:
    spec = read_spec(catalogue.choose([slug], everything=False, table=None)[0])
    return make_plan(spec, duration_ns=1, seed=1)


@cache
def office365() -> Topology:
    return read_spec(catalogue.choose(["online/p2p-internal"], everything=False, table=None)[0]).topology


def expectation(leg: Leg) -> tuple[str, str, str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return leg.flow, leg.from_, leg.to, (leg.crosses, leg.never)


@pytest.mark.parametrize("slug", ROWS)
def test_a_row_expects_what_the_article_says(slug: str) -> None:
    row, legs = ROWS[slug]
    assert scenario(slug).row == row
    assert scenario(slug).table == "online"
    assert [expectation(leg) for leg in scenario(slug).legs] == legs
    assert (scenario(slug).article.signaling, scenario(slug).article.media) == ARTICLE[slug]


def test_every_row_has_a_scenario() -> None:
    assert sorted({scenario(slug).row for slug in EVERY}) == EVERY_ROW.split()


def test_relays_and_candidates_are_expected_where_the_rows_say() -> None:
    assert scenario("online/p2p-internal").relays == (0,)
    assert scenario("online/p2p-internal").selected_pair == ("host", "host")
    relays = {slug: scenario(slug).relays for slug in ROWS if "pstn" not in slug and "p2p-internal" not in slug}
    # Inside and in the hotel the high ports are open, so one is enough; the Internet exit of ON-6 has none.
    assert relays == dict.fromkeys(relays, (1,)) | {"online/conference-third-party": (2,)}
    assert scenario("online/conference-internal-minimum-ports").relays == (2,)
    assert scenario("hybrid/p2p-federated-onprem-edge").selected_pair == ("relay", "srflx")


def test_one_relay_or_two_differ_by_the_ports_of_the_clients_firewall_alone() -> None:
    one, two = (
        read_spec(catalogue.find_scenario(f"online/conference-internal{end}")) for end in ("", "-minimum-ports")
    )
    assert (one.scenario.parties, one.scenario.calls, one.scenario.legs) == (
        two.scenario.parties,
        two.scenario.calls,
        two.scenario.legs,
    )
    rules = one.topology.firewalls["fw-er"].rules, two.topology.firewalls["fw-er"].rules
    assert rules[0].keys() - rules[1].keys() == {"media-high-udp", "media-high-tcp"}
    restored = two.topology.firewalls | {"fw-er": one.topology.firewalls["fw-er"]}
    assert one.topology == two.topology.model_copy(update={"firewalls": restored})


@pytest.mark.parametrize("slug", EVERY)
def test_controls_are_valid_and_of_both_kinds(slug: str) -> None:
    read_controls(catalogue.choose([slug], everything=False, table=None)[0])
    verdicts = [control.verdict for control in scenario(slug).controls.values()]
    assert verdicts.count("FAIL") >= 2
    assert verdicts.count("INCONCLUSIVE") >= 1


@pytest.mark.parametrize("slug", EVERY)
def test_every_leg_is_predicted_to_cross_what_it_must_and_nothing_else(slug: str) -> None:
    kinds = {link.name: link.segment_kind for link in plan(slug).links}
    paths = [
        (leg, path)
        for leg in scenario(slug).legs
        for path in plan(slug).predictions(leg.flow, leg.from_, leg.to, leg.media)
    ]
    assert {path.leg for _, path in paths} == {(leg.flow, leg.from_, leg.to, leg.media) for leg in scenario(slug).legs}
    for leg, path in paths:
        assert (path.forward_end, path.return_end) == ("DELIVERED", "DELIVERED"), path
        assert {kinds[link] for link in path.forward} == set(leg.crosses), path
        assert path.return_ == path.forward[::-1], path


def delay_ns(links: Iterable[str]) -> int:
    return sum(shape_of(office365().links[link], forward=True).delay for link in links)


def path_to_edge(slug: str, party: str) -> tuple[str, ...]:
    return plan(slug).predictions("media", party, "online-edge")[0].forward


def test_expressroute_is_well_below_microsofts_target_and_the_internet_distinctly_longer() -> None:
    by_er = delay_ns(path_to_edge("online/p2p-external", "alice"))
    assert by_er < 15 * MS  # the target from the customer's edge is 30 ms, from the client 50 ms
    assert delay_ns(path_to_edge("online/p2p-federated", "dave")) < 15 * MS
    assert 2 * by_er < delay_ns(path_to_edge("online/p2p-external", "carol")) < 50 * MS


def test_no_link_loses_or_reorders_by_itself() -> None:
    for link in office365().links.values():
        for shape in (shape_of(link, forward=True), shape_of(link, forward=False)):
            assert (shape.loss, shape.burst_loss, shape.reorder, shape.duplicate) == (0, None, 0, 0)


def test_the_internet_bleaches_the_dscp_and_expressroute_keeps_it() -> None:
    kinds = {name: segment.kind for name, segment in office365().segments.items()}
    for name, link in office365().links.items():
        is_wifi = "hotel-lan" in link.ends
        wanted = "bleach" if kinds[link.segment] == "internet" and not is_wifi else "preserve"
        assert {shape_of(link, forward=way).dscp for way in (True, False)} == {wanted}, name


def test_expressroute_has_no_jitter() -> None:
    links = [link for link in office365().links.values() if link.segment == "expressroute"]
    assert links
    assert not any(shape_of(link, forward=way).jitter for link in links for way in (True, False))


def test_both_exits_know_the_cloud_and_preference_alone_chooses() -> None:
    routes = converge(office365())
    for customer, exit_ in (("core", "fw-er"), ("fab-core", "fab-fw-er")):
        assert routes[customer][O365].neighbour == exit_
        assert routes[customer][O365].local_preference == 150
    for edge in ("ce-inet", "fab-ce-inet", "tail-ce"):
        assert routes[edge][O365].external


@pytest.mark.parametrize("pool", ["192.0.2.64/26", "198.51.100.64/26"])
def test_a_nat_pool_of_expressroute_is_unknown_on_the_internet(pool: str) -> None:
    routes = converge(office365())
    assert IPv4Network(pool) in routes["ms-near"]
    for node in ("transit1", "transit2", "ce-inet", "fab-ce-inet", "tail-ce", "msborder"):
        assert not [prefix for prefix in routes[node] if prefix.prefixlen and prefix.overlaps(IPv4Network(pool))], node


def test_customers_learn_nothing_but_the_cloud_over_expressroute() -> None:
    routes = converge(office365())
    assert set(routes["ce-er"]) == set(routes["fab-ce-er"]) == {O365}


def test_conference_and_mediation_servers_are_reached_through_an_edge_only() -> None:
    world = office365()
    edges = {"on-edge1", "on-edge2", "on-fe", "on-cast", "ms-int", "ms-near", "ms-far", "phone"}
    for server in ("on-conf", "on-med", "on-conf-far"):
        assert "default" not in world.nodes[server].routes
        assert {hop.peer for hop in Adjacency(world).of(server)} <= edges | {"on-conf", "on-med", "on-conf-far"}
    announced = [announcement.prefix for announcement in world.announcements.values() if announcement.prefix.prefixlen]
    assert not any(IPv4Address("10.250.0.30") in prefix for prefix in announced)


def test_direct_media_between_clients_is_blocked_at_every_exit() -> None:
    for name in ("fw-internet", "fab-fw-inet"):
        for rule in office365().firewalls[name].rules.values():
            assert rule.to == "dmz" or not any(ports.startswith("5000") for ports in rule.destination_ports), name
    for name in ("fw-er", "fab-fw-er"):
        for rule in (office365().firewalls[name].rules[high] for high in ("media-high-udp", "media-high-tcp")):
            assert rule.destination == O365
