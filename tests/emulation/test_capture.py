"""The capture process in a small real network: nothing is missed, and what is missed is known."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scapy.utils import RawPcapNgReader

from testbed.analysis.packets import decode
from testbed.emulation.tools import sealed

pytestmark = pytest.mark.emulation
ROOT = Path(__file__).parents[2]


def in_world(trial: str, directory: Path) -> dict[str, Any]:
    """Run one trial of capture_world in fresh namespaces."""
    done = subprocess.run(
        sealed(sys.executable, "-m", "tests.emulation.capture_world", trial, str(directory)),
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


def shown(path: Path, *fields: str, filter_text: str = "") -> list[list[str]]:
    """What tshark shows of a file that it reads without complaint."""
    done = subprocess.run(
        ["tshark", "-r", path, "-Y", filter_text, "-T", "fields", *(x for f in fields for x in ("-e", f))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [x for x in done.stderr.splitlines() if "Running as user" not in x]
    return [line.split("\t") for line in done.stdout.splitlines()]


def packets_in(path: Path) -> int:
    with RawPcapNgReader(str(path)) as reader:
        return sum(1 for _ in reader)


def test_every_packet_is_there_with_its_link_and_direction(tmp_path: Path) -> None:
    result = in_world("both_ways", tmp_path)
    rows = shown(
        tmp_path / "capture.pcapng",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "udp.dstport",
        filter_text="udp",
    )
    for link in ("client-fw", "fw-server"):
        assert rows.count([link, "0x00000002", "7"]) == 10
        assert rows.count([link, "0x00000001", "5000"]) == 10
    assert (rows.count(["client-fw", "0x00000002", "9"]), rows.count(["fw-server", "0x00000002", "9"])) == (3, 0)
    everything = [link for (link,) in shown(tmp_path / "capture.pcapng", "frame.interface_name")]
    for link, counters in result["capture"].items():
        assert counters == {"packets": everything.count(link), "dropped": 0}
    assert result["faults"] == []


def test_a_packet_is_seen_later_on_each_link_it_crosses(tmp_path: Path) -> None:
    in_world("both_ways", tmp_path)
    fields = ("frame.interface_name", "frame.time_epoch")
    rows = shown(tmp_path / "capture.pcapng", *fields, filter_text="udp.dstport == 7")
    times = [sorted(float(t) for link, t in rows if link == name) for name in ("client-fw", "fw-server")]
    assert all(0 < after - before < 1 for before, after in zip(*times, strict=True))


def test_a_capture_ends_at_one_moment_on_all_links(tmp_path: Path) -> None:
    """So that nothing seems to have jumped over a link: what is on a later one is on those before it."""
    result = in_world("stopped_amid", tmp_path)
    packets = decode(tmp_path / "capture.pcapng")
    numbers: dict[str, set[int]] = {"client-fw": set(), "fw-server": set()}
    for row in np.flatnonzero(packets.destination_port == 7).tolist():
        numbers[packets.interfaces[packets.link[row]].name].add(int.from_bytes(packets.payload(row), "big"))
    assert len(numbers["client-fw"]) > 100
    assert numbers["fw-server"] <= numbers["client-fw"], sorted(numbers["fw-server"] - numbers["client-fw"])[:5]
    assert not any(counters["dropped"] for counters in result["capture"].values())


def test_a_dropped_packet_has_the_rule_and_the_interfaces_in_its_comment(tmp_path: Path) -> None:
    result = in_world("both_ways", tmp_path)
    rows = shown(tmp_path / "dropped.pcapng", "frame.interface_name", "frame.comment", "ip.dst", "udp.dstport")
    assert rows == [["fw", "rule=no-discard hook=FORWARD in=client out=server", "198.18.2.2", "9"]] * 3
    assert result["dropped_log"] == {"fw": {"packets": 3, "lost": 0}}


def test_what_the_buffers_could_not_hold_is_counted_to_the_packet(tmp_path: Path) -> None:
    result = in_world("overrun", tmp_path)
    link, log = result["capture"]["client-fw"], result["dropped_log"]["fw"]
    assert link["dropped"] > 0 and link["packets"] + link["dropped"] >= 12_000
    assert log["lost"] > 0 and log["packets"] + log["lost"] == 12_000
    assert packets_in(tmp_path / "capture.pcapng") == sum(x["packets"] for x in result["capture"].values())


def test_a_full_disk_is_told_and_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    result = in_world("full_disk", tmp_path)
    assert [x.count("No space left on device") for x in result["faults"]] == [1, 1]
    link = result["capture"]["client-fw"]
    assert link["dropped"] > 0 and link["packets"] + link["dropped"] >= 200
    assert packets_in(tmp_path / "capture.pcapng") == sum(x["packets"] for x in result["capture"].values())
    assert packets_in(tmp_path / "dropped.pcapng") == result["dropped_log"]["fw"]["packets"]
    assert result["dropped_log"]["fw"]["packets"] + result["dropped_log"]["fw"]["lost"] == 200


def test_a_capture_that_was_killed_is_an_error_not_an_empty_result(tmp_path: Path) -> None:
    complaint = in_world("killed", tmp_path)["complaint"]
    assert complaint.startswith("the capture (process ") and "died" in complaint


def test_an_interface_that_is_not_there_is_named(tmp_path: Path) -> None:
    complaint = in_world("no_such_interface", tmp_path)["complaint"]
    assert "client-fw: cannot capture on nowhere: No such device" in complaint


def test_a_drop_log_that_another_program_reads_is_an_error(tmp_path: Path) -> None:
    assert "fw: cannot read the drop log" in in_world("log_taken", tmp_path)["complaint"]


def test_a_link_that_goes_down_and_up_goes_on_being_captured(tmp_path: Path) -> None:
    in_world("interface_lost", tmp_path)
    rows = shown(tmp_path / "capture.pcapng", "frame.interface_name", filter_text="udp.dstport == 7")
    assert rows.count(["client-fw"]) == 4
