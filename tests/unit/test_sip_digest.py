"""Digest authentication against the examples of RFC 2617 and RFC 7616, and a server's checks, each made to fail."""

import pytest

from agents.sip.digest import Authenticator, answer_challenge, digest_response, parse_digest
from agents.sip.errors import MalformedMessage

SECOND_NS = 1_000_000_000
PASSWORDS = {"alice": "rosebud"}


def test_the_example_of_rfc_2617_section_3_5() -> None:
    assert (
        digest_response(
            username="Mufasa", realm="testrealm@host.com", password="Circle Of Life", method="GET",
            uri="/dir/index.html", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",
            nc="00000001", cnonce="0a4f113b", qop="auth",
        )
        == "6629fae49393a05397450978507c4ef1"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_examples_of_rfc_7616_section_3_9_1(algorithm: str, response: str) -> None:
    assert (
        digest_response(
            username="Mufasa", realm="http-auth@example.org", password="Circle of Life", method="GET",
            uri="/dir/index.html", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc="00000001",
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop="auth", algorithm=algorithm,
        )
        == response
    )  # fmt: skip


def test_a_challenge_with_commas_in_quotes_is_read() -> None:
    read = parse_digest('Digest realm="a, \\"b\\"", qop="auth,auth-int" , nonce=x,algorithm=MD5')
    assert read == {"realm": 'a, "b"', "qop": "auth,auth-int", "nonce": "x", "algorithm": "MD5"}


@pytest.mark.parametrize("value", ["Basic abc", "Digest realm", 'Digest realm="a', "Digest ,,", ""])
def test_what_is_no_digest_is_malformed(value: str) -> None:
    with pytest.raises(MalformedMessage):
        if parse_digest(value) == {}:
            raise MalformedMessage("empty")


def answer(authenticator: Authenticator, *, at_ns: int = 0, name: str = "alice", password: str = "rosebud") -> str:
    challenges = authenticator.challenges(now_ns=at_ns)
    credentials = answer_challenge(
        challenges, username=name, password=password, method="REGISTER", uri="sip:contoso.example"
    )
    assert credentials is not None
    return credentials


def outcome(authenticator: Authenticator, credentials: str, *, method: str = "REGISTER", at_ns: int = 0) -> str:
    return authenticator.check(credentials, method=method, passwords=PASSWORDS, now_ns=at_ns)[0]


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("SHA-256", "MD5")])
def test_the_right_password_is_right(algorithms: tuple[str, ...]) -> None:
    authenticator = Authenticator("contoso.example", algorithms)
    credentials = answer(authenticator)
    assert parse_digest(credentials)["algorithm"] == algorithms[0]
    assert outcome(authenticator, credentials) == "right"


def test_a_wrong_password_name_method_realm_algorithm_or_text_is_wrong() -> None:
    authenticator = Authenticator("contoso.example")
    assert outcome(authenticator, answer(authenticator, password="other")) == "wrong"
    assert outcome(authenticator, answer(authenticator, name="mallory")) == "wrong"
    assert outcome(authenticator, answer(authenticator), method="INVITE") == "wrong"
    assert outcome(Authenticator("fabrikam.example"), answer(authenticator)) == "wrong"
    assert outcome(authenticator, answer(Authenticator("contoso.example", ("SHA-256",)))) == "wrong"
    assert outcome(authenticator, "Digest username=alice") == "wrong"
    assert outcome(authenticator, "rubbish") == "wrong"


def test_a_nonce_grows_stale_and_one_of_another_server_is_never_fresh() -> None:
    authenticator = Authenticator("contoso.example", lifetime_ns=60 * SECOND_NS)
    credentials = answer(authenticator)
    assert outcome(authenticator, credentials, at_ns=60 * SECOND_NS) == "right"
    assert outcome(authenticator, credentials, at_ns=61 * SECOND_NS) == "stale"
    assert outcome(authenticator, answer(Authenticator("contoso.example"))) == "stale"


def test_a_challenge_that_cannot_be_answered_is_passed_over() -> None:
    unknown = 'Digest realm="r", nonce="n", algorithm=SHA-512-256'
    known = 'Digest realm="r", nonce="n", algorithm=MD5, opaque="o"'
    credentials = answer_challenge(
        [unknown, "Basic x", 'Digest realm="r", nonce="n", qop="auth-int"', known],
        username="a", password="b", method="INVITE", uri="sip:c",
    )  # fmt: skip
    assert credentials is not None and parse_digest(credentials)["opaque"] == "o"
    assert answer_challenge([unknown], username="a", password="b", method="INVITE", uri="sip:c") is None
