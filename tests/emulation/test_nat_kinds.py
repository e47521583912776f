"""Each NAT behaves as its file says: stock programs probe the very rules that scenarios load (RFC 4787, RFC 5780)."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from testbed import catalogue
from testbed.emulation.tools import sealed
from testbed.plan.firewall import iptables_text
from testbed.spec.reader import read_spec, read_topology

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]
INDEPENDENT = "Endpoint Independent"
ADDRESS_AND_PORT = "Address and Port Dependent"
BEHAVIOUR = {
    "nat/independent-independent": (INDEPENDENT, INDEPENDENT),
    "nat/symmetric-dependent": (INDEPENDENT, "Address Dependent"),
    "nat/symmetric-symmetric": (ADDRESS_AND_PORT, ADDRESS_AND_PORT),
}
"What the NAT of grace's home is in a scenario: its mapping and its filtering."
BLOCKED = "nat/symmetric-blocked"
AS_LINUX_IS = "as Linux is"


def rules(name: str) -> str:
    """Return the rules of the home's NAT in a scenario, or those of the topology as it stands."""
    path = catalogue.find_spec("office365-home" if name == AS_LINUX_IS else name)
    topology = read_topology(path) if name == AS_LINUX_IS else read_spec(path).topology
    return iptables_text(topology, "home-nat")


def probe(asked: tuple[str, str]) -> str:
    """Return what a STUN client behind the NAT finds when it asks for mapping (-m) or filtering (-f)."""
    name, question = asked
    played = subprocess.run(
        sealed(sys.executable, "tests/emulation/nat_world.py"),
        input=json.dumps({"rules": rules(name), "inside": "grace", "outside": "transit2", "question": question}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ),
        timeout=60,
        check=False,
    )
    assert played.returncode == 0, played.stderr
    return played.stdout


@pytest.fixture(scope="module")
def found() -> Mapping[str, str]:
    """What was found behind each NAT: they are probed together, as most of the time is waiting for what never comes."""
    asked = [(name, question) for name in (*BEHAVIOUR, AS_LINUX_IS, BLOCKED) for question in ("-m", "-f")]
    with ThreadPoolExecutor(len(asked)) as pool:
        told = list(pool.map(probe, asked))
    return {name: told[n] + told[n + 1] for n, (name, _) in enumerate(asked) if n % 2 == 0}


def behaviour(text: str) -> tuple[list[str], list[str]]:
    """Return the mapping and the filtering that the client names."""
    return re.findall(r"NAT with (.*) Mapping!", text), re.findall(r"NAT with (.*) Filtering!", text)


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_a_nat_maps_and_filters_as_its_scenario_says(name: str, found: Mapping[str, str]) -> None:
    mapping, filtering = BEHAVIOUR[name]
    assert behaviour(found[name]) == ([mapping], [filtering]), found[name]


def test_linux_by_itself_keeps_the_port_and_lets_only_those_in_that_were_sent_to(found: Mapping[str, str]) -> None:
    assert behaviour(found[AS_LINUX_IS]) == ([INDEPENDENT], [ADDRESS_AND_PORT]), found[AS_LINUX_IS]


def test_where_udp_is_blocked_no_server_is_reached(found: Mapping[str, str]) -> None:
    assert "response 1" not in found[BLOCKED]
    assert "timeout" in found[BLOCKED]
