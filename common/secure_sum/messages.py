"""What goes over the wire, as declarations. A message of wrong shape cannot be made, so none is checked twice.

Whatever a site says is signed by it (`Signed`), with the kind of the message as the purpose: an offer's signature
serves no confirmation. A list of sites is a list of what these sites signed.

The bytes of a message are `encode(label(type), field, field, ...)`, a tuple being an `encode` of its items. Parsing is
strict: exact number of fields, no trailing bytes, integers in 8 bytes, text in NFC; what parses encodes back to the
same bytes. `context` in a message is the digest of the `SumContext`: study, roster, run, number, t, c, width, all of R.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Self, get_args, get_origin, get_type_hints

from common.errors import IdentityError, ProtocolOrderError, SecureSumError
from common.identity.encoding import (
    DIGEST_BYTES,
    digest,
    encode,
    label,
    normal_text,
    number,
    read_number,
    read_text,
    split,
)
from common.identity.roster import Roster, SigningKey
from common.secure_sum.thresholds import require_threshold

MIN_BITS, MAX_BITS = 16, 32
COHORT_PARTS = {"train", "validation", "test"}
WAITS, KNOWS_OF_ONE = 1, 2  # what a member signs of waiting for lost sites; 0 for neither
SHARE_BYTES = 66  # an element of the field modulo 2^521 - 1
SEALED_BYTES = 2 * SHARE_BYTES + 16  # AES-GCM's tag
_FIELD_PRIME = 2**255 - 19  # of Curve25519

# The u-coordinates of every point of small order, on the curve and on its twist: with them X25519 gives zero.
_LOW_ORDER = {
    0,
    1,
    _FIELD_PRIME - 1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
}


class Message:
    """Canonical bytes for a frozen dataclass whose fields are int, str, bytes, messages, or tuples of these."""

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)):
            if kind is str:
                object.__setattr__(self, name, normal_text(getattr(self, name)))
        self.check()

    def check(self) -> None:
        """SecureSumError when the fields cannot be those of such a message."""

    def to_bytes(self) -> bytes:
        return encode(label(type(self).__name__), *(_write(getattr(self, name)) for name, _ in _kinds(type(self))))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The message that has these bytes, or SecureSumError."""
        head, *parts = split(data) or [b""]
        kinds = _kinds(cls)
        if head != label(cls.__name__) or len(parts) != len(kinds):
            raise SecureSumError(f"These bytes are not a {cls.__name__} of this protocol.")
        return cls(**{name: _read(kind, part) for (name, kind), part in zip(kinds, parts, strict=True)})


class Signed(Message):
    """A message of the site `name`, whose last field is that site's signature over all the others."""

    name: str
    signature: bytes

    def signed(self, key: SigningKey) -> Self:
        """The same, signed. dataclasses.replace needs to know the concrete class, which only mypy doubts."""
        return replace(self, signature=key.sign(type(self).__name__, *self._statement()))  # type: ignore[type-var]

    def require_signed(self, roster: Roster) -> None:
        """IdentityError, naming the site, unless it signed just this."""
        roster.require_signature(self.name, self.signature, type(self).__name__, *self._statement())

    def _statement(self) -> tuple[bytes, ...]:
        return tuple(_write(getattr(self, name)) for name, _ in _kinds(type(self)) if name != "signature")


_KINDS: dict[str, tuple[tuple[str, Any], ...]] = {}  # filled as messages are first used: resolving hints is slow


def _kinds(cls: type[Any]) -> tuple[tuple[str, Any], ...]:
    """Names and types of a message's fields, in order."""
    if cls.__name__ not in _KINDS:
        hints = get_type_hints(cls)
        _KINDS[cls.__name__] = tuple((item.name, hints[item.name]) for item in fields(cls))
    return _KINDS[cls.__name__]


def _write(value: Any) -> bytes:
    if isinstance(value, Message):
        return value.to_bytes()
    if isinstance(value, tuple):
        return encode(*(_write(item) for item in value))
    if isinstance(value, str):
        return value.encode("utf-8")
    return number(value) if isinstance(value, int) else bytes(value)


