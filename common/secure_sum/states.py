"""The order of the legs as tables: (phase, event) -> next phase. What is not in a table is refused."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from common.errors import ProtocolOrderError

P = TypeVar("P", bound=StrEnum)


class SitePhase(StrEnum):
    """What a site last did in this sum."""

    NEW = "new"
    OFFERED = "offered"
    AGREED = "agreed"
    MASKED = "masked"
    CONFIRMED = "confirmed"
    REVEALED = "revealed"
    FORGOTTEN = "forgotten"


SITE: Mapping[tuple[SitePhase, str], SitePhase] = {
    (SitePhase.NEW, "offer"): SitePhase.OFFERED,
    (SitePhase.OFFERED, "agree"): SitePhase.AGREED,
    (SitePhase.AGREED, "mask"): SitePhase.MASKED,
    (SitePhase.MASKED, "confirm"): SitePhase.CONFIRMED,
    (SitePhase.CONFIRMED, "reveal"): SitePhase.REVEALED,
    **{(phase, "forget"): SitePhase.FORGOTTEN for phase in SitePhase},
}


class CoordinatorPhase(StrEnum):
    """What the coordinator is waiting for."""

    OFFERS = "offers"
    VECTORS = "masked vectors"
    CONFIRMATIONS = "confirmations"
    REVEALS = "reveals"
    OPENED = "opened"


COORDINATOR: Mapping[tuple[CoordinatorPhase, str], CoordinatorPhase] = {
    (CoordinatorPhase.OFFERS, "add an offer"): CoordinatorPhase.OFFERS,
    (CoordinatorPhase.OFFERS, "fix U1"): CoordinatorPhase.VECTORS,
    (CoordinatorPhase.VECTORS, "add a masked vector"): CoordinatorPhase.VECTORS,
    (CoordinatorPhase.VECTORS, "fix U2"): CoordinatorPhase.CONFIRMATIONS,
    (CoordinatorPhase.CONFIRMATIONS, "add a confirmation"): CoordinatorPhase.CONFIRMATIONS,
    (CoordinatorPhase.CONFIRMATIONS, "fix the confirmations"): CoordinatorPhase.REVEALS,
    (CoordinatorPhase.REVEALS, "add a reveal"): CoordinatorPhase.REVEALS,
    (CoordinatorPhase.REVEALS, "open"): CoordinatorPhase.OPENED,
}


class Steps(Generic[P]):
    """Where one side stands in its table."""

    def __init__(self, start: P, table: Mapping[tuple[P, str], P]) -> None:
        self._phase, self._table = start, table

    @property
    def phase(self) -> P:
        return self._phase

    def require(self, event: str) -> P:
        """The phase that the event leads to, or ProtocolOrderError."""
        following = self._table.get((self._phase, event))
        if following is None:
            raise ProtocolOrderError(f"The secure sum cannot {event} now: it stands at {self._phase!s}.")
        return following

    def move(self, event: str) -> None:
        """Go where the event leads."""
        self._phase = self.require(event)
