"""The benchmarks' exit status: whatever target is missed, it is not 0."""

from typing import Any

import pytest

from benchmarks import catalogue, decode, quality, runs
from testbed.catalogue import list_scenarios

GIB_KIB = 1 << 20


@pytest.mark.parametrize(
    ("took_s", "peak_kib", "report_s", "verdict", "status"),
    [
        (300.0, 3 * GIB_KIB, 9.9, "PASS", 0),
        (300.0, 3 * GIB_KIB, 9.9, "INCONCLUSIVE", 0),  # a busy machine: nothing is said of the network
        (301.0, 3 * GIB_KIB, 9.9, "PASS", 1),
        (300.0, 4 * GIB_KIB, 9.9, "PASS", 1),
        (300.0, 3 * GIB_KIB, 10.0, "PASS", 1),
        (300.0, 3 * GIB_KIB, 9.9, "FAIL", 1),
        (300.0, 3 * GIB_KIB, 9.9, "ERROR", 1),
    ],
)
def test_the_catalogue_is_held_to_its_targets(
    took_s: float, peak_kib: int, report_s: float, verdict: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {"scenarios": [{"verdict": verdict, "media_s": 10.0}], "took_s": took_s}
    assert catalogue.tell(document, peak_kib, report_s, 1.0) == status
    assert "tables online, hybrid, cloud-connector, prose, rules" in capsys.readouterr().out


def test_a_catalogue_without_scenarios_is_no_success() -> None:
    assert catalogue.tell({"scenarios": [], "took_s": 1.0}, 1, 1.0, 1.0) == 1


def test_the_catalogue_counts_every_table_but_the_projects_own() -> None:
    tables = {entry.table for entry in list_scenarios()}
    assert tables - set(catalogue.TABLES) == {"asymmetric", "fallback", "nat"}


@pytest.mark.parametrize(
    ("overheads_s", "two_s", "status"), [((3.9, 9.0, 4.0), 10.0, 0), ((4.1,), 10.0, 1), ((1.0,), 10.1, 1)]
)
def test_runs_are_held_to_their_targets(overheads_s: tuple[float, ...], two_s: float, status: int) -> None:
    one = {"scenarios": [{"overhead_s": each} for each in overheads_s], "took_s": 16.0}
    assert runs.tell(one, {"took_s": two_s}) == status


def measured(seconds: float, **memory: int) -> dict[str, Any]:
    told = {"memory_bytes": 1, "anonymous_bytes": 1, **memory}
    return {"seconds": seconds, "parts": {"decode": seconds}, **told}


@pytest.mark.parametrize(
    ("seconds", "tshark_s", "large_bytes", "status"),
    [(0.5, 3.0, 1, 0), (0.5, 2.9, 1, 1), (1.1, 9.0, 1, 1), (0.5, 3.0, 1 << 30, 1)],
)
def test_measuring_is_held_to_its_targets(seconds: float, tshark_s: float, large_bytes: int, status: int) -> None:
    large = measured(5.0, memory_bytes=large_bytes)
    assert quality.tell(1_000_000, measured(seconds), tshark_s, large) == status


@pytest.mark.parametrize(("tshark", "scapy", "status"), [(33.0, 3.3, 0), (34.0, 3.0, 1), (10.0, 3.4, 1)])
def test_decoding_is_held_to_its_targets(tshark: float, scapy: float, status: int) -> None:
    assert decode.tell({decode.OURS: 100.0, decode.TSHARK: tshark, decode.SCAPY: scapy}) == status
