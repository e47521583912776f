"""The catalogue as a page of documentation: a paragraph and a picture a row, drawn from real runs.

`python -m testbed.report.catalogue_page docs results/A results/B` writes docs/catalogue.md and docs/pictures/.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files as package_files
from pathlib import Path
from typing import Final, get_args

from testbed import files
from testbed.errors import UsageError
from testbed.readings import FLOWS, PathCell
from testbed.report.drops import node_drops
from testbed.report.picture import draw_picture
from testbed.report.record import ScenarioRecord, read_record
from testbed.report.story import leg_ways, replayed_links
from testbed.report.summary import SummaryRow, summary_rows
from testbed.report.traffic import scenario_traffic
from testbed.report.ways import LegWays, draw_ways
from testbed.scenario import Scenario

TITLES: Final = {
    "online": "Users homed Online",
    "hybrid": "Users homed on premises, and both",
    "cloud-connector": "Cloud Connector",
    "prose": "Flows that the article tells in words and figures",
    "rules": "Rules",
    "fallback": "From UDP to TCP and TLS, as far as the firewall lets through",
    "nat": "Every two kinds of NAT",
    "asymmetric": "Asymmetric routes",
}
_ABBREVIATIONS: Final = ("dns", "crl", "cdn")
_INTRODUCTION: Final = """# The catalogue

A paragraph and a picture for each scenario, written from runs by `make catalogue RUNS="results/A results/B"`. In the
pictures, solid lines are media, dashed ones signaling, and numbers are packets of the judged legs each way; of
asymmetric routes the leg that died is shown, there and back in two colours, with a mark where its packets ended.
The other signs: [report.md](report.md#the-pictures). An arrow in a flow's way is where one program hands it to the
next; X with a number is a contradiction of the article: [contradictions.md](contradictions.md).
"""


def write_catalogue_page(docs: Path, runs: Sequence[Path]) -> None:
    """Write catalogue.md and its pictures into *docs* from *runs*; a scenario in several is taken from the last.

    Raises TestbedError for a run that cannot be read, UsageError for a scenario that did not pass.
    """
    told = {record.name: (record, row) for run in runs for record, row in _scenarios(run)}
    pictures = docs / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    parts = [_INTRODUCTION]
    for table in get_args(Scenario.model_fields["table"].annotation):
        rows = [(record, row) for record, row in told.values() if record.scenario and record.scenario.table == table]
        if rows:
            parts.append(f"## {TITLES.get(table, table.capitalize())}\n")
        for record, row in sorted(rows, key=lambda one: (one[1].row, one[0].name)):
            name = f"{record.name.replace('/', '-')}.svg"
            files.write_text(pictures / name, standalone_picture(record))
            parts.append(_paragraph(record, row, f"pictures/{name}"))
    files.write_text(docs / "catalogue.md", "\n".join(parts))


def _scenarios(run: Path) -> Iterator[tuple[ScenarioRecord, SummaryRow]]:
    record = read_record(run)
    for scenario, row in zip(record.scenarios, summary_rows(record), strict=True):
        if scenario.control is not None:
            continue
        if scenario.entry.verdict != "PASS":
            raise UsageError(f"{run}: {scenario.name} ended {scenario.entry.verdict}: a catalogue shows what passes")
        yield scenario, row


def standalone_picture(record: ScenarioRecord) -> str:
    """Return a scenario's picture with all it needs: the leg that died where one was to, else all judged legs."""
    plan = record.plan
    if plan is None:
        raise UsageError(f"{record.directory}: has no plan to draw")
    traffic = scenario_traffic(record, plan)
    if (died := _died(record)) is not None:
        leg, links = died
        picture = draw_ways(plan, [leg], record.segments, traffic.actors, links, identity="picture", shown=0)
    else:
        drops = node_drops(record.verdict) or ()
        picture = draw_picture(plan, traffic, drops, record.segments, identity="picture")
    folder = package_files("testbed.report") / "templates"
    style = "".join((folder / name).read_text(encoding="utf-8") for name in ("palette.css", "picture.css"))
    head, body = picture.split(">", 1)
    return f"{head}><style>{style}svg {{ background: var(--paper); }}</style>{body}\n"


def _died(record: ScenarioRecord) -> tuple[LegWays, set[str]] | None:
    """Return the first leg that died, as observed, and all links that its packets crossed; None in other rows."""
    timeline = record.timeline
    if timeline is None or record.scenario is None or not any(leg.dies for leg in record.scenario.legs):
        return None
    for leg, told in zip(leg_ways(record), timeline["legs"], strict=True):
        if leg.died:
            return replace(leg, predicted=(None, None)), replayed_links(timeline, [told])
    return None


def _paragraph(record: ScenarioRecord, row: SummaryRow, picture: str) -> str:
    scenario = record.scenario
    note = f"{' '.join(scenario.note.split())} " if scenario and scenario.note else ""
    ways = "; ".join(filter(None, (_flow(row, flow) for flow in FLOWS)))
    how = f"{row.reason[:1].upper()}{row.reason[1:]}." if row.reason.startswith("reproduced") else ""
    title = f"### {row.row}: {row.title}\n\n`{row.scenario}`. {note}{f'{ways}. ' if ways else ''}{how}".rstrip()
    return f"{title}\n\n![{row.title}]({picture})\n"


def _flow(row: SummaryRow, flow: str) -> str:
    """Say which way a flow of each party went, and what the article prints where it is read otherwise."""
    told = ", ".join(_cell(cell, row) for cell in row.cells if cell.flow == flow and cell.observed)
    name = flow.upper() if flow in _ABBREVIATIONS else flow.capitalize()
    return f"{name}: {told}" if told else ""


def _cell(cell: PathCell, row: SummaryRow) -> str:
    why = f"; {', '.join(row.contradictions)}" if row.contradictions else ""
    differs = f" (the article: {cell.article}{why})" if cell.article_differs else ""
    whose = f"{cell.party}'s" if "dies" in (cell.observed or "") else cell.party
    return f"{whose} {cell.observed}{differs}"


if __name__ == "__main__":
    write_catalogue_page(Path(sys.argv[1]), [Path(argument) for argument in sys.argv[2:]])
