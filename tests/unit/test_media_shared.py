"""Pictures and files: what is sent is what is read, damage shows, and a room hands on to the others alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

from agents.files import CHUNK_BYTES, LARGEST_BYTES, FileChannel, SharedFile, file_of
from agents.pictures import HEIGHT, LOOP, Content, OwnPictures, Watched, draw, read
from agents.room import Gallery, Shelf

CONTENTS = st.builds(Content, who=st.integers(0, 0xFFFF), count=st.integers(0, 255), is_slide=st.booleans())


def decoded(pictures: list[bytes]) -> list[Any]:
    decoder = av.CodecContext.create("vp8", "r")
    return [frame for data in pictures for frame in decoder.decode(av.Packet(data))]


@given(CONTENTS)
def test_what_is_drawn_is_what_is_read(content: Content) -> None:
    assert read(draw(content)[:HEIGHT]) == content


@given(CONTENTS, st.integers(0, 31))
def test_one_wrong_square_makes_a_picture_unreadable(content: Content, square: int) -> None:
    luma = draw(content)[:HEIGHT].copy()
    row, column = divmod(square, 8)
    part = luma[row * 20 : row * 20 + 20, column * 20 : column * 20 + 20]
    part[:] = 250 - part
    assert read(luma) is None


def test_pictures_survive_vp8_and_each_can_be_decoded_first() -> None:
    own = OwnPictures(400, is_slide=False)
    for number in (0, 7, LOOP + 3):
        watched = Watched(is_slide=False)
        for frame in decoded([own.encoded(number)]):
            watched.take(frame)
        assert watched.describe({"alice": 400, "bob": 500}) == {"seen": {"alice": 1, "bob": 0}, "unreadable": 0}


def test_slides_in_the_video_and_strange_pictures_are_not_seen() -> None:
    watched = Watched(is_slide=False)
    for frame in decoded([OwnPictures(400, is_slide=True).encoded(0)]):
        watched.take(frame)
    watched.take(VideoFrame.from_ndarray(np.zeros((60, 40), np.uint8), format="yuv420p"))
    assert (watched.seen, watched.unreadable) == ({}, 2)


def test_a_gallery_shows_each_the_others_in_turn_and_never_himself() -> None:
    gallery = Gallery()
    ends = {name: gallery.end_of(name, Watched(is_slide=False)) for name in ("alice", "bob", "carol")}
    assert ends["alice"].source(0) is None
    for who, end in zip((400, 500, 600), ends.values(), strict=True):
        for frame in decoded([OwnPictures(who, is_slide=False).encoded(0)]):
            end.sink(frame)
    shown = Watched(is_slide=False)
    for frame in decoded([ends["alice"].source(number) or b"" for number in range(6)]):
        shown.take(frame)
    assert shown.seen == {500: 3, 600: 3}
    gallery.leave("bob")
    assert ends["carol"].source(0) == ends["carol"].source(3)


class Channel:
    """A data channel that is open, or not yet, and keeps what is sent."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.readyState = "open" if is_open else "connecting"
        self.bufferedAmount = 0
        self.sent: list[str | bytes] = []
        self.listeners: dict[str, Callable[..., None]] = {}

    def createDataChannel(self, label: str, **options: Any) -> "Channel":
        return self

    def on(self, event: str, listener: Callable[..., None]) -> None:
        self.listeners[event] = listener

    def send(self, message: str | bytes) -> None:
        self.sent.append(message)


def passed_on(sender: Channel, receiver: Channel) -> None:
    for message in sender.sent:
        receiver.listeners["message"](message)


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 65536])
def test_a_file_arrives_whole(size: int) -> None:
    here, there = Channel(is_open=False), Channel()
    sender, taken = FileChannel((file_of("alice", size),)), list[SharedFile]()
    receiver = FileChannel(on_file=taken.append)
    sender.attach(here)
    receiver.attach(there)
    assert here.sent == []
    here.readyState = "open"
    here.listeners["open"]()
    passed_on(here, there)
    assert taken == [file_of("alice", size)]
    told = receiver.result()["received"]
    assert [(file["from"], file["bytes"], file["is_whole"]) for file in told] == [("alice", size, True)]
    assert sender.result()["sent"][0]["sha256"] == told[0]["sha256"]


@pytest.mark.parametrize("damage", ["a byte is another", "the end is missing"])
def test_a_file_that_is_not_the_one_announced_is_not_whole(damage: str) -> None:
    here, there = Channel(), Channel()
    sender, taken = FileChannel((file_of("alice", 100),)), list[SharedFile]()
    receiver = FileChannel(on_file=taken.append)
    receiver.attach(there)
    sender.attach(here)
    here.listeners["open"]()
    content = here.sent[1]
    assert isinstance(content, bytes)
    here.sent[1] = content[:-1] + (bytes([content[-1] ^ 1]) if damage == "a byte is another" else b"")
    passed_on(here, there)
    assert taken == []
    assert receiver.result()["received"][0]["is_whole"] is False


@pytest.mark.parametrize(
    "message",
    [
        b"content without a header",
        "no header",
        "[]",
        "{}",
        json.dumps({"from": "a", "name": "b", "bytes": 0, "sha256": ""}),
        json.dumps({"from": "a", "name": "b", "bytes": LARGEST_BYTES + 1, "sha256": ""}),
    ],
)
def test_what_is_no_file_is_a_fault_and_no_crash(message: str | bytes) -> None:
    channel = Channel()
    receiver = FileChannel()
    receiver.attach(channel)
    channel.listeners["message"](message)
    assert receiver.result() == {"sent": [], "received": [], "faults": receiver.faults}
    assert len(receiver.faults) == 1


def test_waiting_for_a_file_to_leave_ends_at_its_limit() -> None:
    async def wait() -> None:
        channel = Channel()
        sender = FileChannel()
        sender.attach(channel)
        channel.bufferedAmount = 10
        await sender.sent(limit_s=0.01)

    asyncio.run(wait())


def test_a_shelf_hands_a_file_to_all_others_and_to_who_comes_later() -> None:
    shelf, ends = Shelf(), {"alice": Channel(), "bob": Channel(), "carol": Channel()}
    channels = {name: shelf.join(name) for name in ("alice", "bob")}
    for name, channel in channels.items():
        channel.attach(ends[name])
    source = Channel()
    alices = FileChannel((file_of("alice", 10),))
    alices.attach(source)
    source.listeners["open"]()
    passed_on(source, ends["alice"])
    shelf.join("carol").attach(ends["carol"])
    ends["carol"].listeners["open"]()
    assert ends["alice"].sent == []
    assert ends["bob"].sent == ends["carol"].sent == source.sent
