"""Changes: edits of a topology or a scenario by dotted key, as data, so that any scenario can be run with any change.

A change is made to the documents as they stand in the files; the result is validated as if it had been written so.
"""

import copy
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from testbed.errors import SpecError
from testbed.scenario import Change, Scenario
from testbed.spec.faults import (
    Key,
    Sources,
    field_names,
    format_key,
    path_source,
    plain_type,
    raise_faults,
    schema_faults,
    step_type,
    suggest,
    validate,
)
from testbed.spec.toml import read_document
from testbed.topology import Document, Topology

TOPOLOGY_TABLES = frozenset(Topology.model_fields) - {"name", "title"}
"First parts of the keys that change the topology."
SCENARIO_TABLES = frozenset(Scenario.model_fields) - {"id", "row", "table", "extends", "changes", "controls"}
"First parts of the keys that change the scenario."
_BARE_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._%/:@+-]*")


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit of a change, its key in parts; *value* is None for a removal."""

    key: Key
    value: Any
    source: str

    @property
    def is_of_topology(self) -> bool:
        """Whether the key begins with a table of the topology, not of the scenario."""
        return self.key[0] in TOPOLOGY_TABLES


def parse_change(text: str) -> Change:
    """Return the change that a `--change` argument asks for: "key=value", "-key", or a TOML file with set and remove.

    A value is written as in TOML; the quotes of a simple text like 20ms may be left out. Raises SpecError.
    """
    if not text.strip():
        raise SpecError("change", "", f"{text!r} says nothing; must be key=value, -key or the path of a TOML file")
    if text.startswith("-"):
        split_key(text[1:], text)
        return Change(remove=(text[1:],))
    if Path(text).is_file() or text.endswith(".toml"):
        return read_change(Path(text))
    key, value = _split_expression(text)
    split_key(key, text)
    return Change(set={key: _parse_value(value, text)})


def read_change(path: Path) -> Change:
    """Read a change from a TOML file with `set` and `remove`; raise SpecError."""
    document = read_document(path)
    try:
        return validate(Change, document)
    except ValidationError as error:
        raise_faults(schema_faults(error, Change), Sources(path_source(path)))
        raise


def _split_expression(text: str) -> tuple[str, str]:
    quoted = re.match(r"""((?:"[^"]*"|'[^']*'|[^"'=])*)=(.*)""", text, re.DOTALL)
    if quoted is None:
        raise SpecError(text, "", "must be key=value, -key or the path of a TOML file")
    return quoted[1].strip(), quoted[2].strip()


def _parse_value(text: str, source: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        if _BARE_VALUE.fullmatch(text):
            return text
        raise SpecError(source, "", f"{text!r} is no TOML value: {error}") from None


def split_key(text: str, source: str) -> Key:
    """Split a dotted TOML key into its parts ('nodes.a.sysctl."net.ipv4.x"' has four); raise SpecError."""
    try:
        value: Any = tomllib.loads(f"{text} = 0") if "\n" not in text else None
    except tomllib.TOMLDecodeError:
        value = None
    parts: list[str] = []
    while isinstance(value, dict) and len(value) == 1:
        ((part, value),) = value.items()
        parts.append(part)
    if value != 0 or not parts:
        raise SpecError(source, "", f"{text!r} is no dotted key like links.er-pe1-msee1.up")
    return tuple(parts)


def edits_of(change: Change, source: str) -> list[Edit]:
    """Return the edits of *change*, removals last; raise SpecError for a key of no known table."""
    edits = [Edit(_model_key(split_key(key, source)), value, source) for key, value in change.set.items()]
    edits += [Edit(_model_key(split_key(key, source)), None, source) for key in change.remove]
    for edit in edits:
        _check_table(edit)
    return edits


def _model_key(key: Key) -> Key:
    """Files write [segment.<name>], the model holds `segments`; a change may say either."""
    return ("segments", *key[1:]) if key[0] == "segment" else key


def _check_table(edit: Edit) -> None:
    first = str(edit.key[0])
    if first not in TOPOLOGY_TABLES | SCENARIO_TABLES:
        hint = suggest(first, TOPOLOGY_TABLES | SCENARIO_TABLES)
        raise SpecError(edit.source, format_key(edit.key), f"no table {first!r}; {hint}")
    model = Topology if edit.is_of_topology else Scenario
    if len(edit.key) == 1 and get_origin(plain_type(step_type(model, first))) is dict:
        hint = f'name what to change and quote the whole key: "{first}.NAME.KEY"'
        raise SpecError(edit.source, first, f"would replace the whole table; {hint}")


def apply_edits(document: Document, edits: Sequence[Edit], model: type[BaseModel]) -> Document:
    """Return *document* (of *model*) with the edits made, in order; the given one stays as it was. Raises SpecError."""
    changed = copy.deepcopy(document)
    for edit in edits:
        holder, annotation = _holder(changed, edit, model)
        if edit.value is None:
            _remove(holder, edit)
        else:
            _set(holder, edit, annotation)
    return changed


def _holder(document: Document, edit: Edit, model: type[BaseModel]) -> tuple[Any, Any]:
    """Walk to what holds the last part of the key, making tables that the schema has and the file leaves out."""
    holder: Any = document
    annotation: Any = model
    for at, part in enumerate(edit.key[:-1]):
        is_field = _is_field(annotation, part)
        annotation = step_type(annotation, part)
        if isinstance(holder, dict) and part not in holder and is_field and edit.value is not None:
            holder[part] = {}
        holder = _child(holder, edit, at)
    return holder, annotation


def _is_field(annotation: Any, part: str | int) -> bool:
    plain = plain_type(annotation)
    return isinstance(plain, type) and issubclass(plain, BaseModel) and part in field_names(plain)


def _child(holder: Any, edit: Edit, at: int) -> Any:
    part = edit.key[at]
    if isinstance(holder, dict) and part in holder:
        return holder[part]
    if isinstance(holder, list) and (place := _place(holder, part)) is not None:
        return holder[place]
    raise _no_such(holder, edit, at)


def _place(items: list[Any], part: str | int) -> int | None:
    if str(part).isdigit() and int(part) < len(items):
        return int(part)
    return items.index(part) if part in items else None


def _no_such(holder: Any, edit: Edit, at: int) -> SpecError:
    part, where = str(edit.key[at]), format_key(edit.key[:at])
    if isinstance(holder, dict):
        hint = suggest(part, map(str, holder), what="there are")
        problem = f"there is no {part!r}{f' in {where}' if where else ''}; {hint}"
    elif isinstance(holder, list):
        problem = f"{where} has no element {part!r}; it has {len(holder)}, counted from 0"
    else:
        problem = f"{where} is no table, so it has no {part!r}"
    return SpecError(edit.source, format_key(edit.key), problem)


def _set(holder: Any, edit: Edit, annotation: Any) -> None:
    last = edit.key[-1]
    value = copy.deepcopy(edit.value)
    if isinstance(holder, list):
        place = len(holder) if str(last) == str(len(holder)) else _place(holder, last)
        if place is None:
            raise _no_such(holder, edit, len(edit.key) - 1)
        holder[place : place + 1] = [value]
        return
    if not isinstance(holder, dict):
        raise _no_such(holder, edit, len(edit.key) - 1)
    if last not in holder and not _may_add(annotation, last, value):
        raise _no_such(holder, edit, len(edit.key) - 1)
    holder[last] = value


def _may_add(annotation: Any, last: str | int, value: Any) -> bool:
    """Whether a key that the file leaves out may be set: a field, an entry of a plain table, or a whole new table."""
    plain = plain_type(annotation)
    if get_origin(plain) is not dict:
        return True  # a field; validation tells if there is none of that name
    below = plain_type(step_type(plain, last))
    return isinstance(value, dict) or not (isinstance(below, type) and issubclass(below, BaseModel))


def _remove(holder: Any, edit: Edit) -> None:
    last = edit.key[-1]
    if isinstance(holder, list) and (place := _place(holder, last)) is not None:
        del holder[place]
    elif isinstance(holder, dict) and last in holder:
        del holder[last]
    else:
        raise _no_such(holder, edit, len(edit.key) - 1)
