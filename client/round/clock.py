"""A clock that stops a round's training: when it does, what then may be handed over, and what is said of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from common.errors import PolicyError
from common.study import Study

log = logging.getLogger("wardround.site")


def deadline(*limits: float | None) -> Callable[[], bool] | None:
    """Return when a site's time for the round, the study's or its own, is over; None where there is no limit. The
    privacy of the steps not done stays paid.
    """
    seconds = [limit for limit in limits if limit is not None]
    if not seconds:
        return None
    end = time.monotonic() + min(seconds)
    return lambda: time.monotonic() > end


def require_all_steps(study: Study, done: int) -> None:
    """PolicyError for fewer steps than the study's, where one site's step more would be the difference of two sums."""
    if done < study.training.local_steps:
        raise PolicyError(
            f"Training was stopped after {done} steps of a round (policy.round_seconds), and a site of this sum waits "
            "for lost sites: beside a sum with all steps this would show it. Allow the round more seconds."
        )


def require_enough(study: Study, done: int, smallest: int) -> None:
    """PolicyError for steps that are of fewer patients than a site shows a sum of. None at all shows nobody."""
    patients = done * study.training.batch_size
    if 0 < patients < smallest:
        raise PolicyError(
            f"Training was stopped after {done} steps, which are of {patients} patients. An update of fewer than "
            f"{smallest} is not shown (policy.without_privacy.smallest_part). Allow the round more seconds "
            "(policy.round_seconds; the coordinator's --time-box)."
        )


def steps_said(site: str, study: Study, done: int) -> int:
    """Return what leaves of the steps done. In a private study the study's own number, always: how far a site comes in
    a limited time tells how many patients it has. The log keeps the truth.
    """
    if not study.private:
        return done
    steps = study.training.local_steps
    if done < steps:
        log.warning(
            "%s: training stopped by the clock after %d of %d steps; the others are of noise alone, and the reply does "
            "not say so.",
            site,
            done,
            steps,
        )
    return steps
