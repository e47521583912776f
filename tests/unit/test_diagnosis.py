"""Diagnosis of the shipped world and of every asymmetric case: what dies, and a change that mends it when made."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed import catalogue
from testbed.cli import app
from testbed.plan.diagnosis import diagnose, is_asymmetric_death
from testbed.plan.diagnosis_text import as_json, diagnosis_lines
from testbed.spec.reader import read_spec

SICK = {
    "nat-pool-not-announced-over-er": ("NO_SESSION_ON_RETURN:fw-internet", "announcements.contoso-er-pool.at"),
    "same-pool-on-both": ("NO_SESSION_ON_RETURN:fw-er", "announcements.contoso-pool-over-er"),
    "microsoft-initiated-no-snat": ("NO_SESSION_ON_RETURN:fw-er", "firewalls.fw-internet.nat.inbound"),
    "two-circuits": ("NO_SESSION_ON_RETURN:fw-er2", "firewalls.fw-er.nat.inbound"),
    "prefix-shared-with-other-service": ("NO_SESSION_ON_RETURN:fw-er", "announcements.contoso-pool-over-er"),
    "half-seen-flow": ("HALF_SEEN_FLOW:fw-er", "announcements.contoso-clients.at"),
    "reverse-path-filter-masks": ("REVERSE_PATH_FILTER:fw-internet", "announcements.contoso-er-pool.at"),
}


def test_the_usual_world_has_no_asymmetric_pair() -> None:
    topology, _ = catalogue.read_subject("office365")
    found = diagnose(topology)
    assert len(found.findings) > 20
    assert not [finding for finding in found.findings if is_asymmetric_death(finding)]
    assert diagnosis_lines(found, topology)[-1].endswith("0 asymmetric, 0 die of it")


@pytest.mark.parametrize("case", SICK)
def test_a_case_is_diagnosed_with_a_change_that_mends_it(case: str) -> None:
    end, key = SICK[case]
    topology = read_spec(catalogue.find_scenario(f"asymmetric/{case}")).topology
    found = diagnose(topology)
    sick = [finding for finding in found.findings if finding.end.startswith(end)]
    assert sick
    assert all(finding.half_seen_by for finding in sick)
    keys = {key for cure in found.cures.values() if cure for key in (*cure.change.set, *cure.change.remove)}
    assert key in keys
    for finding in sick:
        cure = found.cures[finding.pair.title]
        assert cure is not None, finding
        assert finding.pair.title in cure.mends
    rows = [row for row in as_json(found, topology) if row["cure"]]
    assert {str(row["end"]) for row in rows} >= {finding.end for finding in sick}


@pytest.mark.parametrize("case", SICK)
def test_a_suggested_change_made_by_hand_mends_what_it_says(case: str) -> None:
    path = catalogue.find_scenario(f"asymmetric/{case}")
    found = diagnose(read_spec(path).topology)
    cure = next(cure for cure in found.cures.values() if cure is not None)
    after = {each.pair.title: each.end for each in diagnose(read_spec(path, (cure.change,)).topology).findings}
    assert {after[title] for title in cure.mends} == {"DELIVERED"}


def test_a_run_is_diagnosed_with_what_it_saw(tmp_path: Path) -> None:
    topology = read_spec(catalogue.find_scenario("asymmetric/same-pool-on-both")).topology
    (tmp_path / "manifest.json").write_text(json.dumps({"topology": topology.model_dump(mode="json", by_alias=True)}))
    leg = {"disposition": "NO_SESSION_ON_RETURN", "reason": "SYN-ACK came back"}
    (tmp_path / "verdict.json").write_text(json.dumps({"legs": [leg]}))
    told = CliRunner().invoke(app, ["diagnose", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "ASYMMETRIC  alice -> online-front-end" in told.output
    assert "half of it is seen by fw-er, fw-internet" in told.output
    assert told.output.rstrip().endswith("SYN-ACK came back")


def test_a_manifest_without_a_topology_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(Exception, match="holds no topology"):
        catalogue.read_subject(str(tmp_path))
