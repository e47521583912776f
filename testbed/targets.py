"""Targets as data: what limits hold on which part of a path. Microsoft's stand in targets.toml beside this module."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from testbed.errors import SpecError
from testbed.spec.faults import format_key, path_source, schema_faults, validate
from testbed.spec.toml import read_document

MICROSOFT: Final = Path(__file__).with_name("targets.toml")

PathName = Literal[
    "client to Microsoft edge",
    "customer edge to Microsoft edge",
    "end to end",
    "customer",
    "internet",
    "expressroute",
    "microsoft",
]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(gt=0, le=100)]
"More than all of them cannot be missed."


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Part):
    """Figures must stay below these; one that is not given is not judged."""

    one_way_delay_ms: Limit | None = None
    "90th percentile of the packets' one-way delay."
    round_trip_ms: Limit | None = None
    "Sum of both directions' 90th percentiles."
    burst_loss_200ms_percent: Percent | None = None
    "Of the worst 200 ms."
    loss_15s_percent: Percent | None = None
    "Of the worst 15 s."
    delay_change_15s_ms: Limit | None = None
    "Mean change of delay between successive packets, in the worst 15 s: what Microsoft's page calls jitter."
    reordered_percent: Percent | None = None
    "Packets that came after one sent later, of those that came."

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError(f"must have one figure at least: {', '.join(type(self).model_fields)}")
        return self


class Target(_Part):
    """Limits for one kind of path."""

    name: str = Field(min_length=1)
    path: PathName
    limits: Limits


class _File(_Part):
    targets: tuple[Target, ...]

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if not self.targets:
            raise ValueError("has no [[targets]]; testbed/targets.toml shows the form")
        return self


def read_targets(path: Path = MICROSOFT) -> tuple[Target, ...]:
    """Read a file of targets. Raises SpecError."""
    return parse_targets(read_document(path), path_source(path))


def parse_targets(document: Any, source: Path | str) -> tuple[Target, ...]:
    """Validate *document* as a file of targets. Raises SpecError."""
    try:
        return validate(_File, document).targets
    except ValidationError as error:
        first = schema_faults(error, _File)[0]
        raise SpecError(source, format_key(first.key), first.problem) from None


def as_document(targets: Sequence[Target]) -> dict[str, Any]:
    """Return *targets* as a file would hold them."""
    return {"targets": [target.model_dump(mode="json", exclude_none=True) for target in targets]}
