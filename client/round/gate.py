"""The gate: every request is held against this site's policy and approvals, before any data is touched."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np

from client.consent.approvals import Approvals
from client.hours import Hours
from client.round.session import Site
from client.terms import require_terms
from common.errors import OutsideHoursError, PolicyError
from common.messages import ConfirmRequest, JoinRequest, Reply, Request, RevealRequest, RoundRequest
from common.questions import layout_of
from common.secure_sum.fixed_point import word_bits
from common.secure_sum.packing import packed_size


class Gate:
    """One study at one site. `simulated`: without approvals, hours and a required secure sum, for nothing leaves.

    Approvals are read again for each request, and the policy is that of the `site`: the agent looks at site.yaml before
    each request, and makes site and gate anew where its policy was changed.
    """

    def __init__(self, site: Site, *, simulated: bool = False) -> None:
        self._site, self.simulated = site, simulated
        self._approvals = Approvals(site.state)
        self._round, self._bytes_out = ("", 0), Counter[tuple[str, int]]()  # run and number at work; what left in each

    def require(self, request: Request, now: datetime) -> None:
        """PolicyError unless the request may be answered at this local time."""
        if not self.simulated:
            self._require_consent()
            self._require_hours(request, now)
        require_terms(self._site.folder.file, self._site.study, simulated=self.simulated)
        if isinstance(request, RoundRequest):
            self._require_room(request)

    def let_out(self, request: Request, reply: Reply) -> int:
        """The bytes of a reply that is about to leave; PolicyError when they are more than the round has left."""
        self._round, size = self._round_of(request), bytes_of(reply)
        self._require_few(self._round, size)
        self._bytes_out[self._round] += size
        return size

    def _round_of(self, request: Request) -> tuple[str, int]:
        """Numbers begin anew with each run; what does not say its run is of the one at work."""
        run, number = self._round
        if isinstance(request, JoinRequest | RoundRequest):
            run = request.run if isinstance(request, JoinRequest) else request.plan.run
        return run, getattr(request, "number", number)

    def _require_consent(self) -> None:
        policy, digest = self._site.policy, self._site.study.digest
        self._approvals.require(digest, asked=policy.approval == "required")

    def _require_hours(self, request: Request, now: datetime) -> None:
        """What began within the hours may end: confirming and revealing touch no data, and other sites wait for it."""
        window = self._site.policy.hours
        if window is None or isinstance(request, ConfirmRequest | RevealRequest):
            return
        if not Hours.parse(window).contains(now.time()):
            raise OutsideHoursError(f"It is {now:%H:%M}, and policy.hours in site.yaml is {window}.")

    def _require_room(self, request: RoundRequest) -> None:
        """The vector's size is known before any case is touched."""
        site, plan = self._site, request.plan
        if site.policy.bytes_out_per_round is None:
            return
        if not set(plan.groups) <= set(site.parameters.groups):
            raise PolicyError("The plan has a group of parameters that the study's network does not have.")
        length = layout_of(plan, site.study, site.parameters, site.privacy).length
        size = packed_size(length, word_bits(site.study.secure_sum.bits, len(plan.sites)))
        self._require_few(self._round_of(request), size)

    def _require_few(self, place: tuple[str, int], size: int) -> None:
        """So many bytes more leave no more in a round than policy allows, in whatever order rounds are asked for."""
        total, limit = self._bytes_out[place] + size, self._site.policy.bytes_out_per_round
        if limit is not None and total > limit:
            raise PolicyError(
                f"{total:,} bytes would leave in this round, and policy.bytes_out_per_round in site.yaml is {limit:,}. "
                "Raise it, or ask for a smaller model or fewer bits."
            )


def bytes_of(reply: Reply) -> int:
    """What a reply carries, without the few bytes of its form: 8 for a number."""
    return sum(_size(getattr(reply, item.name)) for item in fields(reply))


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value)
    return 8
