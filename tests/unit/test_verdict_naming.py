"""A leg of which nothing was sent because the name of a server was not resolved: told, and only then."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from analysis_samples import ALICE, BOB, FE, SIGNALING_ER, Wire, leg, make_scenario
from capture_bytes import icmp_unreachable, ip_packet

from testbed.scenario import Leg
from testbed.verdict import judge

NAME = "_sip._tcp.contoso.example"
RECORD = ("SRV", "0 0 5060 fe.contoso.example.")
INSIDE, OUTWARD = ("alice", "core", "bob"), ("bob", "core", "fw-inet", "transit", "ms", "fe")
DNS = leg("dns", "bob", "online-front-end", "customer internet microsoft", "expressroute")


def question(name: str = NAME, kind: str = "SRV", number: int = 7) -> bytes:
    return dns.message.make_query(name, kind, id=number).to_wire()


def answer(
    name: str = NAME, kind: str = "SRV", *, records: Sequence[str] = (), rcode: str = "NOERROR", number: int = 7
) -> bytes:
    message = dns.message.make_response(dns.message.make_query(name, kind, id=number))
    message.set_rcode(dns.rcode.from_text(rcode))
    if records:
        message.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", kind, *records))
    return message.to_wire()


def ask(wire: Wire, reply: bytes | None, *, asked: bytes | None = None, port: int = 50001) -> None:
    """Let alice ask bob, who answers *reply*, or nothing."""
    wire.carry(INSIDE, (ALICE, port), (BOB, 53), asked or question())
    if reply is not None:
        wire.carry(INSIDE[::-1], (BOB, 53), (ALICE, port), reply)


def told(wire: Wire, directory: Path, expected: Leg = SIGNALING_ER) -> dict[str, Any]:
    (one,) = judge(wire.write(directory, make_scenario(expected)))["legs"]
    return dict(one)


def test_a_name_server_that_says_nothing_fails_the_leg_of_who_asked(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, None)
    leg_ = told(wire, tmp_path)
    assert (leg_["verdict"], leg_["disposition"]) == ("FAIL", "NAME_NOT_RESOLVED")
    assert f"name not resolved: alice asked bob for {NAME} (SRV): bob received 1 packets" in leg_["reason"]


def test_a_name_server_that_does_not_run_is_known_by_its_machines_icmp(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, None)
    quoted = ip_packet((ALICE, 50001), (BOB, 53), question())
    for a, b in (("bob", "core"), ("core", "alice")):
        wire.frame(a, b, icmp_unreachable(BOB, ALICE, quoted, code=3))
    assert "nothing listens at bob: ICMP port unreachable" in told(wire, tmp_path)["reason"]


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED"])
def test_an_answer_without_a_record_fails_it_with_what_was_answered(tmp_path: Path, rcode: str) -> None:
    wire = Wire()
    ask(wire, answer(rcode=rcode))
    reason = told(wire, tmp_path)["reason"]
    assert f"alice asked bob for {NAME} (SRV): the answer was {rcode} without a record (frame 4)" in reason


def test_where_the_name_server_got_no_answer_itself_that_is_told_too(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, None)
    wire.carry(OUTWARD[:3], (BOB, 40000), (FE, 53), question(number=9))
    wire.drop("fw-inet", "default", ip_packet((BOB, 40000), (FE, 53), question(number=9)))
    reason = told(wire, tmp_path)["reason"]
    assert "bob had asked fe: fw-inet dropped UDP" in reason


def test_the_last_question_counts_a_server_without_srv_records_is_found_by_its_domain(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, answer(rcode="NXDOMAIN"))
    reply = answer("contoso.example", "A", records=["198.18.64.3"])
    ask(wire, reply, asked=question("contoso.example", "A"), port=50002)
    leg_ = told(wire, tmp_path)
    assert (leg_["verdict"], leg_["disposition"]) == ("INCONCLUSIVE", "NEVER_SENT")


def test_a_server_that_did_not_find_another_organisations_explains_a_call_without_media(tmp_path: Path) -> None:
    wire = Wire()
    asked = question("_sip._tcp.fabrikam.example")
    wire.carry(OUTWARD[::-1], (FE, 50001), (BOB, 53), asked)
    wire.carry(OUTWARD, (BOB, 53), (FE, 50001), answer("_sip._tcp.fabrikam.example", rcode="NXDOMAIN"))
    reason = told(wire, tmp_path, leg("media", "alice", "bob", "customer", "internet expressroute microsoft"))["reason"]
    assert "fe asked bob for _sip._tcp.fabrikam.example (SRV): the answer was NXDOMAIN" in reason


def test_a_name_that_was_resolved_explains_nothing(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, None)
    ask(wire, answer(records=[RECORD[1]]), port=50002)
    assert told(wire, tmp_path)["disposition"] == "NEVER_SENT"


def test_an_answer_that_a_firewall_keeps_from_the_asker_is_none(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, None)
    wire.carry(("bob", "core"), (BOB, 53), (ALICE, 50001), answer(records=[RECORD[1]]))
    assert told(wire, tmp_path)["disposition"] == "NAME_NOT_RESOLVED"


def test_what_is_no_dns_on_its_port_is_passed_over(tmp_path: Path) -> None:
    wire = Wire()
    ask(wire, b"\x01\x02\x03", asked=b"\xff" * 40)
    assert told(wire, tmp_path)["disposition"] == "NEVER_SENT"


def test_names_are_a_flow_of_their_own_with_crossings_like_any_other(tmp_path: Path) -> None:
    wire = Wire()
    wire.carry(OUTWARD, (BOB, 40000), (FE, 53), question())
    wire.carry(OUTWARD[::-1], (FE, 53), (BOB, 40000), answer(records=[RECORD[1]]))
    leg_ = told(wire, tmp_path / "a", DNS)
    assert (leg_["verdict"], leg_["observed"]["segments"]) == ("PASS", ["customer", "internet", "microsoft"])
    wire.carry(("bob", "core", "fw-er", "ms", "fe"), (BOB, 40001), (FE, 53), question(number=9))
    assert "crossed expressroute" in told(wire, tmp_path / "b", DNS)["reason"]
