"""Readback finds every kind of difference between the plan and the kernel, and none where there is none."""

import json
import subprocess
from pathlib import Path

import pytest

from testbed.emulation.world import stage_command, world_environment

from .tampering import TAMPERINGS

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]
EXPECTED = {
    "address added": "alice: interface r1: addresses: wanted 10.0.1.1/24, found 10.0.1.1/24, 10.9.9.9/32",
    "address gone": "fw: interface bob: addresses: wanted 10.0.4.1/24, found none",
    "mac": "alice: interface r1: mac: wanted 02:00:00:00:00:0a, found 02:00:00:00:00:ff",
    "mtu": "r2: interface r1: mtu: wanted 1500, found 1400",
    "interface added": "bob: interface extra is not in the plan",
    "interface down": "r1: interface r2: up: wanted True, found False",
    "route added": "fw: route 10.8.0.0/16 via 10.0.4.2 on bob is not in the plan",
    "route gone": "alice: route 0.0.0.0/0 via 10.0.1.2 on r1 is missing",
    "sysctl": "r1: sysctl net.ipv4.conf.alice.rp_filter: wanted '0', found '1'",
    "rule added": "fw: iptables filter rule 1: wanted '-A FORWARD -m conntrack --ctstate INVALID",
    "policy": "fw: iptables filter FORWARD: wanted policy DROP, found ACCEPT",
    "nat added": "fw: iptables nat rule 1: wanted 'nothing', found '-A POSTROUTING -j MASQUERADE'",
    "offload": "alice: interface r1: offloads: wanted none, found gro",
    "qdisc": "bob: interface fw: qdisc: wanted noqueue, found tbf",
    "switchboard arp": "switchboard: interface w1a: arp: wanted False, found True",
    "switchboard down": "switchboard: interface w1b: up: wanted True, found False",
}


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What readback says of each tampering."""
    command = stage_command()
    command[command.index("testbed.emulation.stage")] = "tests.emulation.tampering"
    answer = subprocess.run(
        [*command, str(ROOT)], capture_output=True, text=True, check=False, timeout=120, env=world_environment()
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, str] = json.loads(answer.stdout)
    return found


def test_an_untouched_network_is_as_planned(said: dict[str, str]) -> None:
    assert said["untouched"] == ""
    assert said["mended"] == ""


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_is_found(tampering: str, said: dict[str, str]) -> None:
    assert said[tampering].startswith("the network is not what the plan says: ")
    assert EXPECTED[tampering] in said[tampering]


def test_routes_that_do_not_come_are_named(said: dict[str, str]) -> None:
    late = "routing has not converged after 0.1 s: "
    assert said["route not learned"] == f"{late}r1: wanted 10.0.4.0/24 via 10.0.2.2, found no such route"
    assert said["route not absent"] == f"{late}alice: 0.0.0.0/0 must be absent, found 0.0.0.0/0 via 10.0.1.2"
    assert said["wrong next hop"] == (f"{late}fw: wanted 10.0.0.0/16 via 10.0.3.9, found 10.0.0.0/16 via 10.0.3.1")
