"""This site's half of the secure sums of a run: which numbers it serves, with which keys, and until when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock, Timer

from client.exact_sums.asked import Asked
from client.exact_sums.sums_made import records_of
from client.membership.identity import SiteIdentity
from common.errors import ProtocolOrderError, SecureSumError, TooFewSitesError
from common.plan import Declaration, threshold_of
from common.secure_sum.fixed_point import word_bits
from common.secure_sum.masking import WordSource
from common.secure_sum.messages import Confirmation, Member, Offer, Reveal, SumContext
from common.secure_sum.site import ShareKey, SiteSum, Upload
from common.secure_sum.states import SitePhase
from common.study import Study

LIFETIME_SECONDS = 86_400.0  # a sum that is not over by then is given up, and its secrets erased


@dataclass(frozen=True, eq=False)
class _Consent:
    """To a sum that has no offer yet: the signed statement, and the secret part of the key in it."""

    member: Member
    share_key: ShareKey


def declaration_of(member: Member) -> Declaration:
    """Return what a site signed for."""
    return Declaration(member.modalities, member.parts, member.waits)


@dataclass(frozen=True, eq=False)
class _Open:
    context: SumContext
    following: Member
    sum: SiteSum
    end: Timer

    def forget(self) -> None:
        self.end.cancel()
        self.sum.forget()


class SiteSums:
    """Consents, offers and sums, by number. Secrets stay in memory; what must outlive a crash is in `SumRecords`.

    A site that restarts has lost its secrets: it joins again, with new keys, from the next sum on.
    """

    def __init__(
        self,
        identity: SiteIdentity,
        study: Study,
        state: Path,
        *,
        minimum_sites: int = 3,
        threads: int = 1,
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        self._identity, self._study = identity, study
        self._minimum_sites, self._threads, self._lifetime = minimum_sites, threads, lifetime
        self.records = records_of(state)
        self._run, self._declared = "", Declaration((), ())
        self._consents: dict[int, _Consent] = {}
        self._sums: dict[int, _Open] = {}
        self._lock = RLock()

    def consent(self, run: str, number: int, declared: Declaration) -> Member:
        """Join: this site's signed consent to hold shares in a sum. Asked again for the same, it is the same."""
        with self._lock:
            if run != self._run:
                self.forget()
            self._run, self._declared = run, declared
            known = self._consents.get(number)
            if known is not None and declaration_of(known.member) != declared:  # it rode on an offer, of before
                self._consents.pop(number).share_key.wipe()
            return self._consent(number).member

    @property
    def declared(self) -> Declaration:
        """What this site signed for when it joined last."""
        return self._declared

    def offer(self, context: SumContext) -> Offer:
        """Leg 0. Refuses a number that is not above all before, and what is not as this site's own study has it."""
        with self._lock:
            present = self._sums.get(context.number) or self._begin(context)
            return present.sum.offer(context, present.following)

    def _begin(self, context: SumContext) -> _Open:
        self._require_agreed(context)
        consent = self._consents.get(context.number)
        if consent is None:
            raise ProtocolOrderError("This site has not consented to a sum of this number since it started.")
        if consent.member not in context.members:
            raise SecureSumError("The list of sites does not have this site's own consent as it gave it.")
        self._require_nothing_learnt(consent.member)
        context.require_signed(self._identity.roster)  # all of this before the number is used up
        self.records.offering(self._run, context.number)
        self._forget_below(context.number)
        del self._consents[context.number]
        identity = self._identity
        begun = SiteSum(consent.member, consent.share_key, identity.key, identity.roster, threads=self._threads)
        end = Timer(self._lifetime, begun.forget)
        end.daemon = True
        end.start()
        self._sums[context.number] = _Open(context, self._consent(context.number + 1).member, begun, end)
        return self._sums[context.number]

    def agree(self, number: int, plan_digest: bytes, offers: Sequence[Offer]) -> None:
        """First half of leg 1: everything that could refuse, before any patient's data is touched."""
        self._open(number).sum.agree(plan_digest, offers)

    def mask(self, number: int, plan_digest: bytes, offers: Sequence[Offer], words: WordSource) -> Upload:
        """Leg 1. The claim to the only upload is on disk before there is one."""
        with self._lock:
            present = self._open(number).sum
            if present.phase is SitePhase.AGREED:
                self.records.uploading(self._run, number)
            return present.mask(plan_digest, offers, words)

    def confirm(self, number: int, survivors: Sequence[str], asked: Asked) -> Confirmation:
        """Leg 2. Whom the sum may be opened over is on disk before this site says so."""
        with self._lock:
            present = self._open(number).sum
            self.records.require_allowed(asked, survivors)  # which leaves the sum as it was
            confirmation = present.confirm(survivors)
            self.records.confirming(asked, present.survivors)
            return confirmation

    def reveal(self, number: int, confirmations: Sequence[Confirmation], asked: Asked) -> Reveal:
        """Leg 3; afterwards nothing of this sum is left here, but whom it was answered over. Where a
        site waits for lost ones, TooFewSitesError unless all of U2 confirmed: each keeps the set, and refuses what
        would show it.
        """
        with self._lock:
            present = self._open(number).sum
            present.require_confirmed(confirmations)
            self._require_known_to_all(present.survivors, confirmations, asked)
            self.records.answering(asked, present.survivors)
            reveal = present.reveal(confirmations)
            self._sums.pop(number).forget()
            return reveal

    def _require_known_to_all(
        self, survivors: Sequence[str], confirmations: Sequence[Confirmation], asked: Asked
    ) -> None:
        """t of them would do to open the sum, and the others would not know that it was."""
        needed = asked.exact and (asked.shown_to_all or self.records.anybody_waits(asked))
        if needed and len(confirmations) < len(survivors):
            raise TooFewSitesError(
                f"{len(confirmations)} of {len(survivors)} sites confirmed this sum. Where a site waits for lost ones "
                "all of them must, so that each knows which sums it is in."
            )

    def context(self, number: int) -> SumContext:
        """Of an open sum."""
        return self._open(number).context

    def forget(self) -> None:
        """Erase every secret: the run is over, or another one begins."""
        with self._lock:
            self._forget_below(1 << 63)

    # ------------------------------------------------------------------------------------------------------ refusals

    def _require_agreed(self, context: SumContext) -> None:
        """What the study fixes is not the coordinator's to choose."""
        agreed, sites = self._study.secure_sum, len(context.members)
        if context.study != bytes.fromhex(self._study.digest) or context.run != self._run:
            raise SecureSumError("An offer was asked for another study or run than the one joined.")
        if (context.colluding, context.bits) != (agreed.colluding, word_bits(agreed.bits, sites)):
            raise SecureSumError("The number of colluding sites, or the width of a word, is not the study's.")
        if context.threshold != threshold_of(self._study, sites):
            raise SecureSumError("The threshold is not the one that follows from the study.")
        if context.threshold < self._minimum_sites:
            raise SecureSumError(
                f"The sum may open over {context.threshold} sites; this site's policy asks for {self._minimum_sites}."
            )

    def _require_nothing_learnt(self, consent: Member) -> None:
        """Without privacy the others of a sum go by what its members signed of waiting for lost sites."""
        if not self._study.private and not consent.waits and self.records.anybody_waits():
            raise ProtocolOrderError(
                "This site has learnt of one that waits for lost sites since it consented to this sum. It takes part "
                "again as soon as the coordinator asks it to join anew."
            )

    def _open(self, number: int) -> _Open:
        present = self._sums.get(number)
        if present is None:
            raise ProtocolOrderError("No sum of this number is open here.")
        return present

    # ---------------------------------------------------------------------------------------------- keys, and an end

    def _consent(self, number: int) -> _Consent:
        if number not in self._consents:
            key = ShareKey.generate()
            statement = Member(
                bytes.fromhex(self._study.digest),
                self._identity.roster.digest,
                self._run,
                number,
                self._identity.name,
                self._declared.modalities,
                self._declared.parts,
                self._declared.waits,
                key.public,
            )
            for other in self._consents.values():  # one consent is out at a time: a later one takes its place
                other.share_key.wipe()
            self._consents = {number: _Consent(statement.signed(self._identity.key), key)}
        return self._consents[number]

    def _forget_below(self, number: int) -> None:
        for old in [key for key in self._sums if key < number]:
            self._sums.pop(old).forget()
        for old in [key for key in self._consents if key < number]:
            self._consents.pop(old).share_key.wipe()
