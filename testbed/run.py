"""The conductor: from scenario files to a judged results directory. The one module that sees every stage."""

import asyncio
import contextlib
import json
import os
import platform
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from testbed import files
from testbed.emulation.world import WaitingStage, World
from testbed.errors import RigError, TestbedError, UsageError
from testbed.outcome import FailOn, RunOutcome, ScenarioOutcome
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.report import write_report
from testbed.report.charts import library_version
from testbed.report.junit import junit_xml
from testbed.report.reading import read_json
from testbed.report.record import read_run_file
from testbed.scenario import Change, Control
from testbed.spec import Spec, reader
from testbed.targets import Target, as_document
from testbed.verdict import write_judgement

FORMAT: Final = 1
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

OnEvent = Callable[[str, dict[str, Any]], None]
"Called with a scenario's id and each line its world says, for the progress shown to the user."


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, apart from what."""

    results: Path
    duration_ns: int
    jobs: int = 1
    seed: int = 1
    backend: Literal["auto", "wire", "netem"] = "auto"
    command: tuple[str, ...] = ()
    junit: Path | None = None
    targets: tuple[Target, ...] = ()
    "Judged by beside Microsoft's."
    fail_on: frozenset[FailOn] = frozenset()
    "What makes the exit status 1 besides a FAIL: a missed target, a broken principle of the article."


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to run: a scenario as it stands, or with a change that makes it another."""

    name: str
    "Unique in the run; names the directory."
    spec: Spec
    changes: tuple[Change, ...] = ()
    "What was changed against the file; already applied in `spec`."
    control: Control | None = None
    "The negative control that this is."


def read_items(paths: Sequence[Path], changes: Sequence[Change] = ()) -> list[Item]:
    """Read scenarios, each with *changes* applied. Raises SpecError."""
    specs = [reader.read_spec(path, tuple(changes)) for path in paths]
    return [Item(spec.scenario.id, spec, tuple(changes)) for spec in specs]


def read_controls(paths: Sequence[Path], changes: Sequence[Change] = ()) -> list[Item]:
    """Read the negative controls of scenarios: each is one, with *changes*, and a change more that must turn it red."""
    controls = (each for path in paths for each in reader.read_controls(path, changes).items())
    return [
        Item(f"{spec.scenario.id}@{name}", spec, spec.changes, spec.scenario.controls[name]) for name, spec in controls
    ]


def run_items(items: Sequence[Item], options: Options, on_event: OnEvent) -> RunOutcome:
    """Run *items*, *options.jobs* at a time, judge them and write the results directory.

    All are planned before anything starts. Ctrl-C ends the worlds under way, and what was finished by then is
    reported. Raises SpecError for what cannot be planned, MissingTool, OSError where results cannot be written.
    """
    if not items:
        raise UsageError("no scenario to run; `testbed list` shows them")
    library_version()  # said now, and not when the calls are over and their page is to be written
    plans = [make_plan(item.spec, duration_ns=options.duration_ns, seed=options.seed) for item in items]
    directory = _new_run_directory(options.results)
    started, began_ns = datetime.now(UTC), time.monotonic_ns()
    outcome = RunOutcome(directory, fail_on=options.fail_on)
    for item in items:
        _place(directory, item).mkdir()
    asyncio.run(_run_all(list(zip(items, plans, strict=True)), options, on_event, outcome))
    outcome.took_s = (time.monotonic_ns() - began_ns) / 1e9
    outcome.scenarios.sort(key=lambda one: [item.name for item in items].index(one.name))
    _write_run(outcome, options, started)
    return outcome


async def _run_all(work: list[tuple[Item, Plan]], options: Options, on_event: OnEvent, outcome: RunOutcome) -> None:
    queue = deque(Work(item, plan, _place(outcome.directory, item)) for item, plan in work)
    interrupt = asyncio.Event()
    with _stopping_signals(interrupt):
        async with asyncio.TaskGroup() as group:
            for _ in range(options.jobs):
                group.create_task(_run_lane(queue, options, on_event, interrupt, outcome))
    outcome.interrupted = interrupt.is_set()


