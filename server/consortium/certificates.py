"""The coordinator's X.509 certificates (RFC 5280): its own authority, and the server certificate that sites check.

EC P-256 throughout. The authority signs server certificates and the kits that sites get, and nothing else; its path
length of 0 lets nobody make another authority under it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import IdentityError, RunError

AUTHORITY_YEARS, SERVER_DAYS = 10, 825
RENEW_DAYS = 90
LOOPBACK = "127.0.0.1", "::1", "localhost"  # for the commands of the coordinator's own machine
_EARLIER = timedelta(days=1)  # a site's clock may be behind
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
_NAME_BYTES = 64  # RFC 5280, ub-common-name


@dataclass(frozen=True)
class Issued:
    """A certificate and the key to it, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Issued(...)"


def make_authority(name: str) -> Issued:
    """A new authority, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"{name} CA")
    ends = _now() + timedelta(days=365 * AUTHORITY_YEARS)
    built = _builder(subject, subject, key, key, ends)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(authority=True), critical=True)
    return _issued(built.sign(key, SHA256()), key)


def make_server(authority: Issued, names: Sequence[str]) -> Issued:
    """A certificate for a TLS server with these DNS names and addresses. RunError for a name that is neither.

    It is valid for 825 days, or until the authority ends.
    """
    subjects = [alternative_name(name) for name in dict.fromkeys(names)]
    issuer, issuing = x509.load_pem_x509_certificate(authority.certificate), read_key(authority.key, "ca.key")
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(_now() + timedelta(days=SERVER_DAYS), issuer.not_valid_after_utc)
    built = _builder(_subject(names[0]), issuer.subject, key, issuing, ends)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(authority=False), critical=True)
    built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    built = built.add_extension(x509.SubjectAlternativeName(subjects), critical=False)
    return _issued(built.sign(issuing, SHA256()), key)


def alternative_name(name: str) -> x509.DNSName | x509.IPAddress:
    """RunError unless sites can reach and check a server under this name: no wildcard, no port, no scheme."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise RunError(
            f"{name!r} is neither a DNS name nor an IP address. Give it without https:// and port; write letters "
            "beyond ASCII in their xn-- form."
        )
    return x509.DNSName(name)


def read_key(pem: bytes, name: str) -> ec.EllipticCurvePrivateKey:
    """IdentityError, naming the file, unless it holds an EC key without a passphrase."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{name}: is not a private key without a passphrase. Take it back from a backup.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"{name}: is a key of another kind than EC. Take it back from a backup.")
    return key


def not_after(pem: bytes) -> datetime:
    """When a certificate ends, UTC."""
    return _read(pem).not_valid_after_utc


def names_in(pem: bytes) -> set[str]:
    """The DNS names and addresses for which a server's certificate was made."""
    found = _read(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}


def needs_renewal(server: Issued, authority: bytes) -> bool:
    """Whether a server's certificate ends within 90 days and a new one would last longer, or its key is another's.

    The last is what a crash between the two files leaves. `authority`: PEM
    """
    certificate = _read(server.certificate)
    ends = certificate.not_valid_after_utc
    soon = ends - _now() < timedelta(days=RENEW_DAYS) and ends < not_after(authority)
    return soon or read_key(server.key, "server.key").public_key() != certificate.public_key()


def _read(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise RunError("server.crt: is no certificate. Make a new one with `wardround consortium renew`.") from None


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuing: ec.EllipticCurvePrivateKey,
    ends: datetime,
) -> x509.CertificateBuilder:
    named = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    dated = named.not_valid_before(_now() - _EARLIER).not_valid_after(ends)
    numbered = dated.serial_number(x509.random_serial_number())
    own, above = key.public_key(), issuing.public_key()
    linked = numbered.add_extension(x509.SubjectKeyIdentifier.from_public_key(own), critical=False)
    return linked.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above), critical=False)


def _subject(name: str) -> x509.Name:
    short = name.encode()[:_NAME_BYTES].decode(errors="ignore")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, short)])


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,  # a server in TLS; the authority under a kit
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
