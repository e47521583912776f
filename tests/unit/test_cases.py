"""The asymmetric cases as files: predicted to die as they say, cured by their remedies, and usable as a change."""

from pathlib import Path

import pytest
from spec_samples import write_samples

from testbed import catalogue
from testbed.errors import SpecError, UsageError
from testbed.plan import make_plan
from testbed.plan.model import Plan
from testbed.scenario import Change, Leg, Scenario
from testbed.spec.reader import read_scenario, read_spec

ALL = catalogue.choose(table="asymmetric")
CASES = [path for path in ALL if read_scenario(path).remedy is None]
REMEDIES = [path for path in ALL if read_scenario(path).remedy is not None]


def plan_of(path: Path, *changes: Change) -> Plan:
    return make_plan(read_spec(path, changes), duration_ns=3_000_000_000, seed=1)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_is_predicted_to_die_as_it_says(path: Path) -> None:
    every = read_spec(path).scenario.legs
    legs: dict[tuple[str, str, str, str | None], Leg] = {(x.flow, x.from_, x.to, x.media): x for x in every}
    for told in plan_of(path).predicted:
        leg = legs[told.leg]
        ends = {told.forward_end, told.return_end} - {"DELIVERED"}
        if leg.dies is None or leg.dies.disposition == "NEVER_SENT":
            assert not ends, told
        else:
            assert ends == {":".join(filter(None, (leg.dies.disposition, leg.dies.at, leg.dies.rule)))}, told


@pytest.mark.parametrize("path", REMEDIES, ids=lambda path: path.stem)
def test_a_remedy_is_predicted_to_cure_every_leg_and_one_of_microsofts_by_the_same_way_back(path: Path) -> None:
    scenario = read_scenario(path)
    assert not [leg for leg in scenario.legs if leg.dies]
    for told in plan_of(path).predicted:
        assert (told.forward_end, told.return_end) == ("DELIVERED", "DELIVERED"), told
        if scenario.remedy is not None and scenario.remedy.kind == "microsoft":
            assert told.forward == told.return_[::-1], told


def test_every_case_in_which_something_dies_but_plain_rtp_has_a_remedy() -> None:
    cured = {str(read_scenario(path).extends) for path in REMEDIES}
    dying = {scenario.id for scenario in map(read_scenario, CASES) if any(leg.dies for leg in all_legs(scenario))}
    assert dying - cured == {"asymmetric/plain-rtp-one-way-audio"}


def all_legs(scenario: Scenario) -> list[Leg]:
    return [*scenario.legs, *(leg for during in scenario.during for leg in during.legs)]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_without_its_cause_a_case_dies_no_more(path: Path) -> None:
    for control in read_scenario(path).controls.values():
        read_spec(path, (Change(set=control.set, remove=control.remove),))
    assert read_scenario(path).controls


def test_any_scenario_takes_the_changes_of_a_case() -> None:
    for online in catalogue.choose(table="online"):
        changes = catalogue.parse_changes(["asymmetric/same-pool-on-both"])
        spec = read_spec(online, changes)
        assert "contoso-pool-over-er" in spec.topology.announcements
    spec = read_spec(
        catalogue.find_scenario("online/p2p-internal"), catalogue.parse_changes(["asymmetric/two-circuits"])
    )
    assert "fw-er2" in spec.topology.firewalls


BY_INTERNET = "changes/servers-by-internet"


def test_a_named_change_is_what_every_scenario_that_makes_it_makes() -> None:
    (named,) = catalogue.parse_changes([BY_INTERNET])
    scenarios = [read_scenario(path) for path in catalogue.choose(everything=True)]
    made: list[Change] = [
        one.controls[name] for one in scenarios for name in one.controls if name == "servers-by-internet"
    ]
    made += [change for one in scenarios if one.id.endswith("-servers-by-internet") for change in one.changes]
    assert len(made) >= 8
    assert {(tuple(each.set.items()), each.remove) for each in made} == {(tuple(named.set.items()), named.remove)}


@pytest.mark.parametrize(
    ("slug", "leg"),
    [
        ("hybrid/p2p-mixed-homes", ("signaling", "online-front-end", "onprem-edge", None)),
        ("hybrid/conference-onprem-organiser", ("signaling", "online-front-end", "onprem-edge", None)),
        ("hybrid/conference-online-organiser", ("signaling", "onprem-edge", "online-front-end", None)),
        ("hybrid/p2p-federated", ("media", "alice", "online-edge", None)),
        ("hybrid/onprem-edge-relay", ("media", "onprem-edge", "online-edge", None)),
        ("cloud-connector/pstn-internal", ("signaling", "online-front-end", "cce-edge", None)),
    ],
)
def test_servers_meet_on_expressroute_or_by_the_named_change_on_the_internet_both_ways(
    slug: str, leg: tuple[str, str, str, str | None]
) -> None:
    path = catalogue.find_scenario(slug)
    for changes, kind in (([], "expressroute"), (catalogue.parse_changes([BY_INTERNET]), "internet")):
        plan = plan_of(path, *changes)
        kinds = {link.name: link.segment_kind for link in plan.links}
        (told,) = plan.predictions(*leg)
        assert (told.forward_end, told.return_end) == ("DELIVERED", "DELIVERED")
        for way in (told.forward, told.return_):
            assert {kinds[link] for link in way} & {"expressroute", "internet"} == {kind}


def test_an_unknown_change_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="no such change; did you mean 'changes/servers-by-internet'"):
        catalogue.parse_changes(["changes/servers-by-the-internet"])


def test_a_scenario_that_changes_nothing_is_no_change() -> None:
    with pytest.raises(UsageError, match="online/p2p-internal: that scenario changes nothing"):
        catalogue.parse_changes(["online/p2p-internal"])


def test_a_scenario_that_extends_takes_all_but_id_and_controls(tmp_path: Path) -> None:
    base = write_samples(tmp_path)
    path = base.with_name("cured.toml")
    path.write_text('extends = "own/call"\ntitle = "cured"\n[remedy]\nkind = "extra"\nwhy = "w"\n')
    scenario = read_scenario(path)
    assert (scenario.id, scenario.title, scenario.row, scenario.controls) == ("own/cured", "cured", "X-1", {})
    assert scenario.legs == read_scenario(base).legs


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("own/cal", "no other scenario 'own/cal'; did you mean 'own/call'?"),
        ("fallback/upd", "no other scenario 'fallback/upd'; did you mean 'fallback/udp'?"),
        ("own/cured", "extends: 'own/cured' is this scenario; name another one"),
    ],
)
def test_a_base_that_is_not_there_is_named(base: str, problem: str, tmp_path: Path) -> None:
    path = write_samples(tmp_path).with_name("cured.toml")
    path.write_text(f'extends = "{base}"\n')
    with pytest.raises(SpecError) as caught:
        read_scenario(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize("place", ["own/a", "fallback/udp"])
def test_a_scenario_elsewhere_may_extend_one_of_the_catalogue_and_use_its_topology(place: str, tmp_path: Path) -> None:
    path = write_samples(tmp_path).parents[1] / f"{place}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text('extends = "fallback/udp"\ntitle = "mine"\n')
    spec = read_spec(path)
    assert (spec.scenario.title, spec.scenario.row, spec.topology.name) == ("mine", "FB-1", "office365")


def test_scenarios_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    path = write_samples(tmp_path).with_name("one.toml")
    for name, base in (("one", "two"), ("two", "three"), ("three", "two")):
        path.with_name(f"{name}.toml").write_text(f'extends = "own/{base}"\n')
    with pytest.raises(SpecError, match="comes back to this scenario"):
        read_scenario(path)
