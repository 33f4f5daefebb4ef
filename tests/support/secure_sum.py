"""A consortium of sites that run one secure sum in memory, honestly, and lose whom a test wants them to lose."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.identity.encoding import normal_text
from common.identity.roster import Roster, SigningKey
from common.identity.secret import Secret
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.masking import SPAN_WORDS, ArrayWords, WordSource, key_stream
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, SumContext
from common.secure_sum.site import ShareKey, SiteSum, Upload
from common.secure_sum.thresholds import smallest_threshold

Words = NDArray[np.uint32]

LEGS = ("offer", "mask", "confirm", "reveal")
PLAN = bytes(range(32))


def names(count: int) -> list[str]:
    return [f"site_{number:02}" for number in range(count)]


def add_up(words: Iterable[Words], bits: int) -> Words:
    """The sum that a secure sum must give, by Python's integers."""
    total = sum(np.asarray(part, dtype=object) for part in words)
    return np.asarray(total % (1 << bits), dtype=np.uint32)


class Player(SiteSum):
    """A site's real half, with what its caller would add: its consent to the next sum, and words from an array."""

    def __init__(self, member: Member, share_key: ShareKey, signing_key: SigningKey, roster: Roster) -> None:
        super().__init__(member, share_key, signing_key, roster)
        self.member, self.signing_key = member, signing_key

    def offer(self, context: SumContext, following: Member | None = None) -> Offer:
        return super().offer(context, following or next_member(self.member, self.signing_key))

    def mask(self, plan_digest: bytes, offers: Sequence[Offer], words: WordSource | Words) -> Upload:
        bits = self._own.context.bits if self._own is not None else 32
        source = ArrayWords(words, bits) if isinstance(words, np.ndarray) else words
        return super().mask(plan_digest, offers, source)


def flipped(data: bytes, at: int) -> bytes:
    """With another bit in the byte at this place."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def consent(name: str, share_key: bytes, **about: object) -> Member:
    """A consent that nobody signed."""
    given = {
        "study": PLAN,
        "roster": PLAN,
        "run": "run",
        "number": 7,
        "modalities": ("image",),
        "parts": ("train",),
        "waits": 1,
    } | about
    return Member(name=name, share_key=share_key, **given)  # type: ignore[arg-type]


def next_member(member: Member, signing_key: SigningKey) -> Member:
    """The consent to the sum after this one, with a new share key."""
    key = ShareKey.generate()
    return replace(member, number=member.number + 1, share_key=key.public).signed(signing_key)


class Consortium:
    """Fresh keys, a roster, a context, both halves; `leave` says with which leg a site falls silent, and for good."""

    def __init__(
        self,
        count: int,
        length: int = 5,
        *,
        bits: int = 32,
        threshold: int | None = None,
        number: int = 1,
        run: str = "run",
        seed: int = 0,
        leave: Mapping[str, str] | None = None,
        called: Sequence[str] = (),
        threads: int = 1,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        listed = sorted(normal_text(name) for name in called or names(count))
        self.signing = {name: SigningKey.generate() for name in listed}
        self.roster = Roster("test", {name: key.public for name, key in self.signing.items()})
        self.keys = {name: ShareKey.generate() for name in listed}
        study = os.urandom(32)
        self.members = {
            name: Member(study, self.roster.digest, run, number, name, ("image",), ("train",), 1, key.public).signed(
                self.signing[name]
            )
            for name, key in self.keys.items()
        }
        self.context = SumContext(
            study=study,
            roster=self.roster.digest,
            run=run,
            number=number,
            threshold=threshold or smallest_threshold(count, 1),
            members=tuple(self.members.values()),
            colluding=1,
            bits=bits,
        )
        self.sites = {name: self.player(name) for name in listed}
        self.half = CoordinatorSum(self.context, PLAN, length, self.roster, threads=threads)
        self.words = {
            name: self.rng.integers(0, 1 << bits, length, dtype=np.uint64).astype(np.uint32) for name in self.sites
        }
        self._leave = dict(leave or {})

    def player(self, name: str) -> Player:
        """A new half of this site, as its memory was before the sum."""
        return Player(self.members[name], self.keys[name], self.signing[name], self.roster)

    def another(self, **changes: object) -> SumContext:
        """The context of another sum of the same sites, to which they consented with the same share keys."""
        about = {name: value for name, value in changes.items() if name in ("study", "run", "number")}
        members = tuple(
            replace(self.members[name], **about).signed(self.signing[name])  # type: ignore[arg-type]
            for name in self.members
        )
        return replace(self.context, **{"members": members, **changes})  # type: ignore[arg-type]

    @property
    def bits(self) -> int:
        return self.context.bits

    def there(self, leg: str) -> list[str]:
        """The sites that still answer in this leg, in an order of arrival that the seed chooses."""
        left = [name for name in self.sites if LEGS.index(self._leave.get(name, "reveal")) >= LEGS.index(leg)]
        present = [name for name in left if self._leave.get(name) != leg]
        return [present[i] for i in self.rng.permutation(len(present))]

    # What crosses the wire is sent as bytes, as in a deployment.

    def offer(self) -> None:
        for name in self.there("offer"):
            self.half.add_offer(Offer.from_bytes(self.sites[name].offer(self.context).to_bytes()))

    def mask(self) -> None:
        for name in [name for name in self.there("mask") if name in {offer.name for offer in self.half.offers}]:
            head, packed = self.sites[name].mask(PLAN, self.half.offers, self.words[name])
            self.half.add_masked(MaskedVector.from_bytes(head.to_bytes()), packed)

    def confirm(self) -> None:
        for name in [name for name in self.there("confirm") if name in self.half.survivors]:
            confirmation = self.sites[name].confirm(self.half.survivors)
            self.half.add_confirmation(Confirmation.from_bytes(confirmation.to_bytes()))

    def reveal(self) -> None:
        confirmed = {item.name for item in self.half.confirmations}
        for name in [name for name in self.there("reveal") if name in confirmed]:
            reveal = self.sites[name].reveal(self.half.confirmations)
            self.half.add_reveal(Reveal.from_bytes(reveal.to_bytes()))

    def until(self, leg: str, *, first: str = "offer") -> Consortium:
        """All legs before this one, from `first` on; `open` is the last."""
        for step in LEGS[LEGS.index(first) : (*LEGS, "open").index(leg)]:
            getattr(self, step)()
        return self

    def open(self, first: str = "offer") -> Words:
        """The sum, after the legs from `first` on."""
        return self.until("open", first=first).half.open()

    def all_offers(self) -> list[Offer]:
        """As they left their sites."""
        return [site.offer(self.context) for site in self.sites.values()]

    def plain(self) -> Words:
        """The sum over U2, added in the open."""
        return add_up([self.words[name] for name in self.half.survivors], self.bits)


def apply_masks(words: np.ndarray, plus: Iterable[Secret], minus: Iterable[Secret]) -> None:
    """Add the streams of `plus` and subtract those of `minus`, in place, modulo 2^32."""
    for keys, change in ((plus, np.add), (minus, np.subtract)):
        for key, start in itertools.product(keys, range(0, words.size, SPAN_WORDS)):
            part = words[start : start + SPAN_WORDS]
            stream = np.frombuffer(key_stream(key, start // SPAN_WORDS).update(bytes(4 * part.size)), dtype="<u4")
            change(part, stream, out=part)
