"""The commands. Each calls one function elsewhere; nothing else prints."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from testbed import catalogue, cli_results, run
from testbed.endpoints import overlaps
from testbed.errors import TestbedError, UsageError
from testbed.outcome import FailOn, RunOutcome
from testbed.plan import destinations, destinations_text, diagnosis, diagnosis_text, make_plan
from testbed.plan.prediction import explain_lines
from testbed.plan.text import plan_lines
from testbed.progress import Board
from testbed.report import write_report
from testbed.report.controls import control_lines, control_table
from testbed.report.grids import grid_of, grid_table, ladder_of, ladder_table
from testbed.report.record import read_quality, read_record
from testbed.report.summary import broken_principles, reason_lines, summary_rows, summary_table
from testbed.report.targets import missed_lines
from testbed.spec.endpoints import read_endpoints
from testbed.spec.reader import Spec, read_controls, read_spec, read_topology
from testbed.targets import read_targets
from testbed.units import parse_duration_ns

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

TableName = Literal["online", "hybrid", "cloud-connector", "prose", "rules", "fallback", "nat", "asymmetric"]
Scenarios = Annotated[list[str] | None, typer.Argument(help="Scenarios by name (online/p2p-external) or file.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--change", help="A change: TOML file, 'links.x.up=false', '-firewalls.fw-er.rules.turn', or a scenario."
    ),
]
Targets = Annotated[Path | None, typer.Option(help="Judge by the targets of this file too (docs/figures.md).")]
FailOnOption = Annotated[list[FailOn] | None, typer.Option(help="What else counts as a FAIL (repeatable).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Duration = Annotated[str, typer.Option(help="How long media flows in each call.")]
_CHECK_DURATION_NS: Final = 15_000_000_000


def _print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _duration_ns(text: str) -> int:
    try:
        duration_ns = parse_duration_ns(text)
    except ValueError as error:
        raise UsageError(f"--duration: {error}") from None
    if not 1_000_000_000 <= duration_ns <= 3_600_000_000_000:
        raise UsageError(f"--duration: must be from 1s to 60min, not {text}")
    return duration_ns


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """Show the catalogue: every scenario, its row, and what the article's table says."""
    entries = catalogue.list_scenarios()
    if as_json:
        _print_json([entry.as_json() for entry in entries])
        return
    out.print(catalogue.catalogue_table(entries))


@app.command()
def check(
    files: Annotated[list[str], typer.Argument(help="Scenario or topology files, or scenarios by name.")],
    change: Changes = None,
) -> None:
    """Validate files and print the plan that follows from them; needs no privilege."""
    changes = tuple(catalogue.parse_changes(change or []))
    for name in files:
        path = catalogue.find_spec(name)
        if catalogue.is_topology(path):
            topology = read_topology(path, changes)
            out.print(
                f"{path}: topology {topology.name}: {len(topology.nodes)} nodes, {len(topology.links)} links: sound",
                markup=False,
            )
            continue
        read_controls(path)
        plan = make_plan(read_spec(path, changes), duration_ns=_CHECK_DURATION_NS, seed=1)
        out.print("\n".join(plan_lines(plan)), markup=False)


@app.command()
def explain(scenario: str, change: Changes = None, as_json: AsJson = False) -> None:
    """Predict the path of every leg, both ways, before anything starts."""
    plan = make_plan(_spec(scenario, change), duration_ns=_CHECK_DURATION_NS, seed=1)
    if as_json:
        _print_json([path.model_dump(mode="json", by_alias=True) for path in plan.predicted])
        return
    out.print("\n".join(explain_lines(plan)), markup=False)


