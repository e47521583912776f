"""Where scenarios and topologies live, and which file a topology's name means."""

import os
from pathlib import Path

from testbed.errors import SpecError, UsageError
from testbed.spec.faults import path_source, suggest

ROOT_VARIABLE = "TESTBED_ROOT"
"Environment variable that names the directory that holds scenarios/ and topologies/."


def root() -> Path:
    """Return the directory that holds scenarios/ and topologies/: TESTBED_ROOT, or that of this package."""
    named = os.environ.get(ROOT_VARIABLE)
    found = Path(named) if named else Path(__file__).resolve().parents[2]
    if not (found / "scenarios").is_dir():
        raise UsageError(f"{found} has no directory scenarios; set {ROOT_VARIABLE} to the directory that has it")
    return found


def scenario_id(path: Path) -> str:
    """Return the slug of a scenario file: its path below the nearest directory `scenarios`, or its bare name."""
    parts = path.resolve().with_suffix("").parts
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "scenarios":
            return "/".join(parts[at + 1 :])
    return parts[-1]


def find_base(slug: str, scenario_path: Path) -> Path:
    """Return the file of the scenario that another one extends: in its own directory scenarios, else at the root."""
    own = scenario_path.resolve()
    places = [*(parent for parent in own.parents if parent.name == "scenarios"), root() / "scenarios"]
    for place in places:
        if (file := place / f"{slug}.toml").is_file() and file.resolve() != own:
            return file
    if slug == scenario_id(own):
        raise SpecError(path_source(scenario_path), "extends", f"{slug!r} is this scenario; name another one")
    there = {scenario_id(file) for place in places for file in place.rglob("*.toml") if file.resolve() != own}
    hint = suggest(slug, there, what="there are")
    raise SpecError(path_source(scenario_path), "extends", f"no other scenario {slug!r}; {hint}")


def find_topology(name: str, scenario_path: Path) -> Path:
    """Return the assembly *name*: in a topologies/ above the scenario, else at the root; raise SpecError."""
    places = [*(parent / "topologies" for parent in scenario_path.resolve().parents), root() / "topologies"]
    for place in places:
        if (file := place / f"{name}.toml").is_file():
            return file
    there = {file.stem for place in places if place.is_dir() for file in place.glob("*.toml") if _is_assembly(file)}
    hint = suggest(name, there, what="there are")
    raise SpecError(path_source(scenario_path), "topology", f"no topology {name!r}; {hint}")


def topology_names(at: Path) -> list[str]:
    """Return the names of the topologies below *at*; a file of segments alone is none."""
    return sorted(file.stem for file in (at / "topologies").glob("*.toml") if _is_assembly(file))


def _is_assembly(path: Path) -> bool:
    return any(line.startswith("name") for line in path.read_text(errors="replace").splitlines())
