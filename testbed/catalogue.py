"""The catalogue: what scenarios there are, and which files a command line means."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from rich.console import Group
from rich.text import Text

from testbed.conditions import PREFIX, condition_change
from testbed.errors import UsageError
from testbed.readings import PathCell, path_cells, read_legs
from testbed.report.paths_grid import PathsRow, PathsTable
from testbed.report.slug import Slug
from testbed.scenario import Change, Scenario
from testbed.spec.change import parse_change, read_change
from testbed.spec.faults import suggest
from testbed.spec.places import root, scenario_id, topology_names
from testbed.spec.reader import read_scenario, read_spec, read_topology
from testbed.spec.toml import read_document
from testbed.topology import Topology

USUAL_TOPOLOGY: Final = "office365"
NAMED: Final = "changes/"
"Folder of the changes that have a name, below topologies, and how `--change` names them."
TABLES: tuple[str, ...] = get_args(Scenario.model_fields["table"].annotation)
"What `--table` may name."
OWN_TABLES: Final = ("fallback", "nat", "asymmetric")
"Tables whose rows are ours: the article has no cell for them."


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One scenario file, as `testbed list` shows it."""

    scenario: str
    "Its id, like online/p2p-external."
    row: str
    table: str
    title: str
    article: dict[str, dict[str, str]]
    "Flow kind to party to what the article's table prints."
    cells: tuple[PathCell, ...]
    "The same beside how it is read: which way each flow of each party must go, by the scenario's legs."
    contradictions: tuple[str, ...]
    "Numbers of docs/contradictions.md."
    controls: tuple[str, ...]
    remedy: str | None
    'Whose remedy it shows, "microsoft" or "extra"; None for what is no remedy.'
    path: Path

    def as_json(self) -> dict[str, object]:
        """Return the entry as `testbed list --json` prints it."""
        return {
            "scenario": self.scenario,
            "row": self.row,
            "table": self.table,
            "title": self.title,
            "article": self.article,
            "reading": [{"party": cell.party, "flow": cell.flow, "way": cell.reading} for cell in self.cells],
            "contradictions": list(self.contradictions),
            "controls": list(self.controls),
            "remedy": self.remedy,
        }


def scenario_paths(at: Path | None = None) -> list[Path]:
    """Return every scenario file below *at*/scenarios (default: the root), by name."""
    return sorted(((at or root()) / "scenarios").rglob("*.toml"))


def list_scenarios(at: Path | None = None) -> list[CatalogueEntry]:
    """Return the catalogue, in the order of the tables and then of the rows; raise SpecError for a bad file."""
    entries = [_entry(path) for path in scenario_paths(at)]
    return sorted(entries, key=lambda entry: (TABLES.index(entry.table), entry.row, entry.scenario))


def _entry(path: Path) -> CatalogueEntry:
    scenario = read_scenario(path)
    return CatalogueEntry(
        scenario=scenario.id,
        row=scenario.row,
        table=scenario.table,
        title=scenario.title,
        article=scenario.article.model_dump(exclude_defaults=True),
        cells=tuple(path_cells(read_legs(scenario), scenario)),
        contradictions=scenario.contradictions,
        controls=tuple(scenario.controls),
        remedy=scenario.remedy.kind if scenario.remedy else None,
        path=path,
    )


def find_scenario(name: str, at: Path | None = None) -> Path:
    """Return the file that *name* means: a path, or an id like online/p2p-external; raise UsageError."""
    as_path = Path(name)
    if as_path.suffix == ".toml" and as_path.is_file():
        return as_path
    known = {scenario_id(path): path for path in scenario_paths(at)}
    slug = name.removesuffix(".toml").removeprefix("scenarios/")
    if slug in known:
        return known[slug]
    missing = f"{name}: no such file" if as_path.suffix == ".toml" else f"no scenario {name!r}"
    raise UsageError(f"{missing}; {suggest(slug, known, what='there are')}")


def find_spec(name: str, at: Path | None = None) -> Path:
    """Return the scenario or topology file that *name* means: a path, or the id of either; raise UsageError."""
    topology = (at or root()) / "topologies" / f"{name}.toml"
    if topology.is_file():
        return topology
    try:
        return find_scenario(name, at)
    except UsageError:
        if "/" in name or name.endswith(".toml"):
            raise
    hint = suggest(name, topology_names(at or root()), what="topologies")
    raise UsageError(f"no topology or scenario {name!r}; {hint}; `testbed list` shows the scenarios")


