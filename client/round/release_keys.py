"""What a plan asks of this site's cases, so that sums over different sites do not show what one of them added.

A private site answers with fresh noise, and pays for it, each time: for it there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Collection

from client.exact_sums.asked import Asked
from client.round.session import Site
from common.identity.roster import Roster
from common.plan import RoundPlan
from common.questions import questions_of
from common.secure_sum.messages import SumContext
from common.study import SHARED


def asked_by(
    plan: RoundPlan, site: Site, context: SumContext, roster: Roster, parts: Collection[str], *, waits: bool
) -> Asked:
    """Return what the plan asks of this site's cases as they are; nothing where each answer is a new, paid release.

    A segment is a group: `shared`, to which every site adds, or a modality, to which those add that signed for it. Its
    statistics, scores and updates are one segment, for a count of the same cases rides in each of them, and without the
    modality a case has another score, or none. And so is each of the `parts` of the cohort that the plan trains, scores
    or counts.
    """
    if site.privacy is not None:
        return Asked()
    groups = dict.fromkeys((SHARED, *plan.groups))
    signers = {group: context.names if group == SHARED else context.owners(group) for group in groups}
    signers |= {f"part/{part}": context.fillers(part) for part in parts}
    keys = {segment: {name: roster.sites[name].hex() for name in names} for segment, names in signers.items()}
    said = {key: name in context.waiting() for name, key in keys[SHARED].items()}
    return Asked(_questions(plan, site), keys, context.colluding, waits, said, context.shown_to_all)


def _questions(plan: RoundPlan, site: Site) -> tuple[str, ...]:
    """By what each answer is released once for, over one set of sites."""
    cohort = site.cohort.version.encode()
    return tuple(key.hex() for question in questions_of(plan.asks, site.study) for key in question.keys(plan, cohort))
