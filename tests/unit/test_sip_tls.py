"""TLS between SIP elements, both ends in memory: who is trusted, and whose a certificate is (RFC 5922)."""

import ssl
from typing import Any

import pytest

from agents.sip.errors import CertificateRefused
from agents.sip.hop import Hop, Listen
from agents.sip.tls import Credentials, check_identity, identities, refusal_of
from testbed.plan.certificates import Certificates, Condition

OURS, OTHERS = Certificates("ours"), Certificates("others")
CLIENT = Credentials(authority=OURS.trusted)


def server(condition: Condition = "valid", *, of: Certificates = OURS) -> Credentials:
    shown = of.of("on-fe", ["on-fe.contoso.example", "contoso.example"], condition)
    return Credentials(authority=OURS.trusted, certificate=shown.certificate, key=shown.key)


def shake_hands(client: Credentials, served: Credentials) -> dict[str, Any]:
    """Carry out a whole handshake; return the certificate that the client was shown."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.client_context().wrap_bio(to_client, to_server, server_hostname="contoso.example")
    theirs = served.server_context().wrap_bio(to_server, to_client, server_side=True)
    ends, done = [ours, theirs], set[ssl.SSLObject]()
    while len(done) < 2:
        for end in ends:
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                continue
    return ours.getpeercert() or {}


def test_a_client_trusts_a_server_of_the_authority_and_knows_whom_it_is_for() -> None:
    certificate = shake_hands(CLIENT, server())
    assert identities(certificate) == ("on-fe.contoso.example", "contoso.example")
    check_identity(certificate, "Contoso.Example")


@pytest.mark.parametrize(
    ("condition", "words"),
    [("expired", "certificate has expired"), ("other-authority", "unable to get local issuer certificate")],
)
def test_a_handshake_with_a_wrong_certificate_fails_and_says_why(condition: Condition, words: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError) as raised:
        shake_hands(CLIENT, server(condition))
    refusal = refusal_of(raised.value, "198.18.64.10:443")
    assert str(refusal) == f"certificate of 198.18.64.10:443: {words}"


def test_a_certificate_of_somebody_else_is_refused_after_the_handshake() -> None:
    certificate = shake_hands(CLIENT, server("other-name"))
    with pytest.raises(CertificateRefused, match=r"is for elsewhere\.example, not for contoso\.example"):
        check_identity(certificate, "contoso.example")


def test_servers_show_each_other_their_certificates() -> None:
    assert shake_hands(server(), server())
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(Credentials(**{**_fields(server(of=OTHERS)), "authority": OURS.trusted}), server())


def _fields(credentials: Credentials) -> dict[str, str]:
    return {"certificate": credentials.certificate, "key": credentials.key}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((("DNS", "a.example"), ("URI", "sip:b.example")), ("b.example",)),
        ((("URI", "sip:alice@b.example"), ("DNS", "a.example")), ("a.example",)),
        ((("URI", "https://b.example"), ("IP Address", "192.0.2.1")), ()),
        ((("URI", "SIP:B.example;transport=tls"),), ("b.example",)),
    ],
    ids=["uri before dns", "a user is no domain", "neither", "parameters are none of it"],
)
def test_whom_a_certificate_speaks_for(names: tuple[tuple[str, str], ...], told: tuple[str, ...]) -> None:
    assert identities({"subjectAltName": names}) == told


@pytest.mark.parametrize("name", ["", "a.example", "sip.contoso.example"])
def test_wildcards_and_missing_names_are_refused(name: str) -> None:
    with pytest.raises(CertificateRefused):
        check_identity({"subjectAltName": (("DNS", "*.contoso.example"),)}, name)


@pytest.mark.parametrize("document", [{}, {"authority": ""}, {"authority": "x", "key": "y"}])
def test_credentials_that_lack_something_are_refused(document: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="tls needs the key 'authority'"):
        Credentials.from_json(document)


def test_a_server_without_a_certificate_cannot_serve_tls() -> None:
    with pytest.raises(ValueError, match="needs a certificate"):
        CLIENT.server_context()


def test_tls_has_a_port_of_its_own_and_a_name() -> None:
    assert Hop.from_json({"address": "192.0.2.1", "transport": "tls", "name": "a.example"}) == Hop(
        "192.0.2.1", 5061, "tls", "a.example"
    )
    assert Listen.from_json({"transport": "TLS"}).port == 5061
