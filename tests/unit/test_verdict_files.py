"""What verdict.json holds beside the judgement, and runs that cannot be read."""

import json
from pathlib import Path

from analysis_samples import MEDIA_ER, Wire, make_plan, make_scenario, media_by_er

from testbed.plan.model import PredictedPath
from testbed.verdict import judge, write_judgement


def media() -> Wire:
    """Return a call of alice's by ExpressRoute."""
    wire = Wire()
    for sequence in range(3):
        media_by_er(wire, sequence=sequence)
    return wire


def test_prediction_stands_beside_observation(tmp_path: Path) -> None:
    way = ("alice-core", "core-fw-er", "er", "ms-edge1")
    for forward, agrees in ((way, True), (("alice-core",), False)):
        told = PredictedPath(
            flow="media",
            from_="alice",
            to="online-edge",
            forward=forward,
            return_=way[::-1],
            forward_end="DELIVERED",
            return_end="DELIVERED",
        )
        wire = Wire(make_plan(predicted=[told]))
        media_by_er(wire, sequence=1)
        media_by_er(wire, sequence=2)
        (leg_,) = judge(wire.write(tmp_path, make_scenario(MEDIA_ER)))["legs"]
        assert leg_["predicted"]["agrees"] is agrees


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


def test_the_verdict_is_written_whole(tmp_path: Path) -> None:
    media().write(tmp_path, make_scenario(MEDIA_ER))
    verdict = write_judgement(tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text()) == verdict
    assert not list(tmp_path.glob("*.partial"))
