"""Which kind of media a captured packet is: by the descriptions, by what the packet shows, or by its port."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from analysis_samples import Wire, make_scenario
from media_samples import APART, MEDIA, SDP, SOURCES, describe_media, exchange_media, told_plan

from testbed.analysis.media_kinds import described_sources, kind_named, media_kinds
from testbed.analysis.packets import Kind
from testbed.analysis.run import Run, read_run
from testbed.plan.model import CallPlan


def run_of(wire: Wire, directory: Path) -> Run:
    return read_run(wire.write(directory, make_scenario(calls=[APART])))


def calls_of(*kinds: str) -> tuple[CallPlan, ...]:
    target = "sip:online-conference1@contoso.example"
    return (CallPlan(party="alice", call="c1", target=target, answerers=(), media=kinds, bundled=True),)


def named(run: Run) -> Mapping[int, str | None]:
    """Return the kind of each source that alice sends from, and under 0 that of data."""
    codes = media_kinds(run.packets, run.plan)
    rows = range(len(run.packets))
    found = {
        int(run.packets.ssrc[row]): kind_named(int(codes[row])) for row in rows if run.packets.kind[row] == Kind.RTP
    }
    data = {kind_named(int(codes[row])) for row in rows if run.packets.kind[row] == Kind.DATA}
    return {ssrc: kind for ssrc, kind in found.items() if ssrc < 0x1000} | ({0: data.pop()} if data else {})


@pytest.mark.parametrize("cut", [1, 60, 100, 140])
def test_a_description_cut_over_segments_out_of_order_is_read_whole(tmp_path: Path, cut: int) -> None:
    wire = Wire(told_plan())
    describe_media(wire, cut=cut)
    assert described_sources(run_of(wire, tmp_path).packets) == {
        160: "audio",
        176: "video",
        177: "video",
        192: "application-sharing",
    }


def test_every_kind_is_named_by_the_description(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    describe_media(wire)
    for kind in MEDIA:
        exchange_media(wire, kind, port=50000)  # ports that tell nothing
    run = run_of(wire, tmp_path)
    assert named(run) == {ssrc: kind for kind, ssrc in SOURCES.items()} | {0: "file-transfer"}
    assert {walk.media for walk in run.walks.walks if walk.kind == Kind.DATA} == {"file-transfer"}


def test_without_a_description_payload_type_and_ports_tell(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    for kind in MEDIA:
        exchange_media(wire, kind)
    assert named(run_of(wire, tmp_path)) == {ssrc: kind for kind, ssrc in SOURCES.items()} | {0: "file-transfer"}


def test_pictures_from_the_ports_of_audio_and_without_a_description_have_no_name(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    exchange_media(wire, "video", port=50003)
    assert named(run_of(wire, tmp_path)) == {SOURCES["video"]: None}


@pytest.mark.parametrize(("media", "kind"), [(("audio",), "audio"), (("audio", "video"), None)])
def test_where_calls_have_audio_alone_all_rtp_is_audio(tmp_path: Path, media: tuple[str, ...], kind: Any) -> None:
    wire = Wire(told_plan().model_copy(update={"calls": calls_of(*media)}))
    exchange_media(wire, "video", port=50003)  # a payload type and a port that tell nothing
    assert named(run_of(wire, tmp_path)) == {SOURCES["video"]: kind}


def test_media_of_several_kinds_on_one_transport_stays_apart(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    describe_media(wire)
    for kind in ("audio", "video"):
        exchange_media(wire, kind, port=50000, dscp=46)
    walks: list[Any] = [walk for walk in run_of(wire, tmp_path).walks.walks if walk.kind == Kind.RTP]
    from_alice = {walk.media: walk.packets for walk in walks if walk.nodes[0] == "alice"}
    assert from_alice == {"audio": 3, "video": 3}


def test_a_description_without_slides_has_two_videos(tmp_path: Path) -> None:
    wire = Wire(told_plan())
    describe_media(wire, SDP.replace("a=content:slides\r\n", ""))
    assert described_sources(run_of(wire, tmp_path).packets)[192] == "video"
