"""The commands about figures: export, compare, sweep, link conditions. Each calls one function elsewhere and prints."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from testbed.errors import UsageError

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def export(
    directory: Path,
    to: Annotated[Path, typer.Option(help="Folder that the tables go to.")],
    form: Annotated[Literal["csv", "parquet"], typer.Option("--format", help="How they are written.")] = "csv",
    table: Annotated[list[str] | None, typer.Option(help="Only this table; may be repeated.")] = None,
) -> None:
    """Write the tables of a run, or of one scenario of it, for other programs: packets, flows, media streams ..."""
    from testbed.tables import read_run
    from testbed.tables.export import export as write

    try:
        written = write(read_run(directory), to, tables=table or (), form=form)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(f"--to: {to}: cannot be a folder: {error.strerror}") from None
    for path in written:
        out.print(str(path), markup=False)


def compare(
    before: Path,
    after: Path,
    baseline: Annotated[
        bool, typer.Option("--baseline", help="Say only what changed; exit 1 if anything did.")
    ] = False,
    page: Annotated[Path | None, typer.Option(help="Write the comparison as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what changed between two runs: verdicts, paths, and figures that differ by more than their spread."""
    from testbed.comparison import compare_runs
    from testbed.comparison.page import write_page
    from testbed.comparison.text import comparison_lines

    if page is not None:
        check_place("--page", page)
    found = compare_runs(before, after)
    if page is not None:
        try:
            write_page(found, page)
        except OSError as error:
            raise UsageError(f"--page: {page}: cannot be written: {error.strerror}") from None
    if as_json:
        sys.stdout.write(json.dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    else:
        out.print("\n".join(comparison_lines(found, only_changes=baseline)), markup=False)
    raise typer.Exit(1 if baseline and found.is_different else 0)


def check_place(option: str, path: Path) -> None:
    """Raise UsageError where no file can be put at *path*, before any work is done for it."""
    if not path.parent.is_dir():
        raise UsageError(f"{option}: {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise UsageError(f"{option}: {path}: is a folder; name a file")


def conditions() -> None:
    """Show the link conditions that --change takes: hotel Wi-Fi, LTE, satellite ... with their figures and sources."""
    from testbed.conditions import condition_lines

    out.print("\n".join(condition_lines()), markup=False)


def sweep(
    file: Path,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="How many cells run at once.")] = 1,
    results: Annotated[Path, typer.Option(help="Where the sweep's folder goes.")] = Path("results"),
    scheduler: Annotated[
        str | None, typer.Option(help="Run on the workers of the Dask scheduler at this address (docs/sweeps.md).")
    ] = None,
) -> None:
    """Run a scenario over a grid of changes, into one table; given again, it continues where it was stopped.

    A file of experiments/ makes a plot and one sentence of it, too. Exit status: 0 all PASS, or the claim holds; 1 a
    FAIL, or the claim does not hold; 2 bad file or usage; 3 an INCONCLUSIVE, or it cannot be told; 4 the rig broke.
    """
    from testbed.sweep import read_sweep, run_sweep
    from testbed.sweep.experiment import PLOT_FILE, conclude_sweep, exit_code, summary_lines

    if scheduler is not None and jobs != 1:
        raise UsageError("--jobs is about this machine; with --scheduler it is `dask worker --nworkers` that counts")
    folder, wanted = results / f"sweep-{file.stem}", read_sweep(file)
    swept = run_sweep(wanted, folder, jobs=jobs, scheduler=scheduler, told=lambda line: err.print(line, markup=False))
    out.print(f"Table: {swept.table} and {swept.table.with_suffix('.parquet')}", markup=False)
    outcome = conclude_sweep(wanted, swept, folder)
    if wanted.plot is not None:
        plot = folder / PLOT_FILE
        out.print(f"Plot: {plot if plot.exists() else 'none, for no trusted run has a point for it'}", markup=False)
    for line in summary_lines(swept, outcome):
        out.print(line, markup=False)
    raise typer.Exit(exit_code(swept, outcome))
