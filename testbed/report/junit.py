"""A run as JUnit XML, for continuous integration.

FAIL is a failure, ERROR an error, INCONCLUSIVE a failure of type "inconclusive": who cannot tell is not green. A
negative control is a case that passes if it came out as its file says, else a failure of type "control". Where a missed
target or a broken principle is to fail a run, a PASS that has one is a failure of type "targets", "principles".
Elements and attributes are those that both common schemas allow (Jenkins' junit-10.xsd and the Apache Ant one).
"""

import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from testbed.report.record import RunRecord, ScenarioRecord, read_record
from testbed.report.targets import missed, missed_words
from testbed.report.words import facts

_NOT_XML: Final = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FAILURE_TYPES: Final = {"FAIL": "fail", "INCONCLUSIVE": "inconclusive"}
_WRONG: Final = {"targets": "missed targets", "principles": "broken principles"}


def junit_xml(run: RunRecord | Path, *, fail_on: Collection[str] = ()) -> str:
    """Return the run as JUnit XML; raise TestbedError if the directory cannot be read.

    *fail_on* says what is a failure besides a verdict: "targets", "principles".
    """
    record = read_record(run) if isinstance(run, Path) else run
    root = ElementTree.Element("testsuites")
    root.append(_suite(record, fail_on))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(record: RunRecord, fail_on: Collection[str]) -> ElementTree.Element:
    cases = [_case(scenario, fail_on) for scenario in record.scenarios]
    suite = ElementTree.Element(
        "testsuite",
        {
            "id": "0",
            "name": _clean(record.file.run) or "run",
            "package": "testbed",
            "hostname": "localhost",
            "tests": str(len(cases)),
            "failures": str(sum(case.find("failure") is not None for case in cases)),
            "errors": str(sum(case.find("error") is not None for case in cases)),
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
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out")
    ElementTree.SubElement(suite, "system-err")
    return suite


def _case(record: ScenarioRecord, fail_on: Collection[str]) -> ElementTree.Element:
    entry = record.entry
    table = record.scenario.table if record.scenario else entry.scenario.partition("/")[0]
    case = ElementTree.Element("testcase", {"classname": f"testbed.{table}", "name": _clean(record.name)})
    if entry.duration_s is not None:
        case.set("time", f"{entry.duration_s:.3f}")
    for tag, kind, message, lines in _wrong(record, fail_on):
        wrong = ElementTree.SubElement(case, tag, {"message": _clean(message), "type": kind})
        wrong.text = _clean("\n".join(lines))
    return case


def _wrong(record: ScenarioRecord, fail_on: Collection[str]) -> Iterator[tuple[str, str, str, list[str]]]:
    """Yield element, type, message and text of what is wrong with a case; nothing where it passes."""
    entry = record.entry
    if entry.verdict == "ERROR":
        yield "error", "error", entry.reason or entry.verdict, _evidence(record)
    elif record.control is not None:
        if record.control_fault:
            yield "failure", "control", record.control_fault, _evidence(record)
    elif entry.verdict != "PASS":
        yield "failure", _FAILURE_TYPES[entry.verdict], entry.reason or entry.verdict, _evidence(record)
    elif found := {name: lines for name, lines in _against(record).items() if name in fail_on and lines}:
        message = f"PASS, but with {' and '.join(f'{_WRONG[name]} ({len(found[name])})' for name in found)}"
        yield "failure", next(iter(found)), message, [message, *(line for lines in found.values() for line in lines)]


def _against(record: ScenarioRecord) -> dict[str, list[str]]:
    """Return what speaks against a scenario that passed, by what fails on it."""
    principles = record.verdict.principles if record.verdict else ()
    return {
        "targets": [missed_words(row) for row in missed(record.quality["targets"] if record.quality else ())],
        "principles": [f"{one.principle}: {one.reason}" for one in principles if one.outcome == "broken"],
    }


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
