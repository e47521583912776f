"""iptables text, to the letter: what the kernel prints back is compared with it."""

from ipaddress import IPv4Address
from typing import Any

import pytest
from small_topologies import Document, topology

from testbed.errors import SpecError
from testbed.plan.firewall import iptables_text
from testbed.plan.policy import Probe, decide, refusal
from testbed.topology import Topology

SIP: Document = {"from": "inside", "to": "outside", "protocol": "tcp", "destination_ports": ["443", "5060-5061"]}

STATEFUL = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -m comment --comment loopback -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -m comment --comment invalid -j NFLOG --nflog-prefix invalid --nflog-group 100
-A INPUT -m conntrack --ctstate INVALID -m comment --comment invalid -j DROP
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment established -j ACCEPT
-A INPUT -p icmp -m comment --comment icmp -j ACCEPT
-A INPUT -m comment --comment default -j NFLOG --nflog-prefix default --nflog-group 100
-A INPUT -m comment --comment default -j DROP
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment invalid -j NFLOG --nflog-prefix invalid --nflog-group 100
-A FORWARD -m conntrack --ctstate INVALID -m comment --comment invalid -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -m comment --comment established -j ACCEPT
-A FORWARD -i in -o out -p tcp -m conntrack --ctstate NEW -m multiport --dports 443,5060:5061 -m comment --comment sip -j ACCEPT
-A FORWARD -m comment --comment default -j NFLOG --nflog-prefix default --nflog-group 100
-A FORWARD -m comment --comment default -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 10.0.0.0/8 -o out -m comment --comment pool -j SNAT --to-source 192.0.2.0-192.0.2.63 --persistent
COMMIT
"""  # noqa: E501


def world(rules: Document, *, nat: Document | None = None, **firewall: Any) -> Topology:
    """A firewall between `in` and `out`, with a third neighbour `more` that is in no zone unless said."""
    zones = {"inside": ["in"], "outside": ["out"]}
    return topology(
        nodes={"fw": {"kind": "firewall"}, **{name: {"kind": "host"} for name in ("in", "out", "more")}},
        links={
            f"{name}-fw": {"ends": [name, "fw"], "addresses": {name: f"10.0.{n}.1/30", "fw": f"10.0.{n}.2/30"}}
            for n, name in enumerate(("in", "out", "more"))
        },
        firewalls={"fw": {"zones": zones, "rules": rules, "nat": nat or {}, **firewall}},
    )


def forward_rules(rules: Document, **firewall: Any) -> list[str]:
    """Return the rules of the FORWARD chain between the state's and the final drop."""
    lines = [
        line for line in iptables_text(world(rules, **firewall), "fw").splitlines() if line.startswith("-A FORWARD")
    ]
    return [line for line in lines if "--ctstate INVALID" not in line and "RELATED" not in line][:-2]


def test_a_stateful_firewall_is_written_as_iptables_save_prints_it() -> None:
    nat = {"pool": {"to_zone": "outside", "source": "10.0.0.0/8", "pool": "192.0.2.0-192.0.2.63"}}
    assert iptables_text(world({"sip": SIP}, nat=nat), "fw") == STATEFUL


def test_without_nat_there_is_no_nat_table() -> None:
    assert "*nat" not in iptables_text(world({"sip": SIP}), "fw")


@pytest.mark.parametrize(
    ("pool", "target"), [("192.0.2.5", "SNAT --to-source 192.0.2.5"), ("masquerade", "MASQUERADE")]
)
def test_a_pool_of_one_address_or_of_the_interface(pool: str, target: str) -> None:
    text = iptables_text(world({}, nat={"exit": {"to_zone": "outside", "pool": pool}}), "fw")
    assert f"-A POSTROUTING -o out -m comment --comment exit -j {target}\n" in text


def nat_lines(**nat: Any) -> list[str]:
    """Return the rules that the NAT `home` has."""
    text = iptables_text(world({}, nat={"home": {"to_zone": "outside", "pool": "masquerade", **nat}}), "fw")
    return [line.removesuffix(" -m comment --comment home") for line in text.splitlines() if "--comment home" in line]


