"""What a plan says that the sites signed, or that the study fixes, is not believed but compared."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from common.errors import AnsweredError, RunError, SecureSumError, TooFewSitesError
from common.identity.roster import Roster
from common.plan import RoundPlan
from common.schedule import Schedule
from common.secure_sum.messages import SumContext
from common.study import SHARED, Study


@dataclass(frozen=True)
class Decided:
    """The modalities that round 0 of a run decided on, and the sites of its U1, by which they hold."""

    modalities: tuple[str, ...]
    sites: frozenset[str]


def require_stage(plan: RoundPlan, study: Study) -> None:
    """Refuse a plan that asks in its round for what the study does not ask in it: RunError.

    Test patients would be scored in every round, and statistics and scores opened as often as a coordinator likes.
    """
    schedule = Schedule(study)
    due = schedule.stage(plan.round).asks
    if not 0 <= plan.round <= schedule.last:
        raise RunError("The plan is of a round that the study does not have.")
    if plan.asks != tuple(name for name in due if name in plan.asks):  # each once, in the study's order
        raise RunError("The plan asks in this round for what the study does not ask in it.")


@dataclass
class Story:
    """What the coordinator has said that earlier sums of a run's inquiries came to, of every run. In memory: a new
    process of the site has heard nothing.
    """

    _told: dict[tuple[str, str], bytes] = field(default_factory=dict)  # (run, key) -> its digest

    def require(self, plan: RoundPlan) -> None:
        """Refuse a plan that is built on another sum than one that was answered before in this run: RunError."""
        if any(self._told.get(key, value) != value for key, value in _told_by(plan).items()):
            raise RunError("The plan is built on another sum than the coordinator told of before in this run.")

    def answered(self, plan: RoundPlan) -> None:
        """Remember what an answered plan was built on."""
        self._told |= _told_by(plan)


def _told_by(plan: RoundPlan) -> dict[tuple[str, str], bytes]:
    return {(plan.run, key): hashlib.sha256(value.tobytes()).digest() for key, value in plan.opened.items()}


def require_declared_owners(plan: RoundPlan, context: SumContext) -> None:
    """Refuse a plan whose owners of a group are not the members that signed for it, no more and no fewer.

    `shared` is every member's. A group without any owner by the plan would be the only owner's update in the open.
    """
    for group, owners in plan.owners.items():
        declared = context.names if group == SHARED else context.owners(group)
        if owners != declared:
            raise SecureSumError("The plan's owners of a modality are not the sites that signed for it.")


def require_modalities(
    plan: RoundPlan,
    present: Collection[str],
    context: SumContext,
    study: Study,
    decided: Decided | None,
    *,
    believed: bool = True,
) -> None:
    """Refuse a plan whose modalities do not follow from what was signed: SecureSumError.

    In round 0 they are those that at least c + 2 sites of U1 (`present`) signed for; that decides for the run. Later
    they are those of the decided ones that have as many in this U1.

    decided: None where this site was not in round 0
    believed: then any of them may have been decided on. Else it is all that have as many: in a run without round 0, or
        with one over each half of the sites, a coordinator would choose them, and two sums would differ by the patients
        who have nothing but what it left out. With sites that did not decide: AnsweredError, for over those that did
        the run can go on
    """
    others = decided is not None and not believed and plan.round > 0 and not set(present) <= decided.sites
    least = context.colluding + 2
    enough = {name for name in study.names if len(set(context.owners(name)) & set(present)) >= least}
    named = set(plan.owners) - {SHARED}
    if plan.round > 0 and (decided is not None or believed) and not others:
        wanted = enough & set(named if decided is None else decided.modalities)
    else:
        wanted = enough
    if others and named != wanted:
        raise AnsweredError(
            "The run's modalities were decided by some of these sites, and all of them have others: beside another run "
            "over them a sum would show who has nothing else. It is given over the sites that decided."
        )
    if SHARED not in plan.owners or named != wanted:
        raise SecureSumError("The plan's modalities are not those that enough sites signed for in this run.")


def require_no_clock(plan: RoundPlan) -> None:
    """Refuse a plan that stops training by a clock: RunError. For where nobody may be shown by a difference.

    The same round over the same sites would stop one of them a step later, and that step is the difference of the sums.
    """
    if plan.seconds:
        raise RunError(
            "The plan stops training after some seconds (--time-box), and a site of this sum waits for lost sites: two "
            "sums would differ by the steps that one site did. The coordinator leaves the time box out."
        )


def require_owners(plan: RoundPlan, present: Sequence[str], context: SumContext) -> None:
    """TooFewSitesError when a group would show few owners. Each site checks every group, also those not its own."""
    if plan.lonely(present, context.colluding):
        raise TooFewSitesError("A group of parameters would be summed over too few of its owners.")


def require_parts(used: Collection[str], present: Collection[str], context: SumContext) -> None:
    """TooFewSitesError when a part of the cohort that a plan trains, scores or counts is of few sites present."""
    if not set(used) <= set(context.counted_parts(present)):
        raise TooFewSitesError("A part of the cohort would be summed over too few sites that signed for it.")


def require_own_part(plan: RoundPlan, name: str, signed: Collection[str], roster: Roster) -> None:
    """Without a secure sum, where nobody sees the others' consents: RunError unless the plan says of this site what it
    signed, and names sites of the roster alone.
    """
    if (
        name not in plan.sites
        or list(plan.sites) != sorted(set(plan.sites))
        or not set(plan.sites) <= set(roster.sites)
    ):
        raise RunError("The plan's sites are not different sites of the roster, in order, with this site among them.")
    for group, owners in plan.owners.items():
        if (name in owners) != (group == SHARED or group in signed) or not set(owners) <= set(plan.sites):
            raise RunError("The plan's owners of a modality are not as this site signed.")
