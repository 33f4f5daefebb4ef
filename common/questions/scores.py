"""Scores of the plan's weights on validation or on test patients, as the study's task sums them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from common.identity.encoding import digest
from common.privacy.accounts import Account, held_out
from common.privacy.noise import GaussianNoise
from common.scores import score_segments, score_sensitivity
from common.study import Study
from common.summand import Segment

if TYPE_CHECKING:
    from common.parameters import Parameters
    from common.plan import RoundPlan
    from common.privacy.accounting import Release
    from common.privacy.plan import PrivacyPlan


@dataclass(frozen=True)
class Scores:
    """Of the patients of one part, which is its name in a plan."""

    name: Literal["validation", "test"]
    kind: str = "scores"

    @property
    def asked(self) -> str:
        return f"score {self.name} patients"

    def require(self, plan: RoundPlan, study: Study) -> None:
        """Any round may: `common/schedule.py` says which ones do."""

    def segments(
        self, plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None
    ) -> tuple[Segment, ...]:
        return score_segments(study)

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        return (self.name,)

    def accounts(self, study: Study) -> tuple[Account, ...]:
        return (held_out(study, self.name),)

    def release(self, privacy: PrivacyPlan) -> Release:
        return privacy.evaluation_of(self.name)

    def noise(self, study: Study, privacy: PrivacyPlan) -> GaussianNoise:
        """With the multiplier that the part's own account is charged for."""
        return GaussianNoise(privacy.evaluation_of(self.name).noise_multiplier * score_sensitivity(study))

    def keys(self, plan: RoundPlan, cohort: bytes) -> tuple[bytes, ...]:
        return (digest("scores", bytes.fromhex(plan.study), cohort, self.name.encode(), plan.model),)
