"""The coordinator's half of a secure sum, leg by leg over Flower's Grid. What comes out is a sum or an error.

No function here returns one site's numbers: masked vectors go straight into the protocol's accumulator.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.errors import RunError, SecureSumError, TooFewSitesError
from common.messages import (
    ConfirmReply,
    ConfirmRequest,
    OfferReply,
    OfferRequest,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    RoundReply,
    RoundRequest,
)
from common.plan import RoundPlan, threshold_of
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.fixed_point import FixedPoint, unpack
from common.secure_sum.messages import Confirmation, MaskedVector, Member, Offer, Reveal, SumContext
from common.study import Study
from common.summand import Layout
from server.exchange import exchange
from server.invitation import Participant, invite, require_distinct

R = TypeVar("R", bound=Reply)
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Total:
    """A sum over `sites`, by segment name, and what is known beside it."""

    values: Mapping[str, NDArray[np.float64]] = field(repr=False)
    sites: tuple[str, ...]
    dropped: Mapping[str, str]  # site -> leg and reason
    steps: int
    epsilon: float | None
    held_out_epsilon: float | None
    bytes_up: int
    bytes_down: int


class PlanFor(Protocol):
    """Makes the plan of a round for R, the sites that hold shares, of whom only U1 will work."""

    def __call__(self, holders: Sequence[Participant], working: Collection[str], /) -> RoundPlan: ...


@dataclass
class Summation:
    """Runs one sum after another with the sites of a run. `number` only rises, and is kept in the checkpoint."""

    grid: Grid
    study: Study
    run: str
    nodes: Sequence[int]
    layout_of: Callable[[RoundPlan], Layout]
    seconds: float  # deadline of each leg
    number: int = 0
    before_number: Callable[[int], None] = lambda number: None  # saves the number before anyone hears of it
    _present: dict[int, Participant] = field(default_factory=dict)
    _dropped: dict[str, str] = field(default_factory=dict)
    _bytes: list[int] = field(default_factory=lambda: [0, 0])

    def total(self, plan_for: PlanFor) -> Total:
        """One sum: offers, the round's work, confirmation, opening. Raises SecureSumError when it cannot be opened."""
        self._dropped, self._bytes = {}, [0, 0]
        self._rejoin()
        participants = sorted(self._present.values(), key=lambda participant: participant.site)
        self.number += 1
        self.before_number(self.number)
        if self.study.secure_sum.enabled:
            return self._secure(plan_for, participants)
        return self._plain(plan_for(participants, [item.site for item in participants]), participants)

    # ------------------------------------------------------------------------------------------------ with the sum

    def _secure(self, plan_for: PlanFor, participants: Sequence[Participant]) -> Total:
        context = SumContext(
            study=bytes.fromhex(self.study.digest),
            run=self.run,
            number=self.number,
            threshold=threshold_of(self.study, len(participants)),
            members=tuple(Member(item.site, item.share_key) for item in participants),
            colluding=self.study.secure_sum.colluding,
            bits=self.study.secure_sum.bits,
        )
        asked: dict[int, Request] = {item.node: OfferRequest(context.to_bytes()) for item in participants}
        offered = self._each("offer", self._leg("offer", asked, OfferReply), lambda it: Offer.from_bytes(it.offer))
        plan = plan_for(participants, [offer.name for offer in offered.values()])
        layout = self.layout_of(plan)
        half = CoordinatorSum(context, plan.digest, layout.length)
        self._each("offer", offered, half.add_offer)
        offers = half.offers
        self._forget_keys(participants)
        work = RoundRequest(self.number, plan, tuple(item.to_bytes() for item in offers))
        worked = self._leg("round", self._to(work, [item.name for item in offers]), RoundReply)
        self._each("round", worked, lambda it: half.add_masked(MaskedVector.from_bytes(it.masked.tobytes())))
        survivors = half.survivors
        confirmed = self._leg("confirm", self._to(ConfirmRequest(self.number, survivors), survivors), ConfirmReply)
        self._each("confirm", confirmed, lambda it: half.add_confirmation(Confirmation.from_bytes(it.confirmation)))
        give = RevealRequest(self.number, tuple(item.to_bytes() for item in half.confirmations))
        revealed = self._leg("reveal", self._to(give, [item.name for item in half.confirmations]), RevealReply)
        self._each("reveal", revealed, lambda it: half.add_reveal(Reveal.from_bytes(it.reveal)))
        for node, reply in revealed.items():
            self._renew_key(node, reply.share_key)
        point = FixedPoint(layout, bits=context.bits, sites=len(context.members))
        return self._sum_of(layout, point.decode(half.open()), survivors, worked)

    def _each(self, leg: str, sent: Mapping[int, A], take: Callable[[A], B]) -> dict[int, B]:
        """What one site sent wrong costs that site its place in the sum, and not the others their round."""
        taken = {}
        for node, item in sent.items():
            try:
                taken[node] = take(item)
            except SecureSumError:
                self._dropped.setdefault(self._present[node].site, f"{leg}: unacceptable message")
        return taken

    def _forget_keys(self, participants: Sequence[Participant]) -> None:
        """A share key serves one sum: whoever gives no new one with the last leg must join again."""
        for item in participants:
            if item.node in self._present:
                self._present[item.node] = Participant(item.node, item.site, item.modalities, b"")

    def _renew_key(self, node: int, share_key: bytes) -> None:
        old = self._present[node]
        self._present[node] = Participant(node, old.site, old.modalities, share_key)

    # --------------------------------------------------------------------------------------------- without the sum

    def _plain(self, plan: RoundPlan, participants: Sequence[Participant]) -> Total:
        """The study switched the secure sum off: the same fixed point, added up in the open. The report says so."""
        layout, bits = self.layout_of(plan), self.study.secure_sum.bits
        work = RoundRequest(self.number, plan, ())
        worked = self._leg("round", {item.node: work for item in participants}, RoundReply)
        if not worked:
            raise RunError(f"No site did the round's work ({self._why()}).")
        point = FixedPoint(layout, bits=bits, sites=len(plan.sites))
        words = np.zeros(layout.length, dtype=np.uint32)
        for reply in worked.values():
            words += unpack(reply.masked.tobytes(), bits, layout.length)
        mask = np.uint32((1 << bits) - 1)
        return self._sum_of(layout, point.decode(words & mask), [self._present[node].site for node in worked], worked)

    # --------------------------------------------------------------------------------------------------- both ways

    def _rejoin(self) -> None:
        """Sites that vanished, or never came, are asked again before every sum."""
        wanted = [node for node in self.nodes if node not in self._present or not self._present[node].share_key]
        if wanted:
            joined, answers = invite(self.grid, wanted, run=self.run, study=self.study.digest, seconds=self.seconds)
            for node in wanted:
                self._present.pop(node, None)
            self._present |= joined
            require_distinct(self._present)
            for node, why in answers.missing.items():
                self._dropped[f"node {node}"] = f"join: {why}"
        needed = threshold_of(self.study, max(len(self._present), 3)) if self.study.secure_sum.enabled else 1
        if len(self._present) < needed:
            raise TooFewSitesError(f"{len(self._present)} sites are ready, {needed} are needed ({self._why()}).")

    def _to(self, request: Request, names: Sequence[str]) -> dict[int, Request]:
        chosen = set(names)
        return {node: request for node, item in self._present.items() if item.site in chosen}

    def _leg(self, name: str, requests: Mapping[int, Request], kind: type[R]) -> dict[int, R]:
        answers = exchange(self.grid, requests, group=f"{self.run}/{self.number}", seconds=self.seconds)
        self._bytes[0] += answers.bytes_up
        self._bytes[1] += answers.bytes_down
        for node, why in answers.missing.items():
            self._dropped.setdefault(self._present[node].site, f"{name}: {why}")
        return {node: reply for node, reply in answers.replies.items() if isinstance(reply, kind)}

    def _sum_of(
        self,
        layout: Layout,
        vector: NDArray[np.float64],
        sites: Sequence[str],
        worked: Mapping[int, RoundReply],
    ) -> Total:
        epsilons = [reply.epsilon for reply in worked.values()]
        held_out = [reply.held_out_epsilon for reply in worked.values()]
        return Total(
            layout.part(vector),
            tuple(sites),
            dict(self._dropped),
            sum(reply.steps for reply in worked.values()),
            max(epsilons) if min(epsilons) >= 0 else None,
            max(held_out) if min(held_out) >= 0 else None,
            *self._bytes,
        )

    def _why(self) -> str:
        return "; ".join(f"{site}: {why}" for site, why in self._dropped.items()) or "no site is connected"

    @property
    def dropped(self) -> Mapping[str, str]:
        """Whom the last sum lost, opened or not, and why."""
        return dict(self._dropped)

    def explain(self, error: SecureSumError) -> str:
        """Why the last sum failed, with what happened to whom."""
        return f"{error} ({self._why()})" if self._dropped else str(error)
