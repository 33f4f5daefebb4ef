"""The coordinator's half of a secure sum, leg by leg over Flower's Grid. What comes out is a sum or an error.

No function here returns one site's numbers: masked vectors go straight into the protocol's accumulator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from flwr.serverapp import Grid
from numpy.typing import NDArray

from common.derived import Derived
from common.errors import AnsweredError, BudgetError, IdentityError, RunError, SecureSumError, TooFewSitesError
from common.identity.roster import Roster
from common.messages import (
    ConfirmReply,
    ConfirmRequest,
    JoinRequest,
    OfferReply,
    OfferRequest,
    Reply,
    Request,
    RevealReply,
    RevealRequest,
    RoundReply,
    RoundRequest,
)
from common.plan import RoundPlan, least_sites, threshold_of
from common.protocols import needed
from common.secure_sum.coordinator import CoordinatorSum
from common.secure_sum.fixed_point import FixedPoint, word_bits
from common.secure_sum.masking import add_packed, cut
from common.secure_sum.messages import Confirmation, MaskedVector, Offer, Reveal, Signed, SumContext
from common.study import Study
from common.summand import Layout
from server.lost import Leg, Lost, Silence, Why
from server.run.blocked import require_spoken
from server.run.exchange import exchange
from server.run.invitation import Participant, invite, participant_of, require_distinct

# Deadlines of the legs without work, and of joining, where a site may read its data for the first time.
TALK_SECONDS, JOIN_SECONDS, LEAST_JOIN_SECONDS = 180.0, 900.0, 15.0

NOTHING = np.empty(0, dtype=np.uint8)

R = TypeVar("R", bound=Reply)
S = TypeVar("S", bound=Signed)
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Total:
    """A sum over `sites`, by segment name, and what is known beside it.

    The values are in memory that the next sum is written into: who needs them longer copies them.
    """

    values: Mapping[str, NDArray[np.float64]] = field(repr=False)
    sites: tuple[str, ...]
    dropped: Mapping[str, Lost]  # site -> why; who was lost after its work was done is in `sites` too
    threshold: int | None  # t, with which it was opened; None without a secure sum
    steps: int
    epsilon: float | None  # the largest that a site has certified in this run so far
    held_out_epsilon: float | None
    bytes_up: int
    bytes_down: int


Keep = Callable[[int, Sequence[str]], None]


class PlanFor(Protocol):
    """Makes the plan of a round for R, the sites that hold shares, of whom only U1 will work."""

    def __call__(self, holders: Sequence[Participant], working: Collection[str], /) -> RoundPlan: ...


@dataclass(frozen=True)
class Begun:
    """A sum that stands after leg 0: its context, R, and the offers that came, by node."""

    context: SumContext
    holders: tuple[Participant, ...]
    offers: Mapping[int, Offer] = field(repr=False)


UNCERTIFIED = (-1.0, -1.0)  # without privacy
# Of a run that ended before its first sum. What starts it anew under its name is `open_run`.
NOTHING_BEGUN = "Nothing is in the run's folder yet: its name may be given to another run, or the folder deleted."


@dataclass
class Summation:
    """Runs one sum after another with the sites of a run. `number` only rises, and is kept in the checkpoint.

    The offers for a sum ride on the last replies of the sum before. Only the first sum of a run, and one after a sum
    that failed, asks for consent and offers in legs of their own.
    """

    grid: Grid
    study: Study
    run: str
    roster: Roster
    nodes: Sequence[int]
    derive: Callable[[RoundPlan], Derived]
    seconds: float  # deadline of the leg with the round's work
    number: int = 0
    names: Mapping[int, str] = field(default_factory=dict)  # node -> site, where that is known before it joins
    over: Sequence[str] = ()  # other runs, that nobody plays any more
    kept_to: Collection[str] = ()  # the sites that alone take part in sums to come; all, if empty
    patience: Callable[[], float] = lambda: math.inf  # seconds that a lost site is still waited for
    first: int = -1  # the round that this process begins with, until a sum of it was opened
    # Saves the highest number before anyone hears of it, and U2 before anyone reveals a share for it.
    keep: Keep = lambda number, survivors: None
    bound: tuple[str, ...] = ()  # the sites of a sum that some of them confirmed and not all, so that it did not open
    # The largest epsilon that any site certified for training and for held-out patients, in sums that opened or not.
    certified: tuple[float, float] = UNCERTIFIED
    _sites: dict[int, str] = field(default_factory=dict)  # names, of all that ever joined
    _why_out: dict[int, Lost] = field(default_factory=dict)  # of who is in no sum to come: what it last said to that
    _ahead: Begun | None = None
    _room: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    _dropped: dict[str, Lost] = field(default_factory=dict)
    _bytes: list[int] = field(default_factory=lambda: [0, 0])
    _steps: int = 0

    @property
    def protocol(self) -> int:
        """In which every site is asked."""
        return needed(self.study)

    @property
    def cost(self) -> tuple[int, int, int]:
        """Steps, bytes up and bytes down of the last sum, whether it was opened or not."""
        return (self._steps, self._bytes[0], self._bytes[1])

    def total(self, plan_for: PlanFor, *, only: Collection[str] = (), last: bool = False) -> Total:
        """One sum: offers, the round's work, confirmation, opening. Raises SecureSumError when it cannot be opened.

        `only`: the sites that may take part; all, if empty. `last`: no sum follows, so no offers are asked for. Before
        the first sum BudgetError, when the budget of a site does not carry the run to its end.
        """
        self._dropped, self._bytes, self._steps, self.bound = {}, [0, 0], 0, ()
        if not self.study.secure_sum.enabled:
            participants = self._join(only)
            return self._plain(plan_for(participants, [item.site for item in participants]), participants)
        ahead, self._ahead = self._ahead, None
        begun = self._completed(ahead) if ahead else self._begin(self._join(only))
        return self._secure(plan_for, begun, last=last)

    # ------------------------------------------------------------------------------------------------ with the sum

    def _begin(self, participants: Sequence[Participant]) -> Begun:
        """Leg 0, alone."""
        context = self._context(participants)
        self.keep(self.number, ())
        asked: dict[int, Request] = {item.node: OfferRequest(context.to_bytes()) for item in participants}
        replies = self._leg("offer", context.number, asked, OfferReply)
        return Begun(context, tuple(participants), self._offers({node: it.offer for node, it in replies.items()}))

    def _secure(self, plan_for: PlanFor, begun: Begun, *, last: bool) -> Total:
        context, holders, number = begun.context, begun.holders, begun.context.number
        self._miss_absent(begun)
        plan = plan_for(holders, [offer.name for offer in begun.offers.values()])
        derived = self.derive(plan)
        layout = derived.layout
        half = CoordinatorSum(context, derived.digest, layout.length, self.roster, threads=torch.get_num_threads())
        self._each("offer", begun.offers, lambda node, offer: half.add_offer(offer))
        offers = half.offers
        work = RoundRequest(number, plan, tuple(item.to_bytes() for item in offers), derived.digest)
        worked = self._leg("round", number, self._to(work, holders, [item.name for item in offers]), RoundReply)
        self._certify(worked)
        self._each("round", worked, lambda node, it: half.add_masked(self._of(node, MaskedVector, it.head), it.masked))
        worked = {node: replace(reply, masked=NOTHING) for node, reply in worked.items()}  # vectors are large
        survivors = half.survivors
        asked = self._to(ConfirmRequest(number, survivors), holders, survivors)
        confirmed, newcomers = self._confirm(number, asked, invite_others=not last)
        self._each(
            "confirm", confirmed, lambda node, it: half.add_confirmation(self._of(node, Confirmation, it.confirmation))
        )
        confirmations = half.confirmations
        self._require_all_confirmed(begun, survivors, {item.name for item in confirmations})
        following = None if last else self._next(begun, confirmations, newcomers)
        self.keep(self.number, survivors)
        revealed = self._reveal(begun, confirmations, following)
        given = {node: reply for node, reply in revealed.items() if isinstance(reply, RevealReply)}
        self._each("reveal", given, lambda node, it: half.add_reveal(self._of(node, Reveal, it.reveal)))
        point = FixedPoint(layout, bits=context.bits, sites=len(context.members))
        if self._room.size < layout.length:  # memory that was touched before is much cheaper than new
            self._room = np.empty(layout.length)
        values = point.values(self._room[: layout.length])
        half.open_into(values)
        total = self._sum_of(layout, values.vector, survivors, context.threshold)
        self._ahead = self._rode(following, revealed) if following else None
        return total

    def _context(self, participants: Sequence[Participant]) -> SumContext:
        """Of the next sum. Its number is to be kept before anyone hears of it."""
        self.number += 1
        sites, agreed = len(participants), self.study.secure_sum
        return SumContext(
            study=bytes.fromhex(self.study.digest),
            roster=self.roster.digest,
            run=self.run,
            number=self.number,
            threshold=threshold_of(self.study, sites),
            members=tuple(item.member for item in participants),
            colluding=agreed.colluding,
            bits=word_bits(agreed.bits, sites),
        )

    def _confirm(
        self, number: int, asked: Mapping[int, Request], *, invite_others: bool
    ) -> tuple[dict[int, ConfirmReply], dict[int, Participant]]:
        """Leg 2; at the same time whoever is not in U2 is invited to the next sum."""
        others = [node for node in self.nodes if node not in asked] if invite_others else []
        answers = self._asked("confirm", number, asked, dict.fromkeys(others, self._invitation()))
        confirmed = {node: reply for node, reply in answers.items() if isinstance(reply, ConfirmReply)}
        silent = [node for node in asked if node not in confirmed] if invite_others else []
        if silent:  # they may have lost the sum, and be back
            answers |= self._asked("confirm", number, {}, dict.fromkeys(silent, self._invitation()))
        request = self._invitation()
        found = {node: participant_of(node, request, answers.get(node), self.roster) for node in (*others, *silent)}
        self._why_out |= {
            node: Lost("join", Silence.UNACCEPTABLE) for node, item in found.items() if item is None and node in answers
        }
        self._why_out = {node: why for node, why in self._why_out.items() if found.get(node) is None}
        return confirmed, {node: item for node, item in found.items() if item is not None}

    def _require_all_confirmed(self, begun: Begun, survivors: Sequence[str], confirmed: Collection[str]) -> None:
        """Without privacy, where a site waits for lost ones, none gives a share unless all of U2 confirmed: then
        TooFewSitesError where some did not. Those who did give no sum over others, so only these sites can be asked
        again, unless one of them refused that.
        """
        missing = [name for name in survivors if name not in confirmed]
        if self.study.private or not missing or not begun.context.shown_to_all:
            return
        lost = (self._dropped.get(name) for name in missing)
        if not any(one is not None and one.code == AnsweredError.code for one in lost):
            self.bound = tuple(survivors)
            self.keep(self.number, survivors)
        raise TooFewSitesError(f"{', '.join(missing)} did not confirm the sum, and where a site waits every one must")

    def _next(
        self, begun: Begun, confirmations: Sequence[Confirmation], newcomers: Mapping[int, Participant]
    ) -> Begun | None:
        """The next sum, of those who are here and those who are back; None when they are too few to begin one."""
        confirmed = {item.name for item in confirmations}
        here = {
            item.node: Participant(item.node, begun.offers[item.node].following)
            for item in begun.holders
            if item.site in confirmed
        }
        there = [item for item in (here | dict(newcomers)).values() if not self.kept_to or item.site in self.kept_to]
        self._why_out |= {
            node: Lost("join", Silence.STAYS_OUT) for node, item in newcomers.items() if item not in there
        }
        holders = sorted(there, key=lambda item: item.site)
        if len({item.site for item in holders}) < len(holders) or len(holders) < self.least:
            return None
        self._sites |= {item.node: item.site for item in holders}
        return Begun(self._context(holders), tuple(holders), {})

    def _reveal(self, begun: Begun, confirmations: Sequence[Confirmation], following: Begun | None) -> dict[int, Reply]:
        """Leg 3, with the offers for the next sum on the same replies. Whoever is back is asked for its offer alone."""
        number, context = begun.context.number, following.context.to_bytes() if following else b""
        request = RevealRequest(number, tuple(item.to_bytes() for item in confirmations), context)
        asked = self._to(request, begun.holders, [item.name for item in confirmations])
        back = [item.node for item in following.holders if item.node not in asked] if following else []
        return self._asked("reveal", number, asked, dict.fromkeys(back, OfferRequest(context)))

    def _rode(self, following: Begun, replies: Mapping[int, Reply]) -> Begun | None:
        """The next sum with the offers that came; None when they are too few."""
        came = {node: it.offer for node, it in replies.items() if isinstance(it, RevealReply | OfferReply) and it.offer}
        offers = self._offers(came)
        if len(offers) < following.context.threshold:
            return None
        return Begun(following.context, following.holders, offers)

    def _completed(self, begun: Begun) -> Begun:
        """Holders whose offers did not come with the last replies are asked once more, alone."""
        late = [item.node for item in begun.holders if item.node not in begun.offers]
        if not late:
            return begun
        request = OfferRequest(begun.context.to_bytes())
        replies = self._asked("offer", begun.context.number - 1, {}, dict.fromkeys(late, request))
        came = {node: it.offer for node, it in replies.items() if isinstance(it, OfferReply)}
        return replace(begun, offers={**begun.offers, **self._offers(came)})

    def _miss_absent(self, begun: Begun) -> None:
        """Nodes of the run that are not even in R, or gave no offer: each with what it said when it was last asked."""
        there = {item.node for item in begun.holders}
        for node in self.nodes:
            if node in begun.offers:
                self._why_out.pop(node, None)
            else:
                unsaid = Lost("offer", Silence.SILENT) if node in there else Lost("join", Silence.NOT_BACK)
                self._dropped.setdefault(self._name(node), self._why_out.get(node, unsaid))

    def _each(self, leg: Leg, sent: Mapping[int, A], take: Callable[[int, A], B]) -> dict[int, B]:
        """What one site sent wrong costs that site its place in the sum, and not the others their round."""
        taken = {}
        for node, item in sent.items():
            try:
                taken[node] = take(node, item)
            except SecureSumError:
                self._dropped.setdefault(self._sites[node], Lost(leg, Silence.UNACCEPTABLE))
        return taken

    def _offers(self, came: Mapping[int, bytes]) -> dict[int, Offer]:
        return self._each("offer", came, lambda node, data: self._of(node, Offer, data))

    def _of(self, node: int, kind: type[S], data: bytes) -> S:
        """The message of the site that this node is. IdentityError for another's, be it ever so well signed."""
        said = kind.from_bytes(data)
        if said.name != self._sites[node]:
            raise IdentityError(f"A node sent a message of site {said.name!r}, and is another.")
        return said

    # --------------------------------------------------------------------------------------------- without the sum

    def _plain(self, plan: RoundPlan, participants: Sequence[Participant]) -> Total:
        """The study switched the secure sum off: the same fixed point, added up in the open. The report says so."""
        self.number += 1
        self.keep(self.number, ())
        derived, bits = self.derive(plan), word_bits(self.study.secure_sum.bits, len(plan.sites))
        layout = derived.layout
        work = RoundRequest(self.number, plan, (), derived.digest)
        worked = self._leg("round", self.number, {item.node: work for item in participants}, RoundReply)
        self._certify(worked)
        worked = self._each("round", worked, lambda node, reply: _derived_alike(derived, reply))
        if not worked:
            raise RunError(f"No site did the round's work ({self._why()}).")
        point = FixedPoint(layout, bits=bits, sites=len(plan.sites))
        words = np.zeros(layout.length, dtype=np.uint32)
        for reply in worked.values():
            add_packed(words, reply.masked, bits)
        cut(words, bits)
        return self._sum_of(layout, point.decode(words), [self._sites[node] for node in worked], None)

    # --------------------------------------------------------------------------------------------------- both ways

    def _join(self, only: Collection[str]) -> list[Participant]:
        """Ask all nodes to join the next sum; who is ready, by name."""
        seconds = min(self.seconds, JOIN_SECONDS, max(LEAST_JOIN_SECONDS, self.patience()))
        joined, missing = invite(
            self.grid, self.nodes, self._invitation(), self.roster, seconds=seconds, protocol=self.protocol
        )
        require_distinct(joined)
        self._sites |= {node: item.site for node, item in joined.items()}
        for node, why in missing.items():
            self._dropped[self._name(node)] = Lost("join", why)
        self._why_out = {node: Lost("join", why) for node, why in missing.items()}
        if self.first >= 0:
            require_spoken(self.study, self._dropped, len(self.nodes), self.least)
        self._require_budget()
        participants = sorted(joined.values(), key=lambda item: item.site)
        wanted = [item for item in participants if not only or item.site in only]
        self._why_out |= {item.node: Lost("join", Silence.STAYS_OUT) for item in participants if item not in wanted}
        if len(wanted) < max(self.least, len(only)):
            needed = f"all of {', '.join(sorted(only))}" if only else f"{self.least}"
            reason = "" if self._dropped else f" ({self._why()})"
            raise TooFewSitesError(f"{len(wanted)} sites are ready, {needed} are needed{reason}.")
        self.first = -1
        return wanted

    def _require_budget(self) -> None:
        """Of those who were asked whether they can pay for all of the run: nothing is charged before each of them can.

        Asked until a sum begins; who loses its budget later is lost as any other site.
        """
        first = self.first
        poor = [site for site, why in self._dropped.items() if why.code == BudgetError.code]
        if first >= 0 and poor:
            raise BudgetError(
                f"Not begun: the privacy budget of {', '.join(sorted(poor))} does not carry this run "
                f"{'to its end' if first == 0 else f'from round {first} to its end'}, and nothing was charged. "
                "A round that was begun and stopped is charged as one that ended, and `privacy.spare_rounds` of the "
                "study has room for a few. `wardround site check` shows at a hospital what is spent (a simulated one "
                f"has its ledger in the run's folder). {self._without(len(poor))}"
                + (" `wardround finish NAME` makes a model of the rounds that are done." if first > 1 else "")
                + (f" {NOTHING_BEGUN}" if self.number == 0 else "")
            )

    def _without(self, poor: int) -> str:
        """What helps a run that the budgets of so many of its sites do not carry."""
        study, left = "start a study with fewer rounds, more spare ones or more noise", len(self.nodes) - poor
        if left >= self.least:
            return f"Leave these sites out (`wardround run` has --site for each of the others), or {study}."
        others = f"The {left} others are too few for a run" if left else "These are all sites of the run"
        return f"{others}: {study}."

    @property
    def least(self) -> int:
        """The fewest sites that a sum can begin with."""
        return least_sites(self.study)

    def _invitation(self) -> JoinRequest:
        return JoinRequest(
            self.run, self.study.digest, self.roster.digest.hex(), self.number + 1, self.first, tuple(self.over)
        )

    def _to(self, request: Request, holders: Sequence[Participant], names: Sequence[str]) -> dict[int, Request]:
        chosen = set(names)
        return {item.node: request for item in holders if item.site in chosen}

    def _leg(self, name: Leg, number: int, requests: Mapping[int, Request], kind: type[R]) -> dict[int, R]:
        answers = self._asked(name, number, requests, {})
        return {node: reply for node, reply in answers.items() if isinstance(reply, kind)}

    def _asked(
        self, name: Leg, number: int, requests: Mapping[int, Request], optional: Mapping[int, Request]
    ) -> dict[int, Reply]:
        """One leg of a sum; `optional` is about the sum after. Why a site did not answer is kept, the first reason."""
        answers = exchange(
            self.grid,
            requests,
            group=f"{self.run}/{number}",
            seconds=self.seconds if name == "round" else min(self.seconds, TALK_SECONDS),
            optional=optional,
            optional_group=f"{self.run}/{number + 1}",
            protocol=self.protocol,
        )
        self._bytes[0] += answers.bytes_up
        self._bytes[1] += answers.bytes_down
        for node, why in answers.missing.items():
            self._dropped.setdefault(self._name(node), Lost(name, why))
        for node, why in answers.declined.items():
            self._declined(node, optional[node], why)
        return answers.replies

    def _declined(self, node: int, asked: Request, why: Why) -> None:
        """A site that was asked for the next sum, and gave no consent or no offer. One that is silent within the short
        time for that is taken by what it said before.
        """
        if why != Silence.SILENT:
            self._why_out[node] = Lost("join" if isinstance(asked, JoinRequest) else "offer", why)

    def _sum_of(
        self,
        layout: Layout,
        vector: NDArray[np.float64],
        sites: Sequence[str],
        threshold: int | None,
    ) -> Total:
        epsilon, held_out = self.certified
        return Total(
            layout.part(vector),
            tuple(sites),
            dict(self._dropped),
            threshold,
            self._steps,
            epsilon if epsilon >= 0 else None,
            held_out if held_out >= 0 else None,
            *self._bytes,
        )

    def _certify(self, worked: Mapping[int, RoundReply]) -> None:
        """What is spent stays spent, whether the sum opens, and whether its site is in the sums to come."""
        self._steps = sum(reply.steps for reply in worked.values())
        epsilon, held_out = self.certified
        self.certified = (
            max([epsilon, *(reply.epsilon for reply in worked.values())]),
            max([held_out, *(reply.held_out_epsilon for reply in worked.values())]),
        )

    def _name(self, node: int) -> str:
        return self._sites.get(node) or self.names.get(node) or f"node {node}"

    def _why(self) -> str:
        reasons = (f"{site}: {why.words}" for site, why in self._dropped.items())
        return "; ".join(reasons) or "no site is connected"

    @property
    def joined(self) -> tuple[str, ...]:
        """Sites that consented to a sum of this run: they approved the study, and have read their data."""
        return tuple(self._sites.values())

    @property
    def dropped(self) -> Mapping[str, Lost]:
        """Whom the last sum lost, opened or not, and why."""
        return dict(self._dropped)

    def explain(self, error: SecureSumError) -> str:
        """Why the last sum failed, with what happened to whom."""
        return f"{error} ({self._why()})" if self._dropped else str(error)


def _derived_alike(derived: Derived, reply: RoundReply) -> RoundReply:
    """Without a secure sum there is no transcript: the site says what it derived."""
    if reply.head != derived.digest:
        raise SecureSumError("A site derived something else from the plan than the coordinator.")
    return reply
