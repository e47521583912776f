"""A link that lost packets itself is told beside the node that seems to have kept them; verdicts stay as they were."""

from pathlib import Path

import pytest
from analysis_samples import ALICE, BY_ER, EDGE1, ER_POOL, MEDIA_ER, Wire, make_plan, make_scenario, media_by_er
from capture_bytes import channel_data, rtp

from testbed.plan.model import PredictedPath
from testbed.verdict import judge

HOME, POOL, RELAY = (ALICE, 50000), (ER_POOL, 40000), (EDGE1, 3478)
NODE_ALONE = "last seen on er towards ms (frame 3); ms sent them no further"


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        ({}, NODE_ALONE),
        ({"received": 9, "sent": 9, "lost": 0, "queue_drops": 0}, NODE_ALONE),
        (
            {"received": 9, "sent": 0, "lost": 9, "queue_drops": 0},
            "last seen on er towards ms (frame 3); they were lost on link er (9 of its 9 packets, 9 by its loss)",
        ),
        (
            {"received": 9, "sent": 3, "lost": 2, "queue_drops": 4},
            f"{NODE_ALONE}, unless they were lost on link er (6 of its 9 packets, 2 by its loss, 4 in its full queue)",
        ),
        ({"sent": 5, "dropped": 4}, f"{NODE_ALONE}, unless they were lost on link er (4 of its 9 packets)"),
    ],
)
def test_what_was_last_seen_before_a_link_may_be_the_links_loss(
    tmp_path: Path, counted: dict[str, int], told: str
) -> None:
    wire = Wire()
    for sequence in range(2):
        wire.carry(BY_ER[:4], HOME, RELAY, channel_data(rtp(sequence)), nat={"fw-er": (POOL, RELAY)})
    links = {"er": {"forward": counted, "return": {"received": 9, "sent": 0, "lost": 9}}} if counted else {}
    (leg_,) = judge(wire.write(tmp_path, make_scenario(MEDIA_ER), links=links))["legs"]
    assert (leg_["verdict"], leg_["disposition"]) == ("FAIL", "NO_ROUTE")
    assert leg_["reason"].endswith(told)


def test_what_is_seen_behind_a_link_is_not_its_loss(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(5):
        media_by_er(wire, sequence=sequence)
    for sequence in range(9):
        packet = channel_data(rtp(50 + sequence, ssrc=0xED6E))
        wire.carry(BY_ER[::-1][:3], RELAY, POOL, packet)
    links = {"er": {"forward": {"received": 9, "lost": 9}, "return": {"received": 9, "lost": 9}}}
    (leg_,) = judge(wire.write(tmp_path, make_scenario(MEDIA_ER), links=links))["legs"]
    assert "last seen on er towards fw-er" in leg_["reason"]
    assert "lost on link" not in leg_["reason"]


def test_a_peer_that_is_said_to_be_silent_may_not_have_got_it(tmp_path: Path) -> None:
    for lost, told in (
        (0, "edge1 received 5 packets (first frame 4 on ms-edge1) and sent no answer"),
        (2, "sent no answer, unless they were lost on link ms-edge1 (2 of its 5 packets, 2 by its loss)"),
        (5, "TIMEOUT: they were lost on link ms-edge1 (5 of its 5 packets, 5 by its loss)"),
    ):
        wire = Wire()
        for sequence in range(5):
            media_by_er(wire, sequence=sequence, answer=False)
        links = {"ms-edge1": {"forward": {"received": 5, "sent": 5 - lost, "lost": lost, "queue_drops": 0}}}
        (leg_,) = judge(wire.write(tmp_path / str(lost), make_scenario(MEDIA_ER), links=links))["legs"]
        assert leg_["disposition"] == "TIMEOUT"
        assert told in leg_["reason"]


BACK_AT_MS = "last seen on ms-edge1 towards ms (frame 5); ms sent them no further"
BY_ER_BACK = PredictedPath(
    flow="media",
    from_="alice",
    to="online-edge",
    forward=(),
    return_=("ms-edge1", "er", "core-fw-er", "alice-core"),
    forward_end="DELIVERED",
    return_end="DELIVERED",
)


@pytest.mark.parametrize(
    ("lost", "predicted", "told"),
    [
        ({}, (), ""),
        ({"ms-edge1": 9, "core-fw-er": 9}, (), ""),
        ({"er": 9}, (), ", unless they were lost on link er (9 of its 9 packets, 9 by its loss)"),
        (
            {"er": 9, "border": 1},
            (),
            ", unless they were lost on link er (9 of its 9 packets, 9 by its loss)"
            " or on link border (1 of its 9 packets, 1 by its loss)",
        ),
        (
            {"er": 2, "border": 1},
            (BY_ER_BACK,),
            ", unless they were lost on link er (2 of its 9 packets, 2 by its loss)",
        ),
        ({"border": 1}, (BY_ER_BACK,), ""),
    ],
)
def test_a_link_that_shows_packets_only_behind_its_loss_may_be_why_a_node_sent_nothing(
    tmp_path: Path, lost: dict[str, int], predicted: tuple[PredictedPath, ...], told: str
) -> None:
    wire = Wire(make_plan(predicted=predicted))
    for sequence in range(5):
        media_by_er(wire, sequence=sequence, answer=False)
        wire.carry(("edge1", "ms"), RELAY, POOL, channel_data(rtp(50 + sequence, ssrc=0xED6E)))
    links = {
        name: {"forward": {"received": 9, "lost": 9}, "return": {"received": 9, "lost": n}} for name, n in lost.items()
    }
    (leg_,) = judge(wire.write(tmp_path, make_scenario(MEDIA_ER), links=links))["legs"]
    assert (leg_["verdict"], leg_["disposition"]) == ("FAIL", "NO_ROUTE")
    assert leg_["reason"].split("NO_ROUTE: ")[1] == BACK_AT_MS + told


def test_a_peer_that_is_said_to_be_silent_may_have_answered_into_a_link_that_lost_it(tmp_path: Path) -> None:
    wire = Wire()
    for sequence in range(5):
        media_by_er(wire, sequence=sequence, answer=False)
    links = {"ms-edge1": {"forward": {"received": 5}, "return": {"received": 4, "lost": 1, "queue_drops": 3}}}
    (leg_,) = judge(wire.write(tmp_path, make_scenario(MEDIA_ER), links=links))["legs"]
    assert leg_["reason"].endswith(
        "and sent no answer, unless answers were lost on link ms-edge1"
        " (4 of its 4 packets, 1 by its loss, 3 in its full queue)"
    )
