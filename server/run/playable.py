"""Whether a study can be played at all, as far as can be known without asking any site."""

from __future__ import annotations

from common.plan import threshold_of
from common.privacy.plan import plan_privacy
from common.study import Study
from server.run.step import ServerStep


def require_playable(study: Study, sites: int | None = None) -> None:
    """Refuse, before any work, a study that no run can play: PrivacyError where no noise reaches its epsilon,
    StudyError for a strategy that there is not, or where its secure sum cannot be over so many sites.

    sites: how many there are, where that is known
    """
    ServerStep(study.server)
    plan_privacy(study)
    if sites is not None and study.secure_sum.enabled:
        threshold_of(study, sites)
