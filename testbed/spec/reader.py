"""Reads topologies and scenarios: files to checked values, every fault named with its file and key.

`read_spec` is what everybody else calls. Changes are made to the documents before they are validated.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from testbed.errors import SpecError
from testbed.scenario import Change, Scenario
from testbed.spec import Spec
from testbed.spec.change import Edit, apply_edits, edits_of
from testbed.spec.endpoints import fill_in_endpoints
from testbed.spec.faults import Fault, Sources, path_source, raise_faults, schema_faults, suggest, validate
from testbed.spec.places import find_base, find_topology, scenario_id
from testbed.spec.references import topology_faults
from testbed.spec.scenario_references import death_faults, scenario_faults
from testbed.spec.toml import read_document
from testbed.topology import Document, Topology

__all__ = ["Spec", "read_controls", "read_scenario", "read_spec", "read_topology"]

_SEGMENT_TABLES = (
    "segment", "nodes", "links", "bgp", "sessions", "announcements", "firewalls", "pools", "services", "media",
    "signaling",
)  # fmt: skip
"Tables of a topology file. The model calls the first one `segments`."
_SEGMENT_KEYS = ("endpoints", *_SEGMENT_TABLES)
_ASSEMBLY_KEYS = ("name", "title", "includes", *_SEGMENT_KEYS)
_FILE_NAMES = {"segments": "segment"}


def read_topology(path: Path, changes: Sequence[Change] = (), *, foreign_endpoints: bool = False) -> Topology:
    """Read an assembly and the segment files it includes, make the changes, check all; raise SpecError.

    *foreign_endpoints*: its endpoints may be of networks that it does not have, as a download of Microsoft's is.
    """
    edits = [edit for change in changes for edit in edits_of(change, "change")]
    for edit in edits:
        if not edit.is_of_topology:
            raise SpecError(edit.source, str(edit.key[0]), "belongs to a scenario, and a topology is read by itself")
    return _read_topology(path, edits, foreign_endpoints)


def read_scenario(path: Path) -> Scenario:
    """Read a scenario as its file stands, its own changes not made and its topology not looked at; raise SpecError."""
    return _valid_scenario(_scenario_document(path), Sources(path_source(path)))


def read_spec(scenario_path: Path, changes: Sequence[Change] = (), *, foreign_endpoints: bool = False) -> Spec:
    """Read a scenario and its topology, make its own changes and then *changes*, and check all; raise SpecError.

    *foreign_endpoints* as in `read_topology`: what is read so is for looking at, not for running.
    """
    given = _scenario_document(scenario_path)
    sources = Sources(path_source(scenario_path))
    own = _valid_scenario(given, sources).changes
    labelled = [(change, f"{sources.whole} (changes.{n})") for n, change in enumerate(own)]
    labelled += [(change, "change") for change in changes]
    edits = [edit for change, label in labelled for edit in edits_of(change, label)]
    scenario_edits = [edit for edit in edits if not edit.is_of_topology]
    sources.of.update({edit.key: edit.source for edit in scenario_edits})
    scenario = _valid_scenario(apply_edits(given, scenario_edits, Scenario), sources)
    place = find_topology(scenario.topology, scenario_path)
    topology_edits = [edit for edit in edits if edit.is_of_topology]
    topology = _read_topology(place, topology_edits, foreign_endpoints)
    faults = [*scenario_faults(scenario, topology), *(() if changes else death_faults(scenario, topology))]
    raise_faults(faults, sources)
    phases = tuple(_phases(scenario, place, topology_edits, sources.whole, foreign_endpoints))
    return Spec(scenario, topology, given, tuple(changes), phases)


def _phases(
    scenario: Scenario, place: Path, edits: Sequence[Edit], source: str, foreign_endpoints: bool
) -> Iterator[Topology]:
    """Yield the topology after each change that is made during the calls."""
    made = list(edits)
    for number, during in enumerate(scenario.during):
        added = edits_of(during, f"{source} (during.{number})")
        for edit in added:
            if not edit.is_of_topology:
                raise SpecError(edit.source, str(edit.key[0]), "belongs to the scenario: only the topology can change")
        made += added
        yield _read_topology(place, made, foreign_endpoints)


def read_controls(scenario_path: Path, changes: Sequence[Change] = ()) -> dict[str, Spec]:
    """Read each negative control of a scenario, made on top of *changes*, by its name; raise SpecError, naming it."""
    specs = {}
    for name, control in read_scenario(scenario_path).controls.items():
        try:
            specs[name] = read_spec(scenario_path, (*changes, Change(set=control.set, remove=control.remove)))
        except SpecError as error:
            raise SpecError(path_source(scenario_path), f"controls.{name}", str(error)) from None
    return specs


def _scenario_document(path: Path) -> Document:
    document = read_document(path)
    slug = scenario_id(path)
    if document.setdefault("id", slug) != slug:
        raise SpecError(path_source(path), "id", f"must be {slug!r}, as the file's place says, not {document['id']!r}")
    return _extended(path, document) if "extends" in document else document


def _extended(path: Path, document: Document, extending: tuple[Path, ...] = ()) -> Document:
    """Lay *document* over that of the scenario it extends; where it is a remedy, no leg dies any more."""
    base_path = find_base(str(document["extends"]), path)
    if base_path in extending:
        raise SpecError(path_source(path), "extends", f"{document['extends']!r} comes back to this scenario")
    base = read_document(base_path)
    if "extends" in base:
        base = _extended(base_path, base, (*extending, base_path))
    merged = {key: value for key, value in base.items() if key not in ("id", "controls")} | document
    merged["changes"] = [*base.get("changes", []), *document.get("changes", [])]
    if "remedy" in document and "legs" not in document:
        merged["legs"] = [{key: value for key, value in leg.items() if key != "dies"} for leg in base.get("legs", [])]
    return merged


def _valid_scenario(document: Document, sources: Sources) -> Scenario:
    try:
        return validate(Scenario, document)
    except ValidationError as error:
        raise_faults(schema_faults(error, Scenario), sources)
        raise


def _read_topology(path: Path, edits: Sequence[Edit], foreign_endpoints: bool) -> Topology:
    document, sources = _assemble(path)
    document = apply_edits(document, edits, Topology)
    sources.of.update({edit.key: edit.source for edit in edits})
    fill_in_endpoints(document, sources, path.parent, may_be_foreign=foreign_endpoints)
    try:
        topology = validate(Topology, document)
    except ValidationError as error:
        raise_faults(schema_faults(error, Topology, rename=_FILE_NAMES), sources)
        raise
    raise_faults(list(topology_faults(topology, with_endpoints=not foreign_endpoints)), sources)
    return topology


def _assemble(path: Path) -> tuple[Document, Sources]:
    """Merge an assembly and its segment files into one document of the model Topology."""
    top = read_document(path)
    sources = Sources(path_source(path))
    raise_faults(list(_unknown_keys(top, _ASSEMBLY_KEYS)), sources)
    merged: Document = {key: top[key] for key in ("name", "title") if key in top}
    merged["segments"], merged["nodes"], merged["links"] = {}, {}, {}
    for file in [*_included(top, path), path]:
        document = top if file == path else read_document(file)
        if file != path:
            raise_faults(list(_unknown_keys(document, _SEGMENT_KEYS)), Sources(path_source(file)))
        _merge(merged, sources, document, path_source(file))
    return merged, sources


def _included(top: Document, path: Path) -> list[Path]:
    names = top.get("includes", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SpecError(path_source(path), "includes", "must be an array of file names")
    for name in names:
        if names.count(name) > 1 or (path.parent / name).resolve() == path.resolve():
            raise SpecError(path_source(path), "includes", f"{name!r} would be read twice")
    return [path.parent / name for name in names]


def _unknown_keys(document: Document, allowed: Sequence[str]) -> Iterator[Fault]:
    for key in document:
        if key not in allowed:
            yield Fault((key,), f"unknown key; {suggest(key, allowed)}")


def _merge(merged: Document, sources: Sources, document: Document, source: str) -> None:
    _fill_segments(document, source)
    if "endpoints" in document:  # the assembly, which comes last, may name another file than a segment does
        merged["endpoints"], sources.of["endpoints",] = document["endpoints"], source
    for table in _SEGMENT_TABLES:
        entries = document.get(table, {})
        if not isinstance(entries, dict):
            raise SpecError(source, table, "must be a table")
        target = merged.setdefault("segments" if table == "segment" else table, {})
        for name, entry in entries.items():
            if name in target:
                raise SpecError(source, f"{table}.{name}", f"already defined in {sources.find((table, name))}")
            target[name] = entry
            sources.of[table, name] = source


def _fill_segments(document: Document, source: str) -> None:
    """Give each node and link of a file with one segment that segment, where it does not name one."""
    segments: Any = document.get("segment", {})
    names = list(segments) if isinstance(segments, dict) else []
    for table in ("nodes", "links"):
        entries = document.get(table, {})
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict) or "segment" in entry:
                continue
            if len(names) != 1:
                which = f"one of {', '.join(sorted(names))}" if names else "the file has none of its own"
                raise SpecError(source, f"{table}.{name}.segment", f"must be named: {which}")
            entry["segment"] = names[0]