@contextlib.contextmanager
def _stopping_signals(interrupt: asyncio.Event) -> Iterator[None]:
    """Let Ctrl-C set *interrupt*; in another thread than the main one (on a worker) signals are not ours."""
    loop = asyncio.get_running_loop()
    signals = _STOP_SIGNALS if threading.current_thread() is threading.main_thread() else ()
    for number in signals:
        loop.add_signal_handler(number, interrupt.set)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@dataclass(slots=True)
class Work:
    """An item about to be run: its plan, its directory, and once started the stage that waits for it."""

    item: Item
    plan: Plan
    place: Path
    stage: asyncio.Task[WaitingStage] | None = None

    def prepare(self) -> None:
        """Start its stage, which imports for half a second, while there is nothing else to do."""
        self.stage = asyncio.create_task(WaitingStage.start(self.place))

    async def dismiss(self) -> None:
        """End a stage that will get no order."""
        if self.stage:
            with contextlib.suppress(TestbedError, OSError):
                await (await self.stage).dismiss()


async def _run_lane(
    queue: deque[Work], options: Options, on_event: OnEvent, interrupt: asyncio.Event, outcome: RunOutcome
) -> None:
    """Run what *queue* has, one after another; while one has its media, the next one's stage starts."""
    next_one = queue.popleft() if queue else None
    while next_one and not interrupt.is_set():
        work, next_one = next_one, None

        def follow(event: dict[str, Any], name: str = work.item.name) -> None:
            nonlocal next_one
            on_event(name, event)
            if event.get("stage") == "media" and next_one is None and queue:
                next_one = queue.popleft()
                next_one.prepare()

        outcome.scenarios.append(await _run_one(work, options, follow, interrupt))
        next_one = next_one or (queue.popleft() if queue else None)
    if next_one:
        await next_one.dismiss()


async def _run_one(
    work: Work, options: Options, on_event: Callable[[dict[str, Any]], None], interrupt: asyncio.Event
) -> ScenarioOutcome:
    began_ns = time.monotonic_ns()
    item, plan, place = work.item, work.plan, work.place
    fault = ""
    try:
        stage = await work.stage if work.stage else None
        async with World.start(plan, directory=place, backend=options.backend, on_event=on_event, stage=stage) as world:
            await _until_finished(world, interrupt)
    except (TestbedError, OSError) as error:
        fault = str(error)
    if interrupt.is_set():
        fault = "interrupted before it was finished"
    try:
        verdict = await asyncio.to_thread(_judge, item, plan, place, options, fault)
    except OSError as error:
        verdict = {"verdict": "ERROR", "reason": f"{fault or 'the results could not be written'}: {error}"}
    outcome = ScenarioOutcome(
        name=item.name,
        scenario=item.spec.scenario.id,
        row=item.spec.scenario.row,
        verdict=verdict["verdict"],
        reason=verdict["reason"],
        targets=verdict.get("targets"),
        broken=_broken(verdict),
        directory=place.name,
        duration_s=(time.monotonic_ns() - began_ns) / 1e9,
        media_s=plan.duration_ns / 1e9,
        control=item.control,
    )
    on_event({"type": "verdict", "counts_as": outcome.counts_as, "words": outcome.words()})
    return outcome


