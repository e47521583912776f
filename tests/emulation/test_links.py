"""Shaped links by the wire process: what it carries, and how it takes trouble."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from testbed.emulation import links, wire_core
from testbed.emulation.tools import sealed
from testbed.errors import MissingTool

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["compiled", "python"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the wire's core chosen by the test, not by what is there."""
    wanted: str = request.param
    if wanted == "compiled" and wire_core.load() is None:
        pytest.skip("there is no C compiler: the wire is Python's here")
    monkeypatch.setenv(links.WIRE_CORE, wanted)
    return wanted


def in_world(trial: str) -> dict[str, Any]:
    """Run one trial of links_world in fresh namespaces."""
    done = subprocess.run(
        sealed(sys.executable, "-m", "tests.emulation.links_world", trial),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_each_link_carries_its_own_packets_both_ways_and_counts_them(core: str) -> None:
    result = in_world("carried")
    assert result["passed"] == [True, True]
    for directions in result["links"].values():
        assert {way: (x["received"], x["sent"]) for way, x in directions.items()} == {
            "forward": (1, 1),
            "return": (1, 1),
        }
    assert result["wire"]["core"] == {"compiled": "C", "python": "Python"}[core]
    assert result["wire"]["frames"] >= 4 and result["wire"]["lateness_ns"]["p99"] is not None


def test_arp_passes_a_link_that_loses_every_ip_packet(core: str) -> None:
    result = in_world("arp_on_a_link_that_loses_all")
    assert result["received"] == 0
    assert result["links"]["link-0"]["forward"]["lost"] == 1


def test_a_pulled_cable_loses_frames_on_its_link_only_and_heals(core: str) -> None:
    result = in_world("cable_pulled")
    assert (result["before"], result["meanwhile"], result["after"]) == ([True, True], True, True)
    failures = [sum(way["send_failures"] for way in result["links"][f"link-{n}"].values()) for n in (0, 1)]
    assert failures == [result["wire"]["send_failures"], 0] and failures[0] >= 1


def test_a_wire_that_was_killed_is_an_error_not_an_empty_result() -> None:
    result = in_world("killed")
    assert "the wire (process " in result["failure"] and result["complaint"] == result["failure"]


def test_an_interface_that_is_not_there_is_named() -> None:
    assert "link-0: cannot open w0a: No such device" in in_world("interface_missing")["complaint"]


def test_the_wire_sleeps_while_a_frame_waits_for_its_time(core: str) -> None:
    result = in_world("rest")
    assert result["arrived"] == 1
    assert result["share"] < 0.1


def test_asking_for_netem_where_the_kernel_lacks_it_is_one_clear_line() -> None:
    if links.choose_backend_in_a_namespace() == "netem":
        pytest.skip("this kernel has netem")
    with pytest.raises(MissingTool, match=r"^this kernel cannot do netem .*; mend: modprobe") as caught:
        asyncio.run(links.choose_backend("netem"))
    assert "\n" not in str(caught.value)


def test_the_wire_can_always_be_had() -> None:
    assert asyncio.run(links.choose_backend("wire")) == "wire"