def parse_changes(texts: Sequence[str], at: Path | None = None) -> list[Change]:
    """Return the changes that `--change` arguments ask for; one may name a change, a condition or a scenario.

    What is taken of a scenario is what causes it: its changes, and its topology where that is not the usual one.
    Raises SpecError, UsageError.
    """
    known = {scenario_id(path): path for path in scenario_paths(at)}
    named = {f"{NAMED}{path.stem}": path for path in ((at or root()) / "topologies" / NAMED).glob("*.toml")}
    changes: list[Change] = []
    for text in texts:
        if text.startswith(NAMED) and not Path(text).is_file():
            if text not in named:
                raise UsageError(f"--change {text}: no such change; {suggest(text, named, what='there are')}")
            changes.append(read_change(named[text]))
            continue
        if text.startswith(PREFIX):
            changes.append(condition_change(text))
            continue
        if text not in known:
            changes.append(parse_change(text))
            continue
        case = read_scenario(known[text])
        if not case.changes:
            raise UsageError(f"--change {text}: that scenario changes nothing")
        if case.topology != USUAL_TOPOLOGY:
            changes.append(Change(set={"topology": case.topology}))
        changes += case.changes
    return changes


def read_subject(name: str, changes: Sequence[str] = (), at: Path | None = None) -> tuple[Topology, list[str]]:
    """Return the topology that a topology, a scenario or a run's directory is about, and what that run saw die.

    Raises SpecError, UsageError.
    """
    directory = Path(name)
    if (directory / "manifest.json").is_file():
        if changes:
            raise UsageError("a run that is over cannot be changed; give --change with its scenario")
        return _topology_of_run(directory), _deaths_of_run(directory)
    path = find_spec(name, at)
    made = tuple(parse_changes(changes, at))
    return (read_topology(path, made) if is_topology(path) else read_spec(path, made).topology), []


def read_topology_with(name: str, endpoints: Path, changes: Sequence[str] = (), at: Path | None = None) -> Topology:
    """Return the topology that a topology or a scenario is about, with the endpoints of another file, whoever's.

    Raises SpecError, UsageError.
    """
    path = find_spec(name, at)
    made = (Change(set={"endpoints": str(endpoints.resolve())}), *parse_changes(changes, at))
    if is_topology(path):
        return read_topology(path, made, foreign_endpoints=True)
    return read_spec(path, made, foreign_endpoints=True).topology


def _topology_of_run(directory: Path) -> Topology:
    try:
        return Topology.model_validate(json.loads((directory / "manifest.json").read_text())["topology"])
    except (KeyError, ValueError) as error:
        raise UsageError(f"{directory / 'manifest.json'}: holds no topology: {error}") from None


def _deaths_of_run(directory: Path) -> list[str]:
    verdict = directory / "verdict.json"
    if not verdict.is_file():
        return ["", f"{directory} has no verdict.json; `testbed analyse` writes it"]
    legs = json.loads(verdict.read_text()).get("legs", [])
    died = [leg for leg in legs if leg["disposition"] not in ("DELIVERED", "NEVER_SENT", "CAPTURE_INCOMPLETE")]
    return ["", "Seen in this run:", *([f"  {leg['reason']}" for leg in died] or ["  no leg died"])]


def is_topology(path: Path) -> bool:
    """Return whether a file describes a topology, not a scenario, by the tables it has; raise SpecError."""
    document = read_document(path)
    return "topology" not in document and not {"segment", "includes", "nodes", "links", "media"}.isdisjoint(document)


def choose(
    names: Sequence[str] = (), *, everything: bool = False, table: str | None = None, at: Path | None = None
) -> list[Path]:
    """Return the files a command line asks for (names, `--all`, `--table T`), none twice; raise UsageError."""
    if table is not None and table not in TABLES:
        raise UsageError(f"no table {table!r}; {suggest(table, TABLES)}")
    chosen = [find_scenario(name, at) for name in names]
    if everything or table is not None:
        chosen += [entry.path for entry in list_scenarios(at) if everything or entry.table == table]
    unique = list({path.resolve(): path for path in chosen}.values())
    if not unique:
        empty = f"table {table!r} has no scenario yet" if table else "no scenario chosen"
        raise UsageError(f"{empty}; name one, or use --all or --table (`testbed list` shows them)")
    return unique


def catalogue_table(entries: Sequence[CatalogueEntry]) -> PathsTable:
    """Lay the catalogue out for a terminal: a row a scenario, the article's cells and how they are read."""
    rows = [
        PathsRow(
            entry.row,
            entry.contradictions,
            Group(Slug(entry.scenario), Slug(_title(entry), style="dim")),
            [(cell, Text(cell.reading or "-")) for cell in entry.cells],
            Text(str(len(entry.controls)), justify="right"),
        )
        for entry in entries
    ]
    return PathsTable(rows, "Reading", "Controls")


def _title(entry: CatalogueEntry) -> str:
    return f"{entry.title} (beyond Microsoft's remedies)" if entry.remedy == "extra" else entry.title
