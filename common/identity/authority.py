"""The consortium's certificate authority as everybody sees it: a self-signed X.509 certificate (RFC 5280) on P-256."""

from __future__ import annotations

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import IdentityError
from common.identity.encoding import Bytes
from common.identity.roster import fingerprint, statement

LAST_YEAR = timedelta(days=365)
_NOT_ONE = (  # all that reading a hostile certificate may raise
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def read_authority(pem: str) -> x509.Certificate:
    """IdentityError unless `pem` is just one certificate, of an authority on P-256, signed by itself."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        certificate.verify_directly_issued_by(certificate)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        key = certificate.public_key()
        alone = certificate.public_bytes(Encoding.PEM).decode() == pem
        # The signature is the last of its bytes, with no bit left over: else one certificate had several fingerprints.
        exact = certificate.public_bytes(Encoding.DER).endswith(b"\0" + certificate.signature)
    except _NOT_ONE:
        raise IdentityError(
            "The CA certificate is not one of a certificate authority. Ask for the kit again."
        ) from None
    of_ours = exact and isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    if not constraints.ca or not of_ours:
        raise IdentityError("The CA certificate is not one that `wardround consortium new` makes.")
    if not alone:
        raise IdentityError("The CA certificate has something before or after it. Ask for the kit again.")
    return certificate


def authority_fingerprint(pem: str) -> str:
    """What two people compare by telephone."""
    return fingerprint(read_authority(pem).public_bytes(Encoding.DER))


def require_in_force(pem: str, now: datetime) -> None:
    """IdentityError when the certificate is not valid yet, or no more."""
    certificate = read_authority(pem)
    if now < certificate.not_valid_before_utc:
        raise IdentityError("The CA certificate is not valid yet. Is this machine's clock right?")
    if now > certificate.not_valid_after_utc:
        raise IdentityError("The CA certificate has expired. Ask the coordinator for a new kit; check the clock too.")


def in_last_year(pem: str, now: datetime) -> bool:
    """Whether it is time to make the consortium that follows this one: an authority cannot be renewed."""
    return read_authority(pem).not_valid_after_utc - now < LAST_YEAR


def term(pem: str, now: datetime) -> str:
    """Until when the authority is valid, for people; in its last year with what follows."""
    text = f"valid until {read_authority(pem).not_valid_after_utc:%Y-%m-%d}"
    warning = ". LESS THAN A YEAR IS LEFT: a new consortium has to follow, whose kit sites join with --replace"
    return text + (warning if in_last_year(pem, now) else "")


def sign(key: ec.EllipticCurvePrivateKey, purpose: str, *fields: Bytes) -> bytes:
    """ECDSA with SHA-256, DER, over the purpose and the fields."""
    return key.sign(statement(purpose, *fields), ec.ECDSA(SHA256()))


def signed_by_authority(pem: str, signature: bytes, purpose: str, *fields: Bytes) -> bool:
    """Whether the owner of the certificate's key signed just this for just this purpose."""
    key = read_authority(pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(signature, statement(purpose, *fields), ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
