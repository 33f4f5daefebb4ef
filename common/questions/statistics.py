"""Statistics of the cohorts: counts, and moments of columns, before the first round. See `common/statistics.py`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from common.identity.encoding import digest
from common.plan import STATISTICS
from common.privacy.accounts import Account, accounts
from common.privacy.noise import GaussianNoise
from common.statistics import patient_sensitivity, statistic_segments
from common.study import SHARED, Study
from common.summand import Segment

if TYPE_CHECKING:
    from common.parameters import Parameters
    from common.plan import RoundPlan
    from common.privacy.accounting import Release
    from common.privacy.plan import PrivacyPlan


class Statistics:
    """Of every patient, whichever part of the cohort it is in."""

    name, kind, asked = STATISTICS, "statistics", "sum statistics"

    def require(self, plan: RoundPlan, study: Study) -> None:
        """Any round may: `common/schedule.py` says which ones do."""

    def segments(
        self, plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None
    ) -> tuple[Segment, ...]:
        """Of the plan's groups: a modality that few sites have is neither measured nor counted."""
        return statistic_segments(study, plan.groups)

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(counted))

    def accounts(self, study: Study) -> tuple[Account, ...]:
        return accounts(study)

    def release(self, privacy: PrivacyPlan) -> Release:
        return privacy.statistics()

    def noise(self, study: Study, privacy: PrivacyPlan) -> GaussianNoise:
        return GaussianNoise(privacy.statistics_noise_multiplier * patient_sensitivity(study))

    def keys(self, plan: RoundPlan, cohort: bytes) -> tuple[bytes, ...]:
        """By segment, whatever the study; the first is what release 0.1 asked, whose sites kept the answers."""
        groups = dict.fromkeys((SHARED, *plan.groups))
        first = digest("statistics", bytes.fromhex(plan.study), cohort)
        return first, *(digest("segment", cohort, group.encode()) for group in groups)