def _read(kind: Any, data: bytes) -> Any:
    if kind is int:
        return read_number(data)
    if kind is str:
        return read_text(data)
    if kind is bytes:
        return data
    if get_origin(kind) is tuple:
        return tuple(_read(get_args(kind)[0], item) for item in split(data))
    return kind.from_bytes(data)


def _require_digest(*values: bytes) -> None:
    if any(len(value) != DIGEST_BYTES for value in values):
        raise SecureSumError(f"A digest of the protocol has {DIGEST_BYTES} bytes.")


def _require_public_key(key: bytes) -> None:
    """One encoding for one key, so that different bytes are different keys; and no key that makes a secret public."""
    if len(key) != 32 or int.from_bytes(key, "little") >= _FIELD_PRIME:
        raise SecureSumError("A public key is not a canonical X25519 key of 32 bytes.")
    if int.from_bytes(key, "little") in _LOW_ORDER:
        raise SecureSumError("A public key is of low order.")


def _require_ascending(names: tuple[str, ...]) -> None:
    if any(first >= second for first, second in pairwise(names)):
        raise SecureSumError("Sites are listed once each, in the order of their names.")


@dataclass(frozen=True)
class Member(Signed):
    """A site's consent to hold shares in one sum, with its share key `ek` for just this one.

    `study`, `roster`: digests of what the site approved and pinned. `modalities`: those that it has, by name. `parts`:
    those of the cohort that it can fill, by name. `waits`: 1 for a site that, without privacy, gives no sum over other
    sites than before which shows one by the difference, and wants none given that shows itself; 2 for one that knows of
    such a site; else 0.
    """

    study: bytes = field(repr=False)
    roster: bytes = field(repr=False)
    run: str
    number: int
    name: str
    modalities: tuple[str, ...]
    parts: tuple[str, ...]
    waits: int
    share_key: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        _require_digest(self.study, self.roster)
        _require_public_key(self.share_key)
        _require_ascending(self.modalities)
        _require_ascending(self.parts)
        if not set(self.parts) <= COHORT_PARTS:
            raise SecureSumError("A part of the cohort is none of train, validation and test.")
        if self.waits not in (0, WAITS, KNOWS_OF_ONE):
            raise SecureSumError("A site waits for lost sites, knows of one that does, or neither.")

    def has(self, modality: str) -> bool:
        """Whether this site signed that it adds to the sums of a modality: it has it, in training patients."""
        return modality in self.modalities and "train" in self.parts


@dataclass(frozen=True)
class SumContext(Message):
    """What a site must know to make an offer: which sum this is, and R, by the names, as the members signed it.

    `bits` is the width of a word, k of the ring 2^k. SecureSumError for a context that no honest site may serve:
    R not in order of names, a share key twice, t unsafe for |R| and c.
    """

    study: bytes = field(repr=False)
    roster: bytes = field(repr=False)
    run: str
    number: int
    threshold: int
    members: tuple[Member, ...]
    colluding: int = 1
    bits: int = 32

    def check(self) -> None:
        _require_digest(self.study, self.roster)
        _require_ascending(self.names)
        if len({member.share_key for member in self.members}) != len(self.members):
            raise SecureSumError("Two sites have the same share key.")
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise SecureSumError(f"A word has {MIN_BITS} to {MAX_BITS} bits.")
        require_threshold(len(self.members), self.threshold, self.colluding)
        for member in self.members:
            if (member.study, member.roster) != (self.study, self.roster) or (member.run, member.number) != (
                self.run,
                self.number,
            ):
                raise ProtocolOrderError(f"Site {member.name!r} consented to another study, roster, run or sum.")

    @cached_property
    def digest(self) -> bytes:
        return digest("context", self.to_bytes())

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def place(self, name: str) -> int:
        """The place of a site in R, from 1: the x of its shares. ProtocolOrderError for a site outside R."""
        if name not in self.names:
            raise ProtocolOrderError(f"Site {name!r} holds no shares in sum {self.number}.")
        return self.names.index(name) + 1

    def owners(self, modality: str) -> tuple[str, ...]:
        """The members that signed for a modality, and for the training part: the others add nothing of it."""
        return tuple(member.name for member in self.members if member.has(modality))

    def fillers(self, part: str) -> tuple[str, ...]:
        """The members that signed that they can fill a part of the cohort."""
        return tuple(member.name for member in self.members if part in member.parts)

    def waiting(self) -> tuple[str, ...]:
        """The members that signed that they wait for lost sites."""
        return tuple(member.name for member in self.members if member.waits == WAITS)

    @property
    def shown_to_all(self) -> bool:
        """Whether, without privacy, every site of U2 must have confirmed before one gives a share."""
        return any(member.waits for member in self.members)

    def counted_parts(self, present: Collection[str]) -> tuple[str, ...]:
        """The parts of the cohort that at least c + 2 of these sites signed for, by name."""
        enough = self.colluding + 2
        return tuple(part for part in sorted(COHORT_PARTS) if len(set(self.fillers(part)) & set(present)) >= enough)

    def require_signed(self, roster: Roster) -> None:
        """IdentityError unless this is the sum of `roster`, and every member signed its own entry."""
        if self.roster != roster.digest:
            raise IdentityError("The sum is of another roster than the one pinned here.")
        for member in self.members:
            member.require_signed(roster)


