"""Faults in what a user wrote: where each is, and one clear line for it, with what is allowed instead.

Knows the schema models only by walking their annotations; reads no file.
"""

import difflib
import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from testbed.errors import SpecError
from testbed.topology import Document

SHOWN = 8
"How many faults one error tells before it only counts the rest."

Key = tuple[str | int, ...]
"A dotted key, in parts; a number is a place in an array."

_Table = TypeVar("_Table", bound=BaseModel)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PATTERNS = {
    r"^[a-z][a-z0-9-]*$": "must be lower-case letters, digits and hyphens, beginning with a letter",
    r"^\d{1,5}(-\d{1,5})?$": "must be a port or a range of ports like '50000-50059'",
    r"^[^\s/]+$": "must be a host name (a * stands for any characters), without path or blanks",
}
_KINDS = {
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
}
_ADDRESSES = {
    IPv4Interface: "must be an IPv4 address with its prefix length like '10.1.0.1/24'",
    IPv4Network: "must be an IPv4 prefix like '10.1.0.0/24', no bit set beyond its length",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong: the key where it stands and the problem in words."""

    key: Key
    problem: str


@dataclass(slots=True)
class Sources:
    """Which file (or change) each key came from; the longest known beginning of a key tells."""

    whole: str
    of: dict[Key, str] = field(default_factory=dict)

    def find(self, key: Key) -> str:
        """Return the source of *key*."""
        known = {tuple(map(str, parts)): source for parts, source in self.of.items()}
        wanted = tuple(map(str, key))
        found = (known[wanted[:length]] for length in range(len(wanted), 0, -1) if wanted[:length] in known)
        return next(found, self.whole)


def format_key(key: Key) -> str:
    """Write a key as TOML does, quoting the parts that need it."""
    return ".".join(str(part) if _BARE_KEY.fullmatch(str(part)) else f'"{part}"' for part in key)


def one_of(names: Iterable[str]) -> str:
    """List *names* in order, or say that there are none."""
    return ", ".join(sorted(names)) or "none"


def suggest(wrong: str, allowed: Iterable[str], *, what: str = "allowed") -> str:
    """Return the end of a sentence that names the nearest of *allowed*, and all of them where they are few."""
    names = sorted(set(allowed))
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = names if len(names) <= 20 else [*difflib.get_close_matches(wrong, names, n=8, cutoff=0.0), "..."]
    return f"{hint}{what}: {', '.join(shown) or 'none'}"


def name_faults(key: Key, names: Iterable[str], allowed: Iterable[str], what: str) -> Iterator[Fault]:
    """Yield a fault for each of *names* that is none of *allowed*; *what* is the kind of thing a name should be."""
    known = list(allowed)
    for name in names:
        if name not in known:
            yield Fault(key, f"no {what} {name!r}; {suggest(name, known, what='there are')}")


def raise_faults(faults: Sequence[Fault], sources: Sources) -> None:
    """Raise one SpecError with a line for each of the first faults, if there is any."""
    if not faults:
        return
    lines = [str(SpecError(sources.find(f.key), format_key(f.key), f.problem)) for f in faults[1:SHOWN]]
    if len(faults) > SHOWN:
        lines.append(f"... and {len(faults) - SHOWN} more")
    first = faults[0]
    raise SpecError(sources.find(first.key), format_key(first.key), "\n".join([first.problem, *lines]))


def field_names(model: type[BaseModel]) -> dict[str, str]:
    """Return each key that a table of *model* may have in a file, and the name of its field."""
    return {info.alias or name: name for name, info in model.model_fields.items()}


def step_type(annotation: Any, part: str | int) -> Any:
    """Return the type of what stands under *part* of a value of type *annotation*; None where nothing can."""
    annotation = plain_type(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        name = field_names(annotation).get(str(part))
        return annotation.model_fields[name].annotation if name else None
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    if get_origin(annotation) is tuple:
        return arguments[0]
    return None


def plain_type(annotation: Any) -> Any:
    """Return *annotation* without Annotated and without `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType):
            several = [each for each in get_args(annotation) if each is not type(None)]
            if len(several) > 1:
                return annotation
            annotation = several[0]
        else:
            return annotation


def _table_at(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    annotation = _type_at(model, key)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _type_at(model: type[BaseModel], key: Key) -> Any:
    annotation: Any = model
    for part in key:
        annotation = step_type(annotation, part)
    return plain_type(annotation)


def _problem(error: ErrorDetails, model: type[BaseModel], key: Key) -> str:
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    told = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
    if kind == "extra_forbidden":
        table = _table_at(model, key[:-1])
        return f"unknown key; {suggest(str(key[-1]), field_names(table) if table else ())}"
    if kind == "missing":
        return "missing"
    if kind == "literal_error":
        return f"must be {context['expected']}{told}"
    if kind == "string_too_long":
        limit = context["max_length"]
        return f"must have {limit} characters at most, the limit of an interface's name (interfaces are so named){told}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(context["pattern"]), error["msg"]) + told
    if (address := _ADDRESSES.get(_type_at(model, key))) is not None:
        return address + told
    if kind == "value_error":
        return error["msg"].removeprefix("Value error, ")
    return _KINDS.get(kind, error["msg"][:1].lower() + error["msg"][1:]) + told


def validate(model: type[_Table], document: Document) -> _Table:
    """Return *document* as a *model*; raise ValidationError.

    It goes through JSON, because only there pydantic is strict about what TOML tells apart ("1", 1, 1.0, true), and
    still takes text for an address and an array for a tuple.
    """
    return model.model_validate_json(json.dumps(document, default=str), strict=True)


def schema_faults(error: ValidationError, model: type[BaseModel], *, rename: Mapping[str, str] = {}) -> list[Fault]:
    """Turn pydantic's errors about a document of *model* into faults, in the document's order.

    *rename* gives the name in the file of a table that the model calls otherwise.
    """
    faults = []
    for detail in error.errors(include_url=False):
        key = tuple(part for part in detail["loc"] if part != "[key]")
        problem = _problem(detail, model, key)
        faults.append(Fault((rename.get(str(key[0]), key[0]), *key[1:]) if key else key, problem))
    return faults


def path_source(path: Path) -> str:
    """Return how messages name a file: relative to here where it is below here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
