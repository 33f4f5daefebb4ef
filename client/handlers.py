"""A site's answers to the closed list of requests. What goes wrong leaves as a code; the sentence stays here."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flwr.app import Message

from client.round import Site, rounding, work
from client.secure_sum import SiteSums
from common.errors import RunError, SecureSumError, TooFewSitesError, WardroundError
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
    from_records,
    to_records,
)
from common.plan import RoundPlan
from common.secure_sum.fixed_point import FixedPoint, pack
from common.secure_sum.messages import Confirmation, Offer, SumContext

log = logging.getLogger("wardround.site")


@dataclass
class SiteHandler:
    """One site in one run. Requests come one at a time, in the order of the legs."""

    site: Site
    run: str = ""
    plan: RoundPlan | None = field(default=None, repr=False)  # of the open sum
    sums: SiteSums = field(init=False, repr=False)
    # The last round's answer: the same request again gets the same bytes, and trains and spends nothing.
    _done: tuple[tuple[int, bytes, tuple[bytes, ...]], RoundReply] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.sums = SiteSums(self.site.name, self.site.state)

    def __call__(self, message: Message) -> Message:
        """Answer one Flower message. Never raises, and never says more than a code about what went wrong."""
        return Message(to_records(self._answer(message)), reply_to=message)

    def _answer(self, message: Message) -> Reply:
        try:
            request = from_records(message.content)
            handle = _HANDLERS.get(type(request))
            if handle is None:
                raise RunError("A site takes requests, not replies.")
            return handle(self, request)
        except WardroundError as error:
            log.warning("%s: refused (%s): %s", self.site.name, error.code, error)
            return Refusal(error.code)
        except Exception as error:
            log.error("%s: failed with %s at %s", self.site.name, type(error).__name__, _place(error))
            return Refusal("error")

    def join(self, request: JoinRequest) -> JoinReply:
        if request.study != self.site.study.digest:
            raise RunError("This study is not the one approved here: its digest differs.")
        self.run = request.run
        return JoinReply(self.site.name, self.site.cohort.owned, self.sums.share_key)

    def offer(self, request: OfferRequest) -> OfferReply:
        context = SumContext.from_bytes(request.context)
        return OfferReply(self.sums.offer(context, study=self.site.study, run=self.run).to_bytes())

    def round(self, request: RoundRequest) -> RoundReply:
        plan = request.plan
        if plan.run != self.run:
            raise RunError("The plan is of another run than the one joined.")
        secure = self.site.study.secure_sum
        if secure.enabled and not request.offers:
            raise SecureSumError("The study has a secure sum; a round without offers is refused.")
        offers = [Offer.from_bytes(offer) for offer in request.offers]
        asked = (request.number, plan.digest, request.offers)
        if self._done is not None and self._done[0] == asked:
            return self._done[1]
        if secure.enabled:
            self._require_sum(plan, offers)
            self.sums.agree(request.number, plan.digest, offers)
        done = work(plan, self.site)
        point = FixedPoint(done.layout, bits=secure.bits, sites=len(plan.sites))
        words = point.encode(done.vector, rounding(plan, self.site))
        if secure.enabled:
            sent = self.sums.mask(request.number, plan.digest, offers, words).to_bytes()
        else:
            sent = pack(words, secure.bits)
        vector = np.frombuffer(sent, dtype=np.uint8)
        reply = RoundReply(vector, done.steps, done.epsilon, done.held_out_epsilon)
        self._done = (asked, reply)
        return reply

    def _require_sum(self, plan: RoundPlan, offers: Sequence[Offer]) -> None:
        """The plan counts the same sites as the sum, and no group would show a single site."""
        context = self.sums.context
        if context is None:
            raise SecureSumError("No sum is open here.")
        if plan.sites != tuple(member.name for member in context.members):
            raise SecureSumError("The plan and the sum do not name the same sites.")
        self.plan = plan
        self._require_owners([offer.name for offer in offers])

    def _require_owners(self, present: Sequence[str]) -> None:
        """Each site checks every group, also those that are not its own."""
        if self.plan is None or self.plan.lonely(present, self.site.study.secure_sum.colluding):
            raise TooFewSitesError("A group of parameters would be summed over too few of its owners.")

    def confirm(self, request: ConfirmRequest) -> ConfirmReply:
        self._require_owners(request.survivors)
        return ConfirmReply(self.sums.confirm(request.number, request.survivors).to_bytes())

    def reveal(self, request: RevealRequest) -> RevealReply:
        confirmations = [Confirmation.from_bytes(item) for item in request.confirmations]
        reveal = self.sums.reveal(request.number, confirmations)
        return RevealReply(reveal.to_bytes(), self.sums.share_key)


_HANDLERS: dict[type[Request | Reply], Callable[[SiteHandler, Any], Reply]] = {
    JoinRequest: SiteHandler.join,
    OfferRequest: SiteHandler.offer,
    RoundRequest: SiteHandler.round,
    ConfirmRequest: SiteHandler.confirm,
    RevealRequest: SiteHandler.reveal,
}


def _place(error: BaseException) -> str:
    """Where it happened, without what it said: the text of a foreign exception may quote a patient's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "an unknown place"
