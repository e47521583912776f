"""JUnit tells broken rig, no evidence and wrong behaviour apart, in a form that both common schemas allow."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from report_samples import ALL, BROKEN, NOT_ANNOUNCED, P2P_INTERNAL, UNCAPTURED, Sample, write_run

from testbed.report.junit import junit_xml

FAILED = replace(NOT_ANNOUNCED, controls=None)
SUITE_CHILDREN = re.compile(r"properties (testcase )*system-out system-err ")
"The order that the Apache Ant schema demands; Jenkins' allows any."
ANT_SUITE_ATTRIBUTES = {"id", "package", "name", "hostname", "timestamp", "tests", "failures", "errors", "time"}


def suite_of(tmp_path: Path, *samples: Sample) -> ElementTree.Element:
    root = ElementTree.fromstring(junit_xml(write_run(tmp_path / "run", samples)))
    assert root.tag == "testsuites"
    assert not root.attrib
    suite = root.find("testsuite")
    assert suite is not None
    return suite


def test_a_pass_is_an_empty_case(tmp_path: Path) -> None:
    case = suite_of(tmp_path, P2P_INTERNAL).find("testcase")
    assert case is not None
    assert (case.get("name"), case.get("classname"), case.get("time")) == (
        "online/p2p-internal",
        "testbed.online",
        "19.250",
    )
    assert len(case) == 0


def test_each_red_verdict_has_its_own_element_and_type(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, FAILED, UNCAPTURED, BROKEN)
    found = [(child.tag, child.get("type")) for case in suite.iter("testcase") for child in case]
    assert found == [("failure", "fail"), ("failure", "inconclusive"), ("error", "error")]


def test_counts_are_those_of_the_cases(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, *ALL)
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        assert int(suite.attrib[attribute]) == len(list(suite.iter(tag)))


def test_a_failure_carries_reason_and_evidence(tmp_path: Path) -> None:
    failure = suite_of(tmp_path, FAILED).find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == FAILED.reason
    assert "crossed internet on link ce-inet-transit1, first frame 818" in (failure.text or "")


def test_elements_and_attributes_are_those_of_the_schemas(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, *ALL)
    assert set(suite.attrib) == ANT_SUITE_ATTRIBUTES
    assert SUITE_CHILDREN.fullmatch("".join(f"{child.tag} " for child in suite))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert re.fullmatch(r"\d+\.\d+", suite.attrib["time"])
    for case in suite.iter("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
        assert len(case) <= 1


def test_a_time_zone_is_turned_into_utc(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    run = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(json.dumps({**run, "started": "2026-11-22T21:15:00+01:00"}))
    assert 'timestamp="2026-11-22T20:15:00"' in junit_xml(directory)


def test_a_duration_that_is_missing_is_left_out_and_not_zero(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", [P2P_INTERNAL])
    run = json.loads((directory / "run.json").read_text())
    del run["scenarios"][0]["duration_s"]
    (directory / "run.json").write_text(json.dumps(run))
    assert "time=" not in junit_xml(directory)


def test_what_xml_cannot_carry_is_left_out(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, replace(BROKEN, reason="bell \x07, \ud800 and <tag> & \x00"))
    error = suite.find("testcase/error")
    assert error is not None
    assert error.get("message") == "bell ,  and <tag> & "
