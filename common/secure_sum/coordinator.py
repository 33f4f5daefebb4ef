"""The coordinator's half of one secure sum: it carries messages, adds words, and opens the sum over U2, or nothing.

    add_offer         leg 0   until `offers` is read, which fixes U1
    add_masked        leg 1   until `survivors` is read, which fixes U2
    add_confirmation  leg 2   until `confirmations` is read
    add_reveal        leg 3   each share against the digest that its dealer published
    open                      secrets rebuilt, checked against what their owners published, masks taken off

What has been shown to a site must not change: U1, U2 and the confirmations are fixed by the first look at them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from common.errors import ProtocolOrderError, SecureSumError, TooFewSitesError
from common.identity.roster import Roster
from common.identity.secret import Secret
from common.secure_sum.dealing import Kind, require_offer, seed_digest, share_digest
from common.secure_sum.key_agreement import MaskKey
from common.secure_sum.masking import (
    Packed,
    WordArray,
    Words,
    WordSink,
    adds,
    pairwise_mask_key,
    self_mask_key,
    unmask_into,
)
from common.secure_sum.messages import Confirmation, MaskedVector, Offer, Reveal, RevealedShare, SumContext
from common.secure_sum.packing import require_packed
from common.secure_sum.secret_sharing import combine
from common.secure_sum.states import COORDINATOR, CoordinatorPhase, Steps
from common.secure_sum.transcript import order_offers, survivors_digest, transcript


class CoordinatorSum:
    """Sums `length` words of every site of U2. No method returns a single site's words."""

    def __init__(
        self, context: SumContext, plan_digest: bytes, length: int, roster: Roster, *, threads: int = 1
    ) -> None:
        """`length`: words. IdentityError for a context that the sites of `roster` did not sign."""
        context.require_signed(roster)
        self.context, self._roster, self._threads = context, roster, threads
        self._plan_digest = plan_digest
        self._steps = Steps(CoordinatorPhase.OFFERS, COORDINATOR)
        self._offers: dict[str, Offer] = {}
        self._transcript = b""
        self._length = length
        self._vectors: dict[str, Packed] = {}  # of U2, masked
        self._survivors: tuple[str, ...] = ()
        self._confirmations: dict[str, Confirmation] = {}
        self._reveals: dict[str, Reveal] = {}

    @property
    def phase(self) -> CoordinatorPhase:
        return self._steps.phase

    # -------------------------------------------------------------------------------------------------------- leg 0

    def add_offer(self, offer: Offer) -> None:
        """ProtocolOrderError for a foreign, late or repeated one; IdentityError for one that its site did not sign;
        SecureSumError for boxes that do not fit R.
        """
        self._steps.require("add an offer")
        require_offer(self.context, offer, self._roster)
        _require_new(offer.name, self._offers, "offer")
        if offer.mask_key in {other.mask_key for other in self._offers.values()}:
            raise SecureSumError(f"Site {offer.name!r} offered the key of another site.")
        self._offers[offer.name] = offer

    @property
    def offers(self) -> tuple[Offer, ...]:
        """U1 in the order of names, fixed by the first look. TooFewSitesError below t."""
        if self.phase is CoordinatorPhase.OFFERS:
            self._offers = order_offers(self.context, tuple(self._offers.values()))
            self._transcript = transcript(self.context, self._plan_digest, self._offers)
            self._steps.move("fix U1")
        return tuple(self._offers.values())

    # -------------------------------------------------------------------------------------------------------- leg 1

    def add_masked(self, masked: MaskedVector, packed: NDArray[np.uint8] | bytes) -> None:
        """Take part in the sum. An error leaves the sum as it was.

        The vector is kept, and not copied: a caller that is short of memory gives one that is mapped from a file.
        """
        self._steps.require("add a masked vector")
        self._require_mine(masked, self._offers)
        _require_new(masked.name, self._vectors, "masked vector")
        if masked.transcript != self._transcript:
            raise SecureSumError(f"Site {masked.name!r} masked for another plan or other offers.")
        if masked.count != self._length:
            raise SecureSumError(f"Site {masked.name!r} sent {masked.count} words; the plan has {self._length}.")
        octets = np.frombuffer(packed, dtype=np.uint8)
        require_packed(octets, self.context.bits, self._length)
        self._vectors[masked.name] = octets

    @property
    def survivors(self) -> tuple[str, ...]:
        """U2 in the order of names, fixed by the first look. TooFewSitesError below t."""
        if self.phase not in (CoordinatorPhase.CONFIRMATIONS, CoordinatorPhase.REVEALS, CoordinatorPhase.OPENED):
            self._steps.require("fix U2")
            self._require_enough(len(self._vectors), "masked vectors arrived")
            self._survivors = tuple(sorted(self._vectors))
            self._steps.move("fix U2")
        return self._survivors

    # -------------------------------------------------------------------------------------------------- legs 2 and 3

    def add_confirmation(self, confirmation: Confirmation) -> None:
        """SecureSumError, naming the site, when it confirmed something else."""
        self._steps.require("add a confirmation")
        self._require_mine(confirmation, self._survivors)
        _require_new(confirmation.name, self._confirmations, "confirmation")
        if confirmation.agreed != survivors_digest(self._transcript, self._survivors):
            raise SecureSumError(f"Site {confirmation.name!r} confirmed other offers or other survivors.")
        self._confirmations[confirmation.name] = confirmation

    @property
    def confirmations(self) -> tuple[Confirmation, ...]:
        """Fixed by the first look. TooFewSitesError below t."""
        if self.phase not in (CoordinatorPhase.REVEALS, CoordinatorPhase.OPENED):
            self._steps.require("fix the confirmations")
            self._require_enough(len(self._confirmations), "sites confirmed")
            self._steps.move("fix the confirmations")
        return tuple(self._confirmations[name] for name in sorted(self._confirmations))

    def add_reveal(self, reveal: Reveal) -> None:
        """SecureSumError, naming the holder, for shares other than it was dealt. The sum may open without them."""
        self._steps.require("add a reveal")
        self._require_mine(reveal, self._survivors)
        _require_new(reveal.name, self._reveals, "reveal")
        if tuple(item.dealer for item in reveal.seeds) != self._survivors:
            raise SecureSumError(f"Site {reveal.name!r} did not reveal a share of the seed of every survivor.")
        if tuple(item.dealer for item in reveal.keys) != self._vanished:
            raise SecureSumError(f"Site {reveal.name!r} did not reveal a share of the key of every vanished site.")
        for item in reveal.seeds:
            self._require_dealt(reveal.name, item, "seed")
        for item in reveal.keys:
            self._require_dealt(reveal.name, item, "mask key")
        self._reveals[reveal.name] = reveal

    def open(self) -> Words:
        """The sum over U2, words (n,) below 2^bits. As `open_into`."""
        sink = WordArray(self._length)
        self.open_into(sink)
        return sink.words

    def open_into(self, sink: WordSink) -> None:
        """Give the sum over U2 to `sink`. Once.

        TooFewSitesError below t reveals: more may still be added. SecureSumError, naming the dealer, for a secret that
        is not the one whose public part its dealer offered: then there is no sum.
        """
        self._steps.require("open")
        self._require_enough(len(self._reveals), "sites revealed their shares")
        vectors = [(self._vectors[name], self._own_mask_of(name)) for name in self._survivors]
        plus, minus = self._masks_in_sum()
        if sink.length != self._length:
            raise SecureSumError(f"The sum has {self._length} words; they are wanted as {sink.length}.")
        unmask_into(sink, vectors, self.context.bits, minus, plus, self._threads)
        self._steps.move("open")
        self._vectors.clear()
        self._reveals.clear()

    # ----------------------------------------------------------------------------------------------- taking masks off

    @property
    def _vanished(self) -> tuple[str, ...]:
        """U1 without U2: they offered, and sent no vector."""
        return tuple(name for name in self._offers if name not in self._survivors)

    def _masks_in_sum(self) -> tuple[list[Secret], list[Secret]]:
        """Keys of the pairwise masks that were added and that were subtracted, and that nothing cancels: those between
        a site of U2 and one that vanished.
        """
        plus, minus = list[Secret](), list[Secret]()
        for gone in self._vanished:
            mask_key = self._mask_key_of(gone)
            for name in self._survivors:
                key = pairwise_mask_key(mask_key, gone, name, self._offers[name].mask_key, self._transcript)
                (plus if adds(name, gone) else minus).append(key)
        return plus, minus

    def _own_mask_of(self, dealer: str) -> Secret:
        seed = self._rebuild(dealer, {name: reveal.seeds for name, reveal in self._reveals.items()})
        if seed_digest(self.context, dealer, seed.expose()) != self._offers[dealer].seed_digest:
            raise _bad_dealer(dealer)
        return self_mask_key(seed, self._transcript, dealer)

    def _mask_key_of(self, dealer: str) -> MaskKey:
        mask_key = MaskKey(self._rebuild(dealer, {name: reveal.keys for name, reveal in self._reveals.items()}))
        if mask_key.public != self._offers[dealer].mask_key:
            raise _bad_dealer(dealer)
        return mask_key

    def _rebuild(self, dealer: str, revealed: Mapping[str, Sequence[RevealedShare]]) -> Secret:
        """From the first t holders by name. Shares are as their dealer digested them: if they do not fit, it lied."""
        holders = sorted(revealed)[: self.context.threshold]
        shares = {
            self.context.place(holder): next(item.share for item in revealed[holder] if item.dealer == dealer)
            for holder in holders
        }
        try:
            return combine(shares)
        except SecureSumError:
            raise _bad_dealer(dealer) from None

    # ------------------------------------------------------------------------------------------------------- refusals

    def _require_dealt(self, holder: str, item: RevealedShare, kind: Kind) -> None:
        box = self._offers[item.dealer].boxes[self.context.place(holder) - 1]
        expected = box.seed_digest if kind == "seed" else box.key_digest
        if share_digest(self.context, item.dealer, holder, kind, item.share) != expected:
            raise SecureSumError(f"Site {holder!r} revealed a share of {item.dealer!r} that it was not dealt.")

    def _require_mine(
        self, said: MaskedVector | Confirmation | Reveal, expected: Sequence[str] | Mapping[str, Offer]
    ) -> None:
        if said.context != self.context.digest or said.name not in expected:
            raise ProtocolOrderError(
                f"Site {said.name!r}: a message of another sum, or of a site that is not in this leg."
            )
        said.require_signed(self._roster)

    def _require_enough(self, count: int, what: str) -> None:
        if count < self.context.threshold:
            raise TooFewSitesError(f"{count} {what}; this sum needs {self.context.threshold}.")


def _require_new(name: str, there: Sequence[str] | Mapping[str, object], what: str) -> None:
    if name in there:
        raise ProtocolOrderError(f"Site {name!r}: its {what} is here already.")


def _bad_dealer(dealer: str) -> SecureSumError:
    return SecureSumError(f"Site {dealer!r} dealt shares of another secret than the one it offered: no sum is opened.")
