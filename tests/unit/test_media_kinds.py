"""Kinds of media in SDP, the marks of a job, and the sockets that get them."""

import asyncio
import errno
import socket
from typing import Any

import pytest

from agents.kinds import KINDS, Mark, codec_of, is_bundled, join, kinds_of, marks_of, name_contents, split, with_mids
from agents.sockets import MarkingEventLoop, marked, open_marked

SESSION = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=group:BUNDLE 0\r\n"
EXTENSION = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
WORDS = {"audio": "audio", "video": "video", "application-sharing": "video", "file-transfer": "application"}
MARK = Mark(50020, 50022, 34)


def described(kind: Any) -> str:
    section = f"m={WORDS[kind]} 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{EXTENSION}"
    return name_contents(SESSION + section, [kind])


def test_four_kinds_are_told_apart_once_their_sections_are_joined() -> None:
    whole = join({kind: described(kind) for kind in KINDS})
    assert kinds_of(whole) == KINDS
    assert not is_bundled(whole)
    assert is_bundled(described("audio"))


@pytest.mark.parametrize(
    ("offered", "codec"),
    [
        ("0\r\na=rtpmap:0 PCMU/8000", "PCMU"),
        ("8 96 0\r\na=rtpmap:96 opus/48000/2", "PCMU"),
        ("96\r\na=rtpmap:96 opus/48000/2", "opus"),
        ("100 8\r\na=rtpmap:100 OPUS/48000/2", "opus"),
        ("8\r\na=rtpmap:8 PCMA/8000", "PCMU"),
    ],
)
def test_opus_is_spoken_where_it_is_offered_and_mu_law_is_not(offered: str, codec: str) -> None:
    assert codec_of(f"{SESSION}m=audio 9 UDP/TLS/RTP/SAVPF {offered}\r\na=mid:0\r\n") == codec


def test_each_section_has_an_identification_and_rtp_packets_carry_none() -> None:
    whole = join({kind: described(kind) for kind in KINDS})
    assert [line for line in whole.splitlines() if line.startswith("a=mid")] == [f"a=mid:{n}" for n in range(4)]
    assert EXTENSION.strip() not in whole


def test_a_joined_description_is_split_again_as_each_connection_knows_it() -> None:
    whole = join({kind: described(kind) for kind in KINDS})
    parts = split(whole, mid="0")
    assert [kinds_of(part) for part in parts] == [(kind,) for kind in KINDS]
    assert all("a=mid:0\r\n" in part and part.startswith("v=0") for part in parts)
    assert "a=mid:3\r\n" in split(whole)[3]


def test_media_of_no_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="m=text"):
        kinds_of("v=0\r\nm=text 9 RTP/AVP 98\r\n")


def test_a_job_says_ports_and_dscp_by_kind() -> None:
    assert marks_of({"media": {"video": {"ports": "50020-50022", "dscp": 34}}}) == {"video": MARK}
    assert MARK.tos == 136
    assert marks_of({}) == {}


@pytest.mark.parametrize(
    ("media", "told"),
    [
        ({"fax": {"ports": "1-2", "dscp": 0}}, "no kind of media 'fax'"),
        ({"audio": {"ports": "1-2"}}, "'dscp'"),
        ({"audio": {"ports": "9-2", "dscp": 0}}, "range"),
        ({"audio": {"ports": "2-9", "dscp": 64}}, "below 64"),
    ],
)
def test_a_wrong_mark_is_refused_with_its_reason(media: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        marks_of({"media": media})


def opened_by_a_library(mark: Mark | None, **where: Any) -> tuple[int, int]:
    """Return port and type of service of a socket that knows nothing of marks."""

    async def open_one() -> tuple[int, int]:
        with marked(mark):
            opening = asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, **where)
            transport, _ = await asyncio.create_task(opening)
        opened = transport.get_extra_info("socket")
        found = opened.getsockname()[1], opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
        transport.close()
        return found

    with asyncio.Runner(loop_factory=MarkingEventLoop) as runner:
        return runner.run(open_one())


@pytest.mark.parametrize("where", [{"local_addr": ("127.0.0.1", 0)}, {"remote_addr": ("127.0.0.1", 9)}])
def test_what_a_library_opens_within_marked_gets_port_and_mark(where: dict[str, Any]) -> None:
    port, tos = opened_by_a_library(MARK, **where)
    assert MARK.first_port <= port <= MARK.last_port
    assert tos == MARK.tos


def test_elsewhere_sockets_are_as_ever() -> None:
    assert opened_by_a_library(None, local_addr=("127.0.0.1", 0))[1] == 0


def test_a_port_that_is_asked_for_is_given() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        wanted = free.getsockname()
    assert opened_by_a_library(MARK, local_addr=wanted) == (wanted[1], 0)


def test_a_tcp_connection_is_marked_too() -> None:
    async def connect() -> tuple[int, int]:
        taken = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(lambda reader, writer: taken.set_result(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with marked(MARK):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", port)
        (await taken).close()
        opened = transport.get_extra_info("socket")
        found = opened.getsockname()[1], opened.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
        transport.close()
        server.close()
        return found

    with asyncio.Runner(loop_factory=MarkingEventLoop) as runner:
        port, tos = runner.run(connect())
    assert MARK.first_port <= port <= MARK.last_port
    assert tos == MARK.tos


def test_a_range_that_is_taken_is_an_error_and_leaves_nothing_open() -> None:
    ports = range(MARK.first_port, MARK.last_port + 1)
    held = [open_marked(socket.SOCK_DGRAM, "127.0.0.1", Mark(port, port, 0)) for port in ports]
    with pytest.raises(OSError, match="no free port of 50020-50022") as problem:
        open_marked(socket.SOCK_DGRAM, "127.0.0.1", MARK)
    assert problem.value.errno == errno.EADDRINUSE
    for each in held:
        each.close()


def test_a_loop_that_would_not_listen_is_refused() -> None:
    async def mark_on_any_loop() -> None:
        with marked(MARK):
            pass

    with pytest.raises(RuntimeError, match="MarkingEventLoop"):
        asyncio.run(mark_on_any_loop())


TWO_OFFERED = "v=0\r\nm=audio 1 RTP/AVP 0\r\na=mid:a\r\nm=video 2 RTP/AVP 96\r\na=mid:b\r\n"


def test_sections_without_a_name_get_that_of_the_offer_in_order() -> None:
    answer = "v=0\r\nm=audio 3 RTP/AVP 0\r\na=sendrecv\r\nm=video 4 RTP/AVP 96\r\n"
    named = "v=0\r\nm=audio 3 RTP/AVP 0\r\na=sendrecv\r\na=mid:a\r\nm=video 4 RTP/AVP 96\r\na=mid:b\r\n"
    assert with_mids(answer, TWO_OFFERED) == named


def test_names_that_are_there_stay() -> None:
    answer = "v=0\r\nm=audio 3 RTP/AVP 0\r\na=mid:x\r\nm=video 4 RTP/AVP 96\r\na=mid:y\r\n"
    assert with_mids(answer, TWO_OFFERED) == answer


def test_an_answer_with_other_sections_than_the_offer_is_left_for_others_to_refuse() -> None:
    assert with_mids("v=0\r\n", TWO_OFFERED) == "v=0\r\n"
    longer = "v=0\r\nm=audio 3 RTP/AVP 0\r\nm=audio 4 RTP/AVP 0\r\n"
    assert with_mids(longer, "v=0\r\nm=audio 1 RTP/AVP 0\r\na=mid:0\r\n").count("a=mid") == 1
