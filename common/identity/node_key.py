"""A site's node key, with which its connector proves itself to the coordinator: ECDSA on P-384, as Flower asks.

Public keys are OpenSSH text (RFC 5656) in one canonical form: type and key, without a comment.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from common.errors import IdentityError

WANTED = "EC P-384 in OpenSSH form, as `wardround site enrol` makes it"
_NOT_ONE = ValueError, TypeError, UnsupportedAlgorithm, NotImplementedError  # the last: a compressed point


def generate() -> bytes:
    """A new private key as OpenSSH text without a passphrase: a daemon starts without a person."""
    key = ec.generate_private_key(ec.SECP384R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def public_of(private: bytes, name: str) -> str:
    """The public part, canonical. IdentityError, naming the file `name`, unless `private` is such a key."""
    try:
        key = load_ssh_private_key(private, password=None)
    except _NOT_ONE:
        raise IdentityError(f"{name}: is not a node key ({WANTED}, no passphrase).") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise IdentityError(f"{name}: is not a node key ({WANTED}).")
    return _text(key.public_key())


def require_node_key(text: str, owner: str) -> None:
    """IdentityError unless `text` is a public EC P-384 key in its one canonical form."""
    try:
        key = load_ssh_public_key(text.encode())
    except _NOT_ONE:
        raise IdentityError(f"The node key of {owner} is none: {WANTED}.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise IdentityError(f"The node key of {owner} is of another kind: {WANTED}.")
    if _text(key) != text:
        raise IdentityError(f"The node key of {owner} carries more than the key. Take away comments and blanks.")


def _text(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
