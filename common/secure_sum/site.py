"""A site's half of one secure sum.

    offer     leg 0   two fresh secrets: mask key `sk`, seed `b`; their shares, sealed for their holders
    agree     leg 1   the plan and the offers of U1: checked, and bound together as T
    mask      leg 1   (words + pairwise masks) XOR own mask: all that ever leaves of the vector
    confirm   leg 2   the first and only U2
    reveal    leg 3   with t confirmations of (T, U2): shares of `b` for U2, of `sk` for the others

A leg is answered once. The same request again gets the stored answer, another one is refused. A request that is refused
leaves everything as it was. Which leg may follow which is the table `states.SITE`.

What is erased, and when: `ek` once the boxes are open (agree), `sk` and `b` once they have masked (mask), the shares of
all sites once given (reveal), and everything by `forget` or when the object is dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from common.errors import ProtocolOrderError, SecureSumError, TooFewSitesError
from common.identity.encoding import digest, normal_text
from common.identity.roster import Roster, SigningKey
from common.identity.secret import Secret
from common.secure_sum.dealing import HeldShares, deal, open_box, require_offer
from common.secure_sum.key_agreement import KEY_BYTES, MaskKey, ShareKey
from common.secure_sum.masking import WordSource, adds, mask_and_pack, pairwise_mask_key, self_mask_key
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, RevealedShare, SumContext
from common.secure_sum.states import SITE, SitePhase, Steps
from common.secure_sum.transcript import order_offers, survivors_digest, transcript

__all__ = ["ShareKey", "SiteSum", "Upload"]

R = TypeVar("R")
Upload = tuple[MaskedVector, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class _Own:
    """From leg 0: this site's secrets, its own shares of them, and what it offered."""

    context: SumContext
    mask_key: MaskKey
    seed: Secret
    shares: HeldShares
    offer: Offer


@dataclass(frozen=True, eq=False)
class _Agreed:
    """From leg 1: T, the offers of U1, and this site's shares of each of them."""

    transcript: bytes
    offers: Mapping[str, Offer]
    held: Mapping[str, HeldShares]