async def _until_finished(world: World, interrupt: asyncio.Event) -> None:
    """Wait for the world's end; on Ctrl-C ask it to save what it has and end."""
    finished = asyncio.ensure_future(world.finished())
    stopping = asyncio.ensure_future(interrupt.wait())
    try:
        await asyncio.wait({finished, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            await world.stop()
        await finished
    finally:
        stopping.cancel()
        finished.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stopping


def _judge(item: Item, plan: Plan, place: Path, options: Options, fault: str) -> dict[str, Any]:
    """Write the manifest, last of what the run leaves, and judge; a rig that broke is judged ERROR."""
    emulation = place / "emulation.json"
    manifest = {
        "format": FORMAT,
        "scenario": item.spec.scenario.id,
        "given": item.spec.given,
        "in_force": item.spec.scenario.model_dump(mode="json", by_alias=True),
        "topology": item.spec.topology.model_dump(mode="json", by_alias=True),
        "plan": plan.model_dump(mode="json"),
        "seed": options.seed,
        "changes": [change.model_dump(mode="json") for change in item.changes],
        "targets": as_document(options.targets) if options.targets else None,
        "emulation": json.loads(emulation.read_text(encoding="utf-8")) if emulation.exists() else None,
        "fault": fault,
    }
    files.write_json(place / "manifest.json", manifest)
    return write_judgement(place)


def _place(directory: Path, item: Item) -> Path:
    return directory / item.name.replace("/", "-")


def _new_run_directory(results: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    results.mkdir(parents=True, exist_ok=True)
    for suffix in ("", *(f"-{n}" for n in range(2, 100))):
        directory = results / f"{stamp}{suffix}"
        with contextlib.suppress(FileExistsError):
            directory.mkdir()
            return directory
    raise RigError(f"{results}: a hundred runs began in this second; use --results for each")


def _write_run(outcome: RunOutcome, options: Options, started: datetime) -> None:
    run = {
        "format": FORMAT,
        "run": outcome.directory.name,
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_s": round(outcome.took_s, 3),
        "command": list(options.command),
        "interrupted": outcome.interrupted,
        "environment": _environment(outcome.directory),
        "scenarios": [one.as_json() for one in outcome.scenarios],
    }
    files.write_json(outcome.directory / "run.json", run)
    junit = junit_xml(outcome.directory, fail_on=options.fail_on)
    for path in (outcome.directory / "junit.xml", *([options.junit] if options.junit else [])):
        files.write_text(path, junit)
    write_report(outcome.directory)
    _point_latest_at(outcome.directory)


def _environment(directory: Path) -> dict[str, Any]:
    emulations = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*/emulation.json"))]
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "backend": sorted({emulation["backend"] for emulation in emulations}),
        "versions": emulations[0]["versions"] if emulations else {},
    }


def _point_latest_at(directory: Path) -> None:
    latest = directory.parent / "latest"
    fresh = directory.parent / f".latest-{os.getpid()}"
    fresh.symlink_to(directory.name)
    fresh.replace(latest)


def rejudge(directory: Path, *, targets: Sequence[Target] | None = None, fail_on: Iterable[FailOn] = ()) -> RunOutcome:
    """Judge a run, or one scenario's directory, again from its files alone, and write its report anew.

    *targets* take the place of those that the run was made with; Microsoft's count in any case.
    """
    if (directory / "manifest.json").exists():
        verdict = write_judgement(directory, targets)
        return RunOutcome(directory, fail_on=frozenset(fail_on), scenarios=[_outcome_again(directory, verdict, {})])
    run_file = directory / "run.json"
    if not run_file.exists():
        raise UsageError(f"{directory}: not a results directory: it has neither run.json nor manifest.json")
    read_run_file(directory)
    run = read_json(run_file)
    outcome = RunOutcome(directory, interrupted=run.get("interrupted", False), fail_on=frozenset(fail_on))
    for entry in run["scenarios"]:
        place = directory / entry["directory"]
        outcome.scenarios.append(_outcome_again(place, write_judgement(place, targets), entry))
    files.write_json(run_file, {**run, "scenarios": [one.as_json() for one in outcome.scenarios]})
    files.write_text(directory / "junit.xml", junit_xml(directory, fail_on=outcome.fail_on))
    write_report(directory)
    return outcome


def _outcome_again(place: Path, verdict: dict[str, Any], entry: dict[str, Any]) -> ScenarioOutcome:
    name = entry.get("name", verdict["scenario"])
    return ScenarioOutcome(
        name=name,
        scenario=verdict["scenario"],
        row=verdict["row"],
        verdict=verdict["verdict"],
        reason=verdict["reason"],
        targets=verdict["targets"],
        broken=_broken(verdict),
        directory=place.name,
        duration_s=entry.get("duration_s", 0.0),
        media_s=entry.get("media_s", 0.0),
        control=_control_again(place, name),
    )


def _control_again(place: Path, name: str) -> Control | None:
    """Return the negative control that *name* is of, from the manifest that was written of it."""
    control = name.partition("@")[2]
    if not control or not (place / "manifest.json").exists():
        return None
    stated = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["in_force"]["controls"]
    return Control.model_validate(stated[control]) if control in stated else None


def _broken(verdict: dict[str, Any]) -> tuple[str, ...]:
    return tuple(one["principle"] for one in verdict.get("principles", ()) if one["outcome"] == "broken")
