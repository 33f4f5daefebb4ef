"""What every question can say of itself: the one interface by which plan, site and coordinator ask it.

A question is one kind of sum that a round may ask for. It is one file of this package and one line in
`common/questions/__init__.py`, and at the site one file and one line in `client/round/answers/`. Nobody else knows
which segments it has, what it costs, or by which key its exact answer is released only once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from common.privacy.accounts import Account
from common.study import Study
from common.summand import Segment

if TYPE_CHECKING:  # they load PyTorch, which a connector, that only carries plans, does not have
    from common.noise import Noise
    from common.parameters import Parameters
    from common.plan import RoundPlan
    from common.privacy.accounting import Release
    from common.privacy.plan import PrivacyPlan


class Question(Protocol):
    """One kind of sum that a plan may ask for."""

    @property
    def name(self) -> str:
        """As a plan names it."""

    @property
    def kind(self) -> str:
        """What a site's answer is found by, and what its audit log calls a failure of it."""

    @property
    def asked(self) -> str:
        """What it asks of a site, for the site's own log: "sum statistics"."""

    def require(self, plan: RoundPlan, study: Study) -> None:
        """Refuse a plan that asks this as no honest coordinator does: RunError. Before anything is charged."""

    # ------------------------------------------------------------------------------------------ what is in the sum

    def segments(
        self, plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None
    ) -> tuple[Segment, ...]:
        """Return the segments that every site adds, each bounded by public constants of the study, without `noise`."""

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        """Return the parts of the cohort whose patients add to the sum, of those that enough sites signed for."""

    # ------------------------------------------------------------------------------------- whom it costs, and what

    def accounts(self, study: Study) -> tuple[Account, ...]:
        """Return whose patients an answer shows."""

    def release(self, privacy: PrivacyPlan) -> Release:
        """Return what a private answer releases from each patient of each of these accounts."""

    def noise(self, study: Study, privacy: PrivacyPlan) -> Noise | None:
        """Return what a private site adds to every entry; None where the answer is made with its noise in it."""

    def keys(self, plan: RoundPlan, cohort: bytes) -> tuple[bytes, ...]:
        """Return what an exact answer is released once for: digests of all that decides it. Over one set of sites for
        good, whatever asks for it.

        cohort: the version of the site's cases
        """
