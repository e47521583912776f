"""A conference's room: the mixed sound, the pictures that are shown in turn, and the files that are handed on."""

from collections.abc import Sequence
from typing import Any, Final

from agents.files import FileChannel, SharedFile
from agents.frames import Mixer
from agents.kinds import PICTURES
from agents.media import PictureEnd
from agents.pictures import Encoder, Watched

_TURN_PICTURES: Final = 3
"How many pictures of one participant are shown before it is the next one's turn."


class Gallery:
    """Shows each participant the others, one at a time: every picture that comes in is decoded and encoded once."""

    def __init__(self) -> None:
        self._encoder: Encoder | None = None
        self._latest: dict[str, bytes] = {}

    def end_of(self, participant: str, watched: Watched) -> PictureEnd:
        """Return the server's end of a participant's stream; *watched* looks on."""

        def take(frame: Any) -> None:
            watched.take(frame)
            self._encoder = self._encoder or Encoder()
            self._latest[participant] = self._encoder.encode(frame)

        return PictureEnd(lambda number: self._picture_for(participant, number), take)

    def _picture_for(self, participant: str, number: int) -> bytes | None:
        others = [name for name in self._latest if name != participant]
        return self._latest[others[number // _TURN_PICTURES % len(others)]] if others else None

    def leave(self, participant: str) -> None:
        """Show a participant no longer."""
        self._latest.pop(participant, None)


class Shelf:
    """Hands the files of each participant to all others, those who come later too."""

    def __init__(self) -> None:
        self._files: list[tuple[str, SharedFile]] = []
        self._channels: dict[str, FileChannel] = {}

    def join(self, participant: str) -> FileChannel:
        """Return the server's end of a participant's data channel."""
        files = tuple(file for owner, file in self._files if owner != participant)
        channel = FileChannel(files, lambda file: self._hand_on(participant, file))
        self._channels[participant] = channel
        return channel

    def _hand_on(self, participant: str, file: SharedFile) -> None:
        self._files.append((participant, file))
        for name, channel in self._channels.items():
            if name != participant:
                channel.send(file)

    def leave(self, participant: str) -> None:
        """Hand nothing more to a participant."""
        self._channels.pop(participant, None)


class Room:
    """One conference."""

    def __init__(self, announcement: Sequence[bytes]) -> None:
        """*announcement* is what somebody alone hears (a circle of mu-law frames)."""
        self.mixer = Mixer(announcement)
        self.galleries = {kind: Gallery() for kind in PICTURES}
        self.shelf = Shelf()

    def join(self, participant: str) -> None:
        """Add a participant; raise ValueError if that one is in already."""
        self.mixer.join(participant)

    def leave(self, participant: str) -> None:
        """Remove a participant."""
        self.mixer.leave(participant)
        self.shelf.leave(participant)
        for gallery in self.galleries.values():
            gallery.leave(participant)

    @property
    def is_empty(self) -> bool:
        """Whether nobody takes part."""
        return not self.mixer.participants
