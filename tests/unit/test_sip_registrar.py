"""Bindings of RFC 3261 section 10.3, on a clock that is an argument."""

import pytest
from sipmessage import URI, Request

from agents.sip.message import make_request
from agents.sip.registrar import MAX_EXPIRES_S, Registrar, RegistrationRefused

S = 1_000_000_000
AOR = "alice@contoso.example"


def register(*contacts: str, expires: int | None = None, call_id: str = "c", sequence: int = 1) -> Request:
    uri = f"<sip:{AOR}>"
    request = make_request(
        "REGISTER", URI.parse("sip:contoso.example"), sender=f"{uri};tag=1", recipient=uri, call_id=call_id,
        sequence=sequence,
    )  # fmt: skip
    if contacts:
        request.headers.setlist("Contact", list(contacts))
    request.expires = expires
    return request


def contacts_of(registrar: Registrar[str], now_ns: int) -> list[str]:
    return [str(binding.contact) for binding in registrar.lookup(AOR, now_ns)]


def test_a_binding_lives_until_it_expires() -> None:
    registrar: Registrar[str] = Registrar()
    (binding,) = registrar.register(AOR, register("<sip:alice@10.0.0.1>", expires=60), "flow", 0)
    assert binding.flow == "flow" and binding.seconds_left(500_000_000) == 60
    assert contacts_of(registrar, 60 * S - 1) == ["sip:alice@10.0.0.1"]
    assert contacts_of(registrar, 60 * S) == []


def test_the_contacts_own_expires_goes_before_that_of_the_message() -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>;expires=20", "<sip:a@10.0.0.2>", expires=40), "f", 0)
    assert contacts_of(registrar, 30 * S) == ["sip:a@10.0.0.2"]


def test_nobody_is_registered_for_longer_than_the_limit() -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>", expires=10**8), "f", 0)
    assert contacts_of(registrar, MAX_EXPIRES_S * S) == []


def test_expires_0_removes_one_contact_and_a_star_removes_all() -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>", "<sip:a@10.0.0.2>", "<sip:a@10.0.0.3>"), "f", 0)
    registrar.register(AOR, register("<sip:a@10.0.0.1>", expires=0, sequence=2), "f", 0)
    assert sorted(contacts_of(registrar, 0)) == ["sip:a@10.0.0.2", "sip:a@10.0.0.3"]
    registrar.register(AOR, register("*", expires=0, sequence=3), "f", 0)
    assert contacts_of(registrar, 0) == []


def test_a_register_without_contact_asks_only() -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>"), "f", 0)
    assert len(registrar.register(AOR, register(sequence=2), "g", 0)) == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (register("<sip:a@10.0.0.1>", expires=3, sequence=2), 423),
        (register("*", expires=60, sequence=2), 400),
        (register("*", "<sip:a@10.0.0.1>", expires=0, sequence=2), 400),
        (register("<sip:a@10.0.0.1>", expires=0, sequence=1), 500),
        (register("*", expires=0, sequence=1), 500),
    ],
)
def test_a_register_that_is_refused_changes_nothing(request_: Request, status: int) -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>"), "f", 0)
    with pytest.raises(RegistrationRefused) as refusal:
        registrar.register(AOR, request_, "g", 0)
    assert refusal.value.status == status
    assert contacts_of(registrar, 0) == ["sip:a@10.0.0.1"]


def test_a_client_that_started_anew_may_begin_its_sequence_anew() -> None:
    registrar: Registrar[str] = Registrar()
    registrar.register(AOR, register("<sip:a@10.0.0.1>", sequence=9), "old", 0)
    (binding,) = registrar.register(AOR, register("<sip:a@10.0.0.1>", call_id="d", sequence=1), "new", 0)
    assert binding.flow == "new"
