"""SIP messages as values: reading, checking, building. The grammar is `sipmessage`'s; what it leaves out is here.

A message that `parse_message` returns has every header field that the layers above look at, well formed, so they
need no try blocks. Header values that are passed on (Via, Record-Route, To, From ...) stay as they came: parsing
and printing them again is not lossless.
"""

import re
import secrets
from collections.abc import Iterable
from http import HTTPStatus

from sipmessage import URI, Address, CSeq, Message, Request, Response, Via

from agents.sip.errors import MalformedMessage

SipMessage = Request | Response

BRANCH_COOKIE = "z9hG4bK"
MAX_FORWARDS = 70
LISTS = ("Via", "Route", "Record-Route", "Contact", "Path")
"Header fields that may hold several values in one line; parse_message gives each value a line of its own."

_REQUIRED = ("Via", "From", "To", "Call-ID", "CSeq")
_FOLD = re.compile(r"\r\n[ \t]+")
_FIELD_NAME = re.compile(r"^([^:\s]+)[ \t]*:")
_PHRASES = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 183: "Session Progress", 200: "OK", 202: "Accepted",
    420: "Bad Extension", 423: "Interval Too Brief", 480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete",
    486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 491: "Request Pending", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}  # fmt: skip


def phrase_of(status: int) -> str:
    """Return the standard reason phrase of a status code (RFC 3261 section 21)."""
    if status in _PHRASES:
        return _PHRASES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def split_values(text: str) -> list[str]:
    """Split a header value at the commas that are neither quoted nor in angle brackets."""
    values, start, quoted, bracket = [], 0, False, False
    for index, char in enumerate(text):
        if char == '"' and not (quoted and text[index - 1] == "\\"):
            quoted = not quoted
        elif not quoted and char in "<>":
            bracket = char == "<"
        elif char == "," and not quoted and not bracket:
            values.append(text[start:index].strip())
            start = index + 1
    return [*values, text[start:].strip()]


def parse_message(data: bytes) -> SipMessage:
    """Read one whole message; raise MalformedMessage where it is not one.

    Bytes after Content-Length are dropped, and too few are an error (RFC 3261 section 18.3).
    """
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise MalformedMessage("no empty line ends the header")
    try:
        lines = _FOLD.sub(" ", head.decode()).split("\r\n")
        if any("\r" in line or "\n" in line or "\0" in line for line in lines):
            raise MalformedMessage("a bare CR, LF or NUL in the header")
        lines[1:] = [_FIELD_NAME.sub(r"\1:", line) for line in lines[1:]]
        message = Message.parse("\r\n".join([*lines, "", ""]).encode() + body)
        _check(message)
    except MalformedMessage:
        raise
    except (ValueError, KeyError, TypeError) as problem:  # sipmessage raises all three on bytes from outside
        raise MalformedMessage(f"not a SIP message: {problem}") from None
    return message


def _check(message: SipMessage) -> None:
    headers = message.headers
    for name in _REQUIRED:
        if not headers.get(name):
            raise MalformedMessage(f"no {name} header field")
        if name != "Via" and len(headers.getlist(name)) > 1:
            raise MalformedMessage(f"more than one {name} header field")
    for name in LISTS:
        if values := headers.getlist(name):
            headers.setlist(name, [value for text in values for value in split_values(text)])
            _check_list(name, headers.getlist(name))
    _ = message.from_address, message.to_address
    sequence = message.cseq
    if sequence.sequence >= 2**31:
        raise MalformedMessage(f"CSeq {sequence.sequence} is 2**31 or more")
    for number in (message.max_forwards, message.expires, message.content_length):
        if number is not None and number < 0:
            raise MalformedMessage(f"a header field holds the negative number {number}")
    if isinstance(message, Request):
        if message.method != sequence.method:
            raise MalformedMessage(f"method {message.method} does not agree with CSeq {sequence}")
    elif not 100 <= message.code <= 699:
        raise MalformedMessage(f"{message.code} is not a status code")
    length = message.content_length
    if length is not None:
        if length > len(message.body):
            raise MalformedMessage(f"Content-Length is {length}, the body has {len(message.body)} bytes")
        message.body = message.body[:length]


def _check_list(name: str, values: list[str]) -> None:
    for value in values:
        if name == "Via":
            Via.parse(value)
        elif not (name == "Contact" and value == "*"):
            Address.parse(value)


def encode(message: SipMessage) -> bytes:
    """Return the bytes to send, with the Content-Length of the body as it is."""
    message.content_length = len(message.body)
    return bytes(message)


