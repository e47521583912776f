"""Named link conditions, data in topologies/conditions: what Wi-Fi or a satellite does to packets, and who says so.

A condition may bring traffic that competes with the calls, between nodes that it names: a congested link.

`--change conditions/lte` puts one on the link that it names; `--change conditions/lte@ce-inet-transit1` on another.
`up` is what packets meet from end A of the link on, `down` towards it: customers' ends come first in our files.
"""

import json
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testbed.errors import SpecError, UsageError
from testbed.scenario import Change, Traffic
from testbed.spec.faults import path_source
from testbed.spec.toml import read_document
from testbed.topology import LinkShape, Name
from testbed.units import format_rate

FOLDER: Final = Path(__file__).parents[1] / "topologies" / "conditions"
PREFIX: Final = "conditions/"


class Condition(BaseModel):
    """One file of topologies/conditions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    link: str = Field(min_length=1)
    "The link it is put on unless the user names another."
    source: str = Field(min_length=1)
    "Where the figures come from; what is chosen is said to be."
    up: LinkShape
    "From end A to end B."
    down: LinkShape
    traffic: dict[Name, Traffic] = {}
    "What else is sent over the link while calls have media; then it can be put on no other."


def condition_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all conditions."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def read_condition(name: str, folder: Path = FOLDER) -> Condition:
    """Read a condition by its name. Raises UsageError for one that is not there, SpecError for a faulty file."""
    if name not in condition_names(folder):
        raise UsageError(f"--change {PREFIX}{name}: unknown condition; there are {', '.join(condition_names(folder))}")
    path = folder / f"{name}.toml"
    try:
        return Condition.model_validate(read_document(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SpecError(path_source(path), where, first["msg"]) from None


def condition_change(text: str, folder: Path = FOLDER) -> Change:
    """Return the change that `conditions/NAME` or `conditions/NAME@LINK` asks for. Raises UsageError, SpecError."""
    name, _, link = text.removeprefix(PREFIX).partition("@")
    condition = read_condition(name, folder)
    document = read_document(folder / f"{name}.toml")
    if link and link != condition.link and condition.traffic:
        raise UsageError(
            f"--change {text}: the traffic of {PREFIX}{name} goes over {condition.link}, so it cannot be put on {link};"
            f" leave @{link} out, or write a file with `set` of your own"
        )
    link = link or condition.link
    shapes = {f"links.{link}.shape_forward": document["up"], f"links.{link}.shape_return": document["down"]}
    return Change(set=shapes | {f"traffic.{each}": table for each, table in document.get("traffic", {}).items()})


def condition_lines(folder: Path = FOLDER) -> list[str]:
    """Return what there is, for people."""
    lines = []
    for name in condition_names(folder):
        condition = read_condition(name, folder)
        lines.append(f"{PREFIX}{name}: {condition.title} (on {condition.link})")
        for way in ("up", "down"):
            written = read_document(folder / f"{name}.toml")[way]
            lines.append(f"    {way}: {', '.join(f'{key} {_plain(value)}' for key, value in written.items())}")
        for each, traffic in condition.traffic.items():
            sent = f"{traffic.from_} sends {traffic.protocol.upper()} to {traffic.to}, {format_rate(traffic.rate)}"
            lines.append(f"    {each}: {sent}")
        lines.append(f"    source: {condition.source}")
    return lines


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
