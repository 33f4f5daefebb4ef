"""This site's half of a secure sum: one at a time, each number once, numbers only upwards, also after a restart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.errors import ProtocolOrderError, SecureSumError
from common.plan import threshold_of
from common.secure_sum.messages import Confirmation, MaskedVector, Offer, Reveal, SumContext
from common.secure_sum.site import ShareKey, SiteSum
from common.study import Study


class SiteSums:
    """Keeps the share key for the next sum and the state of the present one. Secrets stay in memory.

    A site that restarts has lost its secrets: it joins again with a new share key, from the next sum on. The highest
    number that it ever took part in is on disk, so that no number is served twice.
    """

    def __init__(self, site: str, state: Path) -> None:
        self._site = site
        self._seen = state / "secure_sum.number"
        self._next_key = ShareKey.generate()
        self._present: SiteSum | None = None
        self._context: SumContext | None = None

    @property
    def share_key(self) -> bytes:
        """The public `ek` under which the others seal shares for this site in the next sum."""
        return self._next_key.public

    def offer(self, context: SumContext, *, study: Study, run: str) -> Offer:
        """Leg 0. Refuses a number that is not above all seen, and what is not as this site's own study has it."""
        agreed = study.secure_sum
        if context.study != bytes.fromhex(study.digest) or context.run != run:
            raise SecureSumError("An offer was asked for another study or run than the one joined.")
        if (context.colluding, context.bits) != (agreed.colluding, agreed.bits):
            raise SecureSumError("The number of colluding sites, or the width of a word, is not the study's.")
        if context.threshold != threshold_of(study, len(context.members)):
            raise SecureSumError("The threshold is not the one that follows from the study.")
        if context.number <= self.last_number:
            raise ProtocolOrderError("The number of this sum was used before; the coordinator must count on.")
        self._remember(context.number)
        self._present, self._context = SiteSum(self._site, self._next_key), context
        self._next_key = ShareKey.generate()
        return self._present.offer(context)

    def agree(self, number: int, plan_digest: bytes, offers: Sequence[Offer]) -> None:
        """First half of leg 1: everything that could refuse, before any patient's data is touched."""
        self._sum(number).agree(plan_digest, offers)

    def mask(self, number: int, plan_digest: bytes, offers: Sequence[Offer], words: NDArray[np.uint32]) -> MaskedVector:
        """Leg 1."""
        return self._sum(number).mask(plan_digest, offers, words)

    def confirm(self, number: int, survivors: Sequence[str]) -> Confirmation:
        """Leg 2."""
        return self._sum(number).confirm(survivors)

    def reveal(self, number: int, confirmations: Sequence[Confirmation]) -> Reveal:
        """Leg 3; afterwards nothing of this sum is left here."""
        reveal = self._sum(number).reveal(confirmations)
        self._present = None
        return reveal

    @property
    def context(self) -> SumContext | None:
        return self._context if self._present is not None else None

    @property
    def last_number(self) -> int:
        """The highest number that this site ever offered for; 0: none."""
        try:
            return int(self._seen.read_text())
        except FileNotFoundError:
            return 0

    def _sum(self, number: int) -> SiteSum:
        if self._present is None or self._context is None or self._context.number != number:
            raise ProtocolOrderError("No sum of this number is open here.")
        return self._present

    def _remember(self, number: int) -> None:
        self._seen.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._seen.with_suffix(".draft")
        with draft.open("w") as file:
            file.write(str(number))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._seen)
