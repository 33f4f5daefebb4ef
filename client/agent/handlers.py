"""A site's answers to the closed list of requests. What goes wrong leaves as a code; the sentence stays here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import torch
from flwr.app import Message, RecordDict

from client.agent.replies import Replies
from client.agent.secure_sum import LIFETIME_SECONDS, SiteSums, declaration_of
from client.exact_sums.asked import Asked
from client.exact_sums.cut import Cut, cut_of
from client.exact_sums.cuts import opening, require_alike
from client.ledger.accounts import judged_at
from client.ledger.forecast import require_carried
from client.membership.identity import SiteIdentity
from client.round.declaration import declared, require_as_signed
from client.round.failures import place_of
from client.round.gate import Gate
from client.round.plan_checks import (
    Decided,
    Story,
    require_declared_owners,
    require_modalities,
    require_no_clock,
    require_own_part,
    require_owners,
    require_parts,
    require_stage,
)
from client.round.release_keys import asked_by
from client.round.round import rounding, work
from client.round.session import Site
from common.derived import Derived, derive
from common.disk.audit import Audit, Confirmed, Joined, Masked, Offered, Refused, Revealed, Sent, SentUnmasked
from common.disk.audit_events import UNREADABLE
from common.errors import (
    IdentityError,
    ProtocolOrderError,
    RunError,
    SecureSumError,
    WardroundError,
)
from common.messages import (
    ConfirmReply,
    ConfirmRequest,
    JoinReply,
    JoinRequest,
    OfferReply,
    OfferRequest,
    Refusal,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    RoundReply,
    RoundRequest,
    answered_in,
    from_records,
    to_records,
)
from common.plan import Declaration, RoundPlan
from common.protocols import require_sayable
from common.questions import parts_of
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.masking import pack_source
from common.secure_sum.messages import KNOWS_OF_ONE, WAITS, Confirmation, Offer, SumContext

log = logging.getLogger("wardround.site")


@dataclass(frozen=True)
class _Worked:
    """A plan that this site has worked on, and what its answer says of which data: the cases may change meanwhile."""

    plan: RoundPlan
    parts: tuple[str, ...]  # of the cohort, that add to its sum
    asked: Asked
    present: frozenset[str]  # U1
    cases: str  # the version of the cohort


@dataclass
class SiteHandler:
    """One site in one run. Requests come one at a time, in the order of the legs."""

    site: Site
    lifetime: float = LIFETIME_SECONDS  # of secrets and stored replies
    run: str = ""
    gate: Gate | None = None  # None: a simulation's, where nothing leaves this machine
    identity: SiteIdentity = field(init=False, repr=False)
    sums: SiteSums = field(init=False, repr=False)
    audit: Audit = field(init=False, repr=False)
    _replies: Replies = field(init=False, repr=False)
    _worked: dict[int, _Worked] = field(default_factory=dict, repr=False)  # of the open sum, by its number
    _decided: Decided | None = field(default=None, repr=False)  # by round 0 of this run
    _used: tuple[str, ...] | None = field(default=None, repr=False)  # those of the plan that came last in this run
    _story: Story = field(default_factory=Story, repr=False)

    def __post_init__(self) -> None:
        self.identity = SiteIdentity.read(self.site.name, self.site.state / "identity")
        self.sums = SiteSums(
            self.identity,
            self.site.study,
            self.site.state,
            minimum_sites=self.site.policy.minimum_sites,
            threads=torch.get_num_threads(),
            lifetime=self.lifetime,
        )
        self.audit = self.site.audit
        self.gate = self.gate or Gate(self.site, simulated=True)
        self._replies = Replies(self.lifetime, self.site.state, self.site.policy)

    def __call__(self, message: Message) -> Message:
        """Answer one Flower message. Never raises, and never says more than a code about what went wrong."""
        return Message(self.reply(message.content), reply_to=message)

    def reply(self, records: RecordDict) -> RecordDict:
        """The same, of a message's records."""
        return to_records(self._answer(records), answered_in(records))

    def _answer(self, records: RecordDict) -> Reply:
        kind = UNREADABLE
        try:
            request = from_records(records)
            handle = _HANDLERS.get(type(request))
            if handle is None:
                raise RunError("A site takes requests, not replies.")
            kind = type(request).__name__
            require_sayable(answered_in(records), self.site.study)
            return self._let_out(kind, request, handle)
        except WardroundError as error:
            log.warning("%s: refused (%s, %s): %s", self.site.name, type(error).__name__, error.code, error)
            return self._refuse(kind, error.code)
        except Exception as error:
            log.error("%s: failed with %s at %s", self.site.name, type(error).__name__, place_of(error))
            return self._refuse(kind, "error")

    def _let_out(self, kind: str, request: Any, handle: Callable[[SiteHandler, Any], Reply]) -> Reply:
        """An answer that policy allows, and that is on record before it leaves."""
        assert self.gate is not None
        self.gate.require(request, datetime.now())
        reply = handle(self, request)
        self.audit.append(Sent(self.site.study.digest, kind, self.gate.let_out(request, reply)))
        return reply

    def _refuse(self, kind: str, code: str) -> Refusal:
        """Every refusal is on record, also when the record itself cannot be written: then in the log alone."""
        try:
            self.audit.append(Refused(kind, code))
        except WardroundError as error:
            log.error("%s: not recorded (%s): %s", self.site.name, error.code, error)
        return Refusal(code)

    # --------------------------------------------------------------------------------------------------- the requests

    def join(self, request: JoinRequest) -> JoinReply:
        if request.study != self.site.study.digest:
            raise RunError("This study is not the one approved here: its digest differs.")
        if request.roster != self.identity.roster.digest.hex():
            raise IdentityError("The coordinator's roster is not the one pinned here: its digest differs.")
        if request.first >= 0:
            site = self.site
            delta = judged_at(site.policy, site.privacy) if site.privacy else None
            require_carried(site.state, site.study, site.privacy, request.first, delta)
        self.site.refresh()
        if request.run != self.run:
            self._worked.clear()
            self._decided = self._used = None
        member = self.sums.consent(request.run, request.number, self._declared(self._used))
        self.run = request.run
        self.audit.append(Joined(request.study, request.run, request.number))
        return JoinReply(member.to_bytes())

    def offer(self, request: OfferRequest) -> OfferReply:
        return OfferReply(self._offer(request.context))

    def _offer(self, context: bytes) -> bytes:
        asked = SumContext.from_bytes(context)
        offer = self.sums.offer(asked).to_bytes()
        self.audit.append(Offered(self.site.study.digest, self.run, asked.number))
        return offer

    def round(self, request: RoundRequest) -> RoundReply:
        stored = self._replies.find(request)
        if stored is not None:
            return cast(RoundReply, stored)
        if request.plan.run != self.run:
            raise RunError("The plan is of another run than the one joined.")
        require_stage(request.plan, self.site.study)
        self._story.require(request.plan)
        reply = self._masked(request) if self.site.study.secure_sum.enabled else self._in_the_open(request)
        self._replies.keep(request, reply)
        self._story.answered(request.plan)
        return reply

    def _masked(self, request: RoundRequest) -> RoundReply:
        number, plan = request.number, request.plan
        if not request.offers:
            raise SecureSumError("The study has a secure sum; a round without offers is refused.")
        offers = [Offer.from_bytes(offer) for offer in request.offers]
        context = self.sums.context(number)
        if plan.sites != context.names:
            raise SecureSumError("The plan and the sum do not name the same sites.")
        require_declared_owners(plan, context)
        present = [offer.name for offer in offers]
        require_owners(plan, present, context)
        believed = self.site.privacy is not None or not (self._waits or context.waiting())
        require_modalities(plan, present, context, self.site.study, self._decided, believed=believed)
        if not believed:
            require_no_clock(plan)
        counted = context.counted_parts(present)
        parts = parts_of(plan, self.site.study, counted)
        require_parts(parts, present, context)
        signed = declaration_of(context.members[context.place(self.site.name) - 1])
        self._require_as_signed(plan, signed)
        derived = self._derived(request)
        self.sums.agree(number, derived.digest, offers)
        self._require_cases_of_before(number)
        mine = replace(signed, parts=tuple(set(signed.parts) & set(counted)), waits=not believed)
        done = work(plan, self.site, mine, self._smallest)
        asked = asked_by(plan, self.site, context, self.identity.roster, parts, waits=self._waits)
        worked = _Worked(plan, parts, asked, frozenset(present), self.site.cohort.version)
        self._worked = {number: self._worked.get(number, worked)}  # the vector of a second attempt is the first one's
        point = FixedPoint(done.layout, bits=context.bits, sites=len(context.members))
        words = point.words(done.summand, rounding(plan, self.site))
        if self.site.privacy is None:  # before the vector leaves: whoever opens the sum need not ask this site again
            opening(self.site.state, plan.study, self._cut(plan, signed), self._smallest)
        head, packed = self.sums.mask(number, derived.digest, offers, words)
        self.audit.append(Masked(plan.study, plan.run, number, plan.round, packed.nbytes))
        return RoundReply(head.to_bytes(), packed, done.steps, done.epsilon, done.held_out_epsilon)

    def _in_the_open(self, request: RoundRequest) -> RoundReply:
        """The study switched the secure sum off: the same fixed point, unmasked."""
        plan, bits, signed = request.plan, self.site.study.secure_sum.bits, self.sums.declared
        require_own_part(plan, self.site.name, signed.modalities, self.identity.roster)
        self._require_as_signed(plan, signed)
        derived = self._derived(request)
        done = work(plan, self.site, replace(signed, waits=False), self._smallest)
        width = word_bits(bits, len(plan.sites))
        point = FixedPoint(done.layout, bits=width, sites=len(plan.sites))
        packed = pack_source(point.words(done.summand, rounding(plan, self.site)), width)
        if self.site.privacy is None:
            opening(self.site.state, plan.study, self._cut(plan, signed), self._smallest)
        self.audit.append(SentUnmasked(plan.study, plan.run, request.number, plan.round, packed.nbytes))
        return RoundReply(derived.digest, packed, done.steps, done.epsilon, done.held_out_epsilon)

    def _derived(self, request: RoundRequest) -> Derived:
        """What this site derives from the plan. ReleaseError, before anything is charged, if the coordinator said
        that it derives something else.
        """
        site = self.site
        derived = derive(request.plan, site.study, site.parameters, site.privacy)
        if request.derived:
            derived.require(request.derived)
        return derived

    def confirm(self, request: ConfirmRequest) -> ConfirmReply:
        worked, context = self._done(request.number), self.sums.context(request.number)
        require_owners(worked.plan, request.survivors, context)
        require_parts(worked.parts, request.survivors, context)
        confirmation = self.sums.confirm(request.number, request.survivors, worked.asked)
        self.audit.append(Confirmed(worked.plan.study, worked.plan.run, request.number, len(request.survivors)))
        return ConfirmReply(confirmation.to_bytes())

    def reveal(self, request: RevealRequest) -> RevealReply:
        stored = self._replies.find(request)
        if stored is not None:
            return cast(RevealReply, stored)
        worked = self._done(request.number)
        confirmations = [Confirmation.from_bytes(item) for item in request.confirmations]
        reveal = self.sums.reveal(request.number, confirmations, worked.asked)
        self._worked.clear()
        if worked.plan.round == 0:
            self._decided = Decided(worked.plan.used(self.site.study), worked.present)
        given = reveal.to_bytes()
        self.audit.append(Revealed(worked.plan.study, worked.plan.run, request.number, len(reveal.seeds), len(given)))
        reply = RevealReply(given, *self._following(request.following))
        self._replies.keep(request, reply, alone=True)
        return reply

    def _following(self, context: bytes) -> tuple[bytes, str]:
        """The offer for the next sum, that rides on this sum's last reply; or why there is none."""
        if not context:
            return b"", ""
        try:
            return self._offer(context), ""
        except WardroundError as error:
            log.warning("%s: no offer for the next sum (%s): %s", self.site.name, error.code, error)
            return b"", self._refuse(OfferRequest.__name__, error.code).code

    def _require_as_signed(self, plan: RoundPlan, signed: Declaration) -> None:
        """Before this site is bound to an answer: what it signed for, it has, in the modalities of this plan too."""
        used = plan.used(self.site.study)
        if self._decided is None or not self._waits:  # what is refused now is signed anew, as this plan has it
            self._used = used
        if self.site.privacy is None:
            self.site.refresh()
            require_as_signed(signed, self._declared({*used} & {*signed.modalities}))  # what its sum is made of
            require_alike(self.site.state, plan.study, self._cut(plan, signed), self._smallest)
        self._used = used

    def _declared(self, used: Collection[str] | None) -> Declaration:
        knows = KNOWS_OF_ONE if self.site.privacy is None and self.sums.records.anybody_waits() else 0
        return declared(self.site, self._smallest, used, waits=WAITS if self._waits else knows)

    def _cut(self, plan: RoundPlan, signed: Declaration) -> Cut:
        """The patients as the plan's sums take them: who has none of its modalities adds to none."""
        used = set(plan.used(self.site.study)) & set(signed.modalities)
        return cut_of(self.site.cohort, used, signed.parts)

    @property
    def _smallest(self) -> int:
        assert self.gate is not None
        return self.site.policy.without_privacy.smallest(simulated=self.gate.simulated)

    @property
    def _waits(self) -> bool:
        assert self.gate is not None
        return self.site.policy.without_privacy.waits(simulated=self.gate.simulated)

    def _require_cases_of_before(self, number: int) -> None:
        """Without privacy: ProtocolOrderError where a vector of this sum was made of other cases, and what followed
        failed. It would be sent again, beside a record of what these cases answer.
        """
        before = self._worked.get(number)
        if before is not None and self.site.privacy is None and before.cases != self.site.cohort.version:
            raise ProtocolOrderError(
                "This site's cases have changed since it made its vector for this sum. It takes part again in the next."
            )

    def _done(self, number: int) -> _Worked:
        if number not in self._worked:
            raise ProtocolOrderError("No round of this number was worked on here.")
        return self._worked[number]


_HANDLERS: dict[type[Request | Reply], Callable[[SiteHandler, Any], Reply]] = {
    JoinRequest: SiteHandler.join,
    OfferRequest: SiteHandler.offer,
    RoundRequest: SiteHandler.round,
    ConfirmRequest: SiteHandler.confirm,
    RevealRequest: SiteHandler.reveal,
}
