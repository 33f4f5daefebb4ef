"""Who is who: a site's long-term signing key, and the roster of names and public keys that every site pins itself.

Ed25519 (RFC 8032). A signature covers a purpose and length-prefixed fields, so that one made for one purpose never
serves another. The coordinator has no key here: whatever it says about a site has to carry that site's signature.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from common import schema as border
from common.errors import IdentityError, SecureSumError
from common.identity.encoding import Bytes, digest, encode, label, normal_text
from common.identity.secret import Secret
from common.schema import schema

KEY_BYTES = 32
_FIELD_PRIME = 2**255 - 19

# The y-coordinates of the points of small order (RFC 8032's curve): under such a key anybody can sign.
_SMALL_ORDER = {
    0,
    1,
    _FIELD_PRIME - 1,
    2707385501144840649318225287225658788936804267575313519463743609750303402022,
    _FIELD_PRIME - 2707385501144840649318225287225658788936804267575313519463743609750303402022,
}


class SigningKey:
    """A site's long-term key. The private part is a `Secret`; it never leaves the site."""

    __slots__ = ("_secret", "public")

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self.public = Ed25519PrivateKey.from_private_bytes(secret.expose()).public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> Self:
        """From the operating system's generator."""
        return cls(Secret.random(KEY_BYTES))

    def expose(self) -> memoryview:
        """The private part, for the one file that keeps it."""
        return self._secret.expose()

    def sign(self, purpose: str, *fields: Bytes) -> bytes:
        """64 bytes over the purpose and the fields."""
        return Ed25519PrivateKey.from_private_bytes(self._secret.expose()).sign(statement(purpose, *fields))

    def __repr__(self) -> str:
        return f"SigningKey({fingerprint(self.public)})"


@schema
class RosterFile:
    """roster.yaml: the consortium's name; each site's name and its public key in 64 hex digits."""

    format: int = border.format_number(1)
    consortium: str
    serial: int = 0
    sites: dict[str, str]


@dataclass(frozen=True)
class Roster:
    """Names and public keys, in the order of names. IdentityError for a name or key that stands twice, or is none.

    Names are compared as people read them (Unicode NFKC, without case): no two may look like one.

    serial: 0 or more, greater after each change at the coordinator: of two rosters it says which is the newer, and is
        no part of the digest
    """

    consortium: str
    sites: Mapping[str, bytes]
    serial: int = 0

    def __post_init__(self) -> None:
        try:
            named = {normal_text(name): key for name, key in sorted(self.sites.items())}
            object.__setattr__(self, "consortium", normal_text(self.consortium))
        except SecureSumError as error:
            raise IdentityError(f"Roster: {error}") from None
        if len({_as_read(name) for name in named}) != len(self.sites):
            raise IdentityError("Roster: two names are the same to a reader. Rename one of the sites.")
        if len(set(named.values())) != len(named):
            raise IdentityError("Roster: one key stands under two names. Each site makes a key of its own.")
        for name, key in named.items():
            require_key(name, key)
        object.__setattr__(self, "sites", dict(sorted(named.items())))

    @classmethod
    def read(cls, path: Path) -> Self:
        """From roster.yaml, or IdentityError with all that is wrong."""
        return cls._of(border.read(path, RosterFile, IdentityError), str(path))

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text of a roster.yaml."""
        return cls._of(border.parse(text, RosterFile, IdentityError, "roster"), "roster")

    @classmethod
    def _of(cls, file: RosterFile, name: str) -> Self:
        try:
            return cls(file.consortium, {site: bytes.fromhex(key) for site, key in file.sites.items()}, file.serial)
        except ValueError:
            raise IdentityError(f"{name}: a key is not written in hex digits.") from None

    def to_text(self) -> str:
        """As roster.yaml."""
        keys = {site: key.hex() for site, key in self.sites.items()}
        return border.dump(RosterFile(consortium=self.consortium, serial=self.serial, sites=keys))

    @cached_property
    def digest(self) -> bytes:
        """Of the consortium's name and of every name with its key: what each signature of a site refers to."""
        return digest(
            "roster",
            self.consortium.encode(),
            *(encode(name.encode(), key) for name, key in self.sites.items()),
        )

    def require_member(self, name: str, public: bytes) -> None:
        """IdentityError unless `public` is the pinned key of `name`."""
        if self.sites.get(name) != public:
            raise IdentityError(f"Site {name!r} is not on the roster with this key.")

    def require_signature(self, name: str, signature: bytes, purpose: str, *fields: Bytes) -> None:
        """IdentityError, naming the site, unless it signed just this for just this purpose."""
        key = self.sites.get(name)
        if key is None:
            raise IdentityError(f"Site {name!r} is not on the roster pinned here.")
        if not signed_by(key, signature, purpose, *fields):
            raise IdentityError(f"Site {name!r}: its {purpose} is not signed with the key on the roster.")


def fingerprint(public: bytes) -> str:
    """What two people compare by telephone: 16 bytes of SHA-256, in groups of four hex digits."""
    text = hashlib.sha256(encode(label("fingerprint"), public)).hexdigest()[:32]
    return " ".join(text[start : start + 4] for start in range(0, 32, 4))


def signed_by(public: bytes, signature: bytes, purpose: str, *fields: Bytes) -> bool:
    """Whether the owner of `public`, a key that passed `require_key`, signed just this for just this purpose."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, statement(purpose, *fields))
    except InvalidSignature:
        return False
    return True


def statement(purpose: str, *fields: Bytes) -> bytes:
    """What is signed: the purpose, then each field after its length."""
    return encode(label(f"signature: {purpose}"), *fields)


def _as_read(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def require_key(name: str, key: bytes) -> None:
    """A canonical Ed25519 key under which nobody but its owner can sign."""
    number = int.from_bytes(key, "little") & ((1 << 255) - 1)
    if len(key) != KEY_BYTES or number >= _FIELD_PRIME or number in _SMALL_ORDER:
        raise IdentityError(f"Roster: the key of {name!r} is not a public Ed25519 key.")
