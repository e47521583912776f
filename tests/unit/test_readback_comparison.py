"""Wanted against found, as values."""

from dataclasses import replace

import pytest

from testbed.emulation import sysctls
from testbed.emulation.readback import InterfaceState, NodeState, differences, wanted_state
from testbed.emulation.routing import missing_facts
from testbed.plan.model import Interface, NodePlan, Route, RouteFact

NODE = NodePlan(
    name="r1", kind="router", segment="lab", segment_kind="customer", organisation="contoso", title="",
    interfaces=(
        Interface(name="a", mac="02:00:00:00:00:01", address="10.0.0.1/24", link="r1-a"),
        Interface(name="b", mac="02:00:00:00:00:02", address="10.0.1.1/24", link="r1-b"),
    ),
    routes=(Route(prefix="10.9.0.0/16", via="10.0.1.2", interface="b"),),
    sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.ip_local_port_range": "50000 50059"},
)  # fmt: skip
WANTED = wanted_state(NODE, ())
FOUND = replace(WANTED, sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.ip_local_port_range": "50000 50059"})


def with_interface(**changes: object) -> NodeState:
    interfaces = {**FOUND.interfaces, "a": replace(FOUND.interfaces["a"], **changes)}  # type: ignore[arg-type]
    return replace(FOUND, interfaces=interfaces)


def test_what_is_as_wanted_has_no_differences() -> None:
    assert differences(WANTED, FOUND) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mac": "02:00:00:00:00:ff"}, "mac: wanted 02:00:00:00:00:01, found 02:00:00:00:00:ff"),
        ({"mtu": 9000}, "mtu: wanted 1500, found 9000"),
        ({"up": False}, "up: wanted True, found False"),
        ({"arp": False}, "arp: wanted True, found False"),
        ({"addresses": frozenset()}, "addresses: wanted 10.0.0.1/24, found none"),
        ({"bridge": True}, "bridge: wanted False, found True"),
        ({"offloads": frozenset({"tso", "gro"})}, "offloads: wanted none, found gro, tso"),
        ({"qdisc": "netem"}, "qdisc: wanted noqueue, found netem"),
    ],
)
def test_each_property_of_an_interface_is_compared(changes: dict[str, object], told: str) -> None:
    assert differences(WANTED, with_interface(**changes)) == [f"interface a: {told}"]


def test_every_property_of_an_interface_has_its_case_above() -> None:
    mark = next(x for x in test_each_property_of_an_interface_is_compared.pytestmark)  # type: ignore[attr-defined]
    assert {key for changes, _ in mark.args[1] for key in changes} == set(InterfaceState.__dataclass_fields__)


def test_missing_and_unplanned_things_are_named() -> None:
    found = replace(
        FOUND,
        interfaces={"a": FOUND.interfaces["a"], "x": FOUND.interfaces["b"]},
        routes=frozenset({("10.8.0.0/16", "10.0.1.2", "b")}),
    )
    assert differences(WANTED, found) == [
        "interface b is missing",
        "interface x is not in the plan",
        "route 10.9.0.0/16 via 10.0.1.2 on b is missing",
        "route 10.8.0.0/16 via 10.0.1.2 on b is not in the plan",
    ]


def test_a_link_that_is_not_up_takes_its_routes_with_it() -> None:
    wanted = wanted_state(NODE, ["r1-b"])
    assert not wanted.interfaces["b"].up
    assert wanted.routes == frozenset()


def test_blanks_in_a_sysctl_do_not_matter_but_its_value_does() -> None:
    assert sysctls.is_met("net.ipv4.ip_local_port_range", wanted="50000  50059", found="50000 50059")
    assert not sysctls.is_met("net.ipv4.ip_forward", wanted="1", found="0")


def test_a_kernel_without_ipv6_has_it_off_but_not_on() -> None:
    assert sysctls.is_met("net.ipv6.conf.all.disable_ipv6", wanted="1", found="absent")
    assert not sysctls.is_met("net.ipv6.conf.all.disable_ipv6", wanted="0", found="absent")
    assert not sysctls.is_met("net.netfilter.nf_conntrack_tcp_loose", wanted="0", found="absent")


def test_a_setting_of_an_interface_is_told_from_one_of_the_node() -> None:
    assert sysctls.of_interface("net.ipv4.conf.lan-a.rp_filter") == "lan-a"
    assert sysctls.of_interface("net.ipv4.conf.all.rp_filter") is None
    assert sysctls.of_interface("net.ipv4.ip_forward") is None


def test_facts_about_routes_are_held_against_the_tables() -> None:
    tables: dict[str, dict[str, str | None]] = {"r1": {"10.0.0.0/8": "10.1.1.1", "10.2.0.0/16": None}}
    facts = [
        RouteFact(node="r1", prefix="10.0.0.0/8", via="10.1.1.1"),
        RouteFact(node="r1", prefix="10.0.0.0/8", via="10.1.1.2"),
        RouteFact(node="r1", prefix="10.2.0.0/16", via="10.1.1.1"),
        RouteFact(node="r1", prefix="10.0.0.0/8", via=None),
        RouteFact(node="r1", prefix="10.3.0.0/16", via=None),
        RouteFact(node="r2", prefix="10.0.0.0/8", via="10.1.1.1"),
    ]
    assert missing_facts(facts, tables) == [
        "r1: wanted 10.0.0.0/8 via 10.1.1.2, found 10.0.0.0/8 via 10.1.1.1",
        "r1: wanted 10.2.0.0/16 via 10.1.1.1, found 10.2.0.0/16 via None",
        "r1: 10.0.0.0/8 must be absent, found 10.0.0.0/8 via 10.1.1.1",
        "r2: wanted 10.0.0.0/8 via 10.1.1.1, found no such route",
    ]
