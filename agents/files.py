"""Files over a WebRTC data channel (RFC 8831: SCTP over DTLS), with a header and a hash.

A file is one text message, a JSON header `{"from", "name", "bytes", "sha256"}`, and binary messages up to that size.
The channel is agreed on beforehand (stream 0, ordered, reliable): both ends make it, and nobody needs to ask.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from agents.process import Message

CHUNK_BYTES: Final = 16384
"The greatest message that every implementation takes (RFC 8831 section 6.6)."
LARGEST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file and who gave it."""

    sender: str
    name: str
    content: bytes

    def header(self) -> Message:
        """Return what is said of the file before it."""
        return {"from": self.sender, "name": self.name, "bytes": len(self.content), "sha256": sha256(self.content)}


def sha256(content: bytes | bytearray) -> str:
    """Return the SHA-256 of *content* in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def file_of(sender: str, size_bytes: int) -> SharedFile:
    """Return the file that a party shares: bytes that follow from its name, and that no other file has."""
    return SharedFile(sender, f"{sender}.bin", hashlib.shake_128(sender.encode()).digest(size_bytes))


@dataclass
class Received:
    """A file on its way in."""

    header: Message
    content: bytearray = field(default_factory=bytearray)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        return len(self.content) >= int(self.header["bytes"])

    def describe(self) -> Message:
        """Return the header and what was received: whole if size and hash are those of the header."""
        digest = sha256(self.content)
        is_whole = len(self.content) == self.header["bytes"] and digest == self.header["sha256"]
        return {
            "from": self.header["from"],
            "name": self.header["name"],
            "bytes": len(self.content),
            "sha256": digest,
            "is_whole": is_whole,
        }


class FileChannel:
    """One end of the data channel: files go out as soon as it is open, and come in one after the other."""

    def __init__(self, files: tuple[SharedFile, ...] = (), on_file: Callable[[SharedFile], None] | None = None) -> None:
        """*files* are sent first; *on_file* takes each file that came in whole."""
        self._waiting, self._on_file = list(files), on_file
        self._channel: Any = None
        self._drained = asyncio.Event()
        self._sent: list[SharedFile] = []
        self._received: list[Received] = []
        self.faults: list[str] = []
        "What came in and was no file."

    def attach(self, connection: Any) -> None:
        """Make the channel on an aiortc connection, before its offer or answer."""
        self._channel = connection.createDataChannel("files", negotiated=True, id=0)
        self._channel.on("open", self._flush)
        self._channel.on("message", self._take)
        self._channel.on("bufferedamountlow", self._drained.set)

    def send(self, file: SharedFile) -> None:
        """Send *file*, once the channel is open."""
        self._waiting.append(file)
        self._flush()

    def _flush(self) -> None:
        if self._channel is None or self._channel.readyState != "open":
            return
        while self._waiting:
            file = self._waiting.pop(0)
            self._drained.clear()
            self._channel.send(json.dumps(file.header()))
            for start in range(0, len(file.content), CHUNK_BYTES):
                self._channel.send(file.content[start : start + CHUNK_BYTES])
            self._sent.append(file)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._begin(message)
            return
        if not self._received or self._received[-1].is_complete:
            self.faults.append(f"{len(message)} bytes that no header announced")
            return
        coming = self._received[-1]
        coming.content += message
        if coming.is_complete and coming.describe()["is_whole"] and self._on_file is not None:
            self._on_file(SharedFile(coming.header["from"], coming.header["name"], bytes(coming.content)))

    def _begin(self, text: str) -> None:
        try:
            header = json.loads(text)
            size = int(header["bytes"])
            header = {"from": str(header["from"]), "name": str(header["name"]), "sha256": str(header["sha256"])}
        except (ValueError, KeyError, TypeError):
            self.faults.append(f"a header that is none: {text[:80]!r}")
            return
        if not 0 < size <= LARGEST_BYTES:
            self.faults.append(f"a file of {size} bytes; from 1 to {LARGEST_BYTES} are taken")
            return
        self._received.append(Received({**header, "bytes": size}))

    async def sent(self, *, limit_s: float) -> None:
        """Wait until the last message of everything given is on its way, or *limit_s* is over."""
        if self._channel is None or self._channel.readyState != "open" or not self._channel.bufferedAmount:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._drained.wait()

    def result(self) -> Message:
        """Return what went out and what came in."""
        return {
            "sent": [file.header() for file in self._sent],
            "received": [coming.describe() for coming in self._received],
            "faults": self.faults,
        }
