"""What a run does when sites refuse a sum over other sites than before: it keeps to those, and waits for them.

Without privacy the difference of two sums over different sites would show what a site added, and a site that waits for
lost ones (policy.without_privacy.lost_site) gives no such sum. Who comes late stays out of the run; for who is lost the
run waits until its deadline, and then ends with the model that it has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.errors import AnsweredError, RunError
from common.secure_sum.messages import Member
from common.study import Study
from server.lost import Lost, Refused

PAUSE_SECONDS = 5.0  # from one attempt to the next, while a site is connected and does not answer
REFUSED = Lost("confirm", Refused(AnsweredError.code))


class LostSiteError(RunError):
    """A site was lost without which the others give no sum, and did not come back in time."""


def no_time_box(study: Study, members: Sequence[Member]) -> str:
    """Return why these members take no time box, in words; empty where they take one.

    Without privacy the difference of two sums would be the steps that a clock let one site do.
    """
    waiting = [member.name for member in members if member.waits]
    if study.private or not study.secure_sum.enabled or not waiting:
        return ""
    return (
        f"--time-box is left out of this run: {', '.join(waiting)} said to wait for lost sites "
        "(policy.without_privacy.lost_site), and then no site stops by a clock, for the steps cut off would show it. "
        "All do all steps; set --deadline so that they can."
    )


@dataclass
class LostSites:
    """Of one run. `before`: the sites of the sum that was opened last. `wait`: seconds of a round."""

    wait: float
    before: tuple[str, ...] = ()
    met: bool = False  # a site that gives no sum over others
    _ends: float | None = None

    @property
    def only(self) -> tuple[str, ...]:
        """The sites that alone may be summed; empty for all."""
        return self.before if self.met else ()

    def begin(self) -> None:
        """A round begins: it has all of its time."""
        self._ends = None

    def heard(self, dropped: Mapping[str, Lost]) -> None:
        """What a sum that failed lost, site -> why. From the first on, the round's time runs."""
        self.met = self.met or any(why.code == REFUSED.code for why in dropped.values())
        if self.met and self._ends is None:
            self._ends = time.monotonic() + self.wait

    def keep_to(self, sites: Sequence[str]) -> None:
        """Some of these confirmed a sum over them that was not opened, and give none over others."""
        self.before, self.met = tuple(sites), True

    @property
    def left(self) -> float:
        """Seconds that the round still waits for a lost site; without end where it waits for none."""
        return math.inf if self._ends is None or not self.wait else max(0.0, self._ends - time.monotonic())

    def goes_on(self, attempt: int, attempts: int) -> bool:
        """Whether the round may be tried again: by its time where it waits for a site, else by its attempts."""
        if self.met and self.wait:
            return self._ends is None or time.monotonic() < self._ends
        return attempt < attempts
