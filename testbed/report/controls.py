"""Negative controls on the terminal: what each must come to, what it came to, and whether that is as its file says."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from testbed.report.record import RunRecord
from testbed.report.slug import Slug


def control_table(record: RunRecord) -> Table | None:
    """Return a row for each negative control of a run; None where it had none."""
    controls = [(scenario, scenario.control) for scenario in record.scenarios if scenario.control is not None]
    if not controls:
        return None
    table = Table(title="Negative controls: must turn red", title_justify="left", header_style="bold", pad_edge=False)
    table.add_column("Control", max_width=40)
    for heading in ("Must be", "Was", "As its file says"):
        table.add_column(heading)
    for scenario, control in controls:
        told = Text("no", style="bold red") if scenario.control_fault else Text("yes", style="green")
        table.add_row(Slug(scenario.name), control.verdict, scenario.entry.verdict, told)
    return table


def control_lines(record: RunRecord) -> Iterator[Text]:
    """Yield a line for each control that did not come out as its file says: how, and the reason that it gave."""
    for scenario in record.scenarios:
        if scenario.control_fault:
            yield Text.assemble(("control ", "bold red"), f"{scenario.name}: {scenario.control_fault}")
