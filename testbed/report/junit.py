"""A run as JUnit XML, for continuous integration.

FAIL is a failure, ERROR an error, INCONCLUSIVE a failure of type "inconclusive": who cannot tell is not green. A
negative control is a case that passes if it came out as its file says, else a failure of type "control".
Elements and attributes are those that both common schemas allow (Jenkins' junit-10.xsd and the Apache Ant one).
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from testbed.report.record import RunRecord, ScenarioRecord, read_record
from testbed.report.words import facts

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILURE_TYPES: Final = {"FAIL": "fail", "INCONCLUSIVE": "inconclusive"}


def junit_xml(run: RunRecord | Path) -> str:
    """Return the run as JUnit XML; raise TestbedError if the directory cannot be read."""
    record = read_record(run) if isinstance(run, Path) else run
    root = ElementTree.Element("testsuites")
    root.append(_suite(record))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(record: RunRecord) -> ElementTree.Element:
    wrong = [tag for scenario in record.scenarios for tag, _, _ in _wrong(scenario)]
    suite = ElementTree.Element(
        "testsuite",
        {
            "id": "0",
            "name": _clean(record.file.run) or "run",
            "package": "testbed",
            "hostname": "localhost",
            "tests": str(len(record.scenarios)),
            "failures": str(wrong.count("failure")),
            "errors": str(wrong.count("error")),
        },
    )
    durations = [scenario.entry.duration_s for scenario in record.scenarios]
    known = [duration for duration in durations if duration is not None]
    if len(known) == len(durations):
        suite.set("time", f"{sum(known):.3f}")
    if timestamp := _timestamp(record.file.started):
        suite.set("timestamp", timestamp)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in facts(record.file.environment):
        ElementTree.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    suite.extend(_case(scenario) for scenario in record.scenarios)
    ElementTree.SubElement(suite, "system-out")
    ElementTree.SubElement(suite, "system-err")
    return suite


def _case(record: ScenarioRecord) -> ElementTree.Element:
    entry = record.entry
    table = record.scenario.table if record.scenario else entry.scenario.partition("/")[0]
    case = ElementTree.Element("testcase", {"classname": f"testbed.{table}", "name": _clean(record.name)})
    if entry.duration_s is not None:
        case.set("time", f"{entry.duration_s:.3f}")
    for tag, kind, message in _wrong(record):
        wrong = ElementTree.SubElement(case, tag, {"message": _clean(message), "type": kind})
        wrong.text = _clean("\n".join(_evidence(record)))
    return case


def _wrong(record: ScenarioRecord) -> Iterator[tuple[str, str, str]]:
    """Yield element, type and message of what is wrong with a case; nothing where it passes."""
    entry = record.entry
    if entry.verdict == "ERROR":
        yield "error", "error", entry.reason or entry.verdict
    elif record.control is not None:
        if record.control_fault:
            yield "failure", "control", record.control_fault
    elif entry.verdict != "PASS":
        yield "failure", _FAILURE_TYPES[entry.verdict], entry.reason or entry.verdict


def _evidence(record: ScenarioRecord) -> list[str]:
    lines = [record.entry.reason or f"{record.entry.verdict}, with no reason in run.json"]
    for leg in record.legs:
        if leg.verdict != "PASS":
            lines.append(f"{leg.verdict} {leg.what} {leg.from_} -> {leg.to}")
            lines += [f"  {sentence}" for sentence in leg.evidence]
    for check in record.verdict.checks if record.verdict else ():
        if check.verdict != "PASS":
            lines.append(f"{check.verdict} {check.check}: expected {check.expected}, observed {check.observed}")
            lines += [f"  {sentence}" for sentence in check.evidence]
    return lines


def _clean(text: str) -> str:
    """Leave out what XML 1.0 cannot carry."""
    return _NOT_XML.sub("", text)


def _timestamp(started: str | None) -> str | None:
    """Turn ISO 8601 into the schema's form: whole seconds, UTC, no zone. A text that is no time gives None."""
    try:
        moment = datetime.fromisoformat(started or "")
    except ValueError:
        return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).strftime("%Y-%m-%dT%H:%M:%S")