def copy_message(message: SipMessage) -> SipMessage:
    """Return a copy whose header fields can be changed by themselves."""
    copy: SipMessage
    if isinstance(message, Request):
        copy = Request(message.method, message.uri, message.body)
    else:
        copy = Response(message.code, message.phrase, message.body)
    for name in message.headers.keys():  # noqa: SIM118 - Headers is not a mapping
        copy.headers.setlist(name, list(message.headers.getlist(name)))
    return copy


def copy_request(request: Request) -> Request:
    """Return a copy of a request; see `copy_message`."""
    copy = copy_message(request)
    assert isinstance(copy, Request)
    return copy


def copy_response(response: Response) -> Response:
    """Return a copy of a response; see `copy_message`."""
    copy = copy_message(response)
    assert isinstance(copy, Response)
    return copy


def new_branch() -> str:
    """Return a Via branch that is unique and says that it follows RFC 3261 (section 8.1.1.7)."""
    return BRANCH_COOKIE + secrets.token_hex(8)


def new_tag() -> str:
    """Return a From or To tag (section 19.3)."""
    return secrets.token_hex(6)


def new_call_id() -> str:
    """Return a Call-ID (section 8.1.1.4)."""
    return secrets.token_hex(12)


def make_request(
    method: str, uri: URI, *, sender: str, recipient: str, call_id: str, sequence: int, routes: Iterable[str] = ()
) -> Request:
    """Build a request but for its Via, which the layer that knows the local address adds (section 8.1.1).

    *sender* and *recipient* are From and To as they stand in the message, tags included.
    """
    request = Request(method, uri)
    request.max_forwards = MAX_FORWARDS
    request.headers.set("From", sender)
    request.headers.set("To", recipient)
    request.call_id = call_id
    request.cseq = CSeq(sequence, method)
    for route in routes:
        request.headers.add("Route", route)
    return request


def make_response(request: Request, status: int, phrase: str = "", *, to_tag: str = "") -> Response:
    """Build an answer to *request* (section 8.2.6.2); *to_tag* is added to To where the request has none."""
    response = Response(status, phrase or phrase_of(status))
    for name in ("Via", "From", "To", "Call-ID", "CSeq"):
        response.headers.setlist(name, list(request.headers.getlist(name)))
    if to_tag and not tag_of(request.headers["To"]):
        response.headers.set("To", f"{with_brackets(request.headers['To'])};tag={to_tag}")
    return response


def with_brackets(value: str) -> str:
    """Put the URI of a bare `sip:a@b` into brackets, or a parameter added to it would be the URI's."""
    return value if "<" in value else f"<{Address.parse(value).uri}>{Address.parse(value).parameters}"


def tag_of(value: str) -> str:
    """Return the tag of a From or To value, or ""."""
    return Address.parse(value).parameters.get("tag") or ""


def uri_of(value: str) -> str:
    """Return the URI of a From, To or Contact value."""
    return str(Address.parse(value).uri)


def top_via(message: SipMessage) -> Via:
    """Return the first Via."""
    return Via.parse(message.headers["Via"])


def branch_of(message: SipMessage) -> str:
    """Return the branch of the first Via, or ""."""
    return top_via(message).parameters.get("branch") or ""


def set_body(message: SipMessage, content_type: str, body: bytes) -> None:
    """Give *message* a body."""
    message.headers.set("Content-Type", content_type)
    message.body = body


def push(message: SipMessage, name: str, value: str) -> None:
    """Put *value* before the others of a list header field."""
    message.headers.setlist(name, [value, *message.headers.getlist(name)])


def pop(message: SipMessage, name: str) -> str:
    """Take the first value off a list header field and return it."""
    first, *rest = message.headers.getlist(name)
    if rest:
        message.headers.setlist(name, rest)
    else:
        message.headers.remove(name)
    return first


def note_received(request: Request, *, address: str, port: int) -> None:
    """Write into the first Via where the request really came from (RFC 3261 section 18.2.1, RFC 3581)."""
    value, *rest = request.headers.getlist("Via")
    via = Via.parse(value)
    asks_port = "rport" in via.parameters and via.parameters["rport"] is None
    if asks_port:
        value = re.sub(r";\s*rport(?=\s*(;|$))", f";rport={port}", value, flags=re.IGNORECASE)
    if asks_port or via.host != address:
        value = re.sub(r";\s*received\s*=[^;]*", "", value, flags=re.IGNORECASE) + f";received={address}"
    request.headers.setlist("Via", [value, *rest])
