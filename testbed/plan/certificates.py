"""The certificates of a run: an authority of its own, and what each server shows.

Keys follow from the seed, signatures are deterministic (RFC 6979) and dates are fixed, so that equal arguments give
equal plans. The keys are no secret, therefore: they are good for this one sealed world, and stand in its manifest.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Condition = Literal["valid", "expired", "other-name", "other-authority", "revoked"]
"What is wrong with a certificate, if anything."

_CURVE: Final = ec.SECP256R1()
_CURVE_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_BEGIN: Final = datetime(2020, 1, 1, tzinfo=UTC)
_END: Final = datetime(2049, 12, 31, tzinfo=UTC)
"The last year that RFC 5280 writes with two digits (section 4.1.2.5)."
_EXPIRED: Final = datetime(2021, 7, 31, tzinfo=UTC)
OTHER_NAME: Final = "elsewhere.example"
"Whom a certificate with the wrong name speaks for."


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its private key, PEM."""

    certificate: str
    key: str


class Authority:
    """A certificate authority whose keys follow from *secret*."""

    def __init__(self, secret: str, *, name: str) -> None:
        self._secret = secret
        self._key = self._key_of("authority")
        self._name = _subject(name)
        usage = {name: name in ("key_cert_sign", "crl_sign") for name in _KEY_USAGES}
        certificate = (
            self._builder(self._name, "authority", _END)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
        )
        self.certificate = self._signed(certificate)
        "PEM; what everybody trusts."

    def issue(
        self,
        names: Sequence[str],
        *,
        label: str,
        addresses: Sequence[str] = (),
        is_expired: bool = False,
        crl: str = "",
    ) -> Identity:
        """Return the identity of a server that answers for *names* (host and SIP domains); *label* tells keys apart.

        *addresses* are for clients that know nothing else of it: those of a relay. *crl* is the URL of the list in
        which the certificate would be, were it revoked.

        It serves as a client's too: servers show each other their certificates (RFC 5923 section 3).
        """
        key = self._key_of(label)
        usage = {name: name == "digital_signature" for name in _KEY_USAGES}
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            self._builder(_subject(names[0]), label, _EXPIRED if is_expired else _END)
            .add_extension(_alternative_names(names, addresses), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if crl:
            point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl)], None, None, None)
            certificate = certificate.add_extension(x509.CRLDistributionPoints([point]), critical=False)
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity(self._signed(certificate), encoded.decode())

    def revoke(self, labels: Sequence[str]) -> bytes:
        """Return the list of what is revoked (RFC 5280 section 5), DER: the certificates issued under *labels*."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name).last_update(_BEGIN).next_update(_END)
        for label in labels:
            entry = x509.RevokedCertificateBuilder().serial_number(self._serial(label, _END)).revocation_date(_BEGIN)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(
            serialization.Encoding.DER
        )

    def _serial(self, label: str, end: datetime) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._secret}/serial/{label}/{end}".encode()).digest()[:8], "big") + 1

    def _key_of(self, label: str) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(hashlib.sha512(f"{self._secret}/{label}".encode()).digest(), "big")
        return ec.derive_private_key(number % (_CURVE_ORDER - 1) + 1, _CURVE)

    def _builder(self, subject: x509.Name, label: str, end: datetime) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(self._key_of(label).public_key())
            .serial_number(self._serial(label, end))
            .not_valid_before(_BEGIN)
            .not_valid_after(end)
            .add_extension(issuer, critical=False)
        )

    def _signed(self, builder: x509.CertificateBuilder) -> str:
        certificate = builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


_KEY_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Certificates:
    """What the servers of one world show: the right certificate, or one with a fault that a scenario asks for."""

    def __init__(self, secret: str) -> None:
        self._authority = Authority(secret, name="Authority of the run")
        self._secret = secret

    @property
    def trusted(self) -> str:
        """Return the certificate of the authority that everybody trusts, PEM."""
        return self._authority.certificate

    def revoked(self, labels: Sequence[str]) -> bytes:
        """Return the authority's list of revoked certificates, DER, with those of the servers *labels*."""
        return self._authority.revoke(labels)

    def of(
        self, label: str, names: Sequence[str], condition: Condition, *, addresses: Sequence[str] = (), crl: str = ""
    ) -> Identity:
        """Return what the server *label*, which answers for *names* and *addresses*, shows in this *condition*."""
        if condition == "other-authority":
            other = Authority(f"{self._secret}/other", name="Another authority")
            return other.issue(names, label=label, addresses=addresses)
        shown, held = ([OTHER_NAME], ()) if condition == "other-name" else (names, addresses)
        return self._authority.issue(shown, label=label, addresses=held, is_expired=condition == "expired", crl=crl)


def _alternative_names(names: Sequence[str], addresses: Sequence[str]) -> x509.SubjectAlternativeName:
    hosts = [x509.IPAddress(IPv4Address(address)) for address in addresses]
    return x509.SubjectAlternativeName([*(x509.DNSName(name) for name in names), *hosts])


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