@dataclass(frozen=True)
class Box(Message):
    """A dealer's two shares for one holder, sealed, and the digest of each. The dealer's own box is empty."""

    sealed: bytes = field(repr=False)
    key_digest: bytes = field(repr=False)
    seed_digest: bytes = field(repr=False)

    def check(self) -> None:
        _require_digest(self.key_digest, self.seed_digest)
        if len(self.sealed) not in (0, SEALED_BYTES):
            raise SecureSumError("A box of sealed shares has a wrong length.")


@dataclass(frozen=True)
class Offer(Signed):
    """Leg 0. `mask_key` is pk; `seed_digest` is H(b); `boxes` are in the order of R.

    `following` is the site's consent to the next sum, with its next `ek`: so that the next R needs no leg of its own.
    """

    context: bytes = field(repr=False)
    name: str
    mask_key: bytes = field(repr=False)
    following: Member = field(repr=False)
    seed_digest: bytes = field(repr=False)
    boxes: tuple[Box, ...] = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        _require_digest(self.context, self.seed_digest)
        _require_public_key(self.mask_key)
        if self.following.name != self.name:
            raise SecureSumError(f"Site {self.name!r} offered with another site's consent to the next sum.")


@dataclass(frozen=True)
class MaskedVector(Signed):
    """Leg 1: the head of an upload of `count` words of the context's width; `transcript` is T as this site saw it.

    The packed words travel beside it. They are uniformly random to everyone, so that a signature over them would prove
    nothing about the site; what it is needed for, who sends how much to which sum, is here.
    """

    context: bytes = field(repr=False)
    transcript: bytes = field(repr=False)
    name: str
    count: int
    signature: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        _require_digest(self.context, self.transcript)


@dataclass(frozen=True)
class Confirmation(Signed):
    """Leg 2: this site saw T and U2 (`agreed` is the digest of both), and will open no other U2 of this sum."""

    context: bytes = field(repr=False)
    name: str
    agreed: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        _require_digest(self.context, self.agreed)


@dataclass(frozen=True)
class RevealedShare(Message):
    """The share that the sender held of one of this dealer's secrets."""

    dealer: str
    share: bytes = field(repr=False)

    def check(self) -> None:
        if len(self.share) != SHARE_BYTES:
            raise SecureSumError("A revealed share has a wrong length.")


@dataclass(frozen=True)
class Reveal(Signed):
    """Leg 3. Shares of the seeds `b` of U2, and of the mask keys `sk` of U1 without U2: never both of one dealer."""

    context: bytes = field(repr=False)
    name: str
    seeds: tuple[RevealedShare, ...]
    keys: tuple[RevealedShare, ...]
    signature: bytes = field(default=b"", repr=False)

    def check(self) -> None:
        _require_digest(self.context)
        _require_ascending(tuple(item.dealer for item in self.seeds))
        _require_ascending(tuple(item.dealer for item in self.keys))
        if {item.dealer for item in self.seeds} & {item.dealer for item in self.keys}:
            raise SecureSumError("A reveal has shares of both secrets of one site.")
