"""One inquiry of a study as a question: a sum of its series, built on the ones that were opened before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from common.errors import RunError
from common.identity.encoding import digest, number
from common.inquiries.inquiry import Inquiry, opened_key
from common.privacy.accounts import Account, account_of
from common.privacy.plan import released_by
from common.schedule import Schedule
from common.study import Study
from common.summand import Segment

if TYPE_CHECKING:
    from common.inquiries.inquiry import Vector
    from common.noise import Noise
    from common.parameters import Parameters
    from common.plan import RoundPlan
    from common.privacy.accounting import Release
    from common.privacy.plan import PrivacyPlan


@dataclass(frozen=True)
class Inquired:
    """The inquiry that a study calls `called`."""

    called: str
    inquiry: Inquiry

    @property
    def name(self) -> str:
        return Schedule.inquiry_name(self.called)

    @property
    def kind(self) -> str:
        return self.inquiry.kind

    @property
    def asked(self) -> str:
        return f"sum {self.called}"

    def require(self, plan: RoundPlan, study: Study) -> None:
        """Also where the sums that it builds on are not all of those before it, or are none that sites could add to."""
        before = Schedule(study).place_of(self.called, plan.round) - 1
        segments = self._segments(study)
        wanted = {
            opened_key(self.called, number, segment.name): segment
            for number in range(1, before + 1)
            for segment in segments
        }
        if before < 0 or set(plan.opened) != set(wanted):
            raise RunError("The plan does not build its sum on those that were opened before it, and on no others.")
        noise = self.noise(study, None) if study.private else None
        for key, segment in wanted.items():
            most = (segment.bound + (noise.tail if noise else 0.0)) * len(plan.sites) * (1 + 1e-9)
            value = plan.opened[key]
            if value.shape != (segment.length,) or not (np.abs(value) <= most).all():  # NaN is in no range
                raise RunError("The plan builds its sum on one that these sites cannot have added up to.")

    def _segments(self, study: Study) -> tuple[Segment, ...]:
        return self.inquiry.segments(study.modalities, float(study.secure_sum.max_cases))

    def segments(
        self, plan: RoundPlan, study: Study, parameters: Parameters, privacy: PrivacyPlan | None
    ) -> tuple[Segment, ...]:
        return tuple(replace(segment, name=f"{self.name}/{segment.name}") for segment in self._segments(study))

    def taken(self, values: Mapping[str, Vector], place: int) -> dict[str, Vector]:
        """Return an opened sum, by its segments' names in the vector, under the keys by which a plan names it."""
        mine = f"{self.name}/"
        return {
            opened_key(self.called, place, name.removeprefix(mine)): value
            for name, value in values.items()
            if name.startswith(mine)
        }

    def parts(self, counted: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted(part for part in self.inquiry.parts if part in counted))

    def accounts(self, study: Study) -> tuple[Account, ...]:
        return (account_of(self.inquiry.parts),)

    def release(self, privacy: PrivacyPlan) -> Release:
        return released_by(self.inquiry)

    def noise(self, study: Study, privacy: PrivacyPlan | None) -> Noise:
        return self.inquiry.noise(study.modalities)

    def keys(self, plan: RoundPlan, cohort: bytes) -> tuple[bytes, ...]:
        """Twice, as an update: by what it is built on, whatever the run; and as this sum of this run, on whatever."""
        study, name = bytes.fromhex(plan.study), self.called.encode()
        opened = [part for key, value in sorted(plan.opened.items()) for part in (key.encode(), value.tobytes())]
        return digest("inquiry", study, cohort, name, *opened), digest(
            "inquiry of a run", study, plan.run.encode(), number(plan.round)
        )
