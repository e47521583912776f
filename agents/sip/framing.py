"""Cutting a TCP byte stream into SIP messages by their Content-Length (RFC 3261 section 18.3), without I/O."""

import re

from agents.sip.errors import MalformedMessage

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 1024 * 1024

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,7})[ \t]*$", re.IGNORECASE | re.MULTILINE)


class StreamFramer:
    """Takes in bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take in *data*; return the messages it completes.

        Raises MalformedMessage when the border of the next message cannot be known: the connection must then be closed.
        """
        self._buffer += data
        messages = []
        while (message := self._cut()) is not None:
            messages.append(message)
        return messages

    def _cut(self) -> bytes | None:
        # Empty lines between messages are keep-alives (RFC 3261 section 7.5, RFC 5626 section 3.5.1).
        blank = len(self._buffer) - len(self._buffer.lstrip(b"\r\n"))
        del self._buffer[:blank]
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise MalformedMessage(f"a message header of more than {MAX_HEAD_BYTES} bytes")
            return None
        size = end + 4 + self._body_size(bytes(self._buffer[:end]))
        if len(self._buffer) < size:
            return None
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message

    @staticmethod
    def _body_size(head: bytes) -> int:
        match = _LENGTH.search(head.replace(b"\r\n", b"\n"))
        if match is None:
            raise MalformedMessage("a message without Content-Length on a stream")
        size = int(match[1])
        if size > MAX_BODY_BYTES:
            raise MalformedMessage(f"a body of {size} bytes; at most {MAX_BODY_BYTES} are taken")
        return size
