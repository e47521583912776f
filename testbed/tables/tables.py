"""Every table of a run, each read when it is first asked for; a run's are its scenarios' one below the other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address
from pathlib import Path

import pandas as pd

from testbed.analysis.run import Run
from testbed.analysis.run import read_run as read_scenario
from testbed.errors import UsageError
from testbed.report.quality_file import QualityFile
from testbed.report.reading import mend, read_document, read_model
from testbed.report.record import ManifestFile, VerdictFile, read_run_file
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
        return self._joined("media_streams", lambda place: _marked(place, _parquet(place / "media_streams.parquet")))

    @cached_property
    def links(self) -> pd.DataFrame:
        """A row a link and direction that media passed (links.parquet)."""
        return self._joined("links", lambda place: _marked(place, _parquet(place / "links.parquet")))

    @cached_property
    def legs(self) -> pd.DataFrame:
        """A row a leg of the scenario, as judged."""
        return self._joined("legs", lambda place: _legs(read_model(place / "verdict.json", VerdictFile)))

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
        return self._joined("assessment", _assessment)

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
        return _typed(table, whole.reindex(columns=list(COLUMNS[table])))


def _typed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Give each column its type, whatever its rows hold: one that no row fills would have another."""
    for column, kind in COLUMNS[name].items():
        if str(table[column].dtype) == kind:
            continue
        try:
            table[column] = table[column].astype(kind)
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"{name}: column {column}: must be {kind}: {error}; `testbed analyse` may mend it"
            ) from None
    return table


def read_run(directory: str | Path) -> RunTables:
    """Return the tables of a run's directory (one with run.json) or of one scenario's within it.

    A scenario whose rig broke leaves no evidence and has no rows. Raise UsageError for a directory that is neither.
    """
    place = Path(directory)
    if (place / "manifest.json").exists():
        return RunTables(place, {read_model(place / "manifest.json", ManifestFile).scenario: place})
    if not (place / "run.json").exists():
        raise UsageError(f"{place}: not a results directory: it has neither run.json nor manifest.json")
    whole = [entry for entry in read_run_file(place).scenarios if entry.verdict != "ERROR"]
    if not whole:
        raise UsageError(f"{place}: no scenario of it left evidence: the rig broke in every one")
    return RunTables(place, {entry.name or entry.scenario: place / entry.directory for entry in whole})


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, dtype_backend="numpy_nullable")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}; {mend(path)}") from None
    except ValueError as error:  # pyarrow's ArrowInvalid is one
        raise UsageError(f"{path}: not a parquet file: {str(error).splitlines()[0]}; {mend(path)}") from None


def _assessment(place: Path) -> pd.DataFrame:
    return _marked(place, pd.DataFrame(read_document(place / "quality.json", QualityFile)["assessment"]))


def _marked(place: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Say in every row whether the run's times may be believed and its captures are whole."""
    trusted = read_model(place / "quality.json", QualityFile).trusted
    return table.assign(timing_trusted=trusted.timing, capture_complete=trusted.complete)


def _legs(verdict: VerdictFile) -> pd.DataFrame:
    rows = [
        {
            "row": verdict.row,
            "flow": leg.flow,
            "from": leg.from_,
            "to": leg.to,
            "verdict": leg.verdict,
            "disposition": leg.disposition,
            "crosses": " ".join(leg.expected.crosses),
            "never": " ".join(leg.expected.never),
            "segments": " ".join(leg.observed.segments),
            "forward": " ".join(leg.observed.forward),
            "return": " ".join(leg.observed.return_),
            "packets_forward": max((link.packets_forward or 0 for link in leg.observed.links), default=0),
            "packets_return": max((link.packets_return or 0 for link in leg.observed.links), default=0),
            "predicted": (leg.predicted or {}).get("agrees"),
            "reason": leg.reason,
        }
        for leg in verdict.legs
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
