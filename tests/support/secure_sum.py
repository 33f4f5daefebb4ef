"""A consortium of sites that run one secure sum in memory, honestly, and lose whom a test wants them to lose."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, SumContext
from common.secure_sum.site import ShareKey, SiteSum
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


class Consortium:
    """Fresh keys, a context, both halves; `leave` says with which leg a site falls silent, and for good."""

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
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.keys = {name: ShareKey.generate() for name in names(count)}
        self.context = SumContext(
            study=os.urandom(32),
            run=run,
            number=number,
            threshold=threshold or smallest_threshold(count, 1),
            members=tuple(Member(name, key.public) for name, key in self.keys.items()),
            colluding=1,
            bits=bits,
        )
        self.sites = {name: SiteSum(name, key) for name, key in self.keys.items()}
        self.half = CoordinatorSum(self.context, PLAN, length)
        self.words = {
            name: self.rng.integers(0, 1 << bits, length, dtype=np.uint64).astype(np.uint32) for name in self.sites
        }
        self._leave = dict(leave or {})

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
            masked = self.sites[name].mask(PLAN, self.half.offers, self.words[name])
            self.half.add_masked(MaskedVector.from_bytes(masked.to_bytes()))

    def confirm(self) -> None:
        for name in [name for name in self.there("confirm") if name in self.half.survivors]:
            confirmation = self.sites[name].confirm(self.half.survivors)
            self.half.add_confirmation(Confirmation.from_bytes(confirmation.to_bytes()))

    def reveal(self) -> None:
        confirmed = {item.name for item in self.half.confirmations}
        for name in [name for name in self.there("reveal") if name in confirmed]:
            reveal = self.sites[name].reveal(self.half.confirmations)
            self.half.add_reveal(Reveal.from_bytes(reveal.to_bytes()))

    def until(self, leg: str) -> Consortium:
        """All legs before this one; `open` is the last."""
        for step in LEGS[: (*LEGS, "open").index(leg)]:
            getattr(self, step)()
        return self

    def open(self) -> Words:
        return self.until("open").half.open()

    def plain(self) -> Words:
        """The sum over U2, added in the open."""
        return add_up([self.words[name] for name in self.half.survivors], self.bits)
