"""Reading topologies and scenarios that are right."""

from io import StringIO
from ipaddress import IPv4Interface
from pathlib import Path

import pytest
from rich.console import Console
from spec_samples import OFFICE, write_samples

from testbed.catalogue import catalogue_table, choose, find_scenario, find_spec, is_topology, list_scenarios
from testbed.errors import SpecError, UsageError
from testbed.scenario import Change
from testbed.spec.places import ROOT_VARIABLE, scenario_id
from testbed.spec.reader import read_controls, read_scenario, read_spec, read_topology

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_scenario_is_read_with_its_topology(tmp_path: Path) -> None:
    spec = read_spec(write_samples(tmp_path))
    assert spec.scenario.id == "own/call"
    assert set(spec.topology.nodes) == {"ann", "ben", "lan", "r1", "fw1", "r2", "fe"}
    assert spec.topology.links["r1-fw1"].addresses["fw1"] == IPv4Interface("10.0.9.2/30")
    assert spec.given["title"] == "Ann calls Ben"


def test_nodes_and_links_take_the_segment_of_their_file(tmp_path: Path) -> None:
    topology = read_spec(write_samples(tmp_path)).topology
    assert topology.nodes["ann"].segment == topology.links["r1-fw1"].segment == "office"
    assert topology.nodes["r2"].segment == topology.links["fw1-r2"].segment == "cloud"


def test_a_link_may_name_another_files_segment(tmp_path: Path) -> None:
    path = write_samples(tmp_path, ('ends = ["r1", "fw1"]', 'ends = ["r1", "fw1"]\nsegment = "cloud"'))
    assert read_spec(path).topology.links["r1-fw1"].segment == "cloud"


def test_an_assembly_without_includes_may_hold_everything(tmp_path: Path) -> None:
    path = tmp_path / "alone.toml"
    path.write_text(
        'name = "alone"\ntitle = "All in one"\n[segment.s]\nkind = "customer"\norganisation = "o"\n'
        'title = "S"\n[nodes.a]\nkind = "host"\n'
    )
    assert read_topology(path).nodes["a"].segment == "s"


def test_a_scenarios_own_changes_are_made_first_and_those_asked_for_after(tmp_path: Path) -> None:
    own = '\n[[changes]]\nset = { "links.ann-lan.shape.delay" = "5ms", "links.ben-lan.up" = false }\n'
    path = write_samples(tmp_path, ('reason = "never sent"', f'reason = "never sent"\n{own}'))
    spec = read_spec(path, (Change(set={"links.ann-lan.shape.delay": "7ms"}),))
    assert spec.topology.links["ann-lan"].shape.delay == 7_000_000
    assert spec.topology.links["ben-lan"].up is False
    assert spec.changes == (Change(set={"links.ann-lan.shape.delay": "7ms"}),)


def test_reading_a_scenario_alone_makes_no_change(tmp_path: Path) -> None:
    own = '\n[[changes]]\nset = { title = "changed" }\n'
    path = write_samples(tmp_path, ('reason = "never sent"', f'reason = "never sent"\n{own}'))
    assert read_scenario(path).title == "Ann calls Ben"
    assert read_spec(path).scenario.title == "changed"


def test_a_change_may_choose_another_topology(tmp_path: Path) -> None:
    path = write_samples(tmp_path)
    other = (tmp_path / "topologies/tiny.toml").read_text().replace('"tiny"', '"other"')
    (tmp_path / "topologies/other.toml").write_text(other)
    assert read_spec(path, (Change(set={"topology": "other"}),)).topology.name == "other"


def test_controls_that_can_be_made_pass_and_others_are_named(tmp_path: Path) -> None:
    read_controls(write_samples(tmp_path))
    path = write_samples(tmp_path, ("links.ann-lan.up", "links.ann-lam.up"))
    with pytest.raises(SpecError, match=r"controls\.cable-cut.*did you mean 'ann-lan'"):
        read_controls(path)


