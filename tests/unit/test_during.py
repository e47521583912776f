"""Changes during a call: read, planned, their effects measured on packets, and judged; every check failing, too."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_samples import MEDIA_CAROL, MEDIA_ER, Wire, make_plan, make_scenario, relayed_call
from small_topologies import ANYWHERE, route_at, speakers, told_by_origin
from spec_samples import write_samples

from testbed import catalogue
from testbed.analysis import read_run
from testbed.analysis.audio import Aftermath, Audio, aftermath
from testbed.errors import SpecError
from testbed.plan import make_plan as plan_of_spec
from testbed.plan.adjacency import Adjacency
from testbed.plan.model import Phase
from testbed.plan.routing import bird_configurations
from testbed.scenario import Call, Change, During
from testbed.spec.reader import read_spec
from testbed.verdict import judge

MS = 1_000_000
SECOND = 1_000 * MS
FLIP = catalogue.find_scenario("asymmetric/return-flips-during-call")
CHANGING = [path for path in catalogue.choose(table="asymmetric") if read_spec(path).scenario.during]


def changed(**edits: Any) -> Change:
    return Change(set={key.replace("__", "."): value for key, value in edits.items()})


# Reading and planning


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (changed(during__0__set={"sip_t1": "50ms"}), "only the topology can change"),
        (changed(lasts="3s"), "lasts: must be more than 4 s"),
        (changed(during__0__set={"links.none.up": False}), "there is no 'none' in links"),
        (changed(during__0__gap=["2s", "1s"]), "the least silence is longer"),
    ],
)
def test_a_change_that_cannot_be_read_is_told_in_one_line(change: Change, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as refused:
        read_spec(FLIP, (change,))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("edits", "problem"),
    [
        ({"firewalls.fw-er.rules.turn.action": "drop"}, "changes fw-er beyond its BGP"),
        ({"nodes.alice.stopped": True}, "changes the programs that run"),
        ({"links.alice-lan-a.shape.loss": "100%"}, "link alice-lan-a has no shape before or after"),
    ],
)
def test_what_cannot_be_done_to_a_running_world_is_refused(edits: dict[str, Any], problem: str) -> None:
    spec = read_spec(FLIP, (Change(set={"during.0.set": edits}),))
    with pytest.raises(SpecError, match=problem):
        plan_of_spec(spec, duration_ns=SECOND, seed=1)


@pytest.mark.parametrize("path", CHANGING, ids=lambda path: path.stem)
def test_after_each_change_legs_are_predicted_to_go_or_die_as_they_say(path: Path) -> None:
    spec = read_spec(path)
    plan = plan_of_spec(spec, duration_ns=SECOND, seed=1)
    assert plan.duration_ns == spec.scenario.lasts
    for during, phase in zip(spec.scenario.during, plan.phases, strict=True):
        for leg in during.legs:
            for told in (path for path in phase.predicted if path.leg == (leg.flow, leg.from_, leg.to, leg.media)):
                ends = {told.forward_end, told.return_end} - {"DELIVERED"}
                dies = leg.dies and ":".join(filter(None, (leg.dies.disposition, leg.dies.at, leg.dies.rule)))
                assert ends == ({dies} if dies else set()), told


def test_a_withdrawal_reconfigures_the_router_that_withdraws_and_nothing_else() -> None:
    phase = plan_of_spec(read_spec(FLIP), duration_ns=SECOND, seed=1).phases[0]
    assert list(phase.birds) == ["ce-er"] and not phase.links
    assert "192.0.2.64/26 &&" not in phase.birds["ce-er"]


def test_a_flow_under_way_is_predicted_by_the_pair_it_was_set_up_with() -> None:
    phase = plan_of_spec(read_spec(FLIP), duration_ns=SECOND, seed=1).phases[0]
    edges = {path.forward[-1] for path in phase.predicted if path.leg == ("media", "alice", "online-edge", None)}
    assert edges == {"on-edge1-ms-lan", "on-edge2-ms-lan"}


def test_a_file_without_changes_has_no_phases(tmp_path: Path) -> None:
    assert plan_of_spec(read_spec(write_samples(tmp_path)), duration_ns=SECOND, seed=1).phases == ()


# BGP over a connection that dies silently


def far(**keys: Any) -> Any:
    return speakers(
        {"here": 64512, "origin": 64513},
        [("here", "origin")],
        announcements=told_by_origin("here"),
        links={"here-origin": keys},
    )


@pytest.mark.parametrize("shape", [{"shape": {"loss": "100%"}}, {"shape_return": {"loss": "100%"}}])
def test_a_session_over_a_link_that_loses_everything_is_down(shape: Any) -> None:
    assert route_at("here", far()) is not None
    assert route_at("here", far(**shape)) is None
    assert route_at("here", far(shape={"loss": "99%"})) is not None


def test_bfd_is_configured_where_a_session_asks_for_it() -> None:
    world = speakers({"a": 1, "b": 2, "c": 3}, [("a", "b"), ("b", "c")], sessions={"a-b": {"bfd": True}})
    birds = bird_configurations(world, Adjacency(world))
    assert "protocol bfd" in birds["a"] and birds["b"].count("bfd on;") == 1
    assert "bfd" not in birds["c"]


def test_bfd_over_more_than_one_hop_is_refused() -> None:
    world = speakers({"a": 1, "c": 3}, [("a", "b"), ("b", "c")], nodes={"b": {"kind": "router"}}, sessions={
        "a-c": {"ends": ["a", "c"], "bfd": True}})  # fmt: skip
    with pytest.raises(SpecError, match=r"sessions\.a-c\.bfd"):
        bird_configurations(world, Adjacency(world))
    assert ANYWHERE


# Audio after a change

T0 = 100 * SECOND


class _Walks:
    walks: tuple[Any, ...] = (
        type("Way", (), {"links": ("primary",)})(),
        type("Way", (), {"links": ("secondary",)})(),
    )


class _Run:
    walks = _Walks()


def heard(*, lost: range = range(0), moved_at: int = 10_000, late_ns: int = 0, until: int = 300) -> Aftermath:
    """Return what became of 300 packets every 20 ms, of which the 50th is sent at the change."""
    number = np.arange(300)
    sent = T0 + (number - 50) * 20 * MS
    arrived = np.where((number >= lost.start) & (number < lost.stop) | (number >= until), -1, sent + 10 * MS)
    arrived = np.where((arrived != -1) & (number >= moved_at), arrived + late_ns, arrived)
    audio = Audio("alice", "carol", sent, arrived, (number >= moved_at).astype(np.int64))
    return aftermath(_Run(), audio, T0, T0 + 100 * SECOND)  # type: ignore[arg-type]   # what it looks at


def test_audio_that_nothing_happens_to_is_never_silent_for_longer_than_a_packet() -> None:
    effect = heard()
    assert (effect.lost, effect.first_lost_ns, effect.silence_ns) == (0, None, 20 * MS)
    assert effect.ways == ((-SECOND, ("primary",)),) and not effect.is_for_good


def test_a_gap_is_measured_from_the_last_packet_before_to_the_first_after() -> None:
    effect = heard(lost=range(52, 77), moved_at=77)
    assert (effect.sent, effect.lost, effect.first_lost_ns) == (250, 25, 40 * MS)
    assert (effect.silent_from_ns, effect.silence_ns, effect.back_ns) == (30 * MS, 520 * MS, 550 * MS)
    assert effect.ways == ((-SECOND, ("primary",)), (540 * MS, ("secondary",)))


def test_audio_that_stops_while_the_sender_goes_on_is_silent_for_good() -> None:
    effect = heard(until=60)
    assert effect.is_for_good and effect.silent_from_ns == 190 * MS and effect.back_ns is None


def test_a_gap_before_the_change_is_none_of_its() -> None:
    assert heard(lost=range(20, 40)).silence_ns == 20 * MS


# The verdict


def run_with_change(tmp_path: Path, *, made: bool = True, gap: Any = None, settled: bool = True) -> dict[str, Any]:
    """Judge a relayed call, 2 s long, in whose middle something is changed that does nothing."""
    during = During.model_validate({"at": "1s", "why": "something", "within": "200ms", "gap": gap, "legs": [
        MEDIA_CAROL.model_dump(by_alias=True)]})  # fmt: skip
    phase = Phase(at_ns=SECOND, within_ns=200 * MS, why="something", birds={}, links=(), converged=(), predicted=())
    wire = Wire(make_plan().model_copy(update={"phases": (phase,)}))
    began_ns = wire.now_ns
    for number in range(100):
        wire.now_ns = began_ns + number * 20 * MS
        relayed_call(wire, relays=1, sequence=number)
    calls = [Call(kind="p2p", caller="alice", callee="carol")]
    scenario = make_scenario(MEDIA_ER, calls=calls, during=(during,), lasts="2s")
    change = {"began_ns": began_ns + SECOND, "settled_ns": began_ns + SECOND + 9 * MS if settled else None, "missing": [
        "core: wanted a route"]}  # fmt: skip
    return judge(wire.write(tmp_path / "run", scenario, during=[change] if made else []))


def check_of(verdict: dict[str, Any]) -> dict[str, Any]:
    return next(check for check in verdict["checks"] if check["check"] == "during")


def test_legs_before_and_after_a_change_are_judged_by_the_packets_of_their_time(tmp_path: Path) -> None:
    verdict = run_with_change(tmp_path)
    assert verdict["verdict"] == "PASS", verdict["reason"]
    assert "1 s into the call: something; routes settled after 9 ms" in verdict["reason"]
    before, after = verdict["legs"]
    assert "after" not in before and after["after"] == "1 s into the call: something"
    sent = [max(link["packets_forward"] for link in leg["observed"]["links"]) for leg in (before, after)]
    assert sent == [25, 40]  # up to half a second before the change; from 200 ms after it


@pytest.mark.parametrize("gap", [["0s", "10ms"], ["1s", "2s"]])
def test_a_silence_that_is_not_as_long_as_it_may_be_fails(gap: list[str], tmp_path: Path) -> None:
    verdict = run_with_change(tmp_path, gap=gap)
    assert verdict["verdict"] == "FAIL" and "the longest silence was 20 ms" in verdict["reason"]
    assert run_with_change(tmp_path / "fits", gap=["0s", "100ms"])["verdict"] == "PASS"


def test_routes_that_did_not_settle_fail_with_the_first_of_them(tmp_path: Path) -> None:
    verdict = run_with_change(tmp_path, settled=False)
    assert verdict["verdict"] == "FAIL" and "core: wanted a route" in check_of(verdict)["reason"]


def test_a_change_that_was_never_made_proves_nothing(tmp_path: Path) -> None:
    verdict = run_with_change(tmp_path, made=False)
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert "never made" in verdict["reason"] and check_of(verdict)["verdict"] == "INCONCLUSIVE"


def test_only_packets_of_the_span_are_followed(tmp_path: Path) -> None:
    wire = Wire()
    began_ns = wire.now_ns
    for number in range(10):
        wire.now_ns = began_ns + number * SECOND
        relayed_call(wire, relays=1, sequence=number)
    run = read_run(wire.write(tmp_path, make_scenario(MEDIA_ER)))
    part = replace(run, span=(began_ns + 3 * SECOND, began_ns + 5 * SECOND))
    assert {walk.packets for walk in run.walks.walks} == {10}
    assert {walk.packets for walk in part.walks.walks} == {2}
    assert not replace(run, span=(0, 1)).walks.walks
