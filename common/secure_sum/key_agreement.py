"""X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869). Every derived key has 256 bits, one purpose and one use."""

from __future__ import annotations

from typing import Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.errors import SecureSumError
from common.identity.encoding import Bytes, encode, label
from common.identity.secret import Secret

KEY_BYTES = 32


def derive(secret: Bytes, purpose: str, *fields: Bytes) -> Secret:
    """HKDF without salt (the input is an X25519 output or 32 random bytes), `info` being the purpose and the fields."""
    return Secret(hkdf(secret, encode(label(purpose), *fields)))


def hkdf(secret: Bytes, info: bytes) -> bytes:
    """32 bytes of HKDF-SHA256, no salt."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)


class AgreementKey:
    """An X25519 key pair. The secret part is 32 bytes; X25519 itself clamps them."""

    __slots__ = ("public", "secret")

    def __init__(self, secret: Secret) -> None:
        self.secret = secret
        self.public = X25519PrivateKey.from_private_bytes(secret.expose()).public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        return cls(Secret.random(KEY_BYTES))

    def agree(self, peer: str, peer_public: bytes, purpose: str, *fields: Bytes) -> Secret:
        """The key shared with a peer for one purpose. SecureSumError when the peer's key is of low order.

        Messages cannot hold such a key; this is the check of RFC 7748, section 6.1, where the secret is made.
        """
        private = X25519PrivateKey.from_private_bytes(self.secret.expose())
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError:  # the result would be zero, whatever our key is
            raise SecureSumError(
                f"Site {peer!r}: its public key is of low order, so anybody would know the key."
            ) from None
        return derive(shared, purpose, *fields)

    def wipe(self) -> None:
        self.secret.wipe()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.public.hex()[:8]}...)"


class ShareKey(AgreementKey):
    """`ek`: others seal shares for this site under it. It lives for one sum."""

    __slots__ = ()


class MaskKey(AgreementKey):
    """`sk` and `pk`: the masks between this site and each other come from it. It lives for one sum."""

    __slots__ = ()