@pytest.mark.parametrize(
    ("path", "slug"),
    [
        ("/x/scenarios/online/p2p.toml", "online/p2p"),
        ("/scenarios/x/scenarios/mine.toml", "mine"),
        ("/x/elsewhere/mine.toml", "mine"),
    ],
)
def test_a_scenarios_id_is_its_place(path: str, slug: str) -> None:
    assert scenario_id(Path(path)) == slug


def test_the_catalogue_lists_what_the_root_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_samples(tmp_path)
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    (entry,) = list_scenarios()
    assert entry.as_json() == {
        "scenario": "own/call",
        "row": "X-1",
        "table": "online",
        "title": "Ann calls Ben",
        "article": {},
        "reading": [
            {"party": "ann", "flow": "signaling", "way": "customer + Microsoft"},
            {"party": "ann", "flow": "media", "way": "local"},
            {"party": "ben", "flow": "media", "way": "local"},
        ],
        "contradictions": [],
        "controls": ["cable-cut"],
        "remedy": None,
    }
    assert find_scenario("own/call") == find_scenario(str(path)) == path
    assert choose(["own/call", str(path)], table="online") == [path]
    assert is_topology(find_spec("tiny")) and not is_topology(find_spec("own/call"))


def test_the_catalogues_table_fits_a_narrow_terminal(tmp_path: Path) -> None:
    write_samples(tmp_path, ('row = "X-1"', 'row = "X-1"\narticle.media = { ann = "local", ben = "local" }'))
    written = StringIO()
    screen = Console(width=80, file=written)
    screen.print(catalogue_table(list_scenarios(tmp_path)))
    lines = written.getvalue().splitlines()
    assert lines[0].split() == ["Row", "Scenario", "Party", "Flow", "Article", "Reading", "Controls"]
    assert [line.split() for line in lines[2:4]] == [
        ["Ann", "calls", "Ben", "media", "local", "local"],
        ["ben", "media", "local", "local"],
    ]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_scenario_of_the_catalogue_is_cut_off(width: int) -> None:
    written = StringIO()
    Console(width=width, file=written, soft_wrap=True).print(catalogue_table(list_scenarios()))
    lines = written.getvalue().splitlines()
    assert not [line for line in lines if len(line.rstrip()) > width or "…" in line]
    start, end = lines[0].index("Scenario"), lines[0].index("Party")
    assert "asymmetric/nat-pool-not-announced-over-er-media-remedy-announce" in "".join(
        line[start:end].strip() for line in lines
    )


@pytest.mark.parametrize(
    ("names", "table", "message"),
    [
        (["own/cal"], None, "no scenario 'own/cal'; did you mean 'own/call'?"),
        (["scenarios/own/cal.toml"], None, "scenarios/own/cal.toml: no such file; did you mean 'own/call'?"),
        ([], "onlin", "no table 'onlin'; did you mean 'online'?"),
        ([], "hybrid", "table 'hybrid' has no scenario yet"),
        ([], None, "no scenario chosen"),
    ],
)
def test_a_choice_of_nothing_is_an_error(tmp_path: Path, names: list[str], table: str | None, message: str) -> None:
    write_samples(tmp_path)
    with pytest.raises(UsageError) as caught:
        choose(names, table=table, at=tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tyny", "no topology or scenario 'tyny'; did you mean 'tiny'? topologies: tiny; `testbed list` shows"),
        ("own/cal", "no scenario 'own/cal'; did you mean 'own/call'?"),
        ("cal.toml", "cal.toml: no such file"),
    ],
)
def test_a_topology_that_is_not_there_is_no_missing_scenario(tmp_path: Path, name: str, message: str) -> None:
    write_samples(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_spec(name, tmp_path)
    assert message in str(caught.value)


def test_a_root_without_scenarios_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=ROOT_VARIABLE):
        list_scenarios()


def test_the_samples_say_what_these_tests_rely_on() -> None:
    assert "segment =" not in OFFICE


@pytest.mark.parametrize("path", sorted((REPOSITORY / "scenarios").rglob("*.toml")), ids=scenario_id)
def test_every_scenario_of_the_catalogue_and_its_controls_are_sound(path: Path) -> None:
    assert read_spec(path).scenario.legs
    read_controls(path)