def test_a_nat_that_lets_everybody_in_translates_their_packets_to_one_host() -> None:
    new = "-m conntrack --ctstate NEW"
    assert nat_lines(filtering="endpoint-independent", host="10.0.0.1") == [
        f"-A FORWARD -d 10.0.0.1/32 -i out -p udp {new} -m comment --comment home -j ACCEPT",
        "-A PREROUTING -i out -p udp -m comment --comment home -j DNAT --to-destination 10.0.0.1",
        "-A POSTROUTING -o out -m comment --comment home -j MASQUERADE",
    ]


def test_a_nat_that_filters_by_address_remembers_whom_its_host_sent_to() -> None:
    first, let_in, *_ = nat_lines(filtering="address-dependent", host="10.0.0.1")
    assert first == "-A FORWARD -o out -p udp -m recent --set --name home --mask 255.255.255.255 --rdest"
    assert "-m recent --rcheck --name home --mask 255.255.255.255 --rsource" in let_in


def test_a_symmetric_nat_gives_ports_at_random() -> None:
    (line,) = nat_lines(mapping="address-and-port-dependent")
    assert line.endswith("-j MASQUERADE --random-fully")


def test_a_stateless_firewall_knows_no_states_and_lets_answers_through_by_the_mirrored_rule() -> None:
    rule = {**SIP, "source": "10.1.0.0/16", "destination": "198.18.0.0/16", "destination_ports": ["443"]}
    there, back = forward_rules({"sip": rule}, stateful=False)
    said = "-m comment --comment sip -j ACCEPT"
    assert there == f"-A FORWARD -s 10.1.0.0/16 -d 198.18.0.0/16 -i in -o out -p tcp -m multiport --dports 443 {said}"
    assert back == f"-A FORWARD -s 198.18.0.0/16 -d 10.1.0.0/16 -i out -o in -p tcp -m multiport --sports 443 {said}"
    assert "conntrack" not in iptables_text(world({"sip": SIP}, stateful=False), "fw")


def test_a_dropping_rule_is_logged_under_its_name_first() -> None:
    match = "-A FORWARD -i in -o out -p udp -m conntrack --ctstate NEW -m comment --comment no-udp"
    assert forward_rules({"no-udp": {"from": "inside", "to": "outside", "protocol": "udp", "action": "drop"}}) == [
        f"{match} -j NFLOG --nflog-prefix no-udp --nflog-group 100",
        f"{match} -j DROP",
    ]


NO_STUN: Document = {**SIP, "destination_ports": ["443"], "action": "drop", "payload": "stun"}


def test_what_is_dropped_for_its_payload_goes_before_what_is_established() -> None:
    lines = iptables_text(world({"sip": SIP, "no-stun": NO_STUN}), "fw").splitlines()
    cookie = '-m u32 --u32 "0x0>>0x16&0x3c@0xc>>0x1a&0x3c@0x4=0x2112a442"'
    match = f"-A FORWARD -i in -o out -p tcp -m multiport --dports 443 {cookie}"
    first = [line for line in lines if line.startswith("-A FORWARD")][:3]
    assert first[:2] == [
        f"{match} -m comment --comment no-stun -j NFLOG --nflog-prefix no-stun --nflog-group 100",
        f"{match} -m comment --comment no-stun -j DROP",
    ]
    assert "--ctstate INVALID" in first[2]
    assert [line for line in lines if "no-stun" in line] == first[:2], "and nowhere else"


def test_zones_of_several_interfaces_give_a_rule_for_each_pair() -> None:
    zones = {"inside": ["in", "more"], "outside": ["out"]}
    rules = forward_rules({"all": {"from": "inside", "to": "outside"}}, zones=zones)
    assert [line.split(" -m ")[0] for line in rules] == ["-A FORWARD -i in -o out", "-A FORWARD -i more -o out"]


def test_any_zone_any_protocol_and_the_whole_internet_are_no_conditions() -> None:
    rule = {"from": "any", "to": "any", "source": "0.0.0.0/0", "destination": "198.51.100.7/32"}
    assert forward_rules({"all": rule}) == [
        "-A FORWARD -d 198.51.100.7/32 -m conntrack --ctstate NEW -m comment --comment all -j ACCEPT"
    ]


