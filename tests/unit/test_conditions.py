"""Link conditions: every file is sound, has a source, and changes the link that it names."""

from pathlib import Path

import pytest

from testbed.catalogue import find_scenario, parse_changes
from testbed.conditions import FOLDER, condition_change, condition_lines, condition_names, read_condition
from testbed.errors import SpecError, UsageError
from testbed.spec.reader import read_spec


@pytest.mark.parametrize("name", condition_names())
def test_a_condition_is_put_on_its_link_and_says_where_it_comes_from(name: str) -> None:
    condition = read_condition(name)
    spec = read_spec(find_scenario("online/p2p-external"), tuple(parse_changes([f"conditions/{name}"])))
    link = spec.topology.links[condition.link]
    assert (link.shape_forward, link.shape_return) == (condition.up, condition.down)
    assert len(condition.source) > 40


def test_another_link_may_be_named() -> None:
    changes = parse_changes(["conditions/lte@ce-inet-transit1"])
    links = read_spec(find_scenario("online/p2p-external"), tuple(changes)).topology.links
    assert links["ce-inet-transit1"].shape_forward == read_condition("lte").up
    assert links["hotel-nat-transit1"].shape_forward != read_condition("lte").up


def test_the_library_has_what_it_should_and_shows_it() -> None:
    wanted = {"circuit-clean", "dsl", "hotel-wifi-good", "hotel-wifi-poor", "lte", "satellite", "transit-congested"}
    assert wanted <= set(condition_names())
    assert sum("source: " in line for line in condition_lines()) == len(condition_names())


def test_an_unknown_condition_names_those_there_are() -> None:
    with pytest.raises(UsageError, match=r"conditions/fog: unknown condition; there are circuit-clean, .*lte"):
        condition_change("conditions/fog")


def test_an_unknown_link_is_told_by_the_reader() -> None:
    with pytest.raises(SpecError, match="there is no 'nowhere' in links"):
        read_spec(find_scenario("online/p2p-external"), tuple(parse_changes(["conditions/dsl@nowhere"])))


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ('title = "a"\nlink = "b"\n[up]\n[down]\n', "source: Field required"),
        ('title = "a"\nlink = "b"\nsource = "c"\n[up]\nloss = "200%"\n[down]\n', "up.loss"),
        ('title = "a"\nlink = "b"\nsource = "c"\ncolour = 1\n[up]\n[down]\n', "colour: Extra inputs"),
    ],
)
def test_a_faulty_file_is_one_clear_line(tmp_path: Path, written: str, fault: str) -> None:
    (tmp_path / "odd.toml").write_text(written)
    with pytest.raises(SpecError, match=fault):
        read_condition("odd", tmp_path)


def test_a_poor_wifi_spoils_what_a_good_one_does_not() -> None:
    good, poor = read_condition("hotel-wifi-good").up, read_condition("hotel-wifi-poor").up
    assert poor.delay > good.delay and poor.jitter > good.jitter and poor.burst_loss is not None
    assert FOLDER.is_dir()
