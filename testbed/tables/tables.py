"""Every table of a run, each read when it is first asked for; a run's are its scenarios' one below the other."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.analysis.run import Run
from testbed.analysis.run import read_run as read_scenario
from testbed.errors import UsageError
from testbed.tables.capture import flows, packets
from testbed.tables.schema import COLUMNS, TABLES
from testbed.tables.sip import sip_transactions

__all__ = ["TABLES", "RunTables", "read_run"]


@dataclass(frozen=True)
class RunTables:
    """The tables of one run, or of one scenario of it: the columns of docs/tables.md, also where there is no row."""

    directory: Path
    places: Mapping[str, Path]
    "Directory of each scenario, by its name in the run."

    @cached_property
    def packets(self) -> pd.DataFrame:
        """A row a captured frame."""
        return self._joined("packets", lambda place: packets(self._run(place)))

    @cached_property
    def flows(self) -> pd.DataFrame:
        """A row a link, direction and five-tuple."""
        return self._joined("flows", lambda place: flows(self._run(place)))

    @cached_property
    def media_streams(self) -> pd.DataFrame:
        """A row a stream and stretch of its way (media_streams.parquet)."""
        return self._joined("media_streams", lambda place: _parquet(place / "media_streams.parquet"))

    @cached_property
    def links(self) -> pd.DataFrame:
        """A row a link and direction that media passed (links.parquet)."""
        return self._joined("links", lambda place: _parquet(place / "links.parquet"))

    @cached_property
    def legs(self) -> pd.DataFrame:
        """A row a leg of the scenario, as judged."""
        return self._joined("legs", lambda place: _legs(_document(place / "verdict.json")))

    @cached_property
    def sip_transactions(self) -> pd.DataFrame:
        """A row a SIP transaction and link that carried it in the clear."""
        return self._joined("sip_transactions", lambda place: sip_transactions(self._run(place)))

    @cached_property
    def drops(self) -> pd.DataFrame:
        """A row a packet that a firewall dropped."""
        return self._joined("drops", lambda place: _drops(self._run(place)))

    @cached_property
    def assessment(self) -> pd.DataFrame:
        """A row a media stream, in the columns of Microsoft's Network Assessment Tool."""
        return self._joined("assessment", lambda place: pd.DataFrame(_document(place / "quality.json")["assessment"]))

    @cached_property
    def _runs(self) -> dict[Path, Run]:
        return {}

    def _run(self, place: Path) -> Run:
        if place not in self._runs:
            self._runs[place] = read_scenario(place)
        return self._runs[place]

    def _joined(self, table: str, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
        parts = {name: read(place) for name, place in self.places.items()}
        filled = [part.assign(scenario=name) for name, part in parts.items() if len(part)] or [
            part.assign(scenario=name).iloc[:0] for name, part in list(parts.items())[:1]
        ]
        whole = pd.concat(filled, ignore_index=True)
        return whole.reindex(columns=list(COLUMNS[table]))


def read_run(directory: str | Path) -> RunTables:
    """Return the tables of a run's directory (one with run.json) or of one scenario's within it.

    A scenario whose rig broke leaves no evidence and has no rows. Raise UsageError for a directory that is neither.
    """
    place = Path(directory)
    if (place / "manifest.json").exists():
        return RunTables(place, {_document(place / "manifest.json")["scenario"]: place})
    if not (place / "run.json").exists():
        raise UsageError(f"{place}: not a results directory: it has neither run.json nor manifest.json")
    entries = _document(place / "run.json")["scenarios"]
    whole = [entry for entry in entries if entry["verdict"] != "ERROR"]
    if not whole:
        raise UsageError(f"{place}: no scenario of it left evidence: the rig broke in every one")
    return RunTables(place, {entry["name"]: place / entry["directory"] for entry in whole})


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; `testbed analyse` writes it anew") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    return document


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, dtype_backend="numpy_nullable")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; `testbed analyse` writes it anew") from None


def _legs(verdict: Mapping[str, Any]) -> pd.DataFrame:
    rows = [
        {
            "row": verdict["row"],
            "flow": leg["flow"],
            "from": leg["from"],
            "to": leg["to"],
            "verdict": leg["verdict"],
            "disposition": leg["disposition"],
            "crosses": " ".join(leg["expected"].get("crosses") or ()),
            "never": " ".join(leg["expected"].get("never") or ()),
            "segments": " ".join(leg["observed"]["segments"]),
            "forward": " ".join(leg["observed"]["forward"]),
            "return": " ".join(leg["observed"]["return"]),
            "packets_forward": max((link["packets_forward"] for link in leg["observed"]["links"]), default=0),
            "packets_return": max((link["packets_return"] for link in leg["observed"]["links"]), default=0),
            "predicted": (leg.get("predicted") or {}).get("agrees"),
            "reason": leg["reason"],
        }
        for leg in verdict["legs"]
    ]
    return pd.DataFrame(rows)


def _drops(run: Run) -> pd.DataFrame:
    rows = [
        {
            "frame": drop.frame,
            "time_ns": drop.time_ns,
            "firewall": drop.firewall,
            "rule": drop.rule,
            "hook": drop.hook,
            "came_in": drop.came_in,
            "to_go_out": drop.to_go_out,
            "protocol": drop.protocol,
            "source": str(IPv4Address(drop.source)),
            "source_port": drop.source_port,
            "destination": str(IPv4Address(drop.destination)),
            "destination_port": drop.destination_port,
        }
        for drop in run.drops
    ]
    return pd.DataFrame(rows)
