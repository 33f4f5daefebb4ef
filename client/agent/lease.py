"""Which run this site serves: one at a time. A second one would end the first one's sums, and both would be charged."""

from __future__ import annotations

import time

from common.errors import BusyError
from common.messages import JoinRequest, Refusal, Reply, Request, RevealReply, RoundReply, RoundRequest
from common.schedule import Schedule
from common.study import Study

LEASE_SECONDS = 3600.0  # after a run's last request; a round of others may last as long as the coordinator's deadline


class Lease:
    """Held by the run that joined last, until its end, or until nothing was heard of it for so many seconds."""

    def __init__(self, seconds: float = LEASE_SECONDS) -> None:
        self._seconds, self._run, self._last = seconds, "", False
        self._heard = float("-inf")

    def require(self, request: JoinRequest) -> None:
        """BusyError for a run that is not the one that is served. The consortium may say that that one is over."""
        silent = time.monotonic() - self._heard
        if self._run and self._run != request.run and self._run not in request.over and silent < self._seconds:
            raise BusyError(
                f"This site serves the run {self._run}, of which it heard {silent:.0f} s ago, and not the run "
                f"{request.run} beside it. The coordinator may wait for the first, or stop it."
            )

    def answered(self, request: Request | Reply, reply: Request | Reply, study: Study) -> None:
        """Note what was asked and answered; the last answer of a run ends its lease."""
        if isinstance(reply, Refusal):
            return
        if isinstance(request, JoinRequest):
            self._run, self._last = request.run, False
        if isinstance(request, RoundRequest):
            self._last = request.plan.round >= Schedule(study).last
        if self._last and isinstance(reply, RevealReply if study.secure_sum.enabled else RoundReply):
            self._run = ""
        self._heard = time.monotonic()