@app.command()
def diagnose(
    target: Annotated[str, typer.Argument(help="A topology, a scenario, or the directory of a scenario's run.")],
    change: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find asymmetric routes: every pair of client and service, both ways, what dies where, and what would mend it."""
    topology, seen = catalogue.read_subject(target, change or [])
    found = diagnosis.diagnose(topology)
    if as_json:
        _print_json(diagnosis_text.as_json(found, topology))
        return
    out.print("\n".join([*diagnosis_text.diagnosis_lines(found, topology), *seen]), markup=False)


@app.command()
def endpoints(
    file: Annotated[Path, typer.Argument(help="JSON of the Office 365 IP address and URL web service.")],
    topology: Annotated[str | None, typer.Option(help="Say which way each would be reached in this topology.")] = None,
    client: Annotated[str | None, typer.Option("--from", help="Host that asks (default: the first client).")] = None,
    change: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Show which destinations may be reached over ExpressRoute, which never are, and the way each would take.

    Exit status: 1 if any would go over ExpressRoute against the file.
    """
    listed = read_endpoints(file)
    if topology is None and (client or change):
        raise UsageError("--from and --change say something about a topology; name one with --topology")
    ways = None
    if topology is not None:
        world = catalogue.read_topology_with(topology, file, change or [])
        client = client or destinations.first_client(world)
        ways = destinations.ways(world, client)
    overlapping = list(overlaps(listed))
    if as_json:
        _print_json(destinations_text.as_json(listed, overlapping, ways, client))
    else:
        out.print(destinations_text.endpoints_table(listed, ways, client or ""))
        out.print("\n".join(destinations_text.summary_lines(listed, overlapping, ways)), markup=False)
    raise typer.Exit(1 if any(not way.is_allowed for way in ways or ()) else 0)


def _spec(scenario: str, changes: list[str] | None) -> Spec:
    return read_spec(catalogue.find_scenario(scenario), tuple(catalogue.parse_changes(changes or [])))


@app.command("run")
def run_command(
    scenarios: Scenarios = None,
    all_scenarios: Annotated[bool, typer.Option("--all", help="Run the whole catalogue.")] = False,
    table: Annotated[TableName | None, typer.Option(help="Run one table of the catalogue.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="How many scenarios run at once.")] = 1,
    duration: Duration = "15s",
    results: Annotated[Path, typer.Option(help="Where results go.")] = Path("results"),
    change: Changes = None,
    controls: Annotated[bool, typer.Option("--controls", help="Run each one's negative controls too.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here too.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
    backend: Annotated[Literal["auto", "wire", "netem"], typer.Option(help="How links are shaped.")] = "auto",
    targets: Targets = None,
    fail_on: FailOnOption = None,
    as_json: AsJson = False,
) -> None:
    """Build the network, place real calls, capture every link and judge.

    Exit status: 0 all PASS; 1 a FAIL; 2 bad file or usage; 3 an INCONCLUSIVE; 4 the rig broke. The worst wins. A
    negative control counts as a PASS if it came out as its file says (verdict and reason), else as a FAIL.
    """
    paths = catalogue.choose(scenarios or [], everything=all_scenarios, table=table)
    changes = catalogue.parse_changes(change or [])
    items = run.read_items(paths, changes)
    if controls:
        items += run.read_controls(paths, changes)
        if len(items) == len(paths):
            raise UsageError(
                "--controls: nothing chosen has a negative control; docs/scenarios.md says how to write one"
            )
    options = run.Options(
        results=results,
        duration_ns=_duration_ns(duration),
        jobs=jobs,
        seed=seed,
        backend=backend,
        command=tuple(sys.argv[1:]),
        junit=junit,
        targets=read_targets(targets) if targets else (),
        fail_on=frozenset(fail_on or ()),
    )
    board = Board([item.name for item in items], options.duration_ns)
    outcome = _run_with_progress(board, lambda on_event: run.run_items(items, options, on_event))
    if as_json:
        _print_json(json.loads((outcome.directory / "run.json").read_text(encoding="utf-8")))
    else:
        _print_outcome(outcome)
    raise typer.Exit(outcome.exit_code)


def _run_with_progress(board: Board, work: Callable[[run.OnEvent], RunOutcome]) -> RunOutcome:
    """Show progress on standard error: a live board on a terminal, plain lines elsewhere."""
    if err.is_terminal:
        with Live(board, console=err, refresh_per_second=4, transient=True):
            return work(lambda scenario, event: void(board.take(scenario, event)))

    def say(scenario: str, event: dict[str, Any]) -> None:
        if line := board.take(scenario, event):
            err.print(line, markup=False)

    return work(say)


def void(_: object) -> None:
    """Take a value and do nothing with it."""


def _print_sentence(text: Text) -> None:
    """Print what may be long: folded between words on a terminal, in one line for whoever reads it from a pipe."""
    out.print(text, soft_wrap=not out.is_terminal)


def _print_outcome(outcome: RunOutcome) -> None:
    record = read_record(outcome.directory)
    rows = [row for row, one in zip(summary_rows(record), record.scenarios, strict=True) if one.control is None]
    if rows:
        out.print(summary_table(rows))
    for reason in reason_lines(rows):
        _print_sentence(reason)
    if (controls := control_table(record)) is not None:
        out.print(controls)
    for line in control_lines(record):
        _print_sentence(line)
    if broken := broken_principles(rows):
        _print_sentence(Text(broken))
    told = [(one.name, one.quality) for one in record.scenarios if one.control is None]
    for missed in missed_lines(told, one_by_one=FailOn.TARGETS in outcome.fail_on):
        _print_sentence(Text(missed))
    if (grid := grid_of(record)) is not None:
        out.print(grid_table(grid))
    if ladder := ladder_of(record):
        out.print(ladder_table(ladder))
    if outcome.interrupted:
        out.print("Interrupted: what was finished by then is above and in the results.")
    out.print(f"Report: {outcome.directory / 'report.html'}", markup=False)


@app.command()
def analyse(directory: Path, targets: Targets = None, fail_on: FailOnOption = None, as_json: AsJson = False) -> None:
    """Judge a run again from its files alone: a run's directory, or one scenario's within it.

    --targets takes the place of the file that the run was made with.
    """
    outcome = run.rejudge(directory, targets=read_targets(targets) if targets else None, fail_on=fail_on or ())
    if as_json:
        _print_json([one.as_json() for one in outcome.scenarios])
    elif (directory / "run.json").exists():
        _print_outcome(outcome)
    else:
        for one in outcome.scenarios:
            out.print(f"{one.scenario}: {one.verdict}: {one.reason}", markup=False)
            if one.targets is not None:
                out.print(
                    "Targets: " + ", ".join(f"{count} {word}" for word, count in one.targets.items()), markup=False
                )
                told = [(one.scenario, read_quality(directory / "quality.json"))]
                for line in missed_lines(told, one_by_one=True):
                    out.print(line, markup=False)
    raise typer.Exit(outcome.exit_code)


@app.command()
def report(directory: Path) -> None:
    """Write the report page of a run anew, from its verdicts."""
    if not (directory / "run.json").exists():
        raise UsageError(f"{directory}: not the directory of a run (it has no run.json)")
    out.print(str(write_report(directory)), markup=False)


@app.command()
def shell(scenario: str, change: Changes = None) -> None:
    """Build the scenario's world, routing and servers running, and open Mininet's prompt in it."""
    from testbed.emulation.shell import run_shell

    plan = make_plan(_spec(scenario, change), duration_ns=_CHECK_DURATION_NS, seed=1)
    raise typer.Exit(run_shell(plan))


@app.command()
def doctor(
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure whether links do what they are told (a minute); write a page.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Where the calibration's page goes.")] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Say what this machine has, what is missing, and the command that mends it."""
    from testbed.emulation.doctor import examine

    if calibrate:
        raise typer.Exit(_calibrate(results, as_json=as_json))
    findings = examine()
    if as_json:
        _print_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            mark = "[green]ok  [/]" if finding.ok else "[bold red]miss[/]"
            out.print(mark, f"{finding.what}: {finding.state}", style=None)
            if finding.mend:
                out.print(f"     mend: {finding.mend}", markup=False)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 4)


def _calibrate(results: Path, *, as_json: bool) -> int:
    """Calibrate, show the tables, and return 0, or 1 where a link does not do what it is told."""
    from testbed.emulation import calibration_run

    done = calibration_run.calibrate_all(lambda name: err.print(f"calibrating {name}", markup=False))
    page = calibration_run.write_calibration(done, results)
    if as_json:
        _print_json(calibration_run.as_json(done))
    else:
        out.print("\n".join([*calibration_run.calibration_lines(done), f"Page: {page}"]), markup=False)
    return 0 if all(one.is_right for one in done) else 1


app.command("conditions")(cli_results.conditions)
app.command()(cli_results.compare)
app.command()(cli_results.export)
app.command()(cli_results.sweep)


def main() -> None:
    """Run the command line; an error is one line and the exit code that goes with it."""
    try:
        app()
    except TestbedError as error:
        for line in str(error).splitlines():
            err.print(f"testbed: {line}", markup=False, style="red" if err.is_terminal else None)
        sys.exit(error.exit_code)
    except OSError as error:
        err.print(f"testbed: {error}", markup=False)
        sys.exit(4)
