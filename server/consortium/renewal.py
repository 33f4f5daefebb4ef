"""The server's certificate does not end by surprise: it is renewed when the server starts, and its end is announced."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from common.errors import WardroundError
from common.identity.authority import in_last_year, term
from server.consortium.certificates import not_after
from server.consortium.consortium import Consortium

log = logging.getLogger("wardround.coordinator")

WARN_DAYS = 30
EVERY = timedelta(days=1)


def renew_if_needed(consortium: Consortium) -> None:
    """A certificate that ends within 90 days is made new. Where that fails, the server starts with the old one."""
    try:
        if consortium.needs_renewal():
            consortium.renew()
            log.info("made the server's certificate new, until %s", f"{_end(consortium):%Y-%m-%d}")
    except WardroundError as error:
        log.warning("the server's certificate is not renewed: %s", error)
    authority, now = consortium.ca_certificate.decode(), datetime.now(UTC)
    if in_last_year(authority, now):
        log.warning("the consortium's authority is %s", term(authority, now))


@dataclass
class Announcer:
    """Says once a day that the certificate with which the server was started ends soon."""

    ends: datetime
    said: datetime | None = None

    @classmethod
    def of(cls, consortium: Consortium) -> Announcer:
        return cls(_end(consortium))

    def look(self, now: datetime) -> None:
        left = self.ends - now
        if left > timedelta(days=WARN_DAYS) or (self.said is not None and now - self.said < EVERY):
            return
        self.said = now
        log.warning(
            "the server's certificate ends on %s, in %d days: stop and start the coordinator between two runs, which "
            "makes it new", f"{self.ends:%Y-%m-%d}", left.days,
        )  # fmt: skip


def _end(consortium: Consortium) -> datetime:
    return not_after(consortium.server_certificate.read_bytes())
