"""The run's certificates: who vouches for whom, what is wrong with the wrong ones, and that a plan can be repeated."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from testbed.plan.certificates import Certificates, Condition, Identity

NAMES = ["on-fe.contoso.example", "contoso.example"]
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def verify(certificates: Certificates, identity: Identity, name: str = "contoso.example") -> None:
    store = Store([x509.load_pem_x509_certificate(certificates.trusted.encode())])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(x509.DNSName(name))
    verifier.verify(x509.load_pem_x509_certificate(identity.certificate.encode()), [])


@pytest.mark.parametrize("name", NAMES)
def test_a_valid_certificate_is_trusted_for_each_of_its_names(name: str) -> None:
    certificates = Certificates("secret")
    verify(certificates, certificates.of("on-fe", NAMES, "valid"), name)


@pytest.mark.parametrize("condition", ["expired", "other-name", "other-authority"])
def test_a_certificate_with_a_fault_is_refused(condition: Condition) -> None:
    certificates = Certificates("secret")
    with pytest.raises(VerificationError):
        verify(certificates, certificates.of("on-fe", NAMES, condition))


def test_equal_secrets_give_equal_certificates_and_others_do_not() -> None:
    one, again, other = Certificates("secret"), Certificates("secret"), Certificates("another")
    assert one.trusted == again.trusted != other.trusted
    assert one.of("on-fe", NAMES, "valid") == again.of("on-fe", NAMES, "valid")
    assert one.of("on-fe", NAMES, "valid").key != one.of("on-edge1", NAMES, "valid").key
    with pytest.raises(VerificationError):
        verify(other, one.of("on-fe", NAMES, "valid"))