def test_rules_keep_their_order() -> None:
    names = ["zebra", "ant", "mole"]
    rules = forward_rules({name: {"from": "inside", "to": "outside"} for name in names})
    assert [line.split("--comment ")[1].split()[0] for line in rules] == names


def test_a_firewall_that_speaks_bgp_lets_its_neighbours_in() -> None:
    document = world({}).model_dump(by_alias=True, mode="python")
    text = iptables_text(Topology.model_validate({**document, "bgp": {"fw": {"asn": 64500}}}), "fw")
    assert "-A INPUT -p tcp -m multiport --ports 179 -m comment --comment bgp -j ACCEPT\n" in text


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({**SIP, "protocol": "icmp"}, "ports need protocol tcp or udp"),
        ({**SIP, "protocol": "any"}, "ports need protocol tcp or udp"),
        ({**SIP, "destination_ports": ["70000"]}, "no range of ports"),
        ({**SIP, "destination_ports": ["500-400"]}, "no range of ports"),
        ({**SIP, "source_ports": ["1-2"] * 8}, "at most 15 ports"),
        ({**SIP, "payload": "stun"}, "payload needs action drop"),
        ({**NO_STUN, "protocol": "any", "destination_ports": []}, "payload needs action drop and protocol tcp or udp"),
    ],
)
def test_a_rule_that_iptables_would_refuse_is_named(rule: Document, problem: str) -> None:
    with pytest.raises(SpecError, match=rf"firewalls\.fw\.rules\.sip: .*{problem}"):
        iptables_text(world({"sip": rule}), "fw")


def decided(rules: Document, *, port: int = 443, source: str = "10.0.0.1", back: bool = False) -> tuple[bool, str]:
    """Return what the policy says of a TCP packet between `in` and `out`, and by which rule."""
    packet = Probe("tcp", IPv4Address(source), IPv4Address("10.0.1.1"), source_port=50000, destination_port=port)
    ends = {"arrives_by": "out", "leaves_by": "in"} if back else {"arrives_by": "in", "leaves_by": "out"}
    decision = decide(world(rules).firewalls["fw"], **ends, probe=packet)
    return decision.accepted, decision.rule


def test_the_policy_decides_as_the_rules_are_written() -> None:
    assert decided({"sip": SIP}) == (True, "sip")
    assert decided({"sip": SIP}, port=5061) == (True, "sip")
    assert decided({"sip": SIP}, port=5062) == (False, "default")
    assert decided({"sip": SIP}, back=True) == (False, "default")
    assert decided({"no": {**SIP, "action": "drop"}, "sip": SIP}) == (False, "no")
    assert decided({"sip": {**SIP, "source": "10.0.0.2/32"}}) == (False, "default")
    assert decided({"sip": {**SIP, "destination": "10.0.2.0/24"}}) == (False, "default")
    assert decided({"sip": {**SIP, "source_ports": ["1024-2047"]}}) == (False, "default")
    assert decided({"sip": {**SIP, "protocol": "udp"}}) == (False, "default")


@pytest.mark.parametrize(
    ("payload", "port", "rule"), [("stun", 443, "no"), ("tls", 443, None), ("", 443, None), ("stun", 5060, None)]
)
def test_a_payload_is_refused_where_it_can_be_seen(payload: Any, port: int, rule: str | None) -> None:
    packet = Probe("tcp", IPv4Address("10.0.0.1"), IPv4Address("10.0.1.1"), 50000, port, payload)
    firewall = world({"no": NO_STUN, "sip": SIP}).firewalls["fw"]
    assert refusal(firewall, arrives_by="in", leaves_by="out", probe=packet) == rule
    assert refusal(firewall, arrives_by="out", leaves_by="in", probe=packet) is None


def test_a_rule_on_payload_lets_the_first_packet_of_tcp_pass() -> None:
    assert decided({"no": NO_STUN, "sip": SIP}) == (True, "sip")
