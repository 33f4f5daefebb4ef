"""The update: what training on a site's cases changes in the plan's weights, by group, weighted."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from common.errors import RunError
from common.identity.encoding import digest, number
from common.plan import UPDATE
from common.privacy.accounts import Account
from common.study import Study
from common.summand import Segment

if TYPE_CHECKING:
    from common.parameters import Parameters
    from common.plan import RoundPlan
    from common.privacy.accounting import Release
    from common.privacy.plan import PrivacyPlan


class Update:
    """Of training patients. Its noise is in the steps of training, and in nothing that is added afterwards."""

    name, kind, asked = UPDATE, "training", "train"

    def require(self, plan: RoundPlan, study: Study) -> None:
        if not 1 <= plan.round <= study.rounds:
            raise RunError("The plan trains in a round that the study does not have.")

    def segments(
        self, plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None
    ) -> tuple[Segment, ...]:
        weight = 1.0 if privacy else float(study.secure_sum.max_cases)
        found = []
        for group in trained_groups(plan, parameters):
            where = parameters.slice(group)
            found.append(Segment(f"weight/{group}", 1, weight))
            found.append(Segment(f"update/{group}", where.stop - where.start, weight * study.secure_sum.update_bound))
        return tuple(found)

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        return ("train",)

    def accounts(self, study: Study) -> tuple[Account, ...]:
        return ("training",)

    def release(self, privacy: PrivacyPlan) -> Release:
        return privacy.training()

    def noise(self, study: Study, privacy: PrivacyPlan) -> None:
        return None

    def keys(self, plan: RoundPlan, cohort: bytes) -> tuple[bytes, ...]:
        """Twice: as what these weights teach, whatever the run, and as this round of this run, whatever the weights."""
        study = bytes.fromhex(plan.study)
        taught = digest("update", study, cohort, number(plan.round), plan.model)
        return taught, digest("round", study, plan.run.encode(), number(plan.round))


def trained_groups(plan: RoundPlan, parameters: Parameters) -> tuple[str, ...]:
    """The plan's groups that have parameters: a modality whose encoder learns nothing has statistics alone."""
    sized = {group: parameters.slice(group) for group in plan.groups}
    return tuple(group for group, where in sized.items() if where.stop > where.start)
