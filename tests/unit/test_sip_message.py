"""Reading and building messages: RFC 3261 section 7, with bytes from outside that are anything but SIP."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sipmessage import Request, Response

from agents.sip.errors import MalformedMessage
from agents.sip.framing import MAX_HEAD_BYTES, StreamFramer
from agents.sip.message import encode, make_response, note_received, parse_message, split_values, tag_of, top_via

INVITE = (
    b"INVITE sip:bob@contoso.example SIP/2.0\r\n"
    b"v: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport, SIP/2.0/TCP 10.0.0.2;branch=z9hG4bK+0*\r\n"
    b"Max-Forwards: 70\r\n"
    b'f: "Alice, or A"\r\n <sip:alice@contoso.example>;tag=a\r\n'
    b"t: sip:bob@contoso.example\r\n"
    b"i: 1@10.0.0.1\r\n"
    b"CSeq : 1\r\n  INVITE\r\n"
    b"Record-Route: <sip:a,b@10.0.0.3;lr>,<sip:10.0.0.4;lr>\r\n"
    b"l: 4\r\n\r\nbodyEXTRA"
)


def parsed(data: bytes = INVITE) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def test_compact_folded_and_joined_header_fields_are_read() -> None:
    request = parsed()
    assert request.cseq.method == "INVITE" and request.call_id == "1@10.0.0.1"
    assert request.from_address.name == "Alice, or A"
    assert request.headers.getlist("Record-Route") == ["<sip:a,b@10.0.0.3;lr>", "<sip:10.0.0.4;lr>"]


def test_bytes_after_content_length_are_dropped() -> None:
    assert parsed().body == b"body"


def test_a_via_of_another_element_is_passed_on_as_it_came() -> None:
    # sipmessage would print the branch as z9hG4bK%2B0%2A, and its owner would not know its transaction again.
    response = make_response(parsed(), 200)
    assert response.headers.getlist("Via")[1] == "SIP/2.0/TCP 10.0.0.2;branch=z9hG4bK+0*"


def test_a_to_without_brackets_gets_them_before_its_tag() -> None:
    response = make_response(parsed(), 180, to_tag="b")
    assert response.headers["To"] == "<sip:bob@contoso.example>;tag=b" and tag_of(response.headers["To"]) == "b"


def test_received_and_rport_tell_where_a_request_came_from() -> None:
    request = parsed()
    note_received(request, address="203.0.113.7", port=40_000)
    assert request.headers.getlist("Via")[0] == (
        "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1;rport=40000;received=203.0.113.7"
    )
    assert top_via(request).parameters["rport"] == "40000"


def test_a_via_that_tells_the_truth_and_asks_for_nothing_is_left_alone() -> None:
    request = parsed(INVITE.replace(b";rport", b""))
    note_received(request, address="10.0.0.1", port=40_000)
    assert request.headers.getlist("Via")[0] == "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK1"


def test_what_is_written_can_be_read_again() -> None:
    response = make_response(parsed(), 603)
    again = parse_message(encode(response))
    assert isinstance(again, Response)
    assert (again.code, again.phrase, again.headers.getlist("Via")) == (603, "Decline", response.headers.getlist("Via"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"SIP/2.0\r\n", b"SIP/3.0\r\n"),
        (b"CSeq : 1\r\n  INVITE", b"CSeq: 1 BYE"),
        (b"CSeq : 1\r\n  INVITE", b"CSeq: 4294967296 INVITE"),
        (b"i: 1@10.0.0.1\r\n", b""),
        (b"i: 1@10.0.0.1\r\n", b"i: 1\r\ni: 2\r\n"),
        (b"l: 4", b"l: 40"),
        (b"l: 4", b"l: -4"),
        (b"l: 4", b"l: many"),
        (b"Max-Forwards: 70", b"Max-Forwards: -1"),
        (b"Max-Forwards: 70", b"no colon here"),
        (b"sip:bob@contoso.example SIP", b"http://contoso.example SIP"),
        (b"10.0.0.1:5060;branch", b"10.0.0.1:5060;self=1;branch"),
        (b"<sip:10.0.0.4;lr>", b"<10.0.0.4>"),
        (b"Alice", b"\xff\xfe"),
        (b"Alice", b"Al\x00ice"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_a_message_with_one_fault_is_malformed(old: bytes, new: bytes) -> None:
    assert old in INVITE
    with pytest.raises(MalformedMessage):
        parse_message(INVITE.replace(old, new, 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        parse_message(data)


@given(st.integers(0, len(INVITE) - 1), st.integers(0, 30), st.binary(max_size=12))
def test_an_invite_damaged_anywhere_is_a_message_or_malformed(at: int, cut: int, put: bytes) -> None:
    try:
        message = parse_message(INVITE[:at] + put + INVITE[at + cut :])
    except MalformedMessage:
        return
    if isinstance(message, Request):  # then everything a server does with it first works too
        note_received(message, address="203.0.113.7", port=1)
        encode(make_response(message, 400, to_tag="x"))


def test_commas_in_quotes_and_brackets_do_not_split() -> None:
    assert split_values('"a,\\",b" <sip:c,d@e>;x=1, <sip:f@g>') == ['"a,\\",b" <sip:c,d@e>;x=1', "<sip:f@g>"]


def test_a_stream_is_cut_at_content_length_however_it_arrives() -> None:
    one = INVITE.replace(b"EXTRA", b"")
    stream = b"\r\n\r\n" + one + one + b"\r\n" + one
    whole, byte_by_byte = StreamFramer(), StreamFramer()
    assert whole.feed(stream) == [one, one, one]
    assert [m for i in range(len(stream)) for m in byte_by_byte.feed(stream[i : i + 1])] == [one, one, one]


@pytest.mark.parametrize(
    "stream",
    [
        INVITE.replace(b"l: 4\r\n", b""),
        INVITE.replace(b"l: 4\r\n", b"l: 9999999\r\n"),
        b"x" * (MAX_HEAD_BYTES + 1),
    ],
)
def test_a_stream_whose_next_message_has_no_end_is_malformed(stream: bytes) -> None:
    with pytest.raises(MalformedMessage):
        StreamFramer().feed(stream)
