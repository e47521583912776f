"""What verdict.json holds beside the judgement, and runs that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import MEDIA_ER, Wire, make_plan, make_scenario, media_by_er

from testbed.plan.model import PredictedPath
from testbed.verdict import judge, write_judgement


def media() -> Wire:
    """Return a call of alice's by ExpressRoute."""
    wire = Wire()
    for sequence in range(3):
        media_by_er(wire, sequence=sequence)
    return wire


WAY = ("alice-core", "core-fw-er", "er", "ms-edge1")


def told(forward: tuple[str, ...] = WAY, end: str = "DELIVERED") -> PredictedPath:
    """Return a predicted path of alice's media, the same way back."""
    return PredictedPath(
        flow="media",
        from_="alice",
        to="online-edge",
        forward=forward,
        return_=forward[::-1],
        forward_end=end,
        return_end=end,
        note=forward[-1] if forward else "cannot tell",
    )


def prediction(directory: Path, *predicted: PredictedPath, seen: bool = True) -> dict[str, Any]:
    """Return what verdict.json says of the prediction of alice's media."""
    wire = Wire(make_plan(predicted=predicted))
    for sequence in range(2 if seen else 0):
        media_by_er(wire, sequence=sequence)
    (leg,) = judge(wire.write(directory, make_scenario(MEDIA_ER)))["legs"]
    found: dict[str, Any] = leg["predicted"]
    return found


OTHER = told((*WAY[:-1], "ms-edge2"))
UNTOLD = told((), "UNKNOWN")


@pytest.mark.parametrize(
    ("predicted", "agrees", "shown"),
    [
        ([told()], True, "ms-edge1"),
        ([OTHER], False, "ms-edge2"),
        ([OTHER, told()], True, "ms-edge1"),
        ([OTHER, told(WAY[:1])], False, "ms-edge2"),
        ([UNTOLD], None, "cannot tell"),
        ([OTHER, UNTOLD], None, "ms-edge2"),
        ([UNTOLD, told()], True, "ms-edge1"),
    ],
)
def test_the_predicted_path_that_the_packets_took_stands_beside_the_observed_one(
    tmp_path: Path, predicted: list[PredictedPath], agrees: bool | None, shown: str
) -> None:
    found = prediction(tmp_path, *predicted)
    assert (found["agrees"], found["note"], found["alternatives"]) == (agrees, shown, len(predicted))


def test_a_prediction_of_what_was_not_seen_neither_agrees_nor_disagrees(tmp_path: Path) -> None:
    assert prediction(tmp_path / "a", told(), OTHER, seen=False)["agrees"] is None
    assert prediction(tmp_path / "b", UNTOLD, seen=False)["agrees"] is None


def test_an_unreadable_run_is_an_error_with_a_reason(tmp_path: Path) -> None:
    assert judge(tmp_path)["verdict"] == "ERROR"
    media().write(tmp_path, make_scenario(MEDIA_ER))
    for name in ("capture.pcapng", "dropped.pcapng", "firewalls.json", "manifest.json"):
        kept = (tmp_path / name).read_bytes()
        for content in (b"", b"nonsense"):
            (tmp_path / name).write_bytes(content)
            verdict = judge(tmp_path)
            assert verdict["verdict"] == "ERROR" and name in verdict["reason"]
        (tmp_path / name).unlink()
        assert judge(tmp_path)["verdict"] == "ERROR"
        (tmp_path / name).write_bytes(kept)
    assert judge(tmp_path)["verdict"] == "PASS"


def test_a_world_that_broke_before_its_account_is_an_error_that_says_so(tmp_path: Path) -> None:
    media().write(tmp_path, make_scenario(MEDIA_ER))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "emulation": None}))
    verdict = judge(tmp_path)
    assert verdict["verdict"] == "ERROR" and verdict["reason"].endswith("it broke before its end")


def test_the_verdict_is_written_whole(tmp_path: Path) -> None:
    media().write(tmp_path, make_scenario(MEDIA_ER))
    verdict = write_judgement(tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text()) == verdict
    assert not list(tmp_path.glob(".verdict*"))


def test_a_run_whose_rig_broke_is_an_error_though_its_packets_would_pass(tmp_path: Path) -> None:
    directory = media().write(tmp_path, make_scenario(MEDIA_ER))
    assert judge(directory)["verdict"] == "PASS"
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps({**manifest, "fault": "BIRD in core died"}))
    verdict = judge(directory)
    assert (verdict["verdict"], verdict["reason"]) == ("ERROR", "BIRD in core died")
    assert verdict["legs"]
    (directory / "capture.pcapng").unlink()
    assert judge(directory)["reason"] == "BIRD in core died"
