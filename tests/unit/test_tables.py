"""A run as tables: each row and unit as the files have it, and what is missing is null."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, FE, MEDIA_ER, Wire, make_scenario, media_by_er
from capture_bytes import ip_packet

import testbed
from testbed.errors import UsageError
from testbed.sweep.columns import FIGURES, LABELS
from testbed.sweep.table import FORMAT as SWEEP_FORMAT
from testbed.tables import FORMAT, TABLES, RunTables, read_run
from testbed.tables.export import export
from testbed.tables.schema import COLUMNS
from testbed.verdict import write_judgement
from testbed.verdict.tables import write_tables

ROOT = Path(__file__).parents[2]
TRUST = ("timing_trusted", "capture_complete")
HEAD = "Via: SIP/2.0/UDP 10.0.0.10;branch=z9hG4bK1\r\nCall-ID: c1\r\nCSeq: 1 {}\r\n\r\n"


@pytest.fixture
def run(tmp_path: Path) -> RunTables:
    """Media by ExpressRoute, a SIP exchange with a repeated request, and a dropped packet."""
    wire = Wire()
    for sequence in range(3):
        media_by_er(wire, sequence=sequence)
    alice, server, way = (ALICE, 5070), (FE, 5060), ("alice", "core")
    request = f"REGISTER sip:contoso.example SIP/2.0\r\n{HEAD.format('REGISTER')}".encode()
    for _ in range(2):
        wire.carry(way, alice, server, request)
    for status in (b"100 Trying", b"200 OK", b"200 OK"):
        wire.carry(way[::-1], server, alice, b"SIP/2.0 " + status + b"\r\n" + HEAD.format("REGISTER").encode())
    wire.carry(way, alice, server, f"OPTIONS sip:fe SIP/2.0\r\n{HEAD.format('OPTIONS')}".encode())
    wire.drop("fw-er", "default", ip_packet((ALICE, 9), (EDGE1, 9), b"x"))
    place = wire.write(tmp_path / "run" / "a-b", make_scenario(MEDIA_ER))
    write_judgement(place)
    entry = {"name": "a/b", "scenario": "a/b", "directory": "a-b", "verdict": "PASS"}
    (tmp_path / "run" / "run.json").write_text(json.dumps({"format": 1, "run": "r", "scenarios": [entry]}))
    return read_run(tmp_path / "run")


def test_packets_have_a_row_a_frame_with_names_and_addresses(run: RunTables) -> None:
    packets = run.packets
    assert packets.frame.tolist() == list(range(1, len(packets) + 1))
    first = packets.iloc[0]
    assert (first.scenario, first.link, first.kind, first.encapsulation) == ("a/b", "alice-core", "RTP", "CHANNEL_DATA")
    assert (first.source, first.destination, first.destination_port) == (ALICE, EDGE1, 3478)
    assert packets.ip_length.dtype == "int64"  # sums of 16-bit lengths would wrap


def test_flows_count_packets_and_bytes_of_a_link_and_direction(run: RunTables) -> None:
    flows = run.flows
    media = flows[(flows.link == "er") & flows.forward & (flows.kind == "RTP")]
    assert media.packets.tolist() == [3]
    same = run.packets[(run.packets.link == "er") & run.packets.forward & (run.packets.kind == "RTP")]
    assert media.ip_bytes.tolist() == [same.ip_length.sum()]
    assert flows.packets.sum() == len(run.packets)


def test_a_sip_transaction_has_its_answers_and_repeats(run: RunTables) -> None:
    register, options = run.sip_transactions.itertuples()
    assert (register.method, register.requests, register.final_status) == ("REGISTER", 2, 200)
    assert register.request_ns < register.provisional_ns < register.final_ns
    assert register.response_ms == pytest.approx((register.final_ns - register.request_ns) / 1e6)
    assert options.method == "OPTIONS" and pd.isna(options.final_ns) and pd.isna(options.response_ms)


def test_drops_name_firewall_and_rule(run: RunTables) -> None:
    (drop,) = run.drops.to_dict("records")
    assert (drop["firewall"], drop["rule"], drop["source"], drop["destination_port"]) == ("fw-er", "default", ALICE, 9)


def test_media_streams_and_legs_are_those_of_the_files(run: RunTables) -> None:
    assert set(run.media_streams.what) >= {"end to end", "link"}
    assert run.legs.disposition.tolist() == ["DELIVERED"]
    assert run.legs.forward.tolist()[0].split()[0] == f"{BY_ER[0]}-{BY_ER[1]}"
    assert "AverageJitterInMs" in run.assessment


def test_every_table_is_exported_and_reads_back(run: RunTables, tmp_path: Path) -> None:
    written = export(run, tmp_path / "out")
    assert [path.name for path in written] == [*(f"{name}.csv" for name in TABLES), "tables.json"]
    assert len(pd.read_csv(tmp_path / "out" / "packets.csv")) == len(run.packets)
    export(run, tmp_path / "out", tables=["flows"], form="parquet")
    assert len(pd.read_parquet(tmp_path / "out" / "flows.parquet")) == len(run.flows)
    with pytest.raises(UsageError, match="must be one of packets, flows"):
        export(run, tmp_path / "out", tables=["nothing"])


def documented() -> dict[str, list[str]]:
    """Return the columns that docs/tables.md has for each table."""
    sections = re.split(r"^## ", (ROOT / "docs" / "tables.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {one.split("\n")[0]: re.findall(r"^\| `(\w+)` \|.*\|.*\w.*\|$", one, re.MULTILINE) for one in sections}


def test_every_column_is_documented_in_order_also_of_tables_without_a_row(run: RunTables, tmp_path: Path) -> None:
    place = Wire().write(tmp_path / "silent", make_scenario())
    write_judgement(place)
    silent = read_run(place)
    assert list(documented()) == list(TABLES)
    for name, columns in documented().items():
        assert list(getattr(run, name).columns) == columns, name
        assert list(getattr(silent, name).columns) == columns, name
    assert len(silent.packets) == len(silent.assessment) == len(silent.legs) == 0


def test_no_column_of_the_files_is_left_out(run: RunTables) -> None:
    for name in ("media_streams", "links"):
        columns = pd.read_parquet(run.directory / "a-b" / f"{name}.parquet").columns
        assert {"scenario", *columns} == set(documented()[name])
    quality = json.loads((run.directory / "a-b" / "quality.json").read_text())
    assert {"scenario", *quality["assessment"][0], *TRUST} == set(documented()["assessment"])


def test_a_type_does_not_depend_on_the_rows(run: RunTables, tmp_path: Path) -> None:
    for directory in ("silent", "other"):
        write_judgement(Wire().write(tmp_path / directory, make_scenario()))
    both = RunTables(tmp_path, {"a": run.directory / "a-b", "b": tmp_path / "silent"})
    for tables in (run, both, read_run(tmp_path / "other")):
        for name, columns in COLUMNS.items():
            assert {column: str(kind) for column, kind in getattr(tables, name).dtypes.items()} == columns, name


def test_lost_counts_stay_whole_numbers_beside_a_null(run: RunTables) -> None:
    place = run.directory / "a-b"
    quality = json.loads((place / "quality.json").read_text())
    nothing = {**quality["assessment"][0], "PacketsReceived": None}
    (place / "quality.json").write_text(json.dumps({**quality, "assessment": [*quality["assessment"], nothing]}))
    received = read_run(run.directory).assessment.PacketsReceived
    assert received.dtype == "Int64" and received.isna().tolist()[-1]


@pytest.mark.parametrize("trusted", [True, False])
def test_figures_say_in_every_row_whether_they_may_be_believed(run: RunTables, trusted: bool) -> None:
    place = run.directory / "a-b"
    quality = json.loads((place / "quality.json").read_text())
    quality["trusted"] = {"timing": trusted, "complete": not trusted, "reasons": []}
    (place / "quality.json").write_text(json.dumps(quality))
    write_tables(place, quality)
    for table in (run.media_streams, run.links, run.assessment, *map(pd.read_parquet, place.glob("*.parquet"))):
        assert len(table) and (table.timing_trusted == trusted).all() and (table.capture_complete != trusted).all()


def test_units_are_in_the_names_or_on_the_page(run: RunTables) -> None:
    text = (ROOT / "docs" / "tables.md").read_text(encoding="utf-8")
    for suffix, unit in (("_ns", "ns"), ("_ms", "ms"), ("_bytes", "bytes"), ("_ratio", "0 to 1")):
        units = re.findall(rf"^\| `\w+{suffix}` \| (.*?) \|", text, re.MULTILINE)
        assert set(units) == {unit}, suffix


def test_an_export_tells_its_version_and_columns(run: RunTables, tmp_path: Path) -> None:
    export(run, tmp_path / "out", tables=["flows"])
    told = json.loads((tmp_path / "out" / "tables.json").read_text())
    version = re.search(r"describes \*\*format (\d+)\*\*", (ROOT / "docs" / "tables.md").read_text(encoding="utf-8"))
    assert version and told["format"] == FORMAT == int(version[1])
    assert told["tables"]["flows"]["rows"] == len(run.flows)
    assert list(told["tables"]["flows"]["columns"]) == documented()["flows"]


def test_a_sweeps_columns_are_documented() -> None:
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8").split("A row is a cell and media stream")[1]
    assert not [column for column in (*LABELS, *FIGURES) if f"`{column}`" not in text]
    assert f"(`format` {SWEEP_FORMAT})" in text


def test_a_scenarios_directory_is_a_run_of_one(run: RunTables) -> None:
    alone = testbed.read_run(run.directory / "a-b")
    assert len(alone.packets) == len(run.packets)


def test_what_is_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither run"):
        read_run(tmp_path)
    entry = {"name": "a", "scenario": "a", "directory": "a", "verdict": "ERROR"}
    (tmp_path / "run.json").write_text(json.dumps({"format": 1, "run": "r", "scenarios": [entry]}))
    with pytest.raises(UsageError, match="the rig broke"):
        read_run(tmp_path)


def test_the_command_line_does_without_pandas() -> None:
    code = "import sys, testbed.cli; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