class SiteSum:
    """Serves one number, once. `member` is this site's own consent to it, `share_key` the key that it names.

    The caller keeps numbers and uploads on disk; compares study, run, c, t and width with its own study; and checks
    before `confirm` that no group of parameters has too few owners in U2, and that U2 shows nothing new.
    """

    def __init__(
        self, member: Member, share_key: ShareKey, signing_key: SigningKey, roster: Roster, *, threads: int = 1
    ) -> None:
        self._member, self._name = member, member.name
        self._share_key, self._signing_key, self._roster = share_key, signing_key, roster
        self._threads = threads
        self._process = os.getpid()
        self._steps = Steps(SitePhase.NEW, SITE)
        self._answers: dict[str, tuple[bytes, Any]] = {}
        self._own: _Own | None = None
        self._agreed: _Agreed | None = None
        self._survivors: tuple[str, ...] = ()
        self._lock = RLock()

    @property
    def phase(self) -> SitePhase:
        return self._steps.phase

    # --------------------------------------------------------------------------------------------------------- legs

    def offer(self, context: SumContext, following: Member) -> Offer:
        """Leg 0, with this site's consent to the next sum. IdentityError unless all of R consented, over their
        signatures; SecureSumError unless this site is in R as it consented; R, t and c are checked by the type.
        """
        return self._once("offer", context.digest, lambda: self._offer(context, following))

    def agree(self, plan_digest: bytes, offers: Sequence[Offer]) -> bytes:
        """First half of leg 1, without the vector: T. Call it before training, so that a bad request costs nothing."""
        with self._lock:
            own = self._after_offer()
            if "agree" not in self._answers:  # else only the very same offers pass, by their digest
                for offer in offers:
                    require_offer(own.context, offer, self._roster)
            ordered = order_offers(own.context, offers)
            agreed = transcript(own.context, plan_digest, ordered)
            return self._once("agree", agreed, lambda: self._agree(agreed, ordered))

    def mask(self, plan_digest: bytes, offers: Sequence[Offer], words: WordSource) -> Upload:
        """Leg 1: the head, and the masked words (n,) packed, uint8. The same plan and offers again get the same bytes.

        `words` of a repeated request are not looked at: what was sent stands.
        """
        with self._lock:
            agreed = self.agree(plan_digest, offers)
            return self._once("mask", agreed, lambda: self._mask(words))

    def confirm(self, survivors: Sequence[str]) -> Confirmation:
        """Leg 2. U2 in any order: of U1, with this site, at least t."""
        with self._lock:
            names = tuple(sorted(normal_text(name) for name in survivors))
            request = survivors_digest(self._after_agree().transcript, names)
            return self._once("confirm", request, lambda: self._confirm(names, request))

    def reveal(self, confirmations: Sequence[Confirmation]) -> Reveal:
        """Leg 3. At least t sites of U2 confirmed what this site confirmed. Everything else is erased."""
        request = digest("confirmations", *sorted(item.to_bytes() for item in confirmations))
        return self._once("reveal", request, lambda: self._reveal(confirmations))

    def require_confirmed(self, confirmations: Sequence[Confirmation]) -> None:
        """What `reveal` checks first, without revealing: at least t of U2 signed this site's own (T, U2)."""
        with self._lock:
            self._steps.require("reveal")
            self._require_confirmed(self._after_offer(), self._after_agree(), confirmations)

    @property
    def survivors(self) -> tuple[str, ...]:
        """U2 as this site confirmed it, in the order of names."""
        return self._survivors

    def forget(self) -> None:
        """Erase secrets and stored answers, whatever the phase: the sum is over, or was given up."""
        with self._lock:
            self._erase()
            self._steps.move("forget")

    # --------------------------------------------------------------------------------------- what the legs consist of

    def _once(self, event: str, request: bytes, answer: Callable[[], R]) -> R:
        with self._lock:
            if event in self._answers:
                first, stored = self._answers[event]
                if first != request:
                    raise ProtocolOrderError(f"A second, different request to {event}: the first one stands.")
                return cast(R, stored)
            self._steps.require(event)
            answered = answer()
            self._steps.move(event)
            self._answers[event] = (request, answered)
            return answered

    def _offer(self, context: SumContext, following: Member) -> Offer:
        context.require_signed(self._roster)
        if context.members[context.place(self._name) - 1] != self._member:
            raise SecureSumError("The list of sites does not have this site's own consent as it gave it.")
        mask_key, seed = MaskKey.generate(), Secret.random(KEY_BYTES)
        unsigned, shares = deal(context, following, self._share_key, mask_key, seed)
        offer = unsigned.signed(self._signing_key)
        self._own = _Own(context, mask_key, seed, shares, offer)
        return offer

    def _agree(self, agreed: bytes, ordered: Mapping[str, Offer]) -> bytes:
        own = self._after_offer()
        mine = ordered.get(self._name)
        if mine is None or mine.to_bytes() != own.offer.to_bytes():
            raise SecureSumError("The offers do not have this site's own offer as it was sent.")
        held = {
            name: own.shares if name == self._name else open_box(own.context, offer, self._name, self._share_key)
            for name, offer in ordered.items()
        }
        self._agreed = _Agreed(agreed, ordered, held)
        self._share_key.wipe()
        return agreed

    def _mask(self, words: WordSource) -> Upload:
        own, agreed = self._after_offer(), self._after_agree()
        self._require_same_process()
        plus, minus = list[Secret](), list[Secret]()
        for peer, key in self._pairwise_keys(own, agreed):
            (plus if adds(self._name, peer) else minus).append(key)
        own_mask = self_mask_key(own.seed, agreed.transcript, self._name)
        packed = mask_and_pack(words, own.context.bits, plus, minus, own_mask, self._threads)
        own.mask_key.wipe()
        own.seed.wipe()
        head = MaskedVector(own.context.digest, agreed.transcript, self._name, words.length)
        return head.signed(self._signing_key), packed

    def _require_same_process(self) -> None:
        """A forked copy has the same masks: two vectors under them would show their difference."""
        if os.getpid() != self._process:
            raise ProtocolOrderError("This is a copy of the process that made the offer. Only that one may go on.")

    def _pairwise_keys(self, own: _Own, agreed: _Agreed) -> Iterator[tuple[str, Secret]]:
        for peer, offer in agreed.offers.items():
            if peer != self._name:
                yield peer, pairwise_mask_key(own.mask_key, self._name, peer, offer.mask_key, agreed.transcript)

    def _confirm(self, names: tuple[str, ...], agreed_on: bytes) -> Confirmation:
        own, agreed = self._after_offer(), self._after_agree()
        if len(set(names)) != len(names) or not set(names) <= set(agreed.offers) or self._name not in names:
            raise SecureSumError("The survivors are not different sites of this sum with this site among them.")
        if len(names) < own.context.threshold:
            raise TooFewSitesError(f"{len(names)} vectors arrived; this sum needs {own.context.threshold}.")
        self._survivors = names
        return Confirmation(own.context.digest, self._name, agreed_on).signed(self._signing_key)

    def _reveal(self, confirmations: Sequence[Confirmation]) -> Reveal:
        own, agreed = self._after_offer(), self._after_agree()
        self._require_confirmed(own, agreed, confirmations)
        seeds, keys = [], []
        for dealer, held in agreed.held.items():
            if dealer in self._survivors:
                seeds.append(RevealedShare(dealer, bytes(held.seed.expose())))
            else:
                keys.append(RevealedShare(dealer, bytes(held.key.expose())))
        reveal = Reveal(own.context.digest, self._name, tuple(seeds), tuple(keys)).signed(self._signing_key)
        self._erase()
        return reveal

    def _require_confirmed(self, own: _Own, agreed: _Agreed, confirmations: Sequence[Confirmation]) -> None:
        expected = survivors_digest(agreed.transcript, self._survivors)
        for item in confirmations:
            if item.context != own.context.digest or item.name not in self._survivors:
                raise ProtocolOrderError(f"Site {item.name!r}: a confirmation of another sum, or from outside U2.")
            if item.agreed != expected:
                raise SecureSumError(f"Site {item.name!r} confirmed other offers or other survivors.")
            item.require_signed(self._roster)
        confirmed = {item.name for item in confirmations}
        if len(confirmed) != len(confirmations):
            raise SecureSumError("A site's confirmation was counted twice.")
        if len(confirmed) < own.context.threshold:
            raise TooFewSitesError(f"{len(confirmed)} sites confirmed; this sum needs {own.context.threshold}.")

    def _erase(self) -> None:
        """Wipe what can open anything. What was answered before must not be asked for again."""
        if self._own is not None:
            self._own.mask_key.wipe()
            self._own.seed.wipe()
            self._own.shares.wipe()
        for held in self._agreed.held.values() if self._agreed is not None else ():
            held.wipe()
        self._share_key.wipe()
        self._own, self._agreed, self._survivors = None, None, ()
        self._answers.clear()

    def _after_offer(self) -> _Own:
        if self._own is None:
            raise ProtocolOrderError(f"Nothing is on offer in this sum: it stands at {self.phase!s}.")
        return self._own

    def _after_agree(self) -> _Agreed:
        if self._agreed is None:
            raise ProtocolOrderError(f"No offers are agreed in this sum: it stands at {self.phase!s}.")
        return self._agreed
